"""What must be so when a story has ended?

The world is compared with what the registers say, and the log with what may be said in it.
"""

from __future__ import annotations

from typing import Any

from domain.scope.desired import desired_state
from domain.scope.next_action import Nothing, Wait, blockers, next_action
from domain.scope.state import ScopeConverged, ScopeFailed, ScopePutOnHold, ScopeResumed, StepCompleted, StepStarted
from domain.scope.steps import ConfigurationSpec, IdentitySpec, LicenseSpec, MembershipSpec, Scope, SiteSpec, Step
from domain.stored_form import as_json
from domain.tenant import state as tenants
from domain.tenant.events import LicenseExpired, PurgeStarted, TenantPurged, TenantPurgeStarted, TenantRestored
from domain.tenant.state import Tenant
from tests.domain.driver import CloudOn
from tests.domain.given import CATALOG, SITE, TENANT
from tests.domain.prerequisites import check_ground
from tests.domain.story import PRODUCTS, Story


def check_end(story: Story) -> None:
    """All of it, once trouble has ended."""
    check_rest(story)
    check(story)
    check_what_time_said(story.cloud)
    check_generations(story.cloud)
    check_holds(story.cloud)
    check_giving_up(story.cloud)
    check_ground(story.cloud.log.events)


def check_rest(story: Story) -> None:
    """Nobody has more to do, unless the destroy guard holds it."""
    cloud = story.cloud
    snapshot = cloud.snapshot()
    for scope, actual in snapshot.scopes.items():
        desired = desired_state(scope, snapshot, catalog=CATALOG, policy=cloud.policy, now=cloud.clock())
        action = next_action(desired, actual, blockers(scope, desired, snapshot, catalog=CATALOG), cloud.clock())
        waits = isinstance(action, Wait) and story.registers.holds("purge", scope.key)
        assert isinstance(action, Nothing) or waits, f"{scope} has more to do: {action}"
        assert actual.failure is None, f"{scope}: {actual.failure}"
        assert actual.on_hold is None, f"{scope}: {actual.on_hold}"


def check_generations(cloud: CloudOn) -> None:
    """A generation is the version of its intent, and was completed once."""
    assert set(cloud.completions().values()) <= {1}, "a generation was completed twice"
    for fact in cloud.log.events:
        if isinstance(fact.event, StepStarted):
            assert fact.event.generation == fact.version


def check_holds(cloud: CloudOn) -> None:
    """Nothing was begun for a scope while an operator held it."""
    held: set[str] = set()
    for fact in cloud.log.events:
        match fact.event:
            case ScopePutOnHold(digest=None):
                held.add(fact.stream)
            case ScopeResumed():
                held.discard(fact.stream)
            case StepStarted() | ScopeConverged():
                assert fact.stream not in held, f"{fact.stream} went on though it was held: {fact.event}"
            case _:
                pass


def check_giving_up(cloud: CloudOn) -> None:
    """Of what lives nothing is taken away because a wish was given up, and until it is resumed nothing new begins."""
    failure: set[str] = set()
    lives: dict[str, set[Step]] = {}
    there: dict[str, set[Step]] = {}
    for fact in cloud.log.events:
        steps = there.setdefault(fact.stream, set())
        match fact.event:
            case ScopeFailed():
                failure.add(fact.stream)
            case ScopeResumed():
                failure.discard(fact.stream)
            case ScopeConverged():
                lives[fact.stream] = set(steps)
            case StepStarted() as event:
                assert event.compensating == (fact.stream in failure), f"{fact.stream} goes on though it was given up"
                taken = event.compensating and event.direction == "remove" and event.step in lives.get(fact.stream, ())
                assert not taken, f"step {event.step} of {fact.stream} lives, and was undone"
                steps.add(event.step)
            case StepCompleted(direction="remove") as event:
                steps.discard(event.step)
            case _:
                pass


def has_lived(cloud: CloudOn, key: str) -> bool:
    """Whether the product has converged to a level at which it is there, and not to its absence since."""
    stream = str(Scope("product", TENANT, key))
    levels = [
        fact.event.level
        for fact in cloud.log.events
        if fact.stream == stream and isinstance(fact.event, ScopeConverged)
    ]
    return bool(levels) and levels[-1] != "absent"


def check(story: Story) -> None:
    """The world is what the registers say, and nothing else is there."""
    cloud, now = story.cloud, story.cloud.clock()
    world, snapshot = cloud.world, cloud.snapshot()
    if story.registers.is_purged(now):
        check_purged(cloud)
        return
    has_converged = {key: has_lived(cloud, key) for key in PRODUCTS}
    levels: dict[str, str] = {key: story.registers.level(key, now, has_converged=has_converged) for key in PRODUCTS}
    left = dict(world.things)
    site = left.pop((SITE, Step.SITE))
    assert isinstance(site, SiteSpec)
    assert site.access == ("closed" if story.registers.destroyed_at else "open")
    assert world.taken_names == {"acme": TENANT}
    for step in (Step.COMMERCE, Step.CONFIGURATION, Step.IDENTITY):
        spec = left.pop((SITE, step))
        versions = as_json(spec)
        assert (
            versions.get("metadata_version", snapshot.customer.metadata_version) == snapshot.customer.metadata_version
        )
    for key, level in levels.items():
        scope = Scope("product", TENANT, key)
        there = {step: left.pop((scope, step)) for step in Step if (scope, step) in left}
        check_product(level, there, key)
        if CATALOG[key].host:
            assert level != "open" or levels[str(CATALOG[key].host)] == "open"
    check_databases(cloud, levels)
    for family in {CATALOG.family_of(key) for key, level in levels.items() if level != "absent"}:
        for step in (Step.REGION, Step.DATABASE):
            left.pop((Scope("family", TENANT, family), step))
    assert not left, f"orphans: {left}"


def check_purged(cloud: CloudOn) -> None:
    """Nothing is left but the reservation of the name, and after its cool-down not even that."""
    tenant, world = cloud.snapshot().tenant, cloud.world
    assert tenant.purge is not None
    assert not world.databases
    if tenant.purge.at + cloud.policy.site_name_cool_down > cloud.clock() and world.things:
        assert world.things == {(SITE, Step.SITE): SiteSpec(site_name="acme", access="closed")}
        assert world.taken_names == {"acme": TENANT}
        return
    assert (world.things, world.taken_names) == ({}, {})
    stream = [fact.event for fact in cloud.log.events if fact.stream == tenants.stream_of(TENANT)]
    assert stream[-1] == TenantPurged(tenant_id=TENANT)


def check_what_time_said(cloud: CloudOn) -> None:
    """Each fact that the saga recorded for time was true at its time, and no database is older than its purge."""
    before = Tenant(TENANT)
    purges: dict[str, int] = {}
    for fact in cloud.log.events:
        if fact.stream != tenants.stream_of(TENANT):
            if isinstance(fact.event, ScopeConverged) and fact.event.kind == "product" and fact.event.level != "absent":
                assert fact.event.data_lost == (before.product(fact.event.key).activated and fact.event.key in purges)
            continue
        match fact.event:
            case LicenseExpired() as event:
                license_ = before.product(event.product).license
                assert license_ is not None
                assert license_.value.expires_at is not None
                assert license_.value.expires_at <= fact.time
                assert not before.product(event.product).expired
            case PurgeStarted() as event:
                since = before.product(event.product).deactivated_at
                assert since is not None
                assert since + cloud.policy.retention <= fact.time
                purges |= dict.fromkeys((event.product, *event.apps), fact.position)
                for family in event.families:
                    for _, name, generation in cloud.world.databases:
                        stream = str(Scope("family", TENANT, family))
                        assert name != family or position_of(cloud, stream, generation) > fact.position
            case TenantPurgeStarted():
                assert before.destroyed is not None
                assert before.destroyed.at + cloud.policy.restore_window <= fact.time
            case TenantRestored():
                assert before.destroyed is not None
                assert before.purge is None
            case _:
                assert before.purge is None or isinstance(fact.event, TenantPurged)
        before = tenants.evolve(before, fact)


def position_of(cloud: CloudOn, stream: str, version: int) -> int:
    return next(fact.position for fact in cloud.log.events if (fact.stream, fact.version) == (stream, version))


def check_product(level: str, there: dict[Step, Any], key: str) -> None:
    if level == "absent":
        assert not there, f"{key} should be absent"
        return
    configuration, identity = there.pop(Step.CONFIGURATION, None), there.pop(Step.IDENTITY)
    assert isinstance(identity, IdentitySpec)
    assert identity.in_force == (level == "open"), key
    if level != "retained":
        assert isinstance(configuration, ConfigurationSpec)
        membership, license_ = there.pop(Step.SITE), there.pop(Step.LICENSE)
        assert isinstance(membership, MembershipSpec)
        assert isinstance(license_, LicenseSpec)
        assert (membership.access == "open", license_.active) == (level == "open", level == "open"), key
    assert not there, f"{key} is {level}, and still has {there}"


def check_databases(cloud: CloudOn, levels: dict[str, str]) -> None:
    for family in ("jira", "confluence"):
        members = {key: level for key, level in levels.items() if CATALOG.family_of(key) == family}
        found = [database for (_, name, _), database in cloud.world.databases.items() if name == family]
        desired_roles = {
            key: level == "open" for key, level in members.items() if level != "absent" and CATALOG[key].host is None
        }
        assert len(found) == (1 if desired_roles else 0), f"databases of {family}: {cloud.world.databases}"
        for database in found:
            assert len(database.roles) == len(desired_roles), f"orphan roles: {database.roles}"
            assert {name: login for (name, _), login in database.roles.items()} == desired_roles
            entitled = {key: spec.active for key, spec in database.entitlements.items()}
            assert entitled == {key: level == "open" for key, level in members.items() if level in ("open", "closed")}
