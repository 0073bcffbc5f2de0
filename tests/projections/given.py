"""What was recorded, and which rows come of it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Table

from domain.event import Cause, Event, Recorded
from domain.scope.state import StepCompleted, StepStarted
from domain.scope.steps import Scope, Step, StepResult, StepSpec
from projections.base import Change, Fold, Key, Projection, Row, Set, storable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CAUSE = Cause(kind="message", source="commerce", id="1")

Model = dict[Table, dict[Key, Row]]


def at(position: int) -> datetime:
    """When the fact at that position was recorded."""
    return NOON + timedelta(minutes=position)


def history(*events: Event) -> list[Recorded]:
    """The events at positions 1, 2, 3 ... of a log with one stream."""
    return [
        Recorded("tenant:t1", number, UUID(int=number), at(number), CAUSE, "c", event, position=number)
        for number, event in enumerate(events, start=1)
    ]


def started(scope: Scope, spec: StepSpec, step: Step, *, generation: int = 1) -> StepStarted:
    return StepStarted(
        tenant_id=scope.tenant_id,
        kind=scope.kind,
        key=scope.key,
        step=step,
        direction="ensure",
        generation=generation,
        spec=spec,
    )


def ensured(scope: Scope, step: Step, facts: StepResult, *, generation: int = 1) -> StepCompleted:
    return StepCompleted(
        tenant_id=scope.tenant_id,
        kind=scope.kind,
        key=scope.key,
        step=step,
        direction="ensure",
        generation=generation,
        result=facts,
    )


def removed(scope: Scope, step: Step, *, generation: int = 9) -> StepCompleted:
    return StepCompleted(
        tenant_id=scope.tenant_id,
        kind=scope.kind,
        key=scope.key,
        step=step,
        direction="remove",
        generation=generation,
    )


def changes_of(projection: Projection, recorded: Iterable[Recorded]) -> list[Change]:
    return [change for fact in recorded if type(fact.event) in projection.handles for change in projection.handle(fact)]


def one_by_one(changes: Iterable[Change], model: Model | None = None) -> Model:
    """The plainest reading of what changes mean."""
    model = {} if model is None else model
    for change in changes:
        rows = model.setdefault(change.table, {})
        match change:
            case Set(key=key, columns=columns):
                if not (key in rows and change.table.info.get("write_once")):
                    rows[key] = {**rows.get(key, {}), **columns}
            case _:
                for key in [key for key in rows if key[: len(change.key)] == change.key]:
                    del rows[key]
    return model


def rows_of(table: Table, projection: Projection, recorded: Iterable[Recorded]) -> Mapping[Key, Row]:
    """The rows as they are written, without the times; folded and one by one they must be the same."""
    changes = changes_of(projection, recorded)
    folded = Fold(changes).tables
    rows = dict(folded[table]) if table in folded else {}
    plain = Fold(Set(table, key, row) for key, row in one_by_one(changes).get(table, {}).items()).tables
    assert rows == (dict(plain[table]) if table in plain else {})
    return {
        key: {name: storable(value) for name, value in row.items() if name != "updated_at"} for key, row in rows.items()
    }
