"""Does the saga end where it should, whatever happens on the way?

Hypothesis draws a story: what commerce says, how much work is done between, which effects fail or kill their worker,
how time passes (licenses expire, retention and restore windows end), that commerce speaks at the very moment at which
the saga speaks for time, that an operator restores. Then all trouble ends, an operator retries what was given up, and
the world is compared with what the registers say. The expectation is written down here anew, not taken from wanted.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import tenant as tenants
from domain.convergence import Nothing, around, next_action
from domain.errors import Permanent, Refused, Retryable
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
    LicenseExpired,
    PurgeStarted,
    Tenant,
    TenantPurged,
    TenantPurgeStarted,
    TenantRestored,
)
from domain.wanted import wanted, wish_of_product
from tests.domain.driver import LEASE, Cloud, Killed
from tests.domain.given import (
    APP,
    CATALOG,
    CONFLUENCE,
    JIRA,
    SERVICE,
    SITE,
    TENANT,
    message,
)

pytestmark = pytest.mark.saga

DAY = 86400
PRODUCTS = (JIRA, SERVICE, CONFLUENCE, APP)
EXAMPLES = 150

product = st.sampled_from(PRODUCTS)
said = st.one_of(
    st.tuples(st.just("product.activated"), product),
    st.tuples(st.just("product.activated"), product),
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
    st.sampled_from(["overtakes", "overtakes", "destroys", "restores", "restores"]).map(lambda what: (what, ())),
)
stories = st.tuples(
    st.lists(product, unique=True),
    st.lists(chapter, min_size=3, max_size=25),
    st.sampled_from([None, None, None, "tenant.destroyed"]),
)


class Story:
    """A cloud to which things happen."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.revision = 1
        self.fates: Iterator[str] = iter(())
        self._overtaking = False
        self.cloud.log.before_record = self._overtake
        self.cloud.world.trouble = self._trouble
        products = [{"product": JIRA, "edition": "standard", "users": 5, "revision": 1}]
        self.cloud.intake.takes(message("tenant.created", 1, products=products))

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
        self.cloud.intake.takes(message(type_, self.revision, id=str(self.revision), **data))

    def retires(self, key: str) -> None:
        """The product is deactivated, and its retention ends before anybody looks again."""
        self.says("product.deactivated", key)
        self.works(["none"])
        self.passes(61 * DAY)

    def overtakes(self) -> None:
        """When the saga next speaks of a product for time, commerce will have activated that product just before."""
        self._overtaking = True

    def destroys(self) -> None:
        self.says("tenant.destroyed", "")

    def restores(self) -> None:
        """An operator does, where it can be done, and an echo of the destruction comes after it."""
        destroyed = self.cloud.estate().tenant.destroyed_revision
        with suppress(Refused):
            self.cloud.restore()
            self.cloud.intake.takes(message("tenant.destroyed", destroyed, id=f"echo {self.revision}"))

    def _overtake(self, recording: Recording) -> None:
        for fact in recording.events:
            if self._overtaking and isinstance(fact.event, (PurgeStarted, LicenseExpired)):
                self._overtaking = False
                self.says("product.activated", fact.event.product)

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


def has_lived(cloud: Cloud, key: str) -> bool:
    """Whether the product has converged to a level at which it is there, and not to its absence since."""
    stream = str(Scope("product", TENANT, key))
    levels = [
        fact.event.level
        for fact in cloud.log.events
        if fact.stream == stream and isinstance(fact.event, ScopeConverged)
    ]
    return bool(levels) and levels[-1] != "absent"


def expected_level(cloud: Cloud, key: str) -> str:
    tenant = cloud.estate().tenant
    if window_is_over(cloud):
        return "absent"
    host = CATALOG[key].host
    if host is not None and expected_level(cloud, host) == "absent":
        return "absent"
    wish = wish_of_product(tenant, key, catalog=CATALOG, now=cloud.clock())
    if wish != "gone":
        return wish
    since = tenant.product(key).deactivated_at
    is_over = since is not None and since + cloud.policy.retention <= cloud.clock()
    return "retained" if has_lived(cloud, key) and not is_over else "absent"


def window_is_over(cloud: Cloud) -> bool:
    destroyed = cloud.estate().tenant.destroyed
    return destroyed is not None and destroyed.at + cloud.policy.restore_window <= cloud.clock()


def check(cloud: Cloud) -> None:
    """The world is what the registers say, and nothing else is there."""
    world, estate = cloud.world, cloud.estate()
    if window_is_over(cloud):
        check_purged(cloud)
        return
    levels = {key: expected_level(cloud, key) for key in PRODUCTS}
    left = dict(world.things)
    site = left.pop((SITE, Step.SITE))
    assert isinstance(site, SiteWish)
    assert site.access == ("closed" if estate.tenant.destroyed else "open")
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


def check_purged(cloud: Cloud) -> None:
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


def check_what_time_said(cloud: Cloud) -> None:
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


def position_of(cloud: Cloud, stream: str, version: int) -> int:
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


def check_databases(cloud: Cloud, levels: dict[str, str]) -> None:
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


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(stories)
def test_every_story_ends_with_the_world_as_commerce_wants_it(
    story: tuple[list[str], list[Any], str | None],
) -> None:
    told = Story()
    living, chapters, end = story
    for key in living:
        told.says("product.activated", key)
    if living:
        told.works(["none"])
    for act, what in chapters:
        getattr(told, act)(*what)
    if end:
        told.says(end, "")
    told.ends()
    cloud = told.cloud
    estate = cloud.estate()
    for scope, actual in estate.scopes.items():
        wish = wanted(scope, estate, catalog=CATALOG, policy=cloud.policy, now=cloud.clock())
        action = next_action(wish, actual, around(scope, wish, estate, catalog=CATALOG), cloud.clock())
        assert isinstance(action, Nothing), f"{scope} has more to do: {action}"
        assert actual.given_up is None, f"{scope}: {actual.given_up}"
        assert actual.held is None, f"{scope}: {actual.held}"
    check(cloud)
    check_what_time_said(cloud)
    assert set(cloud.completions().values()) <= {1}, "a generation was completed twice"
    for fact in cloud.log.events:
        if isinstance(fact.event, StepStarted):
            assert fact.event.generation == fact.version
