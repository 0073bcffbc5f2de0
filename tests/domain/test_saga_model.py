"""Does the saga end where it should, whatever happens on the way?

Hypothesis draws a story: what commerce says, how much work is done between, which effects fail or kill their worker,
how time passes. Then all trouble ends, an operator retries what was given up, and the world is compared with what the
registers say. The expectation is written down here anew, not taken from wanted.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.convergence import Nothing, around, next_action
from domain.errors import Permanent, Retryable
from domain.ports import Order
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
    st.lists(trouble, min_size=1, max_size=12).map(lambda fates: ("works", fates)),
    st.sampled_from([1, 40, 3600, 40 * 86400]).map(lambda seconds: ("passes", seconds)),
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
        """A database goes only while no product in it ever lived."""
        if order.direction == "remove" and order.step is Step.DATABASE:
            estate = self.cloud.estate()
            lived = [key for key in PRODUCTS if CATALOG.family_of(key) == order.scope.key and estate.product(key).lived]
            assert not lived, f"{order.idempotency_key} would drop the data of {lived}"


def has_lived(cloud: Cloud, key: str) -> bool:
    """Whether the product ever converged to a level at which it is there."""
    stream = str(Scope("product", TENANT, key))
    return any(
        fact.stream == stream and isinstance(fact.event, ScopeConverged) and fact.event.level != "absent"
        for fact in cloud.log.events
    )


def expected_level(cloud: Cloud, key: str) -> str:
    tenant = cloud.estate().tenant
    host = CATALOG[key].host
    if host is not None and expected_level(cloud, host) == "absent":
        return "absent"
    wish = wish_of_product(tenant, key, catalog=CATALOG, now=cloud.clock())
    if wish != "gone":
        return wish
    return "retained" if has_lived(cloud, key) else "absent"


def check(cloud: Cloud) -> None:
    """The world is what the registers say, and nothing else is there."""
    world, estate = cloud.world, cloud.estate()
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
    for kind, what in chapters:
        match kind:
            case "says":
                told.says(*what)
            case "works":
                told.works(what)
            case _:
                told.passes(what)
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
    assert set(cloud.completions().values()) <= {1}, "a generation was completed twice"
    for fact in cloud.log.events:
        if isinstance(fact.event, StepStarted):
            assert fact.event.generation == fact.version
