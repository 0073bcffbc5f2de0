"""Read model of provisionings: how far each scope is.

The words are those of domain/scope/status.py, which says the rest: what needs a look at more than one event.

A handler sees one event, and some events do not know what came before them: a step may complete while a failed
run is being compensated. So what is stored is the `outcome`, as the scope's own events and a start
in earnest change it, and the `obstacle`; `state` is what PostgreSQL makes of the two. A product that began anew after a
purge has converged with the `reason` data_lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Connection,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    case,
    select,
    text,
)

from domain.event import Recorded
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
from domain.scope.steps import SCOPE_STEPS, Step
from projections.base import FREE_SPACE, METADATA, Change, Projection, Row, Set, rows

_STATE: Final = "coalesce(outcome, CASE WHEN obstacle IS NULL THEN 'in_progress' ELSE 'waiting' END)"
_TROUBLE: Final = (
    "CASE WHEN outcome IS NOT NULL THEN nullif(outcome, 'converged') WHEN obstacle IS NOT NULL THEN 'waiting'"
    " WHEN retry_at IS NOT NULL THEN 'tries' ELSE NULL END"
)
"""Where somebody may want to look: not where the saga is at work and nothing has failed."""

PROVISIONINGS: Final = Table(
    "provisionings",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("outcome", Text),  # a ScopeState: converged, failed, on_hold; null: the saga is at it
    Column("obstacle", Text),
    Column("state", Text, Computed(_STATE, persisted=True)),
    Column("level", Text),  # that it last converged to; null: never
    Column("reason", Text),
    Column("retry_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
    Column("trouble", Text, Computed(_TROUBLE, persisted=True)),
    # What the console looks for. A scope that begins and converges changes no column of an index: its row is updated
    # in place, which an index on `state` prevented.
    Index(
        "ix_provisionings_trouble",
        *("trouble", "tenant_id", "kind", "key"),
        postgresql_where=text("trouble IS NOT NULL"),
    ),
    Index("ix_provisionings_level", "level", "tenant_id", postgresql_where=text("kind = 'product'")),
    postgresql_with=FREE_SPACE,
)

STEPS: Final = Table(
    "provisioning_steps",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("state", Text),  # started, done, failed, blocked, missing, removed
    Column("direction", Text),
    Column("generation", BigInteger),
    Column("attempt", Integer),
    Column("reason", Text),
    Column("updated_at", DateTime(timezone=True)),
    postgresql_with=FREE_SPACE,
)

_StepEvent = StepStarted | StepCompleted | StepFailed | StepBlocked
_ScopeEvent = ScopeConverged | ScopeFailed | ScopePutOnHold | ScopeResumed | DataAbandoned | EnsureRequested

_AGAIN: Final[Row] = {"outcome": None, "obstacle": None, "reason": None, "retry_at": None}


def handle(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    if isinstance(event, StepStarted | StepCompleted | StepFailed | StepBlocked):
        key = (event.tenant_id, event.kind, event.key)
        at: Row = {"updated_at": recorded.time}
        step: Row = {"direction": event.direction, "generation": event.generation, **_step(event)}
        yield Set(PROVISIONINGS, key, {**_scope(event), **at})
        yield Set(STEPS, (*key, int(event.step)), {**step, **at})
    elif isinstance(event, StepMissing):  # the scope is in progress when the saga starts to mend it
        key = (event.tenant_id, event.kind, event.key)
        yield Set(
            STEPS,
            (*key, int(event.step)),
            {"state": "missing", "reason": event.reason, "updated_at": recorded.time},
        )
    elif isinstance(
        event, ScopeConverged | ScopeFailed | ScopePutOnHold | ScopeResumed | DataAbandoned | EnsureRequested
    ):
        key = (event.tenant_id, event.kind, event.key)
        yield Set(PROVISIONINGS, key, {**_AGAIN, **_outcome(event), "updated_at": recorded.time})


def _step(event: _StepEvent) -> Row:
    match event:
        case StepStarted():
            return {"state": "started", "attempt": 0, "reason": None}
        case StepCompleted(direction="remove"):
            return {"state": "removed", "reason": None}
        case StepCompleted():
            return {"state": "done", "reason": None}
        case StepFailed():
            return {"state": "failed", "attempt": event.attempt, "reason": event.reason}
        case StepBlocked():
            return {"state": "blocked", "reason": event.reason}


def _scope(event: _StepEvent) -> Row:
    match event:
        case StepStarted(compensating=False):
            return _AGAIN
        case StepStarted() | StepCompleted():  # the reason stays: why a run that is compensated has failed
            return {"obstacle": None, "retry_at": None}
        case StepFailed():
            return {"obstacle": None, "retry_at": event.retry_at}
        case StepBlocked():
            return {"obstacle": event.obstacle, "retry_at": None}


def _outcome(event: _ScopeEvent) -> Row:
    match event:
        case ScopeConverged():
            return {
                "outcome": "converged",
                "level": event.level,
                "reason": "data_lost" if event.data_lost else None,
            }
        case ScopeFailed():
            return {"outcome": "failed", "reason": event.reason}
        case ScopePutOnHold():
            return {"outcome": "on_hold", "reason": event.reason}
        case ScopeResumed() | DataAbandoned() | EnsureRequested():
            return {}


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The tenant's scopes (site, families, products), each with its `steps` in order."""
    steps: dict[tuple[object, object], list[Row]] = {}
    for row in rows(connection, select(STEPS).where(STEPS.c.tenant_id == tenant_id).order_by(STEPS.c.step)):
        del row["tenant_id"]
        scope, number = (row.pop("kind"), row.pop("key")), row.pop("step")
        name = Step(int(str(number))).name.lower()
        steps.setdefault(scope, []).append({"number": number, "name": name, **row})
    table = PROVISIONINGS
    order = case({kind: number for number, kind in enumerate(SCOPE_STEPS)}, value=table.c.kind)
    shown = (column for column in table.columns if column.name != "trouble")
    scopes = select(*shown).where(table.c.tenant_id == tenant_id).order_by(order, table.c.key)
    return [{**row, "steps": steps.get((row["kind"], row["key"]), [])} for row in rows(connection, scopes)]


PROJECTION: Final = Projection(
    name="provisionings",
    tables=(PROVISIONINGS, STEPS),
    handles=REGISTRY.projected_by("provisionings"),
    handle=handle,
    query=query,
)
