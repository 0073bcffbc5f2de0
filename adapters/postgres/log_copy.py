"""Log copy: the stored bytes of the log, read page by page.

Rows come by binary COPY, as the seal reads them (seal_store.py): nothing is decoded but the lengths around the
columns. A page is one COPY, and the transaction around all of them is one snapshot, so that tiles of the seal can be
read between two pages. Memory is that of a page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from psycopg import sql

from adapters.postgres.past import OF_TENANT, streams_of
from adapters.postgres.seal_store import SealStore
from domain.tenant import state as tenants
from domain.times import in_utc


@dataclass(slots=True)
class Page:
    """Events side by side, in the order of positions: one list a column. `states` are the stored bytes.

    `times` are when they were recorded. `leaves` and `proofs` (the hashes of the path, side by side) are filled where
    proofs are to be made, with None for an event that no checkpoint covers yet.
    """

    positions: list[int] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    leaves: list[int | None] = field(default_factory=list)
    proofs: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def picked(self, rows: list[int]) -> Page:
        """The page of these rows of it."""
        return Page(
            *(
                [column[row] for row in rows] if column else []
                for column in (getattr(self, name) for name in self.__slots__)
            )
        )


Stored = tuple[int, str, int, str, bytes]
"""Position, stream, version, topic, state."""


class LogCopy(SealStore):
    """The log and its seal in one snapshot: use within `looking()`."""

    def rows(self, after: int, upto: int, *, limit: int, tenant: str | None = None) -> list[Stored]:
        """At most `limit` events after `after` and up to `upto`; of one tenant, where it is given."""
        condition = "true"
        if tenant:
            condition = sql.SQL(OF_TENANT).format(*map(sql.Literal, streams_of(tenant))).as_string()
        return [_stored(bytes(row)) for row in self._copied(condition, after, upto, limit)]

    def count(self, upto: int) -> int:
        """About how many events there are, for a progress bar: positions have few gaps."""
        first = self._rows("SELECT coalesce(min(notification_id), 1) FROM stored_events")[0][0]
        return max(0, upto - int(first) + 1)

    def has_tenant(self, tenant: str) -> bool:
        return bool(
            self._rows("SELECT 1 FROM stored_events WHERE originator_id = %s LIMIT 1", (tenants.stream_of(tenant),))
        )

    def data_keys(self) -> list[tuple[str, str, bytes | None, datetime, datetime | None]]:
        """Subject, key id, wrapped key (None: forgotten), made and forgotten at; in the order of subjects."""
        rows = self._rows(
            "SELECT subject, key_id, wrapped, created_at, forgotten_at FROM data_keys ORDER BY subject, created_at"
        )
        return [
            (subject, key_id, bytes(wrapped) if wrapped is not None else None, _utc(made), _utc(gone) if gone else None)
            for subject, key_id, wrapped, made, gone in rows
        ]


def _stored(row: bytes) -> Stored:
    """The columns of a row of a binary COPY: each after four bytes of its length."""
    number = int.from_bytes
    at = 18 + number(row[14:18], "big")
    topic = at + 16
    state = topic + number(row[at + 12 : topic], "big")
    return (
        number(row[6:14], "big", signed=True),
        row[18:at].decode(),
        number(row[at + 4 : at + 12], "big", signed=True),
        row[topic:state].decode(),
        row[state + 4 :],
    )


def _utc(time: datetime) -> datetime:
    return in_utc(time)
