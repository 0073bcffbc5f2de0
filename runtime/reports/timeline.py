"""Report on everything about one tenant in order, as data: the whole, or the entries that end at a position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adapters.postgres.message_history import Arrivals, arrivals_of
from adapters.postgres.past import Moment
from domain.event import Recorded
from domain.times import FIRST, LAST
from history import timeline as timelines
from history.timeline import TimelineEntry
from runtime.compose.parts import Parts

CONTEXT: Final = 50
BESIDE: Final = 200
"""Messages that wait, and those in quarantine, of which the last entries have the newest."""


def entries_of(parts: Parts, tenant_id: str) -> list[TimelineEntry]:
    """All entries, in the order of time; none where no message of such a tenant has ever come in."""
    events = parts.past.events_of(tenant_id, parts.past.mark())
    return timelines.timeline(events, _arrivals(parts, tenant_id, events))


def last_entries_of(
    parts: Parts, tenant_id: str, *, moment: Moment | None, upto: int | None, events: int
) -> tuple[list[TimelineEntry], int | None]:
    """The entries of the last `events` up to a position or moment, with what came meanwhile; where to go on, if at all.

    Of what waits and what was refused they have the newest BESIDE. Some events more are read, so that causes and
    outcomes of what began before them are named as such.
    """
    ends = [parts.past.mark(), *([moment.position] if moment else []), *([upto] if upto is not None else [])]
    found = parts.past.last_events_of(tenant_id, min(ends), events + CONTEXT)
    entries = timelines.timeline(found, _arrivals(parts, tenant_id, found, most=BESIDE))
    before, shown = found[:-events], found[-events:]
    begin = before[-1].time if before else FIRST
    end = shown[-1].time if upto is not None and shown else moment.time if moment else LAST
    earlier = {(recorded.cause.source, recorded.cause.id) for recorded in before}

    def is_shown(entry: TimelineEntry) -> bool:
        if entry.position is not None:
            return not before or entry.position > before[-1].position
        if entry.kind == "came":
            return (entry.cause["source"], entry.cause["id"]) not in earlier
        return begin < entry.time <= end

    return [entry for entry in entries if is_shown(entry)], before[-1].position if before else None


def _arrivals(parts: Parts, tenant_id: str, events: Sequence[Recorded], *, most: int | None = None) -> Arrivals:
    messages = {(recorded.cause.source, recorded.cause.id) for recorded in events if recorded.cause.kind == "message"}
    return arrivals_of(parts.endpoints.database_url, tenant_id, messages, most=most)


def entry_data(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "time": entry.time,
        "kind": entry.kind,
        "what": entry.what,
        "text": entry.text,
        "position": entry.position,
        "stream": entry.stream,
        "version": entry.version,
        "id": entry.id,
        "product": entry.product,
        "cause": entry.cause,
        "caused_by": entry.caused_by,
        "content": entry.content,
    }
