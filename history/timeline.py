"""Timeline of one tenant: messages, events, steps, timers and operators' acts in order.

    came       a message of commerce, with its place on Kafka and the number of times it came
    refused    a quarantined message, and the rule that it broke
    waiting    a message that waits for the tenant to be created
    decided    the events of the tenant and of its customer that a message led to
    step       an intent, its outcome, a failure and the time of the next attempt
    scope      converged, failed, on hold, resumed
    timer      an event that was due at a time, and a scope that is scheduled
    operator   an operator's act, with its reason

Each line names its cause: the position of an earlier event, a message, or a person. No line shows personal data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from adapters.postgres.message_history import Arrivals, Came, Quarantined
from domain.event import Cause, Event, Recorded
from domain.event_registry import REGISTRY, words_of
from domain.scope.state import StepStarted
from domain.scope.steps import Scope
from domain.stream_name import StreamName
from history.story import cause_as_json, line_of, place_of, shown_of, value_of

Kind = Literal["came", "refused", "waiting", "decided", "step", "scope", "timer", "operator"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry. `key` is unique in the timeline; `because` is the cause in words."""

    key: str
    time: datetime
    kind: Kind
    what: str
    text: str
    because: str
    position: int | None = None
    caused_by: int | None = None
    """The position of the event that was its cause."""
    stream: str | None = None
    version: int | None = None
    id: str | None = None
    cause: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
    product: str | None = None
    scope: Scope | None = None


def timeline(events: Sequence[Recorded], arrivals: Arrivals) -> list[TimelineEntry]:
    """All entries in the order of time. `events`: of the tenant and its customers, in the log's order."""
    return sorted(
        [
            *_of_log(events),
            *_of_messages(events, arrivals),
            *_of_quarantine(arrivals.quarantined, events),
            *map(_of_waiting, arrivals.waiting),
            *(_of_timer(scope, due_at) for scope, due_at in arrivals.timers),
        ],
        key=lambda entry: (entry.time, entry.position or 0),
    )


def chosen(
    entries: Iterable[TimelineEntry],
    *,
    scopes: Collection[Scope] = (),
    product: str | None = None,
    kinds: Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[TimelineEntry]:
    """The entries that pass the filters; `scopes` are those of the product, its family included."""
    return [
        entry
        for entry in entries
        if (product is None or entry.product == product or entry.scope in scopes)
        and (not kinds or entry.kind in kinds)
        and (since is None or entry.time >= since)
        and (until is None or entry.time <= until)
    ]


# -- the log -------------------------------------------------------------------------------------------------------


def _of_log(events: Sequence[Recorded]) -> Iterator[TimelineEntry]:
    positions = {recorded.id: recorded.position for recorded in events}
    compensating: dict[str, set[int]] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, StepStarted) and event.compensating:
            compensating.setdefault(recorded.stream, set()).add(event.generation)
        kind = _kind(recorded)
        is_of_scope = StreamName.parse(recorded.stream).is_of_scope
        if is_of_scope:
            line = line_of(recorded, compensating.get(recorded.stream, set()))
            step = f" {int(line.step)} {line.step.name.lower()}" if line.step else ""
            what, text, content = f"{line.what}{step}", line.text, line.content
        else:
            what, content = REGISTRY[type(event)].title, content_of(event)
            text = ", ".join(f"{name.replace('_', ' ')} {value_of(value)}" for name, value in content.items())
        caused_by = (
            positions.get(UUID(recorded.cause.id)) if recorded.cause.kind == "event" and recorded.cause.id else None
        )
        scope = Scope.parse(recorded.stream) if is_of_scope else None
        yield TimelineEntry(
            key=f"fact {recorded.stream} {recorded.version}",
            time=recorded.time,
            kind=kind,
            what=what,
            text=text,
            because=_because(recorded.cause, caused_by),
            position=recorded.position,
            caused_by=caused_by,
            stream=recorded.stream,
            version=recorded.version,
            id=str(recorded.id),
            cause=cause_as_json(recorded.cause),
            content=content,
            product=_product(event, scope),
            scope=scope,
        )


def _kind(recorded: Recorded) -> Kind:
    return "operator" if recorded.cause.kind == "operator" else REGISTRY[type(recorded.event)].kind


def _because(cause: Cause, caused_by: int | None) -> str:
    return f"position {caused_by}" if caused_by is not None else place_of(cause)


def _product(event: Event, scope: Scope | None) -> str | None:
    if scope is not None:
        return _product_of(scope)
    named = getattr(event, "product", None)
    return str(named) if named is not None else None


def _product_of(scope: Scope) -> str | None:
    return scope.key if scope.kind == "product" else None


def content_of(event: Event) -> dict[str, Any]:
    """The fields of the event that have no personal data."""
    names = REGISTRY[type(event)].shown
    content = shown_of(event)
    return {name: content[name] for name in names if content.get(name) is not None}


def word_of(name: str | None) -> str:
    return words_of(name) if name else "unknown event"


# -- what came in --------------------------------------------------------------------------------------------------


def _of_messages(events: Sequence[Recorded], arrivals: Arrivals) -> Iterator[TimelineEntry]:
    """Each message that led to an event, placed before its first event."""
    first = {
        (recorded.cause.source, recorded.cause.id): recorded
        for recorded in reversed(events)
        if recorded.cause.kind == "message"
    }
    for came in arrivals.came:
        recorded = first[came.source, came.id]
        waited = (recorded.time - came.received_at).total_seconds()
        text = [f"at {came.topic}/{came.partition}@{came.offset}"]
        if waited > _WAITED:
            text.append(f"waited {waited:.0f} s")
        if came.duplicates:
            text.append(f"came {came.duplicates + 1} times")
        yield TimelineEntry(
            key=f"came {came.source} {came.id}",
            time=min(came.received_at, recorded.time),
            kind="came",
            what=f"message {came.id}",
            text=", ".join(text),
            because=came.source,
            cause=came.as_cause,
            product=_product(recorded.event, None),
        )


_WAITED = 5.0
"""Seconds between first arrival and decision. A message that took longer has waited, in most cases for its tenant."""


def _of_quarantine(quarantined: Sequence[Quarantined], events: Sequence[Recorded]) -> Iterator[TimelineEntry]:
    acts = {(type(recorded.event).__name__, getattr(recorded.event, "number", None)) for recorded in events}
    for message in quarantined:
        times = f"; came {message.repeats + 1} times" if message.repeats else ""
        yield TimelineEntry(
            key=f"refused {message.number}",
            time=message.received_at,
            kind="refused",
            what=word_of(message.type),
            text=f"{message.rule}: {message.reason}{times} (message {message.number} of the quarantine)",
            because=_place(message),
            cause=message.as_cause,
            content={"number": message.number, "rule": message.rule, "reason": message.reason, "state": message.state},
        )
        is_recorded = any(("Message" + message.state.title(), message.number) == act for act in acts)
        if message.closed_at is not None and not is_recorded:
            yield TimelineEntry(
                key=f"closed {message.number}",
                time=message.closed_at,
                kind="operator",
                what=f"message {message.state}",
                text=f"number {message.number}"
                + (f", reason {message.closed_reason}" if message.closed_reason else ""),
                because=message.closed_by or "an operator",
                content={"number": message.number, "reason": message.closed_reason, "operator": message.closed_by},
            )


def _of_waiting(waits: Came) -> TimelineEntry:
    return TimelineEntry(
        key=f"waiting {waits.source} {waits.id}",
        time=waits.received_at,
        kind="waiting",
        what=word_of(waits.type),
        text="waits for its tenant to be created",
        because=_place(waits),
        cause=waits.as_cause,
    )


def _of_timer(scope: str, due_at: datetime) -> TimelineEntry:
    return TimelineEntry(
        key=f"timer {scope} {due_at.isoformat()}",
        time=due_at,
        kind="timer",
        what="is scheduled",
        text="the scope is due again",
        because=scope,
        stream=scope,
        product=_product_of(Scope.parse(scope)),
        scope=Scope.parse(scope),
    )


def _place(came: Came | Quarantined) -> str:
    named = f"message {came.id} of {came.source} at " if came.id else ""
    return f"{named}{came.topic}/{came.partition}@{came.offset}"
