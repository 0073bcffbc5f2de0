"""Files that hold a secret: read where only those read them who should, and written for their owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from runtime.settings_error import SettingsError


def read_secret(path: Path, what: str) -> str | None:
    """The text of the file; None where it is missing. SettingsError where it cannot be read, or by everybody."""
    try:
        # Readable by a group is allowed: that is how a mounted secret reaches a process that is not root.
        if path.stat().st_mode & 0o007:
            raise SettingsError(f"{what} {path} can be read or written by everybody: chmod 600 {path}")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{what} {path}: {error.strerror}: give this user the right to read it") from None


def keep_first(path: Path, text: str) -> None:
    """Put a secret where none is yet, for its owner only; whole or not at all, and of several the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
