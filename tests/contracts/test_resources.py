"""Resources: the same promises of seeing, listing and clearing away, on shards and in memory.

What brings steps about is in test_executors.py; here it plants what is then seen, lost, owned and discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import pytest
from msgspec.structs import replace

from adapters.embedded.postgres import EmbeddedPostgres
from application.ports.resources import Order
from application.resources import Resources
from domain.customer import Customer
from domain.drift import Observed, Thing
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning, StepCompleted, StepStarted, evolve
from domain.scope.steps import RegionSpec, Scope, Step, StepResult
from tests.adapters.provisioners.orders import (
    Executors,
    Family,
    customer,
    new_tenant_id,
    order,
    site_order,
    tenant,
)
from tests.adapters.resources.real_shards import SHARDS, RealWorld, real_world
from tests.domain.given import of, recorded
from tests.fakes.executors import FakeShard, FakeWorld


@dataclass(frozen=True)
class World:
    """What a suite works on, real or in memory."""

    executors: Executors
    resources: Resources


@pytest.fixture(scope="module")
def real(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(postgres) as world:
        yield world


@pytest.fixture(params=["fake", "real"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "real":
        found: RealWorld = request.getfixturevalue("real")
        return World(found.executors, found.resources)
    fake = FakeWorld({shard.name: FakeShard(shard.region, shard.capacity, shard.isolation) for shard in SHARDS})
    return World(fake.executors(), fake.resources())


@dataclass(frozen=True)
class Made:
    """What was ensured: the order, the scopes as their streams tell of them, and the things that were made."""

    order: Order
    scopes: dict[Scope, Provisioning]
    things: frozenset[Thing]
    obstacles: tuple[str, ...]

    def snapshot(self) -> TenantSnapshot:
        tenant_id = self.order.scope.tenant_id
        return TenantSnapshot(tenant(tenant_id), Customer("customer"), self.scopes)


def told(known: Provisioning, what: Order, facts: StepResult) -> Provisioning:
    """The scope after the step: its intent at the generation of the order, and its completion."""
    at = {**of(what.scope), "step": what.step, "direction": "ensure", "generation": what.generation}
    started = msgspec.convert({**at, "wish": what.spec}, StepStarted)
    done = msgspec.convert({**at, "customer_id": None, "facts": facts}, StepCompleted)
    stream = str(what.scope)
    begun = evolve(known, recorded(stream, known.version + 1, started))
    return evolve(begun, recorded(stream, begun.version + 1, done))


def listed(world: World, tenant_before: frozenset[Thing]) -> frozenset[Thing]:
    return frozenset(world.resources.inventory().things) - tenant_before


def site(world: World, before: frozenset[Thing]) -> Made:
    what = site_order(tenant_id := new_tenant_id(), f"site-{tenant_id}")
    scopes = {what.scope: told(Provisioning(what.scope), what, world.executors["site", Step.SITE].ensure(what))}
    return Made(what, scopes, listed(world, before), (f"site-name:site-{tenant_id}",))


def region(world: World, before: frozenset[Thing]) -> Made:
    scope = Scope("family", new_tenant_id(), "jira")
    what = order(scope, Step.REGION, RegionSpec(residency="global", region="eu"))
    scopes = {scope: told(Provisioning(scope), what, world.executors["family", Step.REGION].ensure(what))}
    return Made(what, scopes, listed(world, before), ("room:eu",))


def database(world: World, before: frozenset[Thing], *, region: str = "eu") -> Made:
    family = Family(world.executors, region=region)
    what = family.start({"jira-software": True})
    room = frozenset(world.resources.inventory().things) - before
    facts = family.carry_out(what)
    scopes = {what.scope: told(Provisioning(what.scope), what, facts)}
    return Made(what, scopes, listed(world, before | room), ())


def license_(world: World, before: frozenset[Thing], *, region: str = "eu") -> Made:
    family = Family(world.executors, region=region)
    made = family.start({"jira-software": True})
    scopes = {made.scope: told(Provisioning(made.scope), made, family.carry_out(made))}
    home = frozenset(world.resources.inventory().things) - before
    what = family.license_order("jira-software")
    facts = world.executors["product", Step.LICENSE].ensure(what)
    scopes[what.scope] = told(Provisioning(what.scope), what, facts)
    return Made(what, scopes, listed(world, before | home), ())


MAKES: dict[str, tuple[Callable[[World, frozenset[Thing]], Made], list[str]]] = {
    "site name": (site, ["site name"]),
    "region and capacity": (region, ["room"]),
    "schema": (database, ["role", "schema"]),
    "database": (lambda world, before: database(world, before, region="us"), ["database", "role"]),
    "entitlement in a schema": (license_, ["entitlement"]),
    "entitlement in a database": (lambda world, before: license_(world, before, region="us"), ["entitlement"]),
}


@pytest.fixture(params=list(MAKES))
def made(request: pytest.FixtureRequest, world: World) -> Made:
    before = frozenset(world.resources.inventory().things)
    return MAKES[request.param][0](world, before)


def findings(observed: Observed, what: Order) -> list[tuple[Step, str]]:
    return [
        (finding.step, finding.kind) for seen in observed.seen for finding in seen.findings if seen.scope == what.scope
    ]


# -- seeing ----------------------------------------------------------------------------------------------------------


def test_what_is_as_it_was_made_is_seen_without_a_finding(world: World, made: Made) -> None:
    observed = world.resources.observe([made.snapshot()])
    assert observed.unreachable == {}
    assert {seen.scope for seen in observed.seen} == set(made.scopes)
    assert [seen.findings for seen in observed.seen] == [()] * len(made.scopes)
    assert [seen.version for seen in observed.seen] == [each.version for each in made.scopes.values()]


def test_what_went_missing_is_found_in_its_step_and_data_as_data(world: World, made: Made) -> None:
    what = made.order
    gone = replace(what, direction="remove", generation=what.generation + 1)
    world.executors[what.scope.kind, what.step].remove(gone)
    found = findings(world.resources.observe([made.snapshot()]), what)
    assert found == [(what.step, "data" if what.step is Step.DATABASE else "missing")]


def test_a_look_asks_nothing_of_a_tenant_of_which_nothing_is_done(world: World) -> None:
    nothing = TenantSnapshot(tenant(new_tenant_id()), customer(), {})
    assert world.resources.observe([nothing]) == Observed((), {})


def test_an_entitlement_is_not_looked_for_where_the_data_of_its_family_is_missing(world: World) -> None:
    made = license_(world, frozenset(world.resources.inventory().things))
    family = next(scope for scope in made.scopes if scope.kind == "family")
    ensured = made.scopes[family].steps[Step.DATABASE]
    database_ = order(
        family,
        Step.DATABASE,
        ensured.spec,
        generation=9,
        direction="remove",
        created_generations=ensured.created_generations,
        placement=made.order.placement,
        database=made.order.database,
    )
    world.executors["family", Step.DATABASE].remove(database_)
    observed = world.resources.observe([made.snapshot()])
    assert {seen.scope for seen in observed.seen} == {family}
    assert findings(observed, database_) == [(Step.DATABASE, "data")]


# -- listing and owning ----------------------------------------------------------------------------------------------


def test_what_was_made_is_listed_by_kind_and_its_scope_owns_all_of_it(
    world: World, made: Made, request: pytest.FixtureRequest
) -> None:
    kinds = MAKES[request.node.callspec.params["made"]][1]
    assert sorted({thing.kind for thing in made.things}) == kinds
    owned = set().union(*(world.resources.owned(actual) for actual in made.scopes.values()))
    assert {world.resources.identity(thing) for thing in made.things} <= owned


def test_nothing_of_it_is_another_tenants(world: World, made: Made) -> None:
    others = [actual.but(scope=scope._replace(tenant_id=new_tenant_id())) for scope, actual in made.scopes.items()]
    theirs = set().union(*(world.resources.owned(actual) for actual in others))
    assert not {world.resources.identity(thing) for thing in made.things} & theirs


def test_a_step_that_was_only_started_owns_what_it_may_have_made(world: World, made: Made) -> None:
    scope = made.order.scope
    ensured = replace(made.scopes[scope].steps[made.order.step], result=None, done=False)
    actual = made.scopes[scope].but(steps={made.order.step: ensured})
    assert {world.resources.identity(thing) for thing in made.things} <= world.resources.owned(actual)
    assert world.resources.observe([replace(made.snapshot(), scopes={scope: actual})]).seen == ()


# -- clearing away ---------------------------------------------------------------------------------------------------


def test_what_is_claimed_under_the_lock_stays(world: World, made: Made) -> None:
    for thing in world.resources.in_turn(made.things):
        assert world.resources.of(thing).discard(thing, is_claimed=lambda: True) is None
    assert made.things <= world.resources.inventory().things
    assert findings(world.resources.observe([made.snapshot()]), made.order) == []


def test_what_is_discarded_is_gone_and_its_obstacle_ends_and_that_may_be_repeated(world: World, made: Made) -> None:
    ended: list[str] = []
    for thing in world.resources.in_turn(made.things):
        ended += world.resources.of(thing).discard(thing, is_claimed=lambda: False) or ()
    assert tuple(ended) == made.obstacles
    assert not made.things & world.resources.inventory().things
    for thing in world.resources.in_turn(made.things):
        assert world.resources.of(thing).discard(thing, is_claimed=lambda: False) is not None


@pytest.mark.parametrize("made", [name for name in MAKES if name not in ("schema", "database")], indirect=True)
def test_what_was_discarded_can_be_made_again_by_the_order_that_made_it(world: World, made: Made) -> None:
    """Not so data: that was made and is gone is never made again, empty (test_database.py)."""
    for thing in world.resources.in_turn(made.things):
        world.resources.of(thing).discard(thing, is_claimed=lambda: False)
    world.executors[made.order.scope.kind, made.order.step].ensure(made.order)
    assert made.things <= world.resources.inventory().things


def test_an_entitlement_goes_with_the_schema_that_it_lies_in(world: World) -> None:
    before = frozenset(world.resources.inventory().things)
    license_(world, before)
    things = frozenset(world.resources.inventory().things) - before
    assert {thing.kind for thing in things} == {"room", "schema", "role", "entitlement"}
    assert {thing.kind for thing in world.resources.alone(things)} == {"room", "schema", "role"}
