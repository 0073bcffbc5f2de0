"""A worker's card: a file that tells what the worker waits for while the database is away.

    <data dir>/state/<worker>.json    one block, locked by its worker for as long as that lives

The space of the file is taken when the worker starts, and what changes is written in place: a disk that has become full
keeps no card from saying so. Whether a worker is alive is asked of the lock, which the kernel lets go of when it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "state"
_BYTES: Final = 4096


class WorkerCard:
    """The card of one worker. Where there is no place for one, there is none: a worker works without."""

    def __init__(self, data_dir: Path, *, name: str, kind: str) -> None:
        self._identity = {"name": name, "kind": kind, "pid": os.getpid(), "host": socket.gethostname()}
        self._path = data_dir / FOLDER / f"{name}.json"
        self._file: int | None = None
        self._written = b""
        if data_dir.is_dir():
            with suppress(OSError):
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                _sweep(self._path.parent)
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(self._file, b" " * _BYTES)

    def write(self, state: str, waits: Sequence[Mapping[str, str]]) -> None:
        """Say it, where it is not what the card says already."""
        if self._file is None:
            return
        text = next(text for most in (500, 100, 0) if len(text := self._text(state, waits, most=most)) < _BYTES)
        if text != self._written:
            with suppress(OSError):
                os.pwrite(self._file, text.ljust(_BYTES - 1) + b"\n", 0)
                self._written = text

    def _text(self, state: str, waits: Sequence[Mapping[str, str]], *, most: int) -> bytes:
        shortened = [{**each, "text": each["text"][:most]} for each in waits[:8]]
        return json.dumps({**self._identity, "state": state, "waits": shortened}).encode()

    def close(self) -> None:
        """Take the card away."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def worker_cards(data_dir: Path) -> list[dict[str, Any]]:
    """What the live workers of this machine say: name, kind, pid, host, state and waits (outage.py)."""
    found = []
    for path in sorted((data_dir / FOLDER).glob("*.json")):
        with suppress(OSError, ValueError), path.open("rb") as file:
            if is_locked(file.fileno()):
                found.append(json.load(file))
    return found


def _sweep(folder: Path) -> None:
    """Take away what killed workers have left."""
    for path in folder.glob("*.json"):
        with suppress(OSError), path.open("rb") as file:
            if not is_locked(file.fileno()):
                path.unlink()


def is_locked(file: int) -> bool:
    """Whether another process holds the open file. The lock goes with its process."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
