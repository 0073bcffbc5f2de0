"""Events of a scope's turn: what each is made of, whose event caused it, and what an outcome means. Pure."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from domain.catalog import Catalog
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Unreachable
from domain.event import Cause, Origin, Recorded
from domain.scope.dependencies import registers_of
from domain.scope.desired import DesiredState
from domain.scope.next_action import Converge, Fail, PutOnHold, Resume
from domain.scope.purges import data_lost
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import (
    Intent,
    Provisioning,
    ScopeConverged,
    ScopeEvent,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepCompleted,
    StepStarted,
)
from domain.scope.steps import RegionResult, Scope, SiteSpec, Step, StepResult
from domain.stream_name import ObstacleName

READ_BY_OTHERS: Final = (StepCompleted, ScopeConverged, ScopeFailed, ScopeResumed)
"""The events of a scope that other scopes may wait for."""


def verdict_event(
    scope: Scope,
    verdict: Converge | Fail | PutOnHold | Resume,
    desired: DesiredState,
    snapshot: TenantSnapshot,
    catalog: Catalog,
) -> ScopeEvent:
    """The event of an action that has no effect."""
    match verdict:
        case Converge():
            is_there = scope.kind == "product" and verdict.level != "absent"
            return ScopeConverged(
                **named(scope),
                level=verdict.level,
                digest=verdict.digest,
                purge=verdict.purge,
                data_lost=is_there and data_lost(scope.key, snapshot, catalog=catalog),
            )
        case Fail():
            return ScopeFailed(**named(scope), digest=desired.digest, step=verdict.step, reason=verdict.reason)
        case PutOnHold():
            return ScopePutOnHold(**named(scope), step=verdict.step, reason=verdict.reason, digest=desired.digest)
        case Resume():
            return ScopeResumed(**named(scope), reason=verdict.reason)


def origin_of(scope: Scope, snapshot: TenantSnapshot, catalog: Catalog) -> Origin | None:
    """The latest event that has a say in what the scope should be, or that had it tried again; of several that were
    recorded at once, the one nearest to the scope."""
    tenant = snapshot.tenant
    candidates = [tenant.product(key).origin for key in registers_of(scope, tenant, catalog=catalog)]
    candidates += [tenant.origin, snapshot.customer.origin, snapshot.actual(scope).resumed]
    latest: Origin | None = None
    for origin in candidates:
        if origin is not None and (latest is None or origin.time > latest.time):
            latest = origin
    return latest


def leaves_aim(event: ScopeEvent, before: Provisioning, after: Provisioning) -> bool:
    """Whether desired state, blockers and origin are what they were: a step that is ensured changes none of them,
    but for a database that was missing, nor does a convergence to what is there."""
    if isinstance(event, ScopeConverged):
        return event.level in ("open", "closed")
    is_ensured = isinstance(event, (StepStarted, StepCompleted)) and event.direction == "ensure"
    return is_ensured and (before.data_missing, before.abandoned) == (after.data_missing, after.abandoned)


def opened_after(scope: Scope, recorded: Recorded, snapshot: TenantSnapshot, catalog: Catalog) -> timedelta | None:
    """From the event that had the scope opened until this one, which opens it."""
    origin = origin_of(scope, snapshot, catalog)
    return recorded.time - origin.time if origin is not None else None


def cause_of(origin: Origin | None) -> Cause:
    """All that follows from one event shares one cause."""
    return _cause(origin.stream, origin.id) if origin is not None else _cause("", "")


@lru_cache(maxsize=10_000)
def _cause(stream: str, event_id: UUID | str) -> Cause:
    return Cause(kind="event", source=stream, id=str(event_id))


def named(scope: Scope) -> dict[str, Any]:
    return {"tenant_id": scope.tenant_id, "kind": scope.kind, "key": scope.key}


def intended(scope: Scope, intent: Intent) -> dict[str, Any]:
    return {**named(scope), "step": intent.step, "direction": intent.direction, "generation": intent.generation}


def is_same_outage(error: Exception, intent: Intent) -> bool:
    """Whether it is the outage that the intent waits for already."""
    return isinstance(error, Unreachable) and error.obstacle == intent.obstacle


def is_back(intent: Intent, result: StepResult | Exception | None) -> bool:
    """Whether the outcome says that what was unreachable answers again: all that wait for it are due."""
    answered = not isinstance(result, Exception) or isinstance(result, Permanent | Obstacle | Fenced)
    return ObstacleName.outage(intent.obstacle) is not None and answered


def reason_of(error: Exception, away_for: timedelta) -> str:
    """One line for the log; of errors that are not ours only the kind, for they may quote anything."""
    text = str(error)[:500] if isinstance(error, ExecutorError) else f"unexpected {type(error).__name__}"
    minutes = int(away_for.total_seconds()) // 60
    time = f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"
    return f"{text}, for {time} now" if isinstance(error, Unreachable) else text


def released(intent: Intent, placement: RegionResult | None) -> str | None:
    """The obstacle that ends with the removal of the step."""
    if intent.direction == "remove" and isinstance(intent.spec, SiteSpec):
        return str(ObstacleName("site name", intent.spec.site_name))
    if intent.direction == "remove" and intent.step is Step.REGION and placement is not None:
        return str(ObstacleName("capacity", placement.region))
    return None
