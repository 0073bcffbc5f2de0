"""Does the saga end where it should, whatever happens on the way?

Hypothesis draws a story: what commerce says, how much work is done between, which effects fail or kill their worker,
how time passes (licenses expire, retention and restore windows end), that commerce speaks at the very moment at which
the saga speaks for time, that an operator restores, and what she says to the destroy guard, which in some stories lets
next to nothing pass. Then all trouble ends, an operator retries what was given up, and the world is compared with what
the registers say: those of tests/simulation/registers.py, written from the description and not taken from domain/.

The same stories are told on a log in memory and, fewer of them, on real PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import tenant as tenants
from domain.convergence import Nothing, Wait, around, next_action
from domain.errors import Permanent, Refused, Retryable
from domain.policy import Guard
from domain.ports import Order, Recording
from domain.provisioning import ScopeConverged, StepStarted
from domain.steps import (
    ConfigurationWish,
    IdentityWish,
    LicenseWish,
    MembershipWish,
    Scope,
    SiteWish,
    Step,
)
from domain.tenant import (
    ChangeHeld,
    LicenseExpired,
    PurgeStarted,
    Tenant,
    TenantPurged,
    TenantPurgeStarted,
    TenantRestored,
)
from domain.wanted import wanted
from tests.domain.driver import LEASE, Cloud, CloudOn, Keeper, Killed
from tests.domain.given import (
    APP,
    CATALOG,
    CONFLUENCE,
    JIRA,
    POLICY,
    SERVICE,
    SITE,
    TENANT,
    FrontDoor,
    message,
)
from tests.domain.keeper import ClockAhead, PostgresKeeper
from tests.simulation import registers
from tests.simulation.desk import Desk
from tests.simulation.registers import Said

pytestmark = pytest.mark.saga

DAY = 86400
PRODUCTS = (JIRA, SERVICE, CONFLUENCE, APP)
EXAMPLES = 150
EXAMPLES_ON_POSTGRESQL = 25
UNLIMITED = 1_000_000

product = st.sampled_from(PRODUCTS)
said = st.one_of(
    st.tuples(st.just("product.activated"), product),
    st.tuples(st.just("product.activated"), product),
    st.tuples(st.just("product.deactivated"), product),
    st.tuples(st.just("product.deactivated"), product),
    st.tuples(st.just("product.suspended"), product),
    st.tuples(st.just("product.unsuspended"), product),
    st.tuples(st.just("license.updated"), product),
    st.tuples(st.just("license expires soon"), product),
    st.tuples(st.just("commerce.customer.updated"), st.just("")),
)
trouble = st.sampled_from(
    ["none"] * 12 + ["killed before", "killed after", "retryable", "retryable after", "permanent"]
)
chapter = st.one_of(
    said.map(lambda what: ("says", what)),
    st.lists(trouble, min_size=1, max_size=12).map(lambda fates: ("works", (fates,))),
    st.sampled_from([1, 40, 3600, 15 * DAY, 40 * DAY, 61 * DAY]).map(lambda seconds: ("passes", (seconds,))),
    product.map(lambda key: ("retires", (key,))),
    product.map(lambda key: ("retires", (key,))),
    st.sampled_from(["overtakes", "overtakes", "destroys", "restores", "restores"]).map(lambda what: (what, ())),
    st.sampled_from(["reads", "approves", "approves", "rejects"]).map(lambda what: (what, ())),
)
stories = st.tuples(
    st.sampled_from([UNLIMITED, UNLIMITED, 0, 1, 2]),
    st.lists(product, unique=True),
    st.lists(chapter, min_size=8, max_size=25),
    st.sampled_from([None, None, None, "tenant.destroyed"]),
    st.sampled_from(["approves", "rejects", "reads"]),
)


class Story:
    """A cloud to which things happen. `limit`: how much the destroy guard lets pass; `log`: another than in memory."""

    def __init__(self, *, limit: int = UNLIMITED, log: Keeper | None = None) -> None:
        policy = POLICY.model_copy(update={"guard": Guard(at_least=limit, share=0)})
        self.cloud: CloudOn = Cloud(policy=policy)
        if log is not None:
            self.cloud = CloudOn(FrontDoor(log, policy=policy, clock=ClockAhead()), policy=policy)
        self.registers = registers.Tenant(registers.Guard(limit=limit))
        self.desk = Desk(self.cloud.operating, {TENANT: self.registers}, self.cloud.clock, learn=self._learn)
        self.revision = 1
        self.fates: Iterator[str] = iter(())
        self._learned = 0
        self._overtaking = False
        self.cloud.log.before_record = self._overtake
        self.cloud.world.trouble = self._trouble
        created = [{"product": JIRA, "edition": "standard", "users": 5, "revision": 1}]
        self._takes("tenant.created", revision=1, products=created)
        self.registers.hears(
            Said("its product", "product.activated", TENANT, JIRA, 1, self.cloud.clock(), {"users": 5}),
            self.cloud.clock(),
        )

    def says(self, type_: str, key: str) -> None:
        self.revision += 1
        data: dict[str, Any] = {"product": key} if key else {}
        if type_ in ("product.activated", "license.updated"):
            data["users"] = self.revision
        if type_ == "license expires soon":
            type_, data = "license.updated", data | {"expires_at": self.cloud.clock() + timedelta(hours=2)}
        if type_ == "commerce.customer.updated":
            data = {"name": f"Acme {self.revision}"}
        if type_ in ("product.activated", "license.updated"):
            data["edition"] = "standard"
        self._takes(type_, revision=self.revision, **data)

    def _takes(self, type_: str, *, revision: int | None, id_: str | None = None, **data: Any) -> None:
        """A message comes in, and the registers hear of it."""
        self._learn()
        id_, now = id_ or f"{revision}", self.cloud.clock()
        self.cloud.intake.takes(message(type_, revision, id=id_, **data))
        if type_ != "commerce.customer.updated":
            said = Said(id_, type_, TENANT, data.get("product", ""), revision, now, data)
            self.registers.hears(said, now)
        self._check_held()

    def _learn(self) -> None:
        """The registers are told what time has brought about."""
        for fact in self.cloud.log.read(self._learned, UNLIMITED):
            self._learned = fact.position
            self.desk.sees(fact)

    def _check_held(self) -> None:
        """The destroy guard holds what the registers say."""
        held = self.cloud.intake.tenant().held
        listed = [(TENANT, each.event.change, each.event.product or "", each.event.revision) for each in held]
        assert listed == self.desk.held()
        assert list(self.cloud.log.held_by_guard()) == [TENANT] * bool(listed)

    def retires(self, key: str) -> None:
        """The product is deactivated, and its retention ends before anybody looks again."""
        self.says("product.deactivated", key)
        self.works(["none"])
        self.passes(61 * DAY)

    def overtakes(self) -> None:
        """When a product is next spoken of for time, or held, commerce will have activated it just before."""
        self._overtaking = True

    def destroys(self) -> None:
        self.says("tenant.destroyed", "")

    def restores(self) -> None:
        """An operator does, where it can be done, and an echo of the destruction comes after it."""
        destroyed = self.cloud.estate().tenant.destroyed_revision
        self._learn()
        with suppress(Refused):
            self.cloud.restore()
            in_time = not self.registers.is_over(self.cloud.clock()) or self.registers.holds("purge")
            assert in_time, "it was restored after its window"
            self.registers.restores()
            self._takes("tenant.destroyed", revision=destroyed, id_=f"echo {self.revision}")

    def reads(self) -> None:
        """An operator reads what the destroy guard holds."""
        self.desk.reads()

    def approves(self) -> None:
        """She lets it pass, by what she has read; whatever may have come since."""
        self._decides("approve")

    def rejects(self) -> None:
        """She drops it."""
        self._decides("reject")

    def _decides(self, verdict: Literal["approve", "reject"]) -> None:
        if self.desk.plan is None:
            self.desk.reads()
        self.desk.decides(verdict)
        self._check_held()

    def _overtake(self, recording: Recording) -> None:
        for fact in recording.events:
            if self._overtaking and isinstance(fact.event, (PurgeStarted, LicenseExpired, ChangeHeld)):
                self._overtaking = False
                self.says("product.activated", fact.event.product or JIRA)

    def works(self, fates: list[str]) -> None:
        self.fates = iter(fates)
        try:
            while self.cloud.work_once():
                pass
        except Killed:
            self.cloud.new_worker()
        finally:
            self.fates = iter(())

    def passes(self, seconds: int) -> None:
        self.cloud.clock.advance(timedelta(seconds=seconds))

    def ends(self) -> None:
        """No more trouble: leases run out, an operator retries, and all is worked off."""
        self._overtaking = False
        self.cloud.clock.advance(LEASE)
        self.cloud.settle()
        for _ in range(3):
            self.cloud.retry_all()
            self.cloud.settle()
        self._learn()
        self._check_held()

    def _trouble(self, order: Order, when: Literal["before", "after"]) -> None:
        self._data_is_safe(order)
        if when == "before":
            self._fate = next(self.fates, "none")
        match self._fate, when:
            case ("killed before", "before") | ("killed after", "after"):
                raise Killed
            case ("retryable", "before") | ("retryable after", "after"):
                raise Retryable("the network is slow")
            case "permanent", "before":
                raise Permanent("the disk is on fire")
            case _:
                pass

    def _data_is_safe(self, order: Order) -> None:
        """A database goes only by a purge that named it, or while no product in it ever lived."""
        if order.direction == "remove" and order.step is Step.DATABASE:
            estate, family = self.cloud.estate(), order.scope.key
            lived = [key for key in PRODUCTS if CATALOG.family_of(key) == family and estate.product(key).lived]
            named = [
                purge.started
                for key in PRODUCTS
                if (purge := estate.tenant.product(key).purge) is not None and family in purge.families
            ]
            purged = estate.tenant.purge is not None or max(named, default=0) > estate.family(family).purged
            assert purged or not lived, f"{order.idempotency_key} would drop the data of {lived}"


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
    world, estate = cloud.world, cloud.estate()
    if story.registers.is_purged(now):
        check_purged(cloud)
        return
    lived = {key: has_lived(cloud, key) for key in PRODUCTS}
    levels: dict[str, str] = {key: story.registers.level(key, now, lived=lived) for key in PRODUCTS}
    left = dict(world.things)
    site = left.pop((SITE, Step.SITE))
    assert isinstance(site, SiteWish)
    assert site.access == ("closed" if story.registers.destroyed_at else "open")
    assert world.taken_names == {"acme": TENANT}
    for step in (Step.COMMERCE, Step.CONFIGURATION, Step.IDENTITY):
        wish = left.pop((SITE, step))
        versions = wish.model_dump()
        assert versions.get("metadata_version", estate.customer.metadata_version) == estate.customer.metadata_version
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
    tenant, world = cloud.estate().tenant, cloud.world
    assert tenant.purge is not None
    assert not world.databases
    if tenant.purge.at + cloud.policy.site_name_cool_down > cloud.clock() and world.things:
        assert world.things == {(SITE, Step.SITE): SiteWish(site_name="acme", access="closed")}
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
    assert isinstance(identity, IdentityWish)
    assert identity.in_force == (level == "open"), key
    if level != "retained":
        assert isinstance(configuration, ConfigurationWish)
        membership, license_ = there.pop(Step.SITE), there.pop(Step.LICENSE)
        assert isinstance(membership, MembershipWish)
        assert isinstance(license_, LicenseWish)
        assert (membership.access == "open", license_.active) == (level == "open", level == "open"), key
    assert not there, f"{key} is {level}, and still has {there}"


def check_databases(cloud: CloudOn, levels: dict[str, str]) -> None:
    for family in ("jira", "confluence"):
        members = {key: level for key, level in levels.items() if CATALOG.family_of(key) == family}
        found = [database for (_, name, _), database in cloud.world.databases.items() if name == family]
        wanted_roles = {
            key: level == "open" for key, level in members.items() if level != "absent" and CATALOG[key].host is None
        }
        assert len(found) == (1 if wanted_roles else 0), f"databases of {family}: {cloud.world.databases}"
        for database in found:
            assert len(database.roles) == len(wanted_roles), f"orphan roles: {database.roles}"
            assert {name: login for (name, _), login in database.roles.items()} == wanted_roles
            entitled = {key: wish.active for key, wish in database.entitlements.items()}
            assert entitled == {key: level == "open" for key, level in members.items() if level in ("open", "closed")}


Told = tuple[int, list[str], list[Any], str | None, Literal["approves", "rejects", "reads"]]

QUIETLY = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@settings(QUIETLY, max_examples=EXAMPLES)
@given(stories)
def test_every_story_ends_with_the_world_as_commerce_wants_it(story: Told) -> None:
    tell(story)


@pytest.mark.slow
@settings(QUIETLY, max_examples=EXAMPLES_ON_POSTGRESQL)
@given(story=stories)
def test_every_story_ends_so_on_postgresql(
    fresh_database: Callable[[], AbstractContextManager[str]], story: Told
) -> None:
    with fresh_database() as url, closing(PostgresKeeper(url)) as log:
        tell(story, log=log)


def tell(story: Told, *, log: Keeper | None = None) -> None:
    """The story from its beginning to its end, and what must be so then."""
    limit, living, chapters, end, verdict = story
    told = Story(limit=limit, log=log)
    for key in living:
        told.says("product.activated", key)
    if living:
        told.works(["none"])
    for act, what in chapters:
        getattr(told, act)(*what)
    if end:
        told.says(end, "")
    getattr(told, verdict)()
    told.ends()
    cloud = told.cloud
    estate = cloud.estate()
    for scope, actual in estate.scopes.items():
        wish = wanted(scope, estate, catalog=CATALOG, policy=cloud.policy, now=cloud.clock())
        action = next_action(wish, actual, around(scope, wish, estate, catalog=CATALOG), cloud.clock())
        waits = isinstance(action, Wait) and told.registers.holds("purge", scope.key)
        assert isinstance(action, Nothing) or waits, f"{scope} has more to do: {action}"
        assert actual.given_up is None, f"{scope}: {actual.given_up}"
        assert actual.held is None, f"{scope}: {actual.held}"
    check(told)
    check_what_time_said(cloud)
    assert set(cloud.completions().values()) <= {1}, "a generation was completed twice"
    for fact in cloud.log.events:
        if isinstance(fact.event, StepStarted):
            assert fact.event.generation == fact.version
