"""Outbox: the integration events that wait for the relay.

Reads the `outbox` that the projector writes. The relay's position is kept for each topic id, so that a topic that was
created anew gets all events again; a session's advisory lock decides which process relays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adapters.postgres.connection import Session

RELAY_LOCK: Final = 7_305_808_868_231_650_678


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An integration event as it is to be published; `position` is that of its event in the log."""

    position: int
    key: bytes
    value: bytes
    event_id: str = ""


class PostgresOutbox:
    """One session for the lock and the queries: who loses it has lost the lock, and asks again."""

    def __init__(self, url: str) -> None:
        self._session = Session(url)
        self._locked_in: int | None = None

    def hold(self) -> bool:
        """Whether this process is the one relay; Unavailable where the database does not answer."""
        if not self._session.is_open or self._locked_in != self._session.number:
            row = self._execute("SELECT pg_try_advisory_lock(%s)", (RELAY_LOCK,))[0]
            self._locked_in = self._session.number if row[0] else None
        return self._locked_in is not None

    def position(self, topic_id: str) -> int:
        """The last position published to the topic of that id; 0 for a new one."""
        rows = self._execute("SELECT position FROM relay_positions WHERE topic_id = %s", (topic_id,))
        return int(str(rows[0][0])) if rows else 0

    def after(self, position: int, limit: int) -> Sequence[OutboxRow]:
        """The next rows, in the order of the log."""
        rows = self._execute(
            "SELECT position, tenant_id, payload, event_id FROM outbox WHERE position > %s ORDER BY position LIMIT %s",
            (position, limit),
        )
        return [
            OutboxRow(int(str(number)), str(key).encode(), str(payload).encode(), str(event_id))
            for number, key, payload, event_id in rows
        ]

    def move(self, topic_id: str, position: int) -> None:
        """Everything up to `position` is on Kafka."""
        self._execute(
            "INSERT INTO relay_positions (topic_id, position) VALUES (%s, %s)"
            " ON CONFLICT (topic_id) DO UPDATE SET position = excluded.position, updated_at = now() RETURNING 1",
            (topic_id, position),
        )

    def _execute(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._session() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()
