"""Past state: the part of the log that was there at a moment.

A moment is a position: what was known then is the log up to it, whole. A time is turned into the position of the last
event that was recorded at or before it. Events lie nearly in the order of their times, but not quite where several
processes record in parallel, each by its own clock. So a binary search finds the place, and then NEARBY positions on
both sides are compared one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from operator import attrgetter
from typing import Final

from adapters.postgres.log_reader import LogReader, Unread
from domain import customer as customers
from domain.configuration import STREAM, Adopted, evolve
from domain.errors import UnreadableEvent, UsageError, problem
from domain.event import Recorded
from domain.tenant import state as tenants
from domain.tenant.events import ChangesApproved, ChangesRejected, TenantCreated
from domain.times import in_utc

NEARBY: Final = 2_000
"""Positions that are looked at on each side of a time: far more than is recorded within one append's time-out."""


RANGE: Final = 100_000
"""Positions that are looked through at once for operators' acts."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known at a `time` (UTC): the log up to `position`, whole."""

    position: int
    time: datetime


class PastLog(LogReader):
    """The log as it was. One connection of its own; not for several threads."""

    def at(self, text: str, *, now: datetime) -> Moment:
        """The moment of a POSITION, or of a TIME in ISO 8601 with a zone. Raises UsageError, Unavailable."""
        mark = self.mark()
        if mark == 0:
            raise UsageError(problem("log-empty"))
        return (
            self._of_position(int(text), mark) if text.isascii() and text.isdigit() else self._of_time(text, mark, now)
        )

    def events_of(self, tenant_id: str, upto: int) -> list[Recorded]:
        """Everything recorded of a tenant up to a position, its customers' events among them, in the log's order.

        Raises UnreadableEvent where this version cannot read one of them.
        """
        mine = self._events(_EVENTS_OF_TENANT, (*streams_of(tenant_id), upto))
        own = tenants.stream_of(tenant_id)
        named = {getattr(recorded.event, "customer_id", None) for recorded in mine if recorded.stream == own}
        theirs = self.events_of_streams({customers.stream_of(each) for each in named if each}, upto)
        return sorted([*mine, *theirs], key=attrgetter("position"))

    def events_of_streams(self, streams: Iterable[str], upto: int) -> Sequence[Recorded]:
        """The events of these streams up to a position, in the log's order. Raises UnreadableEvent."""
        return self._events(_EVENTS_OF_STREAMS, (list(streams), upto))

    def last_events_of(self, tenant_id: str, upto: int, limit: int) -> list[Recorded]:
        """The last of `events_of`, at most `limit`, in the log's order. Raises UnreadableEvent."""
        created = self._events(_CREATED, (tenants.stream_of(tenant_id), TenantCreated.TOPIC, upto))
        theirs = {
            customers.stream_of(each.event.customer_id) for each in created if isinstance(each.event, TenantCreated)
        }
        names, *ranges = streams_of(tenant_id)
        found = self._events(_LAST_OF_TENANT, ([*names, *theirs], *ranges, upto, limit))
        return list(reversed(found))

    def positions_of(self, tenant_id: str) -> list[int]:
        """The positions of what was recorded of a tenant, without its customers' events."""
        rows = self._rows(_POSITIONS_OF_TENANT, (*streams_of(tenant_id), self.mark()))
        return [int(position) for (position,) in rows]

    def adopted_at(self, position: int) -> Adopted:
        """The configuration in use at a position. Before the first adoption: the first one, which was used before."""
        events = self._events(_EVENTS_OF_STREAMS, ([STREAM], self.mark()))
        adopted = [recorded for recorded in events if recorded.position <= position] or events[:1]
        return reduce(evolve, adopted, Adopted())

    def acts(self, since: datetime | None, until: datetime | None) -> Iterator[tuple[list[Recorded], int, int]]:
        """Events that may be operators' acts, with how many of how many positions were read; by pieces of the log.

        The times are approximate: compare the time of each event. Raises UnreadableEvent, Unavailable.
        """
        mark = self.mark()
        begin = max(0, self._last_before(since, mark) - NEARBY) if since else 0
        end = min(mark, self._last_before(until, mark) + NEARBY) if until else mark
        for after in range(begin, end, RANGE):
            upto = min(after + RANGE, end)
            yield list(self._events(_ACTS, (after, upto))), upto - begin, end - begin

    def latest_acts(self, before: int, limit: int, *, after: int = 0) -> Sequence[Recorded]:
        """The newest acts of operators between two positions, at most `limit`. Raises UnreadableEvent, Unavailable."""
        return self._events(_LATEST_ACTS, (min(before, self.mark() + 1), after, limit))

    def with_event(self, streams: Iterable[str], topics: Iterable[str], upto: int) -> set[str]:
        """Those of the streams that have an event of these topics up to a position."""
        return {stream for (stream,) in self._rows(_WITH_EVENT, (list(streams), list(topics), upto))}

    def moved_since(self, streams: Iterable[str], position: int) -> set[str]:
        """Those of the streams that have an event after a position."""
        return {stream for (stream,) in self._rows(_MOVED, (list(streams), position))}

    def latest_acts_of(self, tenant_id: str, before: int, limit: int) -> Sequence[Recorded]:
        """As `latest_acts`, of those that are recorded in the streams of one tenant."""
        return self._events(_LATEST_ACTS_OF_TENANT, (*streams_of(tenant_id), min(before, self.mark() + 1), limit))

    def settlement(self, plan: str) -> Recorded | None:
        """The first event that approved or rejected that plan of the destroy guard; it searches the acts."""
        found = self._events(_SETTLEMENTS, (f'"plan":{json.dumps(plan)}'.encode(),))
        return found[0] if found else None

    # -- moments ------------------------------------------------------------------------------------------------------

    def _of_position(self, position: int, mark: int) -> Moment:
        if position > mark:
            raise UsageError(problem("position-beyond", mark=mark, position=position))
        found = self._last_upto(position)
        if found is None:
            first, time = self._after(0)[0]
            raise UsageError(problem("position-before", first=first, time=_rendered(time), position=position))
        return Moment(position, found[1])

    def _of_time(self, text: str, mark: int, now: datetime) -> Moment:
        try:
            time = time_of(text)
        except UsageError as error:
            raise UsageError(problem("moment-malformed", text=text)) from error
        if time > now:
            raise UsageError(problem("time-in-future", text=text, now=_rendered(now)))
        at = low = self._last_before(time, mark)
        for position, recorded in self._after(low - NEARBY, limit=2 * NEARBY):
            if position <= mark and recorded <= time:
                at = max(at, position)
        if self._last_upto(at) is None:
            first, began = self._after(0)[0]
            raise UsageError(problem("time-before", began=_rendered(began), first=first, text=text))
        return Moment(at, time)

    def _last_before(self, time: datetime, mark: int) -> int:
        """The last position that was recorded at the time or before, as far as the binary search finds it."""
        low, high = 0, mark
        while low < high:
            middle = (low + high + 1) // 2
            found = self._last_upto(middle)
            if found is None or found[1] <= time:
                low = middle
            else:
                high = min(found[0], middle) - 1
        return low

    def _last_upto(self, position: int) -> tuple[int, datetime] | None:
        rows = self._rows(_LAST, (position,))
        return (rows[0][0], _time_in(rows[0][1])) if rows else None

    def _after(self, position: int, limit: int = 1) -> list[tuple[int, datetime]]:
        return [(found, _time_in(state)) for found, state in self._rows(_NEXT, (position, limit))]

    def _events(self, statement: str, parameters: tuple[object, ...]) -> Sequence[Recorded]:
        events = []
        for _, recorded in self._decoded(self._rows(statement, parameters)):
            if isinstance(recorded, Unread):
                raise UnreadableEvent(recorded.reason)
            events.append(recorded)
        return events


def time_of(text: str) -> datetime:
    """A TIME as operators give it, in UTC: with its zone, or a day, which begins at midnight UTC. Raises UsageError."""
    with suppress(ValueError):
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    with suppress(ValueError, OverflowError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return in_utc(time)
    raise UsageError(problem("time-malformed", text=text))


def _time_in(state: bytes) -> datetime:
    """When an event was recorded; `at` is never encrypted in its state."""
    return in_utc(datetime.fromisoformat(json.loads(state)["at"]))


def _rendered(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def streams_of(tenant_id: str) -> tuple[list[str], str, str, str, str]:
    """The streams of one tenant: those of its name, and the ranges of its families and its products."""
    kinds = ("tenant", "site", "operator")
    family, product = f"family:{tenant_id}", f"product:{tenant_id}"
    named = [f"{kind}:{tenant_id}" for kind in kinds]
    return named, f"{family}:", f"{family};", f"{product}:", f"{product};"  # `;` comes after `:`


_EVENTS: Final = "SELECT originator_id, originator_version, topic, state, notification_id, 0 FROM stored_events"
OF_TENANT: Final = (
    "(originator_id = ANY ({}) OR (originator_id >= {} AND originator_id < {})"
    " OR (originator_id >= {} AND originator_id < {}))"
)
"""Whether a row is of the streams of `streams_of`: found by their index."""

_EVENTS_OF_TENANT: Final = (
    f"{_EVENTS} WHERE {OF_TENANT.format('%s::text[]', *('%s',) * 4)} AND notification_id <= %s ORDER BY notification_id"
)
_CREATED: Final = f"{_EVENTS} WHERE originator_id = %s AND topic = %s AND notification_id <= %s ORDER BY 5"
_LAST_OF_TENANT: Final = (
    # All positions of the tenant first: the log backwards would be read as far as its last events lie.
    "WITH mine AS MATERIALIZED (SELECT notification_id FROM stored_events"  # noqa: S608
    f" WHERE {OF_TENANT.format('%s::text[]', *('%s',) * 4)} AND notification_id <= %s),"
    " last AS MATERIALIZED (SELECT notification_id FROM mine ORDER BY notification_id DESC LIMIT %s)"
    f" {_EVENTS} JOIN last USING (notification_id) ORDER BY notification_id DESC"
)
_LATEST_ACTS_OF_TENANT: Final = (
    f"WITH mine AS MATERIALIZED ({_EVENTS} WHERE {OF_TENANT.format('%s::text[]', *('%s',) * 4)}"  # noqa: S608
    """ AND notification_id < %s AND position('"kind":"operator"'::bytea IN state) > 0)"""
    " SELECT * FROM mine ORDER BY notification_id DESC LIMIT %s"
)
_POSITIONS_OF_TENANT: Final = (
    f"SELECT notification_id FROM stored_events WHERE {OF_TENANT.format('%s::text[]', *('%s',) * 4)}"  # noqa: S608
    " AND notification_id <= %s ORDER BY notification_id"
)
_EVENTS_OF_STREAMS: Final = f"{_EVENTS} WHERE originator_id = ANY (%s::text[]) AND notification_id <= %s ORDER BY 5"
_ACTS: Final = (
    f"{_EVENTS} WHERE notification_id > %s AND notification_id <= %s"
    """ AND position('"kind":"operator"'::bytea IN state) > 0 ORDER BY notification_id"""
)
_WITH_EVENT: Final = (
    "SELECT DISTINCT originator_id FROM stored_events WHERE originator_id = ANY (%s::text[])"
    " AND topic = ANY (%s::text[]) AND notification_id <= %s"
)
_MOVED: Final = (
    "SELECT s.stream FROM unnest(%s::text[]) AS s (stream) WHERE (SELECT e.notification_id FROM stored_events AS e"
    " WHERE e.originator_id = s.stream ORDER BY e.originator_version DESC LIMIT 1) > %s"
)
_LATEST_ACTS: Final = (
    f"{_EVENTS} WHERE notification_id < %s AND notification_id > %s"
    """ AND position('"kind":"operator"'::bytea IN state) > 0 ORDER BY notification_id DESC LIMIT %s"""
)
_SETTLEMENTS: Final = (
    f"{_EVENTS} WHERE topic IN ('{ChangesApproved.TOPIC}', '{ChangesRejected.TOPIC}')"
    """ AND position('"kind":"operator"'::bytea IN state) > 0"""
    " AND position(%s::bytea IN state) > 0 ORDER BY notification_id LIMIT 1"
)
_LAST: Final = "SELECT notification_id, state FROM stored_events WHERE notification_id <= %s ORDER BY 1 DESC LIMIT 1"
_NEXT: Final = "SELECT notification_id, state FROM stored_events WHERE notification_id > %s ORDER BY 1 LIMIT %s"
