"""Message history of a tenant: messages, refusals and timers, which are not in the log.

The log tells what was decided. When a message came and how often, what waits and what was refused lies in tables beside
it; so do the timers that are set. No body is read here: nothing of a person comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.rows import class_row

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from adapters.postgres.past import streams_of


@dataclass(frozen=True, slots=True)
class Came:
    """A message by its place on Kafka, when it first came, and how often again."""

    source: str
    id: str
    type: str | None
    topic: str
    partition: int
    offset: int
    received_at: datetime
    duplicates: int

    @property
    def as_cause(self) -> dict[str, Any]:
        return {
            "kind": "message",
            "source": self.source,
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
        }


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that was refused; who closed it and why, where it is not open any more."""

    number: int
    state: str
    rule: str
    reason: str
    source: str | None
    id: str | None
    type: str | None
    topic: str
    partition: int
    offset: int
    repeats: int
    received_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    closed_reason: str | None

    @property
    def as_cause(self) -> dict[str, Any]:
        named = {"source": self.source, "id": self.id} if self.id else {}
        return {
            "kind": "message",
            **named,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
        }


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`timers`: scopes with the times at which they are due, all in the future."""

    came: Sequence[Came] = ()
    waiting: Sequence[Came] = ()
    quarantined: Sequence[Quarantined] = ()
    timers: Sequence[tuple[str, datetime]] = ()


def arrivals_of(
    url: str, tenant_id: str, messages: Collection[tuple[str, str]], *, most: int | None = None
) -> Arrivals:
    """What came for the tenant: those messages (source, id), what waits, what was refused. Raises Unavailable.

    Of those that wait and of those that were refused the newest `most`, where that is given.
    """
    with answering(), connect(url) as connection:
        with connection.cursor(row_factory=class_row(Came)) as curs:
            sources, ids = [source for source, _ in messages], [id_ for _, id_ in messages]
            came = curs.execute(_CAME, (sources, ids)).fetchall()
            waiting = curs.execute(_WAITING, (tenant_id, most)).fetchall()
        with connection.cursor(row_factory=class_row(Quarantined)) as curs:
            quarantined = curs.execute(_QUARANTINED, (tenant_id, most)).fetchall()
        timers = connection.execute(_TIMERS, streams_of(tenant_id)).fetchall()
    return Arrivals(came, waiting[::-1], quarantined[::-1], [(scope, due_at) for scope, due_at in timers])


_CAME: Final = (
    'SELECT i.source, i.id, NULL AS type, i.topic, i.partition, i."offset", i.received_at, i.duplicates'
    " FROM unnest(%s::text[], %s::text[]) AS k (source, id)"
    " JOIN incoming i ON i.source = k.source AND i.id = k.id ORDER BY i.received_at"
)
_WAITING: Final = (
    'SELECT source, id, type, topic, partition, "offset", received_at, 0 AS duplicates'
    " FROM waiting WHERE tenant_id = %s ORDER BY number DESC LIMIT %s"
)
_QUARANTINED: Final = (
    'SELECT number, state, rule, reason, source, id, type, topic, partition, "offset", repeats, received_at,'
    " closed_at, closed_by, closed_reason FROM quarantine WHERE tenant_id = %s ORDER BY number DESC LIMIT %s"
)
_TIMERS: Final = (
    "SELECT DISTINCT scope, due_at FROM wakes WHERE (scope = ANY (%s::text[]) OR (scope >= %s AND scope < %s)"
    " OR (scope >= %s AND scope < %s)) AND due_at > now() ORDER BY due_at, scope"
)
