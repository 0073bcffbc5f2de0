"""Quarantine: the messages that could not be applied, each with the rule that refused it.

Quarantined messages lie in the control database with their bodies encrypted. Listing shows no content; `body` decrypts
one message for an operator who asks for it by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import psycopg
from psycopg.rows import class_row

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from application.ports.encryption import EncryptionKeys
from application.ports.quarantine import EVERYTHING, Picked, QuarantineEntry
from domain.errors import UsageError, problem

_COLUMNS = (
    'number, state, rule, reason, source, id, type, tenant_id, topic, partition, "offset", repeats, received_at,'
    " digest, sealed_body AS encrypted_body"
)


class Quarantine:
    """The operators' side of the quarantine; messages get in with the batch that met them."""

    def __init__(self, url: str, keys: EncryptionKeys) -> None:
        self._url = url
        self._keys = keys

    def entries(
        self, *, state: str = "open", limit: int = 1000, picked: Picked = EVERYTHING, after: int = 0
    ) -> Sequence[QuarantineEntry]:
        """The messages in a state that are meant, after the one of that number, oldest first."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(QuarantineEntry)) as curs:
            query = (
                f"SELECT {_COLUMNS} FROM quarantine WHERE state = %(state)s AND number > %(after)s"  # noqa: S608
                " AND (%(rule)s::text IS NULL OR rule = %(rule)s) AND (%(source)s::text IS NULL OR source = %(source)s)"
                " AND (%(type)s::text IS NULL OR type = %(type)s)"
                " AND (%(tenant_id)s::text IS NULL OR tenant_id = %(tenant_id)s) ORDER BY number LIMIT %(limit)s"
            )
            return curs.execute(
                query.encode(), {"state": state, "limit": limit, "after": after, **asdict(picked)}
            ).fetchall()

    def refused_again(self, entry: QuarantineEntry) -> QuarantineEntry | None:
        """The open message that a retry of `entry` has come to."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(QuarantineEntry)) as curs:
            query = (
                f"SELECT {_COLUMNS} FROM quarantine WHERE state = 'open' AND number > %s"  # noqa: S608
                ' AND (digest = %s OR (topic, partition, "offset") = (%s, %s, %s)) ORDER BY number DESC LIMIT 1'
            )
            place = (entry.number, entry.digest, entry.topic, entry.partition, entry.offset)
            return curs.execute(query.encode(), place).fetchone()

    def entry(self, number: int) -> QuarantineEntry:
        """One message; UsageError where there is none of that number."""
        with self._connect() as connection, connection.cursor(row_factory=class_row(QuarantineEntry)) as curs:
            query = f"SELECT {_COLUMNS} FROM quarantine WHERE number = %s"  # noqa: S608
            found = curs.execute(query.encode(), (number,)).fetchone()
        if found is None:
            raise UsageError(problem("quarantine-message-unknown", number=number))
        return found

    def body(self, entry: QuarantineEntry) -> bytes:
        """The whole message; UsageError where its key was forgotten."""
        plain = self._keys.decrypt(entry.encrypted_body, f"body/{entry.digest.hex()}")
        if plain is None:
            raise UsageError(problem("quarantine-message-forgotten", number=entry.number))
        return plain

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        with answering(), connect(self._url) as connection:
            yield connection
