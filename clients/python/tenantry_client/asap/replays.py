"""Records of used tokens: a `jti` is accepted once for each issuer and audience, until it expires.

`SharedReplays` is one SQLite file for all processes of a host. Another host has its own: a token that is stolen within
its minute can be played once on each other host; the threat model says so. Where the file cannot be written the answer
is an error, never "first": a command is refused rather than carried out twice.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tenantry_client.asap.refusals import Refused


class Replays(Protocol):
    """Who was here. Used by several threads."""

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        """Whether it is the first time; remembered until `until` (seconds since 1970). Raises Refused."""


class LocalReplays:
    """For one process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[bytes, float] = {}
        self._swept_at = 0.0

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        key, now = _digest(issuer, audience, token_id), self._clock()
        with self._lock:
            if now - self._swept_at > SWEEP_SECONDS:
                self._seen = {each: end for each, end in self._seen.items() if end > now}
                self._swept_at = now
            if key in self._seen:
                return False
            self._seen[key] = until
            return True


class SharedReplays:
    """For all processes of a host that name the same file. Safe after a fork: each process opens its own connection."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._local = threading.local()

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        key, now = _digest(issuer, audience, token_id), self._clock()
        try:
            connection = self._connection()
            with connection:
                if now - getattr(self._local, "swept_at", 0.0) > SWEEP_SECONDS:
                    connection.execute("DELETE FROM used WHERE until <= ?", (now,))
                    self._local.swept_at = now
                added = connection.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (key, until))
            return added.rowcount == 1
        except sqlite3.Error:
            raise Refused("key-unavailable", "the record of used tokens cannot be written: try again later") from None

    def _connection(self) -> sqlite3.Connection:
        import os  # noqa: PLC0415

        kept = getattr(self._local, "connection", None)
        if kept is not None and self._local.pid == os.getpid():
            return kept  # type: ignore[no-any-return]
        connection = sqlite3.connect(self._file, timeout=2.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS used (token BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")
        self._local.connection, self._local.pid = connection, os.getpid()
        return connection


SWEEP_SECONDS = 60.0


def _digest(issuer: str, audience: str, token_id: str) -> bytes:
    return hashlib.sha256("\0".join((issuer, audience, token_id)).encode()).digest()
