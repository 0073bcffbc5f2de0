"""Site name: the reservation in the control database (step 2 of a site)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from adapters.resources.fences import Connect, control_session, control_transaction, spec_of, unclaimed
from adapters.resources.topology import Patience, reaching
from application.ports.resources import IsClaimed, Order, Resource, StepExecutor
from domain.drift import CONTROL, Expected, Finding, Look, Seen, Thing, by_place, completed
from domain.errors import Obstacle
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import SiteResult, SiteSpec, Step
from domain.stream_name import ObstacleName, SiteReservation


def site_url(site_name: str, site_domain: str) -> str:
    """Where a site answers."""
    return f"https://{site_name}.{site_domain}"


class SiteNames(StepExecutor, Resource):
    """Reserves the site's name against all other tenants."""

    serves = (("site", Step.SITE),)
    kinds = ("site name",)
    lies_on = "control"
    tells_of_the_log = True

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
                # The owner is not named to another tenant.
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

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        sites = completed(snapshots, Step.SITE, SiteResult)
        return by_place((Expected(actual, CONTROL, result) for _, actual, result in sites), self.look)

    def look(self, where: str, sites: Sequence[Expected[SiteResult]]) -> Iterator[Seen]:
        names = [site.result.site_name for site in sites]
        with reaching(where), self._control() as connection:
            query = "SELECT site_name, tenant_id FROM site_names WHERE site_name = ANY (%s)"
            owners: dict[str, str] = dict(connection.execute(query, [names]).fetchall())
        for site in sites:
            yield site.seen(findings(site, owners.get(site.result.site_name)))

    def things(self, where: str) -> Iterable[Thing]:
        with reaching(where), self._control() as connection:
            rows = connection.execute("SELECT site_name, tenant_id FROM site_names").fetchall()
        return [Thing(where, "site name", str(SiteReservation(*row))) for row in rows]

    def owned(self, actual: Provisioning) -> Iterator[Thing]:
        if actual.scope.kind == "site" and (site := actual.steps.get(Step.SITE)):
            for known in (site.spec, site.result):
                if isinstance(known, SiteSpec | SiteResult):
                    reservation = SiteReservation(known.site_name, actual.scope.tenant_id)
                    yield Thing(CONTROL, "site name", str(reservation))

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        reservation = SiteReservation.parse(thing.name)
        with (
            control_session(self._control, self._patience) as connection,
            unclaimed(connection, is_claimed, schema="public") as free,
        ):
            if not free:
                return None
            connection.execute("DELETE FROM site_names WHERE site_name = %s AND tenant_id = %s", reservation)
        return [str(ObstacleName("site name", reservation.site_name))]


def findings(site: Expected[SiteResult], owner: str | None) -> Iterator[Finding]:
    """What differs, where the name is reserved for `owner`."""
    name = site.result.site_name
    if owner is None:
        yield Finding(Step.SITE, "missing", f"the site name {name} is not reserved")
    elif owner != site.actual.scope.tenant_id:
        yield Finding(Step.SITE, "differs", f"the site name {name} is reserved for another tenant")
