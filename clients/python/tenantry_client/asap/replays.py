"""Records of used tokens: a `jti` is accepted once for each issuer and audience, until it expires.

`SharedReplays` is one SQLite file for all processes of a host. Another host has its own: a token that is stolen within
its minute can be played once on each other host; the threat model says so. Where the file cannot be written the answer
is a refusal, never "first": a command is refused rather than carried out twice.

Entries are kept for `KEPT_SECONDS` after their token has expired. A clock that jumps forward and back within that time
changes nothing. After a larger jump, entries may be deleted whose tokens are valid again: every token that ends before
the newest deleted entry is refused.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from tenantry_client.asap.refusals import Refused

SWEEP_SECONDS: Final = 60.0
KEPT_SECONDS: Final = 600.0
LOCK_SECONDS: Final = 2.0


class Replays(Protocol):
    """A record of used tokens. Used by several threads."""

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        """Whether it is the first time; remembered until `until` (seconds since 1970). Raises Refused."""


class LocalReplays:
    """For one process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[bytes, float] = {}
        self._swept = 0.0

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        key, horizon = _digest(issuer, audience, token_id), self._clock() - KEPT_SECONDS
        with self._lock:
            if horizon - self._swept > SWEEP_SECONDS:
                self._used = {each: end for each, end in self._used.items() if end > horizon}
                self._swept = horizon
            _check_horizon(until, self._swept)
            if key in self._used:
                return False
            self._used[key] = until
            return True


class SharedReplays:
    """For all processes of a host that name the same file, on a disk of that host. The folder must be there."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._inherited: list[sqlite3.Connection] = []

    def first(self, issuer: str, audience: str, token_id: str, *, until: float) -> bool:
        key = _digest(issuer, audience, token_id)
        try:
            with self._lock:
                return self._first(key, until)
        except sqlite3.Error:
            raise _unavailable("the record of used tokens cannot be written") from None

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _first(self, key: bytes, until: float) -> bool:
        connection = self._connected()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (swept,) = connection.execute("SELECT swept FROM horizon").fetchone()
            horizon = self._clock() - KEPT_SECONDS
            if horizon - swept > SWEEP_SECONDS:
                connection.execute("DELETE FROM used WHERE until <= ?", (horizon,))
                connection.execute("UPDATE horizon SET swept = ?", (horizon,))
                swept = horizon
            _check_horizon(until, swept)
            return connection.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (key, until)).rowcount == 1

    def _connected(self) -> sqlite3.Connection:
        """The connection of this process. One that came through a fork is the parent's: neither used nor closed."""
        if self._connection is not None:
            if self._process == os.getpid():
                return self._connection
            self._inherited.append(self._connection)
            self._connection = None
        connection = sqlite3.connect(self._file, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """The tables are made in one transaction; a second process waits for it, or finds them."""
    connection.execute("PRAGMA synchronous = NORMAL")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS used (token BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID"
        )
        connection.execute("CREATE INDEX IF NOT EXISTS used_until ON used (until)")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS horizon (id INTEGER PRIMARY KEY CHECK (id = 1), swept REAL NOT NULL)"
        )
        connection.execute("INSERT OR IGNORE INTO horizon VALUES (1, 0)")


def _check_horizon(until: float, swept: float) -> None:
    if until <= swept:
        raise _unavailable("the clock of this machine went back by more than the record of used tokens reaches")


def _unavailable(what: str) -> Refused:
    return Refused("replay-record-unavailable", f"{what}: try again later")


def _digest(issuer: str, audience: str, token_id: str) -> bytes:
    return hashlib.sha256(f"{issuer}\0{audience}\0{token_id}".encode()).digest()
