"""A watched file: what a file of rules says, read again when the file changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What `read` makes of the file; a file that cannot be used leaves the last good one.

    The file is looked at once in `every` seconds at most. `problem` says what is wrong with it now (None: nothing). The
    first read raises what `read` raises; later, ValueError and OSError are the problem.
    """

    def __init__(
        self,
        file: Path,
        read: Callable[[Path], T],
        *,
        every: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._read = read
        self._every = every
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._seen = self._stamp()
        self._current = read(file)
        self.problem: str | None = None

    def refresh(self) -> T:
        """What it says as of now."""
        now = self._monotonic()
        if now - self._looked_at >= self._every:
            self._looked_at = now
            self._look()
        return self._current

    def _look(self) -> None:
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._current = self._read(self._file)
                self._seen = stamp
            self.problem = None
        except (ValueError, OSError) as error:
            self.problem = str(error)
            self._seen = (0, 0, 0)

    def _stamp(self) -> tuple[int, int, int]:
        """Taken before the file is read: a change between both is seen at the next look."""
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino
