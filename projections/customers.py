"""Read model of customers and their administrators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, DateTime, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from domain.customer import CustomerUpdated
from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.stored_form import as_json
from domain.tenant.events import TenantCreated
from projections.base import METADATA, Change, Projection, Row, Set, rows

CUSTOMERS: Final = Table(
    "customers",
    METADATA,
    Column("customer_id", Text, primary_key=True),
    Column("name", Text),
    Column("country", Text),
    Column("contacts", JSONB),
    Column("administrators", JSONB),
    Column("revision", BigInteger),
    Column("updated_at", DateTime(timezone=True)),
)

# Of our own, so that no projection waits for another: a tenant may come before its customer, or after it.
TENANT_CUSTOMERS: Final = Table(
    "tenant_customers",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("customer_id", Text, index=True),
)


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case TenantCreated() as event:
            yield Set(TENANT_CUSTOMERS, (event.tenant_id,), {"customer_id": event.customer_id})
        case CustomerUpdated() as event:  # recorded only where it landed in the register: the last one holds
            yield Set(
                CUSTOMERS,
                (event.customer_id,),
                {
                    "name": event.name,
                    "country": event.country,
                    "contacts": [_contact(text) for text in event.contacts],
                    "administrators": [as_json(person) for person in event.administrators],
                    "revision": event.revision,
                    "updated_at": recorded.time,
                },
            )
        case _:
            pass


def _contact(text: str) -> object:
    """The object that commerce sent; the text itself where it is no JSON (it was forgotten)."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The tenant's customer; nothing until commerce has spoken of it."""
    ours = CUSTOMERS.join(TENANT_CUSTOMERS, CUSTOMERS.c.customer_id == TENANT_CUSTOMERS.c.customer_id)
    of_tenant = TENANT_CUSTOMERS.c.tenant_id == tenant_id
    return rows(connection, select(CUSTOMERS).select_from(ours).where(of_tenant))


PROJECTION: Final = Projection(
    name="customers",
    tables=(CUSTOMERS, TENANT_CUSTOMERS),
    handles=REGISTRY.projected_by("customers"),
    handle=handle,
    query=query,
    personal=frozenset({"name", "contacts", "administrators"}),
)
