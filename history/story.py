"""Runs of a scope: what the saga did, in order.

The runs are computed from the events of the scope's stream, and from the events of its tenant and customer that were
their cause: the change of the desired state, each step that was started, completed, failed or compensated, the failure
of the scope and its reason, and the operators' acts. A *run* begins with the first action and ends when the scope has
converged; a retry after a failure or after a hold is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.event import Cause, Event, Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import (
    DataAbandoned,
    EnsureRequested,
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepMissing,
    StepStarted,
)
from domain.scope.steps import (
    DatabaseResult,
    DatabaseSpec,
    LicenseResult,
    RegionResult,
    SiteResult,
    Step,
    StepResult,
    StepSpec,
)
from domain.stored_form import as_json, fields_as_json
from domain.times import clock


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `what` is a word for programs, `text` a clause for people, `content` the event without persons."""

    time: datetime
    stream: str
    version: int
    position: int
    what: str
    step: Step | None
    text: str
    cause: Cause
    content: Mapping[str, Any]


@dataclass(slots=True)
class Run:
    """From the first action until the scope has converged, or until a retry."""

    number: int
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """The step at which a scope is, by its last events."""

    step: Step | None = None
    attempts: int = 0
    retry_at: datetime | None = None
    reason: str | None = None


def standing(events: Iterable[Recorded]) -> Standing:
    """The current step, or the step at which the scope failed or was put on hold, with its attempts and last error."""
    found = Standing()
    compensating = False
    for recorded in events:
        match recorded.event:
            case ScopeConverged() | ScopeResumed() | DataAbandoned() | EnsureRequested():
                found, compensating = Standing(), False
            case ScopeFailed() as event:
                found, compensating = Standing(event.step, max(found.attempts, 1), reason=event.reason), True
            case StepStarted() as event if not compensating:
                found = Standing(event.step)
            case StepCompleted() if not compensating:
                found = Standing()
            case StepFailed() as event:
                found = Standing(event.step, event.attempt, event.retry_at, event.reason)
            case StepBlocked() as event:
                found = Standing(event.step, found.attempts, reason=event.reason)
            case _:
                pass
    return found


def tell(events: Sequence[Recorded], causes: Mapping[UUID, Recorded]) -> list[Run]:
    """The runs of a scope. `events`: its stream, in order; `causes`: the events that may be their causes, by id."""
    runs: list[Run] = []
    compensating: set[int] = set()
    ended, spec = True, ""
    for recorded in events:
        event = recorded.event
        if ended or (isinstance(event, ScopeResumed | DataAbandoned) and any(line.step for line in runs[-1].lines)):
            runs.append(Run(len(runs) + 1))
        if isinstance(event, StepStarted) and event.compensating:
            compensating.add(event.generation)
        if recorded.cause.kind == "event" and recorded.cause.id != spec:
            spec = recorded.cause.id
            runs[-1].lines.extend(_wished(spec, causes, getattr(event, "key", "")))
        runs[-1].lines.append(line_of(recorded, compensating))
        ended = isinstance(event, ScopeConverged)
    return runs


def _wished(id_: str, causes: Mapping[UUID, Recorded], key: str) -> Iterator[Line]:
    """The line of the event that is the cause of the saga's events; it names the product, unless that is `key`."""
    cause = causes.get(UUID(id_)) if id_ else None
    if cause is not None:
        event = cause.event
        reason, product = getattr(event, "reason", None), getattr(event, "product", key) or key
        text = REGISTRY[type(event)].title
        text += (f" of {product}" if product != key else "") + (f" ({reason})" if reason else "")
        by = "because it was due" if cause.cause.kind == "event" else f"by {place_of(cause.cause)}"
        yield _placed(cause, "wished", None, f"{text}, {by}")


def place_of(cause: Cause) -> str:
    """The origin of an event: the message with its place on Kafka, or the operator or worker."""
    if cause.kind == "message":
        return f"message {cause.id} of {cause.source} at {cause.topic}/{cause.partition}@{cause.offset}"
    return cause.source


def line_of(recorded: Recorded, compensating: set[int]) -> Line:
    """The line of one event of a scope's stream; `compensating` has the generations of compensating steps."""
    event = recorded.event
    step = getattr(event, "step", None)
    compensated = getattr(event, "generation", None) in compensating
    return _placed(recorded, _what(event, compensated=compensated), step, _text(recorded, compensated=compensated))


def cause_as_json(cause: Cause) -> dict[str, Any]:
    """What is known of the cause, for programs."""
    return {name: value for name, value in as_json(cause).items() if value is not None}


def shown_of(event: Event) -> dict[str, Any]:
    """The fields of the event that are reported, for programs."""
    shown = REGISTRY[type(event)].shown
    return {name: value for name, value in fields_as_json(event).items() if name in shown}


def _placed(recorded: Recorded, what: str, step: Step | None, text: str) -> Line:
    place = recorded.time, recorded.stream, recorded.version, recorded.position
    return Line(*place, what, step, text, recorded.cause, shown_of(recorded.event))


def _what(event: Event, *, compensated: bool) -> str:
    match event:
        case StepStarted():
            return "compensating" if compensated else "started" if event.direction == "ensure" else "removing"
        case StepCompleted():
            return "compensated" if compensated else "completed" if event.direction == "ensure" else "removed"
        case _:
            return REGISTRY[type(event)].word


def _text(recorded: Recorded, *, compensated: bool) -> str:
    event = recorded.event
    match event:
        case StepStarted(direction="ensure"):
            return ("back to " if compensated else "") + spec_text(event.spec)
        case StepStarted():
            return "is removed again" if compensated else "is removed"
        case StepCompleted(direction="ensure"):
            return ("as it was before" if compensated else "") or _found(event.result)
        case StepCompleted():
            return "is removed completely"
        case StepFailed():
            again = f"tried again at {clock(event.retry_at)}" if event.retry_at else "not tried again"
            return f"attempt {event.attempt}: {event.reason}; {again}"
        case StepBlocked():
            return f"waits for {event.obstacle}: {event.reason}"
        case StepMissing():
            return event.reason
        case _:
            return _verdict(recorded)


def _verdict(recorded: Recorded) -> str:
    """The text for an event of the whole scope: the operator, the reason, and what happens next."""
    event = recorded.event
    by = f"by {recorded.cause.source}: " if recorded.cause.kind == "operator" else ""
    match event:
        case ScopeConverged(level="absent"):
            return "is removed completely"
        case ScopeConverged():
            lost = ", started again without data: its earlier data is lost" if event.data_lost else ""
            return f"has its desired state: {event.level}{lost}"
        case ScopeFailed():
            return f"{event.reason}; tried again when the desired state changes, or by `tenantry runs retry`"
        case ScopePutOnHold() if by:
            end = f"{clock(event.until)}, or " if event.until is not None else ""
            return f"{by}{event.reason}; no step starts until {end}`tenantry runs release`"
        case ScopePutOnHold() if "`tenantry runs" in event.reason:
            return event.reason
        case ScopePutOnHold():
            return f"{event.reason}; repair it, then run `tenantry runs retry`, unless the desired state changes first"
        case ScopeResumed() | EnsureRequested():
            return f"{by}{event.reason}"
        case DataAbandoned():
            return f"{by}{event.reason}; created again, without the data of {', '.join(event.products) or 'nothing'}"
        case _:
            return ""


def spec_text(spec: StepSpec) -> str:
    """The spec as `name value` pairs; a spec has no personal data."""
    if isinstance(spec, DatabaseSpec):
        roles = (role.product + ("" if role.login else " (may not log in)") for role in spec.roles)
        return f"database of {spec.family}, login roles for {', '.join(roles)}"
    pairs = ((name, value) for name, value in fields_as_json(spec).items() if value is not None)
    return ", ".join(f"{name.replace('_', ' ')} {value_of(value)}" for name, value in pairs)


def value_of(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " + ".join(map(str, value)) or "none"
        case _:
            return str(value)


def _found(result: StepResult | None) -> str:
    """The place of the resource, for steps that have one; no personal data."""
    match result:
        case SiteResult():
            return result.url
        case RegionResult():
            return f"on shard {result.shard} in {result.region}"
        case DatabaseResult():
            return f"schema {result.schema_name} of database {result.database} on shard {result.shard}"
        case LicenseResult():
            return f"in {result.location}"
        case _:
            return ""
