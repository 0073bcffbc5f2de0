"""What became of a scope, told in order?

From the facts of its stream alone, and the facts of its tenant and customer that were their cause: what was wished,
each step begun, completed, failed or undone, what was given up and why, who held it and who let it go on. A *run*
begins with the first thing done and ends when the scope has converged; what is tried again after it was given up or
held is told as a run of its own.
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
from domain.times import clock


@dataclass(frozen=True, slots=True)
class Line:
    """One fact. `what` is a word for programs, `said` a clause for people; `fact` is the event without persons."""

    time: datetime
    stream: str
    version: int
    position: int
    what: str
    step: Step | None
    said: str
    cause: Cause
    fact: Mapping[str, Any]


@dataclass(slots=True)
class Run:
    """From the first thing done until the scope converged, or was tried again."""

    number: int
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a scope stands, as its last facts say."""

    step: Step | None = None
    attempts: int = 0
    retry_at: datetime | None = None
    reason: str | None = None


def standing(facts: Iterable[Recorded]) -> Standing:
    """The step at which it stands, or stood when it was given up or held, how often that was tried, and why in vain."""
    found = Standing()
    compensating = False
    for fact in facts:
        match fact.event:
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


def tell(facts: Sequence[Recorded], causes: Mapping[UUID, Recorded]) -> list[Run]:
    """The runs of a scope. `facts`: its stream, in order; `causes`: those that they may name, by id."""
    runs: list[Run] = []
    compensating: set[int] = set()
    ended, spec = True, ""
    for fact in facts:
        event = fact.event
        if ended or (isinstance(event, ScopeResumed | DataAbandoned) and any(line.step for line in runs[-1].lines)):
            runs.append(Run(len(runs) + 1))
        if isinstance(event, StepStarted) and event.compensating:
            compensating.add(event.generation)
        if fact.cause.kind == "event" and fact.cause.id != spec:
            spec = fact.cause.id
            runs[-1].lines.extend(_wished(spec, causes, getattr(event, "key", "")))
        runs[-1].lines.append(line_of(fact, compensating))
        ended = isinstance(event, ScopeConverged)
    return runs


def _wished(id_: str, causes: Mapping[UUID, Recorded], key: str) -> Iterator[Line]:
    """What the saga's facts name as their cause: what commerce said; of which product, unless it is that `key`."""
    cause = causes.get(UUID(id_)) if id_ else None
    if cause is not None:
        event = cause.event
        reason, product = getattr(event, "reason", None), getattr(event, "product", key) or key
        said = REGISTRY[type(event)].title
        said += (f" of {product}" if product != key else "") + (f" ({reason})" if reason else "")
        by = "for its time has come" if cause.cause.kind == "event" else f"by {place_of(cause.cause)}"
        yield _placed(cause, "wished", None, f"{said}, {by}")


def place_of(cause: Cause) -> str:
    """Where it came from: the message with its place on Kafka, or who did it."""
    if cause.kind == "message":
        return f"message {cause.id} of {cause.source} at {cause.topic}/{cause.partition}@{cause.offset}"
    return cause.source


def line_of(fact: Recorded, compensating: set[int]) -> Line:
    """One fact of a scope's stream; `undoing` holds the generations that undo what was given up."""
    event = fact.event
    step = getattr(event, "step", None)
    undone = getattr(event, "generation", None) in compensating
    return _placed(fact, _what(event, undone=undone), step, _said(fact, undone=undone))


def _placed(fact: Recorded, what: str, step: Step | None, said: str) -> Line:
    told = fact.event.model_dump(mode="json", include=set(REGISTRY[type(fact.event)].told))
    return Line(fact.time, fact.stream, fact.version, fact.position, what, step, said, fact.cause, told)


def _what(event: Event, *, undone: bool) -> str:
    match event:
        case StepStarted():
            return "undoing" if undone else "started" if event.direction == "ensure" else "removing"
        case StepCompleted():
            return "undone" if undone else "completed" if event.direction == "ensure" else "removed"
        case _:
            return REGISTRY[type(event)].word


def _said(fact: Recorded, *, undone: bool) -> str:
    event = fact.event
    match event:
        case StepStarted(direction="ensure"):
            return ("back to " if undone else "") + _spec(event.spec)
        case StepStarted():
            return "is taken away again" if undone else "is taken away"
        case StepCompleted(direction="ensure"):
            return ("as it was before" if undone else "") or _found(event.facts)
        case StepCompleted():
            return "nothing of it is left"
        case StepFailed():
            again = f"tried again at {clock(event.retry_at)}" if event.retry_at else "not tried again"
            return f"attempt {event.attempt}: {event.reason}; {again}"
        case StepBlocked():
            return f"waits for {event.obstacle}: {event.reason}"
        case StepMissing():
            return event.reason
        case _:
            return _verdict(fact)


def _verdict(fact: Recorded) -> str:
    """What was said of the whole scope, by whom, and what goes on from there."""
    event = fact.event
    by = f"by {fact.cause.source}: " if fact.cause.kind == "operator" else ""
    match event:
        case ScopeConverged(level="absent"):
            return "nothing is left of it"
        case ScopeConverged():
            lost = ", begun anew: the data that it once held is lost" if event.data_lost else ""
            return f"is as it should be: {event.level}{lost}"
        case ScopeFailed():
            return f"{event.reason}; tried again when another wish comes, or by `tenantry runs retry`"
        case ScopePutOnHold() if by:
            return f"{by}{event.reason}; nothing is begun until `tenantry runs release`"
        case ScopePutOnHold() if "`tenantry runs" in event.reason:
            return event.reason
        case ScopePutOnHold():
            return f"{event.reason}; mend it, then `tenantry runs retry`, unless another wish comes"
        case ScopeResumed() | EnsureRequested():
            return f"{by}{event.reason}"
        case DataAbandoned():
            return f"{by}{event.reason}; made anew, without the data of {', '.join(event.products) or 'nobody'}"
        case _:
            return ""


def _spec(spec: StepSpec) -> str:
    """The wish as `name value` pairs; wishes hold no persons."""
    if isinstance(spec, DatabaseSpec):
        roles = (role.product + ("" if role.login else " (may not log in)") for role in spec.roles)
        return f"database of {spec.family}, login roles for {', '.join(roles)}"
    pairs = spec.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
    return ", ".join(f"{name.replace('_', ' ')} {value_of(value)}" for name, value in pairs.items())


def value_of(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " + ".join(map(str, value)) or "none"
        case _:
            return str(value)


def _found(facts: StepResult | None) -> str:
    """Where it is now, for steps that are somewhere. Of persons nothing."""
    match facts:
        case SiteResult():
            return facts.url
        case RegionResult():
            return f"on shard {facts.shard} in {facts.region}"
        case DatabaseResult():
            return f"schema {facts.schema_name} of database {facts.database} on shard {facts.shard}"
        case LicenseResult():
            return f"in {facts.location}"
        case _:
            return ""
