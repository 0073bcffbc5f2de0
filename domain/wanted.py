"""What should be there, for each scope?

From the registers follows a level for each product, from the level a wish for each of its steps. Pure functions of the
registers, the customer, the actual state of the tenant's scopes (what once lived is retained, what never did is
absent) and the time.

    open > closed > retained > absent         a family is as high as the highest of its products
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from domain.catalog import Catalog
from domain.customer import Customer
from domain.policy import Policy
from domain.provisioning import Provisioning
from domain.steps import (
    LEVELS,
    Access,
    CommerceWish,
    ConfigurationWish,
    DatabaseWish,
    IdentityWish,
    Level,
    LicenseWish,
    MembershipWish,
    RegionWish,
    RoleWish,
    Scope,
    SiteWish,
    Step,
    Wish,
)
from domain.tenant import Attributes, Presence, Tenant


@dataclass(frozen=True, slots=True)
class Wanted:
    """A scope's level, its steps and a digest of both; `wake_at` is when time alone will change it."""

    level: Level
    steps: Mapping[Step, Wish]
    digest: str
    pin: str | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Estate:
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
    products = sorted(key for key in tenant.products if key in catalog)
    families = sorted({catalog.family_of(key) for key in products})
    return (
        Scope("site", tenant.id),
        *(Scope("family", tenant.id, key) for key in families),
        *(Scope("product", tenant.id, key) for key in products),
    )


def wish_of_product(tenant: Tenant, key: str, *, catalog: Catalog, now: datetime) -> Literal["open", "closed", "gone"]:
    """What the registers alone say. An app is never more open than its host."""
    registers = tenant.product(key)
    if not registers.activated:
        return "gone"
    license_ = registers.license.value if registers.license else None
    expired = license_ is not None and license_.expires_at is not None and license_.expires_at <= now
    licensed = license_ is not None and license_.status == "active" and not expired
    if tenant.destroyed or registers.suspended or not licensed:
        return "closed"
    host = catalog[key].host
    if host is not None and wish_of_product(tenant, host, catalog=catalog, now=now) != "open":
        return "closed"
    return "open"


def wanted(scope: Scope, estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> Wanted:
    """What `scope` should be."""
    match scope.kind:
        case "site":
            return _wanted_site(estate, policy=policy, now=now)
        case "family":
            return _wanted_family(scope.key, estate, catalog=catalog, policy=policy, now=now)
        case "product":
            return _wanted_product(scope.key, estate, catalog=catalog, policy=policy, now=now)


# -- sites ---------------------------------------------------------------------------------------------------------


def _wanted_site(estate: Estate, *, policy: Policy, now: datetime) -> Wanted:
    tenant, customer = estate.tenant, estate.customer
    if tenant.attributes is None:
        return _wanted("absent", {})
    attributes = tenant.attributes.value
    level: Access = "closed" if tenant.destroyed else "open"
    steps: dict[Step, Wish] = {
        Step.COMMERCE: CommerceWish(
            customer_id=attributes.customer_id,
            metadata_version=customer.metadata_version,
            administrators_version=customer.administrators_version,
        ),
        Step.SITE: SiteWish(site_name=attributes.site_name, access=level),
        Step.CONFIGURATION: ConfigurationWish(
            product=None,
            residency=attributes.residency,
            region=attributes.region,
            metadata_version=customer.metadata_version,
        ),
        Step.IDENTITY: IdentityWish(
            product=None,
            groups=("site-users", "site-administrators"),
            administrators_version=customer.administrators_version,
            in_force=level == "open",
        ),
    }
    restorable_until = tenant.destroyed.at + policy.restore_window if tenant.destroyed else None
    return _wanted(level, steps, wake_at=_soonest(restorable_until, now=now))


# -- products ------------------------------------------------------------------------------------------------------


def _product_level(key: str, estate: Estate, *, catalog: Catalog, now: datetime) -> Level:
    host = catalog[key].host
    if host is not None and _product_level(host, estate, catalog=catalog, now=now) == "absent":
        return "absent"  # an app has nowhere to be without its host
    wish = wish_of_product(estate.tenant, key, catalog=catalog, now=now)
    if wish != "gone":
        return wish
    return "retained" if estate.product(key).lived else "absent"


def _wanted_product(key: str, estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> Wanted:
    tenant = estate.tenant
    level = _product_level(key, estate, catalog=catalog, now=now)
    registers = tenant.product(key)
    if level == "absent" or tenant.attributes is None:
        return _wanted("absent", {})
    identity = IdentityWish(
        product=key,
        groups=(f"{key}-users", f"{key}-administrators", *catalog[key].groups),
        administrators_version=estate.customer.administrators_version,
        in_force=level == "open",
    )
    if level == "retained":
        kept = estate.product(key).steps.get(Step.CONFIGURATION)
        steps: dict[Step, Wish] = {Step.IDENTITY: identity}
        if kept is not None:
            steps[Step.CONFIGURATION] = kept.wish
        since = registers.deactivated_at
        kept_until = since + policy.retention if since else None
        return _wanted(level, steps, wake_at=_soonest(kept_until, now=now))
    assert registers.presence is not None
    assert registers.license is not None
    presence, license_ = registers.presence.value, registers.license.value
    home = _home(presence, tenant.attributes.value)
    access: Access = "open" if level == "open" else "closed"
    steps = {
        Step.SITE: MembershipWish(product=key, access=access),
        Step.CONFIGURATION: ConfigurationWish(product=key, residency=home.residency, region=home.region),
        Step.IDENTITY: identity,
        Step.LICENSE: LicenseWish(
            product=key,
            edition=license_.edition,
            users=license_.users,
            active=level == "open",
            expires_at=license_.expires_at,
            features=catalog.features(key, license_.edition),
        ),
    }
    expiries = [_expiry(tenant, each) for each in (key, catalog[key].host) if each is not None]
    return _wanted(
        level,
        steps,
        pin=home.region if home.residency == "pinned" else None,
        wake_at=_soonest(*expiries, now=now) if level == "open" else None,
    )


def _expiry(tenant: Tenant, key: str) -> datetime | None:
    license_ = tenant.product(key).license
    return license_.value.expires_at if license_ else None


# -- families ------------------------------------------------------------------------------------------------------


def _wanted_family(key: str, estate: Estate, *, catalog: Catalog, policy: Policy, now: datetime) -> Wanted:
    """As high as the highest of its products; a product that was given up before it lived does not count."""
    members: dict[str, Level] = {}
    wakes: list[datetime | None] = []
    for product in sorted(estate.tenant.products):
        if product not in catalog or catalog[product].family != key:
            continue
        wish = _wanted_product(product, estate, catalog=catalog, policy=policy, now=now)
        actual = estate.product(product)
        dropped = actual.given_up is not None and actual.given_up.digest == wish.digest and not actual.lived
        if wish.level != "absent" and not dropped:
            members[product] = wish.level
            wakes.append(wish.wake_at)
    if not members:
        return _wanted("absent", {})
    roles = tuple(RoleWish(product=product, login=level == "open") for product, level in members.items())
    steps: dict[Step, Wish] = {
        Step.REGION: _region_wish(key, tuple(members), estate),
        Step.DATABASE: DatabaseWish(family=key, roles=roles),
    }
    return _wanted(max(members.values(), key=LEVELS.index), steps, wake_at=_soonest(*wakes, now=now))


def _region_wish(key: str, members: tuple[str, ...], estate: Estate) -> Wish:
    """Where the family lives it stays; before that a product's own pin or region goes before the tenant's."""
    placed = estate.family(key).steps.get(Step.REGION)
    if placed is not None and placed.done:
        return placed.wish
    assert estate.tenant.attributes is not None
    attributes = estate.tenant.attributes.value
    presences = [register.value for product in members if (register := estate.tenant.product(product).presence)]
    homes = [_home(presence, attributes) for presence in presences]
    pins = [home for home in homes if home.residency == "pinned"]
    hints = [home for home in homes if home.region is not None]
    return next(iter((*pins, *hints)), RegionWish(residency="global"))


def _home(presence: Presence, attributes: Attributes) -> RegionWish:
    """Where one product would live by itself: what its activation says goes before what its tenant says."""
    residency = presence.residency or attributes.residency
    inherited = attributes.region if residency == attributes.residency else None
    return RegionWish(residency=residency, region=presence.region or inherited)


# -- both ----------------------------------------------------------------------------------------------------------


def _soonest(*times: datetime | None, now: datetime) -> datetime | None:
    """The first of the times that is still to come."""
    return min((time for time in times if time is not None and time > now), default=None)


def _wanted(
    level: Level,
    steps: dict[Step, Wish],
    *,
    pin: str | None = None,
    wake_at: datetime | None = None,
) -> Wanted:
    content = [level, pin, {int(step): wish.model_dump(mode="json") for step, wish in sorted(steps.items())}]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return Wanted(level, steps, digest, pin, wake_at)
