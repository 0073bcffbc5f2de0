"""The file of a checkpoint that was held elsewhere, as a command is given it."""

from __future__ import annotations

from pathlib import Path

from audit.checkpoints import Note
from domain.errors import UsageError


def held_checkpoint(path: Path) -> Note:
    """The checkpoint in the file. Raises UsageError where there is none that can be read."""
    try:
        return Note.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"checkpoint {path}: {error.strerror}: correct the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"checkpoint {path} is no text: give the file as `checkpoint export` wrote it") from None
