"""Read model of licenses: the edition and features that each product is entitled to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, DateTime, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import StepCompleted
from domain.scope.steps import LicenseResult, Step
from projections.base import FREE_SPACE, METADATA, Change, Delete, Projection, Row, Set, rows

LICENSES: Final = Table(
    "licenses",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("edition", Text),
    Column("users", BigInteger),
    Column("active", Boolean),
    Column("expires_at", DateTime(timezone=True)),
    Column("features", JSONB),
    Column("location", Text),
    Column("updated_at", DateTime(timezone=True)),
    postgresql_with=FREE_SPACE,
)


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case StepCompleted(direction="ensure", result=LicenseResult() as result) as event:
            yield Set(
                LICENSES,
                (event.tenant_id, event.key),
                {
                    "edition": result.edition,
                    "users": result.users,
                    "active": result.active,
                    "expires_at": result.expires_at,
                    "features": result.features,
                    "location": result.location,
                    "updated_at": recorded.time,
                },
            )
        case StepCompleted(direction="remove", step=Step.LICENSE) as event:
            yield Delete(LICENSES, (event.tenant_id, event.key))
        case _:
            pass


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The entitlements of the tenant's products and apps, in the order of their keys."""
    return rows(connection, select(LICENSES).where(LICENSES.c.tenant_id == tenant_id).order_by(LICENSES.c.product))


PROJECTION: Final = Projection(
    name="licenses", tables=(LICENSES,), handles=REGISTRY.projected_by("licenses"), handle=handle, query=query
)
