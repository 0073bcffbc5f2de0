"""Desired state of each scope of a tenant.

From the registers follows a level for each product, from the level a spec for each of its steps. Pure functions of the
registers, the customer, the actual state of the tenant's scopes (what has converged is retained, what never did is
absent) and the time.

    open > closed > retained > absent         a family is as high as the highest of its products

A purge that has begun makes a scope absent until the scope has converged to that very purge, whatever commerce has said
since: what is activated meanwhile waits for the removal, and then begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from domain.catalog import Catalog
from domain.policy import Policy
from domain.scope.dependencies import goes_first, prerequisites
from domain.scope.purges import is_purged, purge_of, purged_by
from domain.scope.snapshot import TenantSnapshot
from domain.scope.specs import digest_of, kept
from domain.scope.state import Failure
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
    RoleSpec,
    Scope,
    SiteSpec,
    Step,
    StepSpec,
)
from domain.stored_form import to_json
from domain.tenant.events import LicenseExpired, Passing, PurgeStarted, TenantPurged, TenantPurgeStarted
from domain.tenant.product_registers import Presence
from domain.tenant.state import Attributes, Tenant, is_awaiting_approval
from domain.times import moved


class DesiredState(Struct, frozen=True, dict=True):
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

    @cached_property
    def digest(self) -> str:
        """Of level, pin, steps and purge. Made when it is first asked for: most decisions do without."""
        step_texts = tuple((int(step), to_json(spec)) for step, spec in sorted(self.steps.items()))
        return digest_of(self.level, self.pin, step_texts, self.purge)


def licensed_access(tenant: Tenant, key: str, *, catalog: Catalog, now: datetime) -> Literal["open", "closed", "gone"]:
    """What the registers alone say. An app is never more open than its host."""
    registers = tenant.product(key)
    if not registers.activated:
        return "gone"
    if tenant.destroyed or not registers.is_open(now):
        return "closed"
    host = catalog[key].host
    is_kept_closed = host is not None and licensed_access(tenant, host, catalog=catalog, now=now) != "open"
    return "closed" if is_kept_closed else "open"


PURGE_AWAITING_APPROVAL: Final = "its purge, which the destroy guard holds"


def desired_state(
    scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """What `scope` should be."""
    desired = _desired_scope(scope, snapshot, catalog=catalog, policy=policy, now=now)
    if desired.passed is None:
        return desired
    if is_awaiting_approval(snapshot.tenant, desired.passed):
        return replace(desired, passed=None, awaited=PURGE_AWAITING_APPROVAL)
    for going in purged_by(desired.passed, snapshot):
        if snapshot.actual(going).is_on_operator_hold:  # nothing of it comes to the point of no return meanwhile
            return replace(desired, passed=None, awaited=f"the release of {going}, to be purged")
    return desired


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
            awaited = f"{prerequisite}, which has failed: {failure.reason}"
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
    steps: dict[Step, StepSpec] = {
        Step.COMMERCE: kept(
            CommerceSpec,
            customer_id=attributes.customer_id,
            metadata_version=customer.metadata_version,
            administrators_version=customer.administrators_version,
        ),
        Step.SITE: kept(SiteSpec, site_name=attributes.site_name, access=level),
        Step.CONFIGURATION: kept(
            ConfigurationSpec,
            product=None,
            residency=attributes.residency,
            region=attributes.region,
            metadata_version=customer.metadata_version,
        ),
        Step.IDENTITY: kept(
            IdentitySpec,
            product=None,
            groups=("site-users", "site-administrators"),
            administrators_version=customer.administrators_version,
            in_force=level == "open",
        ),
    }
    if tenant.destroyed is None:
        return DesiredState(level, steps)
    restorable_until = moved(tenant.destroyed.at, policy.restore_window)
    desired = DesiredState(level, steps, due_again_at=_soonest(restorable_until, now=now))
    if restorable_until > now:
        return desired
    return replace(desired, passed=TenantPurgeStarted(tenant_id=tenant.id, epoch=tenant.destroyed.epoch))


def _desired_purged_site(
    snapshot: TenantSnapshot, attributes: Attributes, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """Nothing but the reservation of its name while that cools down, then nothing, then the tombstone."""
    tenant, site = snapshot.tenant, snapshot.site()
    assert tenant.purge is not None
    name_free_at = moved(tenant.purge.at, policy.site_name_cool_down)
    reserved = site.steps.get(Step.SITE)
    if name_free_at > now and reserved is not None and reserved.result is not None:
        reservation = kept(SiteSpec, site_name=attributes.site_name, access="closed")
        return DesiredState("closed", {Step.SITE: reservation}, due_again_at=name_free_at)
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
        purge = purge_of(Scope("product", tenant.id, key), snapshot, catalog=catalog)
        return DesiredState("absent", {}, purge=purge, due_again_at=_soonest(expiry, now=now))
    identity = kept(
        IdentitySpec,
        product=key,
        groups=(f"{key}-users", f"{key}-administrators", *catalog[key].groups),
        administrators_version=snapshot.customer.administrators_version,
        in_force=level == "open",
    )
    if level == "retained":
        configured = snapshot.product(key).steps.get(Step.CONFIGURATION)
        steps: dict[Step, StepSpec] = {Step.IDENTITY: identity}
        if configured is not None:
            steps[Step.CONFIGURATION] = configured.spec
        since = registers.deactivated_at
        kept_until = moved(since, policy.retention) if since else None
        return DesiredState(level, steps, due_again_at=_soonest(kept_until, now=now))
    assert registers.presence is not None
    assert registers.license is not None
    presence, license_ = registers.presence.value, registers.license.value
    home = _home(presence, tenant.attributes.value)
    steps = {
        Step.SITE: kept(MembershipSpec, product=key, access="open" if level == "open" else "closed"),
        Step.CONFIGURATION: kept(ConfigurationSpec, product=key, residency=home.residency, region=home.region),
        Step.IDENTITY: identity,
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


def _expiry(tenant: Tenant, key: str) -> datetime | None:
    license_ = tenant.product(key).license
    return license_.value.expires_at if license_ else None


# -- families ------------------------------------------------------------------------------------------------------


def _desired_family(
    key: str, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> DesiredState:
    """As high as the highest of its products; a product that failed before it converged does not count."""
    members = _members(key, snapshot, catalog=catalog, policy=policy, now=now)
    if not members:
        return DesiredState(
            "absent", {}, purge=purge_of(Scope("family", snapshot.tenant.id, key), snapshot, catalog=catalog)
        )
    rotations = snapshot.family(key).rotations
    roles = (
        kept(RoleSpec, product=product, login=spec.level == "open", rotation=rotations.get(product, 0))
        for product, spec in members.items()
    )
    steps: dict[Step, StepSpec] = {
        Step.REGION: _region_spec(key, tuple(members), snapshot),
        Step.DATABASE: kept(DatabaseSpec, family=key, roles=tuple(roles)),
    }
    if snapshot.family(key).abandoned:
        del steps[Step.DATABASE]  # what is left of it goes, and then it is made anew
    level = max((spec.level for spec in members.values()), key=LEVELS.index)
    return DesiredState(level, steps, due_again_at=_soonest(*(spec.due_again_at for spec in members.values()), now=now))


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
    return next(iter((*pins, *hints)), kept(RegionSpec, residency="global", region=None))


def _home(presence: Presence, attributes: Attributes) -> RegionSpec:
    """Where one product would live by itself: what its activation says goes before what its tenant says."""
    residency = presence.residency or attributes.residency
    inherited = attributes.region if residency == attributes.residency else None
    return kept(RegionSpec, residency=residency, region=presence.region or inherited)


# -- both ----------------------------------------------------------------------------------------------------------


def _soonest(*times: datetime | None, now: datetime) -> datetime | None:
    """The first of the times that is still to come."""
    return min((time for time in times if time is not None and time > now), default=None)
