"""Doubts about recorded state: times in which the engine could not observe a product's real resources.

The log has what was recorded. A shard or a provisioner can be unreachable or lose data, and the log does not show it at
once. Where the moment lies in such a time, the report says so, with the last observation before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domain.event import Recorded
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import StepCompleted, StepMissing
from domain.scope.steps import Scope, Step
from domain.stream_name import ObstacleName
from domain.times import clock


def doubts(
    product: Scope, family: Scope, snapshot: TenantSnapshot, events: Sequence[Recorded], later: Sequence[Recorded]
) -> Iterator[str]:
    """The reasons to doubt the recorded state of the product. `events`: up to the moment; `later`: after it."""
    database = _last(events, family, Step.DATABASE)
    if snapshot.actual(family).data_missing:
        yield f"its database: as recorded, last observed at {_place(database)}, when it was missing"
    elif database is not None and (missing := _found_missing(later, family)) is not None:
        yield (
            f"its database: as recorded, last observed at {_place(database)}; it was found missing at"
            f" {_place(missing)}, and the time when it was lost is not known"
        )
    for scope in (family, product):
        intent = snapshot.actual(scope).intent
        away = ObstacleName.outage(intent.obstacle) if intent is not None else None
        if intent is None or away is None:
            continue
        since = f" since {clock(intent.blocked_since)}" if intent.blocked_since is not None else ""
        step = f"step {int(intent.step)} of {scope}"
        yield (
            f"{step}: as recorded, last observed at {_place(_last(events, scope, intent.step))};"
            f" {away} could not be reached{since}"
        )


def _last(events: Sequence[Recorded], scope: Scope, step: Step) -> Recorded | None:
    """The last event for which an executor, or the drift detector, has observed the step's resource."""
    return next(
        (
            recorded
            for recorded in reversed(events)
            if recorded.stream == str(scope)
            and isinstance(recorded.event, StepCompleted | StepMissing)
            and recorded.event.step is step
        ),
        None,
    )


def _found_missing(later: Sequence[Recorded], family: Scope) -> Recorded | None:
    """The next observation of the database after the moment, where the database was missing."""
    for recorded in later:
        event = recorded.event
        is_of_family = recorded.stream == str(family) and isinstance(event, StepCompleted | StepMissing)
        if is_of_family and getattr(event, "step", None) is Step.DATABASE:
            return recorded if isinstance(event, StepMissing) and event.data else None
    return None


def _place(recorded: Recorded | None) -> str:
    return f"{clock(recorded.time)} (position {recorded.position})" if recorded is not None else "no known time"
