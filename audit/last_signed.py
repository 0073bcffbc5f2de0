"""Last signed checkpoint: a file outside of the database.

The relay seals the log by itself, with a key that is not in the database. An attacker with write access to the database
must not get a signature for a changed log: without this file, the attacker could change an event and delete the seal,
and the relay would seal and sign the changed log. So the newest checkpoint is kept in a file, and a new checkpoint is
signed only if it continues that one.

The file is written after the commit. After a kill in between it holds an older checkpoint, and a correct log continues
that one too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoints import Note
from domain.errors import UsageError, problem


@dataclass(frozen=True, slots=True)
class LastSigned:
    """The file; without a path no checkpoint is kept."""

    path: Path | None = None

    def read(self) -> Note | None:
        """The checkpoint, none where there is no file yet. Raises UsageError where it cannot be read."""
        if self.path is None:
            return None
        try:
            return Note.parse(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(problem("last-signed-unreadable", path=self.path, reason=error.strerror)) from None
        except (UnicodeDecodeError, UsageError):
            raise UsageError(problem("last-signed-invalid", path=self.path)) from None

    def keep(self, note: Note) -> None:
        """Write the checkpoint atomically. Raises UsageError where the file cannot be written."""
        if self.path is None or note == self.read():
            return
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                file.write(str(note))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise UsageError(problem("last-signed-unwritable", path=self.path, reason=error.strerror)) from None
