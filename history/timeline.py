"""What happened to one tenant, in order, from all sides?

    came       a message of commerce, with its place on Kafka; how often
    refused    what was quarantined, and by which rule
    waiting    what waits for the tenant to be created
    decided    what a message came to: facts of the tenant and of its customer
    step       an intent, its outcome, a failure and when it is tried again
    scope      converged, given up, held, resumed
    timer      what time brought about; and what is set to wake later
    operator   what a person did, with who and why

Each line names its cause: the position of an earlier fact, a message, or a person. Of persons' data nothing is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from adapters.postgres.message_history import Arrivals, Came, Quarantined
from domain.event import Cause, Event, Recorded
from domain.scope.state import ScopeConverged, ScopeFailed, ScopePutOnHold, ScopeResumed, StepStarted
from domain.scope.steps import Scope
from domain.stream_name import StreamName
from domain.tenant.events import LicenseExpired, PurgeStarted, TenantPurged, TenantPurgeStarted
from history.story import line_of, place_of, value_of

Kind = Literal["came", "refused", "waiting", "decided", "step", "scope", "timer", "operator"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `key` is its own; `because` says of what it is the effect, in words."""

    key: str
    time: datetime
    kind: Kind
    what: str
    said: str
    because: str
    position: int | None = None
    caused_by: int | None = None
    """The position of the fact that was its cause."""
    stream: str | None = None
    version: int | None = None
    id: str | None = None
    cause: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    product: str | None = None
    scope: Scope | None = None


def timeline(facts: Sequence[Recorded], arrivals: Arrivals) -> list[Entry]:
    """All there is, in the order of time. `facts`: of the tenant and its customers, in the log's order."""
    entries = [
        *_of_log(facts),
        *_of_messages(facts, arrivals),
        *_of_quarantine(arrivals.quarantined, facts),
        *map(_of_waiting, arrivals.waiting),
        *(_of_timer(scope, due_at) for scope, due_at in arrivals.timers),
    ]
    return sorted(entries, key=lambda entry: (entry.time, entry.position or 0))


def chosen(
    entries: Iterable[Entry],
    *,
    scopes: Collection[Scope] = (),
    product: str | None = None,
    kinds: Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """Those that are asked for; `scopes` are the product's, its family's too."""
    return [
        entry
        for entry in entries
        if (product is None or entry.product == product or entry.scope in scopes)
        and (not kinds or entry.kind in kinds)
        and (since is None or entry.time >= since)
        and (until is None or entry.time <= until)
    ]


# -- the log -------------------------------------------------------------------------------------------------------


def _of_log(facts: Sequence[Recorded]) -> Iterator[Entry]:
    positions = {fact.id: fact.position for fact in facts}
    compensating: dict[str, set[int]] = {}
    for fact in facts:
        event = fact.event
        if isinstance(event, StepStarted) and event.compensating:
            compensating.setdefault(fact.stream, set()).add(event.generation)
        kind = _kind(fact)
        is_of_scope = StreamName.parse(fact.stream).is_of_scope
        if is_of_scope:
            line = line_of(fact, compensating.get(fact.stream, set()))
            step = f" {int(line.step)} {line.step.name.lower()}" if line.step else ""
            what, said, told = f"{line.what}{step}", line.said, line.fact
        else:
            what, told = word_of(event.TOPIC), content_of(event)
            said = ", ".join(f"{name.replace('_', ' ')} {value_of(value)}" for name, value in told.items())
        caused_by = positions.get(UUID(fact.cause.id)) if fact.cause.kind == "event" and fact.cause.id else None
        scope = Scope.parse(fact.stream) if is_of_scope else None
        yield Entry(
            key=f"fact {fact.stream} {fact.version}",
            time=fact.time,
            kind=kind,
            what=what,
            said=said,
            because=_because(fact.cause, caused_by),
            position=fact.position,
            caused_by=caused_by,
            stream=fact.stream,
            version=fact.version,
            id=str(fact.id),
            cause=fact.cause.model_dump(mode="json", exclude_none=True),
            told=told,
            product=_product(event, scope),
            scope=scope,
        )


def _kind(fact: Recorded) -> Kind:
    match fact.event:
        case _ if fact.cause.kind == "operator":
            return "operator"
        case LicenseExpired() | PurgeStarted() | TenantPurgeStarted() | TenantPurged():
            return "timer"
        case ScopeConverged() | ScopeFailed() | ScopePutOnHold() | ScopeResumed():
            return "scope"
        case _:
            return "step" if StreamName.parse(fact.stream).is_of_scope else "decided"


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
    """What the fact says, but for what may be about a person."""
    told = event.model_dump(mode="json", include=set(_TOLD), exclude_none=True)
    return {name: told[name] for name in _TOLD if name in told}


_TOLD = (
    *("product", "change", "type", "customer_id", "site_name", "residency", "region", "edition", "users", "status"),
    *("expires_at", "reason", "revision", "undoes", "changes", "plan", "apps", "families", "epoch", "operator"),
    *("number", "rule", "topic", "partition", "before", "offset", "offsets", "read_models", "position"),
    "key_id",
)


def word_of(name: str | None) -> str:
    return name.removeprefix("tenantry.").replace("-", " ").replace(".", " ") if name else "no event of ours"


# -- what came in --------------------------------------------------------------------------------------------------


def _of_messages(facts: Sequence[Recorded], arrivals: Arrivals) -> Iterator[Entry]:
    """Each message that came to something, before the first fact that it came to."""
    first = {(fact.cause.source, fact.cause.id): fact for fact in reversed(facts) if fact.cause.kind == "message"}
    for came in arrivals.came:
        fact = first[came.source, came.id]
        waited = (fact.time - came.received_at).total_seconds()
        said = [f"at {came.topic}/{came.partition}@{came.offset}"]
        if waited > _WAITED:
            said.append(f"waited {waited:.0f} s")
        if came.duplicates:
            said.append(f"came {came.duplicates + 1} times")
        yield Entry(
            key=f"came {came.source} {came.id}",
            time=min(came.received_at, fact.time),
            kind="came",
            what=f"message {came.id}",
            said=", ".join(said),
            because=came.source,
            cause=came.told,
            product=_product(fact.event, None),
        )


_WAITED = 5.0
"""Seconds between the first arrival and the decision from which on a message has waited: for its tenant, as a rule."""


def _of_quarantine(quarantined: Sequence[Quarantined], facts: Sequence[Recorded]) -> Iterator[Entry]:
    acts = {(type(fact.event).__name__, getattr(fact.event, "number", None)) for fact in facts}
    for message in quarantined:
        times = f"; came {message.repeats + 1} times" if message.repeats else ""
        yield Entry(
            key=f"refused {message.number}",
            time=message.received_at,
            kind="refused",
            what=word_of(message.type),
            said=f"{message.rule}: {message.reason}{times} (message {message.number} of the quarantine)",
            because=_place(message),
            cause=message.told,
            told={"number": message.number, "rule": message.rule, "reason": message.reason, "state": message.state},
        )
        is_told = any(("Message" + message.state.title(), message.number) == act for act in acts)
        if message.closed_at is not None and not is_told:
            yield Entry(
                key=f"closed {message.number}",
                time=message.closed_at,
                kind="operator",
                what=f"message {message.state}",
                said=f"number {message.number}"
                + (f", reason {message.closed_reason}" if message.closed_reason else ""),
                because=message.closed_by or "an operator",
                told={"number": message.number, "reason": message.closed_reason, "operator": message.closed_by},
            )


def _of_waiting(waits: Came) -> Entry:
    return Entry(
        key=f"waiting {waits.source} {waits.id}",
        time=waits.received_at,
        kind="waiting",
        what=word_of(waits.type),
        said="waits for its tenant to be created",
        because=_place(waits),
        cause=waits.told,
    )


def _of_timer(scope: str, due_at: datetime) -> Entry:
    return Entry(
        key=f"timer {scope} {due_at.isoformat()}",
        time=due_at,
        kind="timer",
        what="is set",
        said="the scope is looked at again",
        because=scope,
        stream=scope,
        product=_product_of(Scope.parse(scope)),
        scope=Scope.parse(scope),
    )


def _place(came: Came | Quarantined) -> str:
    named = f"message {came.id} of {came.source} at " if came.id else ""
    return f"{named}{came.topic}/{came.partition}@{came.offset}"
