"""Do the executors keep the same promises on shards, in memory, and when somebody else carries them out?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.provisioners.foreign import Routed
from application.ports.resources import Order
from domain.errors import Fenced, Obstacle, Permanent
from domain.scope.steps import DatabaseResult, RegionResult, RegionSpec, Scope, Step
from tests.adapters.provisioners.orders import Executors, Family, new_tenant_id, order, site_order
from tests.adapters.resources.real_shards import SHARDS, RealWorld, real_world
from tests.fakes.executors import FakeShard, FakeWorld
from tests.fakes.provisioner import serving, webhook


@pytest.fixture(scope="module")
def real(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(postgres) as world:
        yield world


@pytest.fixture(params=["fake", "real", "webhook"])
def executors(request: pytest.FixtureRequest) -> Iterator[Executors]:
    if request.param == "real":
        world: RealWorld = request.getfixturevalue("real")
        yield world.executors
        return
    shards = {shard.name: FakeShard(shard.region, shard.capacity, shard.isolation) for shard in SHARDS}
    fakes = FakeWorld(shards).executors()
    if request.param == "fake":
        yield fakes
    else:
        with serving() as provisioner:
            ours, asked = fakes["product", Step.LICENSE], webhook(provisioner, "jira-software", Step.LICENSE)
            yield fakes | {("product", Step.LICENSE): Routed(ours, {"jira-software": asked})}


def placement(tenant_id: str, region: str | None, *, generation: int = 1, pinned: bool = False) -> Order:
    spec = RegionSpec(residency="pinned" if pinned else "global", region=region)
    return order(Scope("family", tenant_id, "jira"), Step.REGION, spec, generation=generation)


def again(what: Order, generation: int) -> Order:
    return order(
        what.scope,
        what.step,
        what.spec,
        generation=generation,
        direction="remove",
        created_generations=what.created_generations,
        placement=what.placement,
        database=what.database,
    )


# -- every executor that leaves something behind -------------------------------------------------------------


@pytest.fixture(params=["site", "region", "schema", "database", "license in a schema", "license in a database"])
def effect(request: pytest.FixtureRequest, executors: Executors) -> Order:
    """An order of generation 5 that nobody has carried out yet."""
    match request.param:
        case "site":
            tenant_id = new_tenant_id()
            return site_order(tenant_id, tenant_id, generation=5)
        case "region":
            return placement(new_tenant_id(), "eu", generation=5)
        case "schema" | "database":
            family = Family(executors, region="eu" if request.param == "schema" else "us", generation=3)
            return family.start({"jira-software": True})
        case _:
            family = Family(executors, region="eu" if request.param.endswith("schema") else "us")
            family.have(jira_software=True)
            return family.license_order("jira-software", generation=5)


def test_an_ensure_that_is_repeated_finds_the_same_facts(executors: Executors, effect: Order) -> None:
    executor = executors[effect.scope.kind, effect.step]
    assert executor.ensure(effect) == executor.ensure(effect)


def test_a_removal_may_be_repeated_and_may_find_nothing(executors: Executors, effect: Order) -> None:
    executor = executors[effect.scope.kind, effect.step]
    executor.remove(again(effect, 5))
    executor.ensure(effect)
    executor.remove(again(effect, 6))
    executor.remove(again(effect, 6))


def test_what_was_removed_can_be_made_again(executors: Executors, effect: Order) -> None:
    executor = executors[effect.scope.kind, effect.step]
    facts = executor.ensure(effect)
    executor.remove(again(effect, 5))
    assert executor.ensure(effect) == facts


def test_a_lower_generation_is_fenced(executors: Executors, effect: Order) -> None:
    executor = executors[effect.scope.kind, effect.step]
    facts = executor.ensure(effect)
    with pytest.raises(Fenced):
        executor.remove(again(effect, 4))
    assert executor.ensure(effect) == facts


def test_a_lower_generation_is_fenced_after_the_removal_as_well(executors: Executors, effect: Order) -> None:
    executor = executors[effect.scope.kind, effect.step]
    executor.remove(again(effect, 6))
    with pytest.raises(Fenced):
        executor.ensure(effect)


# -- site names ----------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_an_obstacle_that_names_it_and_not_its_owner(executors: Executors) -> None:
    first, second = new_tenant_id(), new_tenant_id()
    name = f"site-{first}"
    sites = executors["site", Step.SITE]
    sites.ensure(site_order(first, name))
    with pytest.raises(Obstacle) as caught:
        sites.ensure(site_order(second, name))
    assert caught.value.obstacle == f"site-name:{name}"
    assert name in str(caught.value)
    assert first not in str(caught.value).replace(name, "")


def test_a_name_is_free_after_its_tenant_has_gone_or_taken_another(executors: Executors) -> None:
    first, second = new_tenant_id(), new_tenant_id()
    sites = executors["site", Step.SITE]
    sites.ensure(site_order(first, f"a-{first}"))
    sites.ensure(site_order(first, f"b-{first}", generation=2))
    sites.ensure(site_order(second, f"a-{first}"))
    sites.remove(site_order(first, f"b-{first}", generation=3, direction="remove"))
    sites.ensure(site_order(second, f"b-{first}", generation=2))


def test_nobody_can_release_the_name_of_another(executors: Executors) -> None:
    first, second = new_tenant_id(), new_tenant_id()
    sites = executors["site", Step.SITE]
    sites.ensure(site_order(first, f"a-{first}"))
    sites.remove(site_order(second, f"a-{first}", direction="remove"))
    with pytest.raises(Obstacle):
        sites.ensure(site_order(second, f"a-{first}", generation=2))


# -- regions -------------------------------------------------------------------------------------------------


def test_without_a_region_the_default_one_is_chosen(executors: Executors) -> None:
    regions = executors["family", Step.REGION]
    assert regions.ensure(placement(new_tenant_id(), None)) == RegionResult(region="eu", shard="eu-1")


def test_an_unknown_region_is_permanent_and_names_the_known_ones(executors: Executors) -> None:
    with pytest.raises(Permanent, match=r"mars.*eu, us, xs"):
        executors["family", Step.REGION].ensure(placement(new_tenant_id(), "mars"))


def test_a_pin_against_the_place_where_the_family_lives_is_permanent_and_names_both(
    executors: Executors,
) -> None:
    tenant_id, regions = new_tenant_id(), executors["family", Step.REGION]
    regions.ensure(placement(tenant_id, "eu"))
    assert regions.ensure(placement(tenant_id, "us", generation=2)) == RegionResult(region="eu", shard="eu-1")
    with pytest.raises(Permanent, match=r"us.*eu"):
        regions.ensure(placement(tenant_id, "us", generation=3, pinned=True))


def test_a_full_region_is_an_obstacle_until_room_is_given_back_once(executors: Executors) -> None:
    first, second, regions = new_tenant_id(), new_tenant_id(), executors["family", Step.REGION]
    regions.ensure(placement(first, "xs"))
    regions.ensure(placement(first, "xs"))
    with pytest.raises(Obstacle, match="no room in region xs") as caught:
        regions.ensure(placement(second, "xs"))
    assert caught.value.obstacle == "room:xs"
    regions.remove(again(placement(first, "xs"), 2))
    regions.remove(again(placement(first, "xs"), 2))
    assert regions.ensure(placement(second, "xs")) == RegionResult(region="xs", shard="xs-1")
    with pytest.raises(Obstacle):
        regions.ensure(placement(first, "xs", generation=3))
    regions.remove(again(placement(second, "xs"), 2))


# -- databases -----------------------------------------------------------------------------------------------


def test_names_and_roles_stay_the_same_while_products_come_and_go(executors: Executors) -> None:
    family = Family(executors)
    first = family.have(jira_software=True)
    both = family.have(jira_software=True, jira_product_discovery=False)
    assert (both.database, both.schema_name) == (first.database, first.schema_name)
    assert both.role_of("jira-software") == first.role_of("jira-software")
    assert [role.login for role in both.roles] == [False, True]
    assert [role.product for role in both.roles] == ["jira-product-discovery", "jira-software"]
    assert family.have(jira_software=True) == first


def test_a_family_that_comes_back_gets_new_names(executors: Executors) -> None:
    family = Family(executors)
    before = family.have(jira_software=True)
    family.leave()
    after = family.have(jira_software=True)
    assert isinstance(after, DatabaseResult)
    assert before.schema_name != after.schema_name
    assert before.role_of("jira-software") != after.role_of("jira-software")
