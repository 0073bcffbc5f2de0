"""Snapshot of a tenant: its registers, its customer, and the actual state of its scopes."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from domain.catalog import Catalog
from domain.customer import Customer
from domain.scope.dependencies import scopes_with
from domain.scope.state import Provisioning
from domain.scope.steps import Scope
from domain.tenant import state as tenants
from domain.tenant.state import Tenant


class TenantSnapshot(Struct, frozen=True, gc=False):
    """All there is to know about one tenant: what decisions about its scopes are made from."""

    tenant: Tenant
    customer: Customer
    scopes: Mapping[Scope, Provisioning] = field(default_factory=dict)

    def actual(self, scope: Scope) -> Provisioning:
        return self.scopes.get(scope) or Provisioning(scope)

    def site(self) -> Provisioning:
        return self.actual(Scope("site", self.tenant.id))

    def family(self, key: str) -> Provisioning:
        return self.actual(Scope("family", self.tenant.id, key))

    def product(self, key: str) -> Provisioning:
        return self.actual(Scope("product", self.tenant.id, key))


def scopes_of(tenant: Tenant, catalog: Catalog) -> tuple[Scope, ...]:
    """Every scope that the tenant's registers speak of: the site, then families, then products."""
    return scopes_with(tenant.id, tenant.products, catalog)


def due_of(tenant: Tenant, catalog: Catalog) -> tuple[str, ...]:
    """What is due where all of a tenant is: its scopes; and, where it has a product of which the catalogue knows
    nothing, the tenant itself, so that somebody who knows it names the rest."""
    scopes = tuple(map(str, scopes_of(tenant, catalog)))
    return (*scopes, tenants.stream_of(tenant.id)) if catalog.unknown_among(tenant.products) else scopes
