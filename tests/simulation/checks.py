"""What must be so at every step, when a worker was killed at a commit, and at the end of a story?

`Witness` looks on: at each fact when it is committed, at each effect before it begins. `check_end` compares the world
with the registers when all have come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from application.ports.resources import Order
from application.unsettled_scopes import names_in_queue, unsettled
from domain.event import Recorded
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import ScopeConverged, ScopeFailed, ScopeResumed, StepCompleted, StepFailed, StepStarted
from domain.scope.steps import LEVELS, IdentitySpec, LicenseSpec, MembershipSpec, Scope, SiteSpec, Step
from domain.tenant.events import PurgeStarted, TenantPurged, TenantPurgeStarted
from tests.domain.given import CATALOG
from tests.domain.prerequisites import prerequisites_of
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.world import World
from tests.simulation.registers import COOL_DOWN, HOSTS

if TYPE_CHECKING:
    from tests.simulation.story import Story

ATTEMPTS = 8
"""Of one intent, as the default policy has it."""


class Witness:
    """Remembers what was begun, done, lived and purged."""

    def __init__(self, log: MemoryEventLog, world: World) -> None:
        self._log = log
        self._world = world
        self._started: dict[tuple[str, int], int] = {}
        self._done: set[str] = set()
        self._completed: Counter[tuple[str, int]] = Counter()
        self._versions: Counter[str] = Counter()
        self._purges: dict[tuple[str, str], int] = {}
        self._lived_at: dict[tuple[str, str], int] = {}
        self._begun_at: dict[tuple[str, str], int] = {}
        self._rested: set[str] = set()
        self._given_up: dict[str, dict[str, int]] = {}
        self._dropped = 0
        self.commits = 0
        self.has_converged: dict[str, dict[str, bool]] = {}
        self.tenant_purged_at: dict[str, Any] = {}

    def effect(self, order: Order, when: Literal["before", "after"]) -> None:
        """No effect outside the log without its intent in the log; no data dropped unless a purge named it, or nothing
        in it lived."""
        if when == "before":
            is_begun = (str(order.scope), order.generation) in self._started
            assert is_begun or not self._world.bulkheads(order), (
                f"{order.idempotency_key} begins, and its intent is not recorded"
            )
            return
        self._done.add(order.idempotency_key)
        for tenant, family, generation in self._world.dropped[self._dropped :]:
            self._is_safe(tenant, family, generation)
        self._dropped = len(self._world.dropped)

    def _is_safe(self, tenant: str, family: str, generation: int) -> None:
        created_generations = self._started[str(Scope("family", tenant, family)), generation]
        purged = max(self._purges.get((tenant, family), 0), self._purges.get((tenant, ""), 0))
        if purged > created_generations:
            return
        has_converged = [
            key
            for (its, key), at in self._lived_at.items()
            if its == tenant
            and CATALOG.family_of(key) == family
            and at > max(created_generations, self._purges.get((tenant, key), 0))
        ]
        assert not has_converged, (
            f"the database of {family} of {tenant} is dropped with the data of {has_converged}, and no purge named it"
        )

    def sees(self, fact: Recorded) -> None:
        """A fact was committed."""
        self._versions[fact.stream] += 1
        assert fact.version == self._versions[fact.stream], f"{fact.stream} has a gap before {fact.version}"
        match fact.event:
            case StepStarted() as event:
                assert event.generation == fact.version
                self._started[fact.stream, event.generation] = fact.position
                if event.scope.kind == "product":
                    self._begun_at.setdefault((event.tenant_id, event.scope.key), fact.position)
                if self._given_up:
                    self._begins(event)
            case StepCompleted() as event:
                key = f"{fact.stream}/{int(event.step)}/{event.direction}/{event.generation}"
                assert key in self._done, f"{key} is recorded as completed, and never came about"
                self._completed[fact.stream, event.generation] += 1
                assert self._completed[fact.stream, event.generation] == 1, f"{key} was completed twice"
            case StepFailed() as event:
                assert event.attempt <= ATTEMPTS, f"{fact.stream} is tried for ever"
            case ScopeConverged() as event:
                (self._rested.discard if event.level == "absent" else self._rested.add)(fact.stream)
                if event.kind == "product":
                    self._converged(event, fact.position)
            case ScopeFailed() if fact.stream not in self._rested:
                self._given_up[fact.stream] = {}
            case ScopeResumed():
                self._given_up.pop(fact.stream, None)
            case PurgeStarted() as event:
                names = (event.product, *event.apps, *event.families)
                self._purges |= {(event.tenant_id, name): fact.position for name in names}
            case TenantPurgeStarted() as event:
                self._purges[event.tenant_id, ""] = fact.position
                self.tenant_purged_at[event.tenant_id] = fact.time
            case _:
                pass

    def _begins(self, event: StepStarted) -> None:
        """On ground that is being undone nobody goes on, but by the one decision that was made before it was."""
        if any(self.has_converged.get(event.tenant_id, {}).values()):
            return
        for prerequisite in map(str, prerequisites_of(event.scope)):
            late = self._given_up.get(prerequisite)
            if late is not None and event.direction == "ensure":
                assert late.setdefault(str(event.scope), self.commits) == self.commits, (
                    f"{event.scope} begins step {event.step}, and {prerequisite} is being undone"
                )

    def _converged(self, event: ScopeConverged, position: int) -> None:
        has_converged = self.has_converged.setdefault(event.tenant_id, {})
        place = (event.tenant_id, event.key)
        if event.level == "absent" and has_converged.get(event.key) and event.key not in HOSTS:
            purged = max(self._purges.get(place, 0), self._purges.get((event.tenant_id, ""), 0))
            began = self._begun_at[place]  # a purge takes what was half made when it started, too (seed 784)
            assert purged > began, f"{event.key} of {event.tenant_id} lived, and went without a purge"
        if event.level != "absent" and not has_converged.get(event.key):
            self._lived_at[place] = position
        if event.level == "absent":
            self._begun_at.pop(place, None)
        has_converged[event.key] = event.level != "absent"


def check_held(story: Story) -> None:
    """The destroy guard holds what the registers say, of each tenant."""
    held = {tenant: len(registers.held) for tenant, registers in story.registers.items() if registers.held}
    found = {tenant: each.changes for tenant, each in story.log.held.items()}
    assert found == held, f"{found} changes are held, and it should be {story.desk.held()}"


def check_given_up(story: Story) -> None:
    """At rest, nothing that lived was given up on its way down: going back would open what must be closed.

    A purge that is due and has not begun, since somebody holds a scope of it, is no way down yet (seed 1557).
    """
    for tenant, snapshot in story.snapshots().items():
        for scope, actual in snapshot.scopes.items():
            if scope.kind == "product" and actual.failure is not None and actual.has_converged:
                has_converged = story.witness.has_converged.get(tenant, {})
                level = story.registers[tenant].level(
                    scope.key, story.clock(), has_converged=has_converged, purges="begun"
                )
                is_way_down = LEVELS.index(level) < LEVELS.index(actual.level)
                assert not is_way_down, f"{scope} is given up as {actual.level}, and should be {level}"


def check_nobody_is_forgotten(story: Story) -> None:
    """Whatever has something to do now is due, or will be when its obstacle is out of the way."""
    now = story.clock()
    due = {work_item.scope for work_item in story.log.work_items.values() if work_item.at <= now}
    due |= {scope for _, scope in story.log.obstacles}
    if any(scope.startswith("customer:") for scope in due):
        return  # what that changes is made due when it is looked at
    for snapshot in story.snapshots().values():
        for scope in snapshot.scopes:
            if str(scope) not in due:
                decision = story.saga.take(scope, snapshot)
                forgotten = decision.order or decision.unit.events
                is_remembered = not forgotten or str(scope) in _next_due(story, snapshot, due)
                assert is_remembered, f"{scope} is not due, and has something to do: {forgotten}"


def _next_due(story: Story, snapshot: TenantSnapshot, due: set[str]) -> set[str]:
    """What the decisions on scopes of the tenant that are due now make due: a product that a change of its customer
    lets begin anew brings its family with it."""
    decisions = (story.saga.take(scope, snapshot) for scope in snapshot.scopes if str(scope) in due)
    return {work_item.scope for decision in decisions for work_item in decision.unit.work_items}


def check_nobody_is_left_alone(story: Story) -> None:
    """At rest, what an audit says of every scope: it is as it should be, or due, or waits for something named."""
    for snapshot in story.snapshots().values():
        scheduled = story.log.scheduled(names_in_queue(snapshot))
        saga = story.saga
        found = list(unsettled(snapshot, scheduled, catalog=saga.catalog, policy=saga.policy, now=story.clock()))
        assert not found, f"nobody would ever look at {found}"


def check_end(story: Story) -> None:
    """The world is what the registers say, and nothing else is there."""
    check_held(story)
    check_nobody_is_left_alone(story)
    world, now = story.world, story.clock()
    left = dict(world.things)
    databases = dict(world.databases)
    names = dict(world.taken_names)
    for tenant, registers in story.registers.items():
        site = Scope("site", tenant)
        if not registers.exists:
            continue
        name = story.site_names[tenant]
        if registers.is_purged(now):
            _check_purged(story, tenant, left, names)
            continue
        if world.taken_names.get(name) != tenant:
            assert name in world.taken_names, f"{tenant} waits for the name {name}, which is free"
            left.pop((site, Step.COMMERCE))
            continue
        del names[name]
        spec = left.pop((site, Step.SITE))
        access = "open" if registers.destroyed_at is None else "closed"
        assert isinstance(spec, SiteSpec)
        assert spec.access == access, f"the site of {tenant} is {spec.access}, and should be {access}"
        identity = left.pop((site, Step.IDENTITY))
        assert isinstance(identity, IdentitySpec)
        assert identity.in_force == (access == "open"), f"the site of {tenant} should be {access}"
        for step in (Step.COMMERCE, Step.CONFIGURATION):
            left.pop((site, step))
        has_converged = story.witness.has_converged.get(tenant, {})
        levels = {key: registers.level(key, now, has_converged=has_converged) for key in story.products}
        for key, level in levels.items():
            scope = Scope("product", tenant, key)
            _check_product(
                f"{key} of {tenant}", level, {step: left.pop((scope, step)) for step in Step if (scope, step) in left}
            )
        _check_databases(tenant, levels, registers, left, databases)
    assert not left, f"orphans: {left}"
    assert not databases, f"orphaned databases: {databases}"
    assert not names, f"orphaned names: {names}"


def _check_purged(story: Story, tenant: str, left: dict[Any, Any], names: dict[str, str]) -> None:
    name = story.site_names[tenant]
    since = story.witness.tenant_purged_at[tenant]
    if since + COOL_DOWN > story.clock() and names.get(name) == tenant:
        assert left.pop((Scope("site", tenant), Step.SITE)).access == "closed"
        del names[name]
        return
    assert names.get(name) != tenant, f"{tenant} is gone, and still has its name"
    events = story.log.load({f"tenant:{tenant}": 0})[f"tenant:{tenant}"]
    assert isinstance(events[-1].event, TenantPurged), f"{tenant} is gone without a tombstone"


def _check_product(what: str, level: str, there: dict[Step, Any]) -> None:
    is_open = level == "open"
    if level == "absent":
        assert not there, f"{what} should be absent, and there is {there}"
        return
    identity = there.pop(Step.IDENTITY, None)
    assert isinstance(identity, IdentitySpec), f"{what} should be {level}, and has {there}"
    assert identity.in_force == is_open, f"{what} should be {level}: {identity}"
    configuration = there.pop(Step.CONFIGURATION, None)
    if level != "retained":
        membership, license_ = there.pop(Step.SITE, None), there.pop(Step.LICENSE, None)
        assert configuration is not None, f"{what} has no configuration"
        assert isinstance(membership, MembershipSpec), f"{what} should be {level}, and is not in the site's set"
        assert isinstance(license_, LicenseSpec), f"{what} should be {level}, and has no entitlement"
        assert (membership.access == "open", license_.active) == (is_open, is_open), f"{what} should be {level}"
    assert not there, f"{what} is {level}, and still has {there}"


def _check_databases(
    tenant: str, levels: Mapping[str, str], registers: Any, left: dict[Any, Any], databases: dict[Any, Any]
) -> None:
    for family in sorted({CATALOG.family_of(key) for key in levels}):
        members = {key: level for key, level in levels.items() if CATALOG.family_of(key) == family}
        logins = {key: level == "open" for key, level in members.items() if level != "absent" and key not in HOSTS}
        found = [databases.pop(place) for place in list(databases) if place[:2] == (tenant, family)]
        scope = Scope("family", tenant, family)
        assert len(found) == bool(logins), f"databases of {family} of {tenant}: {found}, and {members} is wanted"
        for database in found:
            del left[scope, Step.REGION], left[scope, Step.DATABASE]
            roles = sorted((key, login) for (key, _), login in database.roles.items())
            assert roles == sorted(logins.items()), f"roles of {family} of {tenant}: {roles}, and {logins} is wanted"
            entitled = {key: (spec.active, spec.users) for key, spec in database.entitlements.items()}
            licensed = {
                key: (level == "open", registers.products[key].license.value[0])
                for key, level in members.items()
                if level in ("open", "closed")
            }
            assert entitled == licensed, f"entitlements of {tenant}: {entitled}, and {licensed} is wanted"
