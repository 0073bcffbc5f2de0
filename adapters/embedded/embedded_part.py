"""The embedded parts, PostgreSQL and the broker: what both share, their directory, their ports and how they fail.

A part lives in a directory of its own user and listens on 127.0.0.1. Where it does not start or stop, the error is one
line with the reason that the log of the part gives.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

from domain.errors import Unavailable, UsageError, problem

LOOPBACK: Final = "127.0.0.1"
START_SECONDS: Final = 30


class EmbeddedPartFailed(Unavailable):
    """A bundled part did not start or stop. One line: with the reason that its log gives, and where the log is."""

    def __init__(self, code: str, /, *, log_file: Path | None = None, **data: object) -> None:
        log = log_file if log_file is not None and log_file.exists() else None
        super().__init__(problem(code, **{"reason": log and reason_in(log), "log": log and str(log), **data}))


def refuse_unspeakable(directory: Path) -> None:
    """Raises UsageError for a name that PostgreSQL's own files cannot hold."""
    if re.search(r"[\x00-\x1f\x7f]", str(directory)):
        shown = str(directory).encode("unicode_escape").decode()
        raise UsageError(problem("data-directory-name", shown=shown))


def reason_in(log_file: Path) -> str:
    """The newest line of a log that says what went wrong; else its last one."""
    with log_file.open("rb") as file:
        file.seek(max(0, log_file.stat().st_size - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    found = (telling or lines or ["it says nothing"])[-1]
    return _PREFIX.sub("", found)[:300]


_TELLING: Final = re.compile(r"\b(PANIC|FATAL|ERROR|error|Error|No space left|Read-only|denied)\b")
_PREFIX: Final = re.compile(r"^[0-9: .-]*[A-Z]* \[\d+\] \S*@\S*\s*")
"""What PostgreSQL writes before a line: see `log_line_prefix`."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # our own closed sessions do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
