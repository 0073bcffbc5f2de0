"""Log reader: the next events of some kinds, for some partitions of the tenants.

Projections read the log here, live and when they are rebuilt. The log is partitioned by the second part of a stream's
name, which is the tenant (of a customer's stream: the customer): all events about one key are in one bucket. A bucket
is only ever computed by this one SQL expression; PostgreSQL keeps the function the same for ever, because its own hash
partitions lie on disk by it.

Events of kinds that no projection handles are left out by the database. A topic that this version does not know is not
one of them: it comes as Unread, and so does an event that cannot be decoded. Nothing is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from adapters.postgres.connection import LONG, Limits, Session
from adapters.postgres.event_mapper import ENCRYPTED_MARK, EventMapper, holds_persons
from adapters.postgres.seal_store import NO_MARK
from application.ports.encryption import EncryptionKeys
from domain.errors import NewerEvent, Unavailable, UnreadableEvent
from domain.event import Event, Recorded
from domain.event_registry import REGISTRY, EventRegistry
from domain.stream_name import StreamName


@dataclass(frozen=True, slots=True)
class Unread:
    """An event that this version cannot read; `reason` names it by stream and version, and says why.

    `kind` is its class, where the topic is known; `is_newer` says that a later version wrote it.
    """

    position: int
    topic: str
    reason: str
    kind: type[Event] | None = None
    is_newer: bool = False
    stream: str = ""


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Events in the order of the log, each with its bucket; everything up to `upto` has been looked at."""

    events: Sequence[tuple[int, Recorded | Unread]]
    upto: int


class LogReader:
    """One connection of its own, made when it is first needed and made again when it broke. Not for several threads."""

    def __init__(
        self,
        url: str,
        keys: EncryptionKeys,
        *,
        close: Callable[[], None] = lambda: None,
        registry: EventRegistry = REGISTRY,
        limits: Limits = LONG,
    ) -> None:
        self.registry = registry
        self._session = Session(url, limits=limits)
        self._keys = keys
        self._mapper = EventMapper(keys, registry)
        self._close = close

    def close(self) -> None:
        self._session.close()
        self._close()

    def mark(self) -> int:
        """The high-water mark: how far the log may be read. Raises Unavailable."""
        rows = self._rows("SELECT position FROM high_water_mark", ())
        if not rows:
            raise Unavailable(NO_MARK)
        return int(rows[0][0])

    def count(self, upto: int) -> int:
        """About how many events there are, for a progress bar; positions have few gaps."""
        found = self._rows("SELECT coalesce(min(notification_id), 1) FROM stored_events", ())[0][0]
        return max(0, upto - int(found) + 1)

    def read(
        self,
        after: int,
        upto: int,
        *,
        limit: int,
        ignore: Collection[type[Event]] = (),
        buckets: Collection[int] = (0,),
        of: int = 1,
    ) -> LogBatch:
        """At most `limit` events after `after` and up to `upto` (not past the mark), but those of kinds to `ignore`.

        `buckets` are the buckets to read, of `of` (a power of two). Raises Unavailable.
        """
        statements = _reading(frozenset(ignore))
        if len(buckets) < of:
            rows = self._rows(statements.some, (of - 1, after, upto, of - 1, list(buckets), limit))
        elif of > 1:
            rows = self._rows(statements.all, (of - 1, after, upto, limit))
        else:
            rows = self._rows(statements.whole, (after, upto, limit))
        return LogBatch(self._decoded(rows), rows[-1][4] if len(rows) == limit else upto)

    def read_of(
        self,
        tenants: Collection[str],
        customers: Collection[str],
        upto: int,
        *,
        ignore: Collection[type[Event]],
        of: int,
    ) -> LogBatch:
        """All events of those tenants and customers up to `upto`, by the index of streams: for few of them."""
        whole = [*(f"{kind}:{key}" for kind in ("tenant", "site") for key in tenants)]
        whole += [str(StreamName("customer", key)) for key in customers]
        begun = [f"{kind}:{key}:" for kind in ("family", "product") for key in tenants]
        first = [*whole, *begun]
        beyond = [*(f"{each}\x01" for each in whole), *(f"{each[:-1]};" for each in begun)]
        topics = [kind.TOPIC for kind in ignore]
        return LogBatch(self._decoded(self._rows(_STREAMS, (of - 1, first, beyond, upto, topics))), upto)

    def _decoded(self, rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, Recorded | Unread]]:
        """The rows decoded; those that hold encrypted texts a second time, when their keys are all at hand."""
        events = [(row[5], self._event(row, personal=False)) for row in rows]
        encrypted = [
            number
            for number, (_, event) in enumerate(events)
            if isinstance(event, Recorded) and holds_persons(event.event) and ENCRYPTED_MARK in rows[number][3]
        ]
        if encrypted:
            texts = {text.decode() for number in encrypted for text in _ENCRYPTED.findall(rows[number][3])}
            self._keys.prefetch(encrypted=texts)
        for number in encrypted:
            events[number] = (events[number][0], self._event(rows[number], personal=True))
        return events

    def _event(self, row: tuple[Any, ...], *, personal: bool) -> Recorded | Unread:
        stream, version, topic, state, position, _ = row
        try:
            return self._mapper.to_recorded(stream, version, topic, state, position=position, personal=personal)
        except UnreadableEvent as error:
            entry = self.registry.by_topic.get(topic)
            kind, is_newer = entry.event if entry else None, isinstance(error, NewerEvent)
            return Unread(position, topic, str(error), kind, is_newer, stream)

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._session() as connection, connection.cursor(binary=True) as curs:
            return curs.execute(statement.encode(), parameters, prepare=True).fetchall()


_ENCRYPTED: Final = re.compile(rb'"(v1\.[A-Za-z0-9_-]+\.)')
"""The beginning of an encrypted text, with the id of its key."""

_BUCKET: Final = "(hashtextextended(split_part(originator_id, ':', 2), 0) & %s)::int"
_COLUMNS: Final = "originator_id, originator_version, topic, state, notification_id"
_RANGE: Final = "FROM stored_events WHERE notification_id > %s AND notification_id <= %s"
_LAST: Final = "ORDER BY notification_id LIMIT %s"

_OF_STREAMS: Final = (
    "FROM unnest(%s::text[], %s::text[]) AS r (first, beyond) JOIN stored_events"
    " ON originator_id >= r.first AND originator_id < r.beyond"
    " WHERE notification_id <= %s AND topic <> ALL (%s::text[]) ORDER BY notification_id"
)
_STREAMS: Final = f"SELECT {_COLUMNS}, {_BUCKET} {_OF_STREAMS}"


class _Reading(NamedTuple):
    """The statements that read without the kinds to ignore."""

    whole: str
    all: str
    some: str


@cache
def _reading(ignore: frozenset[type[Event]]) -> _Reading:
    """The topics are constants of the statements: PostgreSQL hashes a long list of constants, and searches a parameter
    for each event (0.7 microseconds, of 44 topics)."""
    literals = sorted("'" + kind.TOPIC.replace("'", "''").replace("%", "%%") + "'" for kind in ignore)
    events = f"{_RANGE} AND topic <> ALL (ARRAY[{', '.join(literals)}]::text[])"
    return _Reading(
        whole=f"SELECT {_COLUMNS}, 0 {events} {_LAST}",
        all=f"SELECT {_COLUMNS}, {_BUCKET} {events} {_LAST}",
        some=f"SELECT {_COLUMNS}, {_BUCKET} {events} AND {_BUCKET} = ANY (%s::int[]) {_LAST}",
    )
