"""Whose is the site's name, and which products are on the site? (step 2)"""

from __future__ import annotations

from adapters.resources.fences import Connect, control_transaction, spec_of
from adapters.resources.topology import Patience
from application.ports import Order
from domain.errors import Obstacle
from domain.scope.steps import MembershipResult, MembershipSpec, SiteResult, SiteSpec
from domain.stream_name import ObstacleName


def site_url(site_name: str, site_domain: str) -> str:
    """Where a site answers."""
    return f"https://{site_name}.{site_domain}"


class SiteNames:
    """Reserves the site's name in the control database against all other tenants."""

    def __init__(self, control: Connect, *, site_domain: str, patience: Patience | None = None) -> None:
        self._control = control
        self._site_domain = site_domain
        self._patience = patience or Patience()

    def ensure(self, order: Order) -> SiteResult:
        spec = spec_of(order, SiteSpec)
        with control_transaction(self._control, order, self._patience) as connection:
            tenant_id = order.scope.tenant_id
            reserved = connection.execute(
                "INSERT INTO site_names AS s (site_name, tenant_id, generation) VALUES (%s, %s, %s)"
                " ON CONFLICT (site_name) DO UPDATE SET generation = excluded.generation"
                " WHERE s.tenant_id = excluded.tenant_id RETURNING site_name",
                [spec.site_name, tenant_id, order.generation],
            ).fetchone()
            if reserved is None:
                # Whose it is, is nobody else's business.
                raise Obstacle(
                    str(ObstacleName("site name", spec.site_name)),
                    f"the site name {spec.site_name} is taken: wait for its release or choose another",
                )
            connection.execute(
                "DELETE FROM site_names WHERE tenant_id = %s AND site_name <> %s", [tenant_id, spec.site_name]
            )
        url = site_url(spec.site_name, self._site_domain)
        return SiteResult(site_name=spec.site_name, url=url, access=spec.access)

    def remove(self, order: Order) -> None:
        with control_transaction(self._control, order, self._patience) as connection:
            connection.execute("DELETE FROM site_names WHERE tenant_id = %s", [order.scope.tenant_id])


class Memberships:
    """Which products are on the site is told by the facts alone: the log is where the set is kept."""

    def ensure(self, order: Order) -> MembershipResult:
        spec = spec_of(order, MembershipSpec)
        return MembershipResult(product=spec.product, access=spec.access)

    def remove(self, order: Order) -> None:
        """Nothing lies anywhere but in the log."""
