"""Read model of placements: the region, shard and database of each family of a tenant.

Step 3 says region and shard, step 6 the database on it. Between the two, and after the database's removal,
the columns of the database are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Column, Connection, DateTime, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import StepCompleted
from domain.scope.steps import DatabaseResult, RegionResult, Step
from domain.stored_form import as_json
from projections.base import FREE_SPACE, METADATA, Change, Delete, Projection, Row, Set, rows

PLACEMENTS: Final = Table(
    "placements",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("family", Text, primary_key=True),
    Column("region", Text),
    Column("shard", Text, index=True),
    Column("isolation", Text),
    Column("database", Text),
    Column("schema_name", Text),
    Column("roles", JSONB),
    Column("updated_at", DateTime(timezone=True)),
    postgresql_with=FREE_SPACE,
)

_NO_DATABASE: Final = dict.fromkeys(("isolation", "database", "schema_name", "roles"))


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case StepCompleted(direction="ensure", result=RegionResult() as result) as event:
            yield _set(recorded, event, {"region": result.region, "shard": result.shard})
        case StepCompleted(direction="ensure", result=DatabaseResult() as result) as event:
            stored = as_json(result)
            yield _set(recorded, event, {name: stored[name] for name in _NO_DATABASE})
        case StepCompleted(direction="remove", step=Step.DATABASE) as event:
            yield _set(recorded, event, _NO_DATABASE)
        case StepCompleted(direction="remove", step=Step.REGION) as event:
            yield Delete(PLACEMENTS, (event.tenant_id, event.key))
        case _:
            pass


def _set(recorded: Recorded, event: StepCompleted, columns: Row) -> Set:
    return Set(PLACEMENTS, (event.tenant_id, event.key), {**columns, "updated_at": recorded.time})


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The placements of the tenant's families, in the order of their keys."""
    return rows(
        connection,
        select(PLACEMENTS).where(PLACEMENTS.c.tenant_id == tenant_id).order_by(PLACEMENTS.c.family),
    )


PROJECTION: Final = Projection(
    name="placements", tables=(PLACEMENTS,), handles=REGISTRY.projected_by("placements"), handle=handle, query=query
)
