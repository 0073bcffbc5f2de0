"""What should be there, for each scope?

From the registers follows a level for each product, from the level a wish for each of its steps. Pure functions of the
registers, the customer, the actual state of the tenant's scopes (what once lived is retained, what never did is
absent) and the time.

    open > closed > retained > absent         a family is as high as the highest of its products

A purge that has begun makes a scope absent until the scope has converged to that very purge, whatever commerce has said
since: what is activated meanwhile waits for the removal, and then begins anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal

from domain.catalog import Catalog
from domain.customer import Customer
from domain.event import Event
from domain.policy import Policy
from domain.scope.dependencies import goes_first, prerequisites, scopes_with
from domain.scope.state import Failure, Provisioning
from domain.scope.steps import (
    LEVELS,
    Access,
    CommerceSpec,
    ConfigurationSpec,
    DatabaseSpec,
    IdentitySpec,
    Level,
    LicenseSpec,
    MembershipSpec,
    RegionSpec,
    Residency,
    RoleSpec,
    Scope,
    ScopeKind,
    SiteSpec,
    Step,
    StepSpec,
)
from domain.tenant import state as tenants
from domain.tenant.events import LicenseExpired, Passing, PurgeStarted, TenantPurged, TenantPurgeStarted
from domain.tenant.state import Attributes, Presence, Tenant, is_awaiting_approval
from domain.times import moved

KEPT_SPECS: Final = 2_000
"""Every turn of a scope asks for the wishes of the turn before: they are made once, and compared by identity. A license
is made each time: two with the same end, in two zones, are equal, and have two digests."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A scope's level and its steps; `wake_at` is when time alone will change it.

    `awaited` says what must come first: an approval, where the destroy guard holds what time has brought about, or that
    what it stands on is tried again.
    `purge` is the purge that an absent scope must have gone through. `passed` is what time has brought about, or the
    end of a purge, and the tenant's stream does not know yet.
    """

    level: Level
    steps: Mapping[Step, StepSpec]
    pin: str | None = None
    due_again_at: datetime | None = None
    purge: int | None = None
    passed: Passing | None = None
    awaited: str | None = None

    @property
    def digest(self) -> str:
        """Of level, pin, steps and purge. Made when it is asked for: most decisions do without."""
        told = tuple((int(step), spec.model_dump_json()) for step, spec in sorted(self.steps.items()))
        return _digest(self.level, self.pin, told, self.purge)


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """All there is to know about one tenant: what decisions about its scopes are made from."""

    tenant: Tenant
    customer: Customer
    scopes: Mapping[Scope, Provisioning] = field(default_factory=dict)

    def actual(self, scope: Scope) -> Provisioning:
        return self.scopes.get(scope) or Provisioning(scope)

    def site(self) -> Provisioning:
        return self._actual("site", "")

    def family(self, key: str) -> Provisioning:
        return self._actual("family", key)

    def product(self, key: str) -> Provisioning:
        return self._actual("product", key)

    def _actual(self, kind: ScopeKind, key: str) -> Provisioning:
        place = (kind, self.tenant.id, key)  # equal to the scope, and made in a fifth of its time
        return self.scopes.get(place) or Provisioning(Scope(*place))  # type: ignore[call-overload]


def scopes_of(tenant: Tenant, catalog: Catalog) -> tuple[Scope, ...]:
    """Every scope that the tenant's registers speak of: the site, then families, then products."""
    return scopes_with(tenant.id, tenant.products, catalog)


def due_of(tenant: Tenant, catalog: Catalog) -> tuple[str, ...]:
    """What is due where all of a tenant is: its scopes; and, where it has a product of which the catalogue knows
    nothing, the tenant itself, so that somebody who knows it names the rest."""
    scopes = tuple(map(str, scopes_of(tenant, catalog)))
    return (*scopes, tenants.stream_of(tenant.id)) if catalog.unknown_among(tenant.products) else scopes


def licensed_access(tenant: Tenant, key: str, *, catalog: Catalog, now: datetime) -> Literal["open", "closed", "gone"]:
    """What the registers alone say. An app is never more open than its host."""
    registers = tenant.product(key)
    if not registers.activated:
        return "gone"
    license_ = registers.license.value if registers.license else None
    ends = license_.expires_at if license_ else None
    expired = registers.expired or (ends is not None and ends <= now)
    licensed = license_ is not None and license_.status == "active" and not expired
    if tenant.destroyed or registers.suspended or not licensed:
        return "closed"
    host = catalog[key].host
    if host is not None and licensed_access(tenant, host, catalog=catalog, now=now) != "open":
        return "closed"
    return "open"


def desired_state(
    scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """What `scope` should be."""
    desired = _desired_scope(scope, snapshot, catalog=catalog, policy=policy, now=now)
    if desired.passed is None:
        return desired
    if is_awaiting_approval(snapshot.tenant, desired.passed):
        awaited = "its purge, which the destroy guard holds: see `tenantry runs approve`"
        return replace(desired, passed=None, awaited=awaited)
    stopped = _operator_hold_on(desired.passed, snapshot)
    return (
        desired if stopped is None else replace(desired, passed=None, awaited=f"the release of {stopped}, to be purged")
    )


def _operator_hold_on(passed: Passing, snapshot: TenantSnapshot) -> Scope | None:
    """What somebody holds of that which would go: nothing of it comes to the point of no return meanwhile."""
    return next((scope for scope in purged_by(passed, snapshot) if snapshot.actual(scope).is_on_operator_hold), None)


def purged_by(passed: Event, snapshot: TenantSnapshot) -> list[Scope]:
    """The scopes that are past their point of no return once the fact is recorded; of any other fact, none."""
    match passed:
        case PurgeStarted():
            return [
                *(Scope("product", passed.tenant_id, key) for key in (passed.product, *passed.apps)),
                *(Scope("family", passed.tenant_id, key) for key in passed.families),
            ]
        case TenantPurgeStarted():
            return sorted(snapshot.scopes)
        case _:
            return []


def _desired_scope(
    scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    match scope.kind:
        case "site":
            return _desired_site(snapshot, catalog=catalog, policy=policy, now=now)
        case "family":
            desired = _desired_family(scope.key, snapshot, catalog=catalog, policy=policy, now=now)
            return _with_prerequisites(scope, desired, snapshot, catalog=catalog)
        case "product":
            desired = _desired_product(scope.key, snapshot, catalog=catalog, policy=policy, now=now)
            passed = _passed_for_product(scope.key, desired, snapshot, catalog=catalog, policy=policy, now=now)
            desired = _with_prerequisites(scope, desired, snapshot, catalog=catalog)
            return desired if passed is None else replace(desired, passed=passed)


# -- prerequisites -------------------------------------------------------------------------------------------------


def _with_prerequisites(
    scope: Scope, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog
) -> DesiredState:
    """Absent, where a prerequisite of the scope is being undone; a scope that failed itself is undone anyway."""
    actual = snapshot.actual(scope)
    if desired.level == "absent" or (actual.failure is not None and not actual.has_converged):
        return desired
    for _, prerequisite in prerequisites(scope, catalog):
        failure = _undone_for(prerequisite, snapshot, catalog=catalog)
        if failure is not None:
            awaited = f"{prerequisite}, which was given up: {failure.reason}"
            return replace(desired, level="absent", steps={}, pin=None, awaited=awaited)
    return desired


def _undone_for(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> Failure | None:
    """The failure for which a scope that has not converged is undone, unless a product that has converged keeps it."""
    actual = snapshot.actual(scope)
    if actual.failure is None or actual.has_converged:
        return None
    is_kept = any(
        there.has_converged and other.kind == "product" and goes_first(other, scope, catalog)
        for other, there in snapshot.scopes.items()
    )
    return None if is_kept else actual.failure


# -- sites ---------------------------------------------------------------------------------------------------------


def _desired_site(snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime) -> DesiredState:
    tenant, customer = snapshot.tenant, snapshot.customer
    if tenant.attributes is None:
        return DesiredState("absent", {})
    attributes = tenant.attributes.value
    if tenant.purge is not None:
        return _desired_purged_site(snapshot, attributes, catalog=catalog, policy=policy, now=now)
    level: Access = "closed" if tenant.destroyed else "open"
    steps = _steps_of_site(attributes, level, customer.metadata_version, customer.administrators_version)
    if tenant.destroyed is None:
        return DesiredState(level, steps)
    restorable_until = moved(tenant.destroyed.at, policy.restore_window)
    desired = DesiredState(level, steps, due_again_at=_soonest(restorable_until, now=now))
    if restorable_until > now:
        return desired
    return replace(desired, passed=TenantPurgeStarted(tenant_id=tenant.id, epoch=tenant.destroyed.epoch))


@lru_cache(maxsize=KEPT_SPECS)
def _steps_of_site(
    attributes: Attributes, level: Access, metadata_version: int, administrators_version: int
) -> Mapping[Step, StepSpec]:
    return {
        Step.COMMERCE: CommerceSpec(
            customer_id=attributes.customer_id,
            metadata_version=metadata_version,
            administrators_version=administrators_version,
        ),
        Step.SITE: SiteSpec(site_name=attributes.site_name, access=level),
        Step.CONFIGURATION: ConfigurationSpec(
            product=None,
            residency=attributes.residency,
            region=attributes.region,
            metadata_version=metadata_version,
        ),
        Step.IDENTITY: IdentitySpec(
            product=None,
            groups=("site-users", "site-administrators"),
            administrators_version=administrators_version,
            in_force=level == "open",
        ),
    }


def _desired_purged_site(
    snapshot: TenantSnapshot, attributes: Attributes, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """Nothing but the reservation of its name while that cools down, then nothing, then the tombstone."""
    tenant, site = snapshot.tenant, snapshot.site()
    assert tenant.purge is not None
    name_free_at = moved(tenant.purge.at, policy.site_name_cool_down)
    reserved = site.steps.get(Step.SITE)
    if name_free_at > now and reserved is not None and reserved.facts is not None:
        kept = SiteSpec(site_name=attributes.site_name, access="closed")
        return DesiredState("closed", {Step.SITE: kept}, due_again_at=name_free_at)
    desired = DesiredState("absent", {}, purge=tenant.purge.started)
    if unknown := catalog.unknown_among(tenant.products):
        return replace(desired, awaited=f"a configuration that has product {unknown[0]}: adopt one")
    is_gone = all(not actual.version or actual.purged >= tenant.purge.started for actual in snapshot.scopes.values())
    return replace(desired, passed=TenantPurged(tenant_id=tenant.id)) if is_gone and not tenant.purge.over else desired


# -- products ------------------------------------------------------------------------------------------------------


def product_level(key: str, snapshot: TenantSnapshot, *, catalog: Catalog, now: datetime) -> Level:
    """The desired level of a product."""
    if is_purged(key, snapshot, catalog=catalog):
        return "absent"
    host = catalog[key].host
    if host is not None and product_level(host, snapshot, catalog=catalog, now=now) == "absent":
        return "absent"  # an app has nowhere to be without its host
    spec = licensed_access(snapshot.tenant, key, catalog=catalog, now=now)
    if spec == "gone":
        return "retained" if snapshot.product(key).has_converged else "absent"
    return "closed" if spec == "open" and snapshot.family(catalog.family_of(key)).data_missing else spec


def is_purged(key: str, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether a purge of the product, its family or its tenant has begun and is not through yet."""
    tenant = snapshot.tenant
    if tenant.purge is not None:
        return True
    if all(registers.purge is None for registers in tenant.products.values()):
        return False
    family = catalog.family_of(key)
    return snapshot.product(key).purged < (_purge_of_product(key, tenant) or 0) or snapshot.family(family).purged < (
        _purge_of_family(family, snapshot, catalog=catalog) or 0
    )


def is_past_return(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether a purge of the scope has begun and is not through yet: no hold brings it back."""
    tenant = snapshot.tenant
    if tenant.purge is not None:
        return not tenant.purge.over
    match scope.kind:
        case "site":
            return False
        case "family":
            return snapshot.actual(scope).purged < (_purge_of_family(scope.key, snapshot, catalog=catalog) or 0)
        case "product":
            return scope.key in catalog and is_purged(scope.key, snapshot, catalog=catalog)


def data_lost(key: str, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether the product is active without the data it once held: after a purge, or after its database was lost."""
    registers = snapshot.tenant.product(key)
    was_abandoned = key in catalog and key in snapshot.family(catalog.family_of(key)).data_lost
    return registers.data_lost or (registers.activated and was_abandoned)


def _purge_of_product(key: str, tenant: Tenant) -> int | None:
    """The last purge that the product is, or was, removed by."""
    purge = tenant.purge or tenant.product(key).purge
    return purge.started if purge else None


def _purge_of_family(key: str, snapshot: TenantSnapshot, *, catalog: Catalog) -> int | None:
    """The last purge that the family went with.

    It stays for a product that came to live in it while that was decided: the purge of another names no data of it.
    """
    tenant = snapshot.tenant
    if tenant.purge is not None:
        return tenant.purge.started
    purges = [registers.purge for registers in tenant.products.values()]
    last = max((purge.started for purge in purges if purge is not None and key in purge.families), default=None)
    if last is None:
        return None
    members = (product for product in tenant.products if product in catalog and catalog[product].family == key)
    is_kept = any(
        snapshot.product(each).has_converged and (_purge_of_product(each, tenant) or 0) < last for each in members
    )
    return None if is_kept else last


def _passed_for_product(
    key: str, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> Passing | None:
    tenant = snapshot.tenant
    registers = tenant.product(key)
    ends, since = _expiry(tenant, key), registers.deactivated_at
    if tenant.purge is not None:
        return None
    if registers.activated and not registers.expired and ends is not None and ends <= now:
        return LicenseExpired(tenant_id=tenant.id, product=key, epoch=registers.licensed_since)
    if desired.level == "retained" and since is not None and moved(since, policy.retention) <= now:
        apps = sorted(app for app in catalog.apps_of(key) if snapshot.product(app).has_converged)
        homes = sorted({home for each in (key, *apps) if (home := catalog[each].family) is not None})
        left = {home: _members(home, snapshot, catalog=catalog, policy=policy, now=now).keys() for home in homes}
        return PurgeStarted(
            tenant_id=tenant.id,
            product=key,
            epoch=registers.present_since,
            apps=tuple(apps),
            families=tuple(home for home in homes if not left[home] - {key, *apps}),
        )
    return None


def _desired_product(
    key: str, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    tenant = snapshot.tenant
    level = product_level(key, snapshot, catalog=catalog, now=now)
    registers = tenant.product(key)
    expiry = None if registers.expired or not registers.activated else _expiry(tenant, key)
    if level == "absent" or tenant.attributes is None:
        return DesiredState("absent", {}, purge=_purge_of_product(key, tenant), due_again_at=_soonest(expiry, now=now))
    groups, administrators = catalog[key].groups, snapshot.customer.administrators_version
    if level == "retained":
        kept = snapshot.product(key).steps.get(Step.CONFIGURATION)
        steps: dict[Step, StepSpec] = {Step.IDENTITY: _identity(key, groups, administrators, in_force=False)}
        if kept is not None:
            steps[Step.CONFIGURATION] = kept.spec
        since = registers.deactivated_at
        kept_until = moved(since, policy.retention) if since else None
        return DesiredState(level, steps, due_again_at=_soonest(kept_until, now=now))
    assert registers.presence is not None
    assert registers.license is not None
    presence, license_ = registers.presence.value, registers.license.value
    home = _home(presence, tenant.attributes.value)
    steps = {
        Step.SITE: _membership(key, "open" if level == "open" else "closed"),
        Step.CONFIGURATION: _configuration(key, home),
        Step.IDENTITY: _identity(key, groups, administrators, in_force=level == "open"),
        Step.LICENSE: LicenseSpec(
            product=key,
            edition=license_.edition,
            users=license_.users,
            active=level == "open",
            expires_at=license_.expires_at,
            features=catalog.features(key, license_.edition),
        ),
    }
    if snapshot.family(catalog.family_of(key)).data_missing:
        del steps[Step.LICENSE]  # it lay in the database
    host = catalog[key].host
    hosts_expiry = _expiry(tenant, host) if host is not None and level == "open" else None
    return DesiredState(
        level,
        steps,
        pin=home.region if home.residency == "pinned" else None,
        due_again_at=_soonest(expiry, hosts_expiry, now=now),
    )


@lru_cache(maxsize=KEPT_SPECS)
def _membership(key: str, access: Access) -> StepSpec:
    return MembershipSpec(product=key, access=access)


@lru_cache(maxsize=KEPT_SPECS)
def _configuration(key: str, home: RegionSpec) -> StepSpec:
    return ConfigurationSpec(product=key, residency=home.residency, region=home.region)


@lru_cache(maxsize=KEPT_SPECS)
def _identity(key: str, groups: tuple[str, ...], administrators_version: int, *, in_force: bool) -> StepSpec:
    return IdentitySpec(
        product=key,
        groups=(f"{key}-users", f"{key}-administrators", *groups),
        administrators_version=administrators_version,
        in_force=in_force,
    )


def _expiry(tenant: Tenant, key: str) -> datetime | None:
    license_ = tenant.product(key).license
    return license_.value.expires_at if license_ else None


# -- families ------------------------------------------------------------------------------------------------------


def _desired_family(
    key: str, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """As high as the highest of its products; a product that was given up before it lived does not count."""
    members = _members(key, snapshot, catalog=catalog, policy=policy, now=now)
    if not members:
        return DesiredState("absent", {}, purge=_purge_of_family(key, snapshot, catalog=catalog))
    steps: dict[Step, StepSpec] = {
        Step.REGION: _region_spec(key, tuple(members), snapshot),
        Step.DATABASE: _database(key, tuple((product, spec.level == "open") for product, spec in members.items())),
    }
    if snapshot.family(key).abandoned:
        del steps[Step.DATABASE]  # what is left of it goes, and then it is made anew
    level = max((spec.level for spec in members.values()), key=LEVELS.index)
    return DesiredState(level, steps, due_again_at=_soonest(*(spec.due_again_at for spec in members.values()), now=now))


@lru_cache(maxsize=KEPT_SPECS)
def _database(key: str, logins: tuple[tuple[str, bool], ...]) -> StepSpec:
    return DatabaseSpec(family=key, roles=tuple(RoleSpec(product=product, login=login) for product, login in logins))


def _members(
    key: str, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> dict[str, DesiredState]:
    """The products that the family is there for."""
    found: dict[str, DesiredState] = {}
    for product in sorted(snapshot.tenant.products):
        if product not in catalog or catalog[product].family != key:
            continue
        desired = _desired_product(product, snapshot, catalog=catalog, policy=policy, now=now)
        actual = snapshot.product(product)
        dropped = actual.failure is not None and actual.failure.digest == desired.digest and not actual.has_converged
        if desired.level != "absent" and not dropped:
            found[product] = desired
    return found


def _region_spec(key: str, members: tuple[str, ...], snapshot: TenantSnapshot) -> StepSpec:
    """Where the family lives it stays; before that a product's own pin or region goes before the tenant's."""
    placed = snapshot.family(key).steps.get(Step.REGION)
    if placed is not None and placed.done:
        return placed.spec
    assert snapshot.tenant.attributes is not None
    attributes = snapshot.tenant.attributes.value
    presences = [register.value for product in members if (register := snapshot.tenant.product(product).presence)]
    homes = [_home(presence, attributes) for presence in presences]
    pins = [home for home in homes if home.residency == "pinned"]
    hints = [home for home in homes if home.region is not None]
    return next(iter((*pins, *hints)), _region("global", None))


def _home(presence: Presence, attributes: Attributes) -> RegionSpec:
    """Where one product would live by itself: what its activation says goes before what its tenant says."""
    residency = presence.residency or attributes.residency
    inherited = attributes.region if residency == attributes.residency else None
    return _region(residency, presence.region or inherited)


@lru_cache(maxsize=KEPT_SPECS)
def _region(residency: Residency, region: str | None) -> RegionSpec:
    return RegionSpec(residency=residency, region=region)


# -- both ----------------------------------------------------------------------------------------------------------


def _soonest(*times: datetime | None, now: datetime) -> datetime | None:
    """The first of the times that is still to come."""
    return min((time for time in times if time is not None and time > now), default=None)


@lru_cache(maxsize=10_000)
def _digest(level: Level, pin: str | None, told: tuple[tuple[int, str], ...], purge: int | None) -> str:
    """Names the wish. Nearly every turn asks for one that was asked for a moment ago, so it is worked out once.

    Kept by the wishes' texts: two that are equal may be told apart there (a time in two zones), and in other processes.
    """
    steps = {step: json.loads(spec) for step, spec in told}
    content = [level, pin, steps] if purge is None else [level, pin, steps, purge]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
