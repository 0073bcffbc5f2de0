"""Read model of sites, of the products on them, and of how open each is.

A handler sees one event, so what one event says is stored (`sites_base`, `site_products`), and what follows
from several of them is the view `sites`. A site's `access` is open where it and all of its products are open
(without any product: where it is), partial where only some of them are, closed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Column, Connection, CreateView, DateTime, Table, Text, case, func, select

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import StepCompleted
from domain.scope.steps import MembershipResult, SiteResult, Step
from domain.tenant.events import TenantCreated, TenantDestroyed, TenantPurged, TenantRestored
from projections.base import FREE_SPACE, METADATA, VIEW, Change, Delete, Projection, Row, Set, rows

SITES_BASE: Final = Table(
    "sites_base",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("customer_id", Text),
    Column("site_name", Text),
    Column("url", Text),
    Column("state", Text),  # open, closed, absent; null until step 2 of the site has completed once
    Column("created_at", DateTime(timezone=True)),
    Column("destroyed_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True)),
    postgresql_with=FREE_SPACE,
)

SITE_PRODUCTS: Final = Table(
    "site_products",
    METADATA,
    Column("tenant_id", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("access", Text),
    postgresql_with=FREE_SPACE,
)

_of_site = SITE_PRODUCTS.c.tenant_id == SITES_BASE.c.tenant_id
_is_open = SITE_PRODUCTS.c.access == "open"
_all_open = select(func.bool_and(_is_open).label("all_open")).where(_of_site).scalar_subquery()
_any_open = select(func.bool_or(_is_open).label("any_open")).where(_of_site).scalar_subquery()

_VIEW: Final = CreateView(
    select(
        SITES_BASE.c.tenant_id,
        SITES_BASE.c.customer_id,
        SITES_BASE.c.site_name,
        SITES_BASE.c.url,
        SITES_BASE.c.state,
        case(
            (SITES_BASE.c.state != "open", "closed"),
            (func.coalesce(_all_open, True), "open"),
            (_any_open, "partial"),
            else_="closed",
        ).label("access"),
        SITES_BASE.c.created_at,
        SITES_BASE.c.destroyed_at,
        SITES_BASE.c.updated_at,
    ).where(SITES_BASE.c.state.is_not(None)),
    "sites",
    metadata=METADATA,
)
SITES: Final = _VIEW.table
SITES.info[VIEW] = _VIEW.selectable


def handle(recorded: Recorded) -> Iterator[Change]:
    match recorded.event:
        case TenantCreated() as event:
            columns: Row = {"customer_id": event.customer_id, "site_name": event.site_name}
            if recorded.version == 1:  # said again under a higher revision, it is not created again
                columns["created_at"] = recorded.happened
            yield Set(SITES_BASE, (event.tenant_id,), columns)
        case TenantDestroyed() as event:
            yield Set(SITES_BASE, (event.tenant_id,), {"destroyed_at": recorded.happened})
        case TenantRestored() as event:
            yield Set(SITES_BASE, (event.tenant_id,), {"destroyed_at": None})
        case TenantPurged() as event:
            yield Delete(SITES_BASE, (event.tenant_id,))
            yield Delete(SITE_PRODUCTS, (event.tenant_id,))
        case StepCompleted(direction="ensure", result=SiteResult() as result) as event:
            yield Set(
                SITES_BASE,
                (event.tenant_id,),
                {
                    "site_name": result.site_name,
                    "url": result.url,
                    "state": result.access,
                    "updated_at": recorded.time,
                },
            )
        case StepCompleted(direction="remove", kind="site", step=Step.SITE) as event:
            yield Set(SITES_BASE, (event.tenant_id,), {"state": "absent", "updated_at": recorded.time})
        case StepCompleted(direction="ensure", result=MembershipResult() as result) as event:
            yield Set(SITE_PRODUCTS, (event.tenant_id, event.key), {"access": result.access})
        case StepCompleted(direction="remove", kind="product", step=Step.SITE) as event:
            yield Delete(SITE_PRODUCTS, (event.tenant_id, event.key))
        case _:
            pass


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The tenant's site with its `products` ({key: access}); nothing until it has been there once."""
    products = connection.execute(
        select(SITE_PRODUCTS.c.product, SITE_PRODUCTS.c.access)
        .where(SITE_PRODUCTS.c.tenant_id == tenant_id)
        .order_by(SITE_PRODUCTS.c.product)
    )
    access = dict(products.all())
    return [
        {**site, "products": access} for site in rows(connection, select(SITES).where(SITES.c.tenant_id == tenant_id))
    ]


PROJECTION: Final = Projection(
    name="sites",
    tables=(SITES_BASE, SITE_PRODUCTS),
    handles=REGISTRY.projected_by("sites"),
    handle=handle,
    query=query,
)
