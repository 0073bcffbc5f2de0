"""Read model of configurations: what is stored for each site and product. The site's own has the product `''`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Column, Connection, DateTime, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import StepCompleted
from domain.scope.steps import ConfigurationResult, Step
from projections.base import FREE_SPACE, METADATA, Change, Delete, Projection, Row, Set, rows

CONFIGURATIONS: Final = Table(
    "configurations",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("settings", JSONB),
    Column("organization", Text),
    Column("updated_at", DateTime(timezone=True)),
    postgresql_with=FREE_SPACE,
)


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case StepCompleted(direction="ensure", result=ConfigurationResult() as result) as event:
            yield Set(
                CONFIGURATIONS,
                (event.tenant_id, event.key),
                {
                    "settings": result.settings,
                    "organization": result.organization,
                    "updated_at": recorded.time,
                },
            )
        case StepCompleted(direction="remove", step=Step.CONFIGURATION) as event:
            yield Delete(CONFIGURATIONS, (event.tenant_id, event.key))
        case _:
            pass


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The site's configuration first, then the products' in their order."""
    table = CONFIGURATIONS
    return rows(connection, select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.product))


PROJECTION: Final = Projection(
    name="configurations",
    tables=(CONFIGURATIONS,),
    handles=REGISTRY.projected_by("configurations"),
    handle=handle,
    query=query,
    personal=frozenset({"organization"}),
)
