"""Targets: where one product of one tenant lives in a database, and as which role it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tenantry_client.context.document import TenantContext
from tenantry_client.context.refusals import ContextRefused


class Target(NamedTuple):
    """One product's database, as its tenant's context says."""

    tenant_id: str
    product: str
    host: str
    port: str
    database: str
    schema: str
    role: str


Password = Callable[[Target], str]
"""Gives the password of a target's role: `Credentials`, or a function of the application."""


def target_of(context: TenantContext, product: str) -> Target:
    """Where the product lives, if it may be used now. Raises ContextRefused."""
    place, role = context.placement(product), context.require(product=product).role
    login = role or place.role
    if login is None:
        raise ContextRefused("product-not-placed", f"product {product} of {context.tenant_id} has no login role")
    host, _, port = place.address.rpartition(":")
    return Target(context.tenant_id, product, host.strip("[]"), port, place.database, place.schema, login)
