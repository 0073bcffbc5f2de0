"""What could not be applied, and why?

Quarantined messages lie in the control database with their bodies sealed. Listing shows no content; `body` unseals one
message for an operator who asks for it by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from adapters.postgres_connection import connect
from adapters.postgres_errors import answering
from domain.errors import UsageError
from domain.ports import SealingKeys


@dataclass(frozen=True, slots=True)
class Entry:
    """One message. `repeats` counts how often it came again while it lay here."""

    number: int
    state: str
    rule: str
    reason: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    topic: str
    partition: int
    offset: int
    repeats: int
    received_at: datetime
    digest: bytes
    sealed_body: str


_COLUMNS = (
    'number, state, rule, reason, source, id, type, tenant_id, topic, partition, "offset", repeats, received_at,'
    " digest, sealed_body"
)


class Quarantine:
    """The operators' side of the quarantine; messages get in with the batch that met them."""

    def __init__(self, url: str, keys: SealingKeys) -> None:
        self._url = url
        self._keys = keys

    def entries(self, *, state: str = "open", limit: int = 1000) -> Sequence[Entry]:
        """The messages in a state, oldest first."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(Entry)) as curs:
            query = f"SELECT {_COLUMNS} FROM quarantine WHERE state = %s ORDER BY number LIMIT %s"  # noqa: S608
            return curs.execute(query.encode(), (state, limit)).fetchall()

    def entry(self, number: int) -> Entry:
        """One message; UsageError where there is none of that number."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(Entry)) as curs:
            query = f"SELECT {_COLUMNS} FROM quarantine WHERE number = %s"  # noqa: S608
            found = curs.execute(query.encode(), (number,)).fetchone()
        if found is None:
            raise UsageError(f"quarantine has no message {number}: see `tenantry quarantine list`")
        return found

    def body(self, entry: Entry) -> bytes:
        """The whole message; UsageError where its key was forgotten."""
        plain = self._keys.unseal(entry.sealed_body, f"body/{entry.digest.hex()}")
        if plain is None:
            raise UsageError(f"message {entry.number} cannot be read any more: its person was forgotten; discard it")
        return plain

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        with answering(), connect(self._url) as connection:
            yield connection
