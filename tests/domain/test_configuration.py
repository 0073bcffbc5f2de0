"""What holds after an adoption, and what does a process do that knows less than the log?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from application.adoption import Adoption
from application.ports.work_queue import Blocked
from application.reconcile import Saga
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog, Product
from domain.configuration import (
    STREAM,
    AdoptedShard,
    Configuration,
    ConfigurationAdopted,
    Living,
    ShardMap,
    differences,
)
from domain.errors import UsageError
from domain.operator import Operator
from domain.retired_products import product_from
from tests.domain.given import APP, CATALOG, JIRA, NOW, POLICY, Clock, Intake, ids, message
from tests.fakes.event_log import MemoryEventLog
from tests.refusals import refused

SHARDS = ShardMap(
    shards=(AdoptedShard(name="eu-1", region="eu", capacity=10), AdoptedShard(name="us-1", region="us", capacity=10)),
    default_region="eu",
)
HERE = Configuration(CATALOG, POLICY, SHARDS)
NOBODY = Living(products={}, shards={})


def without(key: str) -> Catalog:
    gone = {key, *CATALOG.apps_of(key)}
    return Catalog(products={each: product for each, product in CATALOG.products.items() if each not in gone})


def adopting(log: MemoryEventLog, living: Living = NOBODY) -> Adoption:
    return Adoption(log=log, living=lambda before, proposed: living, clock=Clock(), new_id=ids())


def event(log: MemoryEventLog) -> ConfigurationAdopted:
    last = log.load({STREAM: 0})[STREAM][-1].event
    assert isinstance(last, ConfigurationAdopted)
    return last


# -- adopting ------------------------------------------------------------------------------------------------------


def test_the_first_start_adopts_once() -> None:
    log = MemoryEventLog()
    assert adopting(log).adopt_first(HERE, reason="the first start", by=Operator.parse("ada")) is not None
    other = replace(HERE, catalog=without(APP))
    assert adopting(log).adopt_first(other, reason="the first start", by=Operator.parse("bob")) is None
    assert event(log).operator == "ada"


def test_what_holds_already_is_not_adopted_again() -> None:
    log = MemoryEventLog()
    adopting(log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    assert adopting(log).adopt(HERE, reason="again", by=Operator.parse("ada")) is None
    assert adopting(log).adopted().version == 1


def test_a_product_that_leaves_is_retired_and_one_that_returns_is_not() -> None:
    log = MemoryEventLog()
    for catalog in (CATALOG, without(APP), without(APP)):
        adopting(log).adopt(replace(HERE, catalog=catalog), reason="so", by=Operator.parse("ada"))
    assert set(event(log).catalog.retired) == {APP}
    adopting(log).adopt(HERE, reason="so", by=Operator.parse("ada"))
    assert not event(log).catalog.retired


def test_an_edition_that_leaves_keeps_its_features_for_those_who_have_it() -> None:
    log = MemoryEventLog()
    product = CATALOG[JIRA]
    name, features = next(iter(product.editions.items()))
    fewer = product.model_copy(
        update={"editions": {key: each for key, each in product.editions.items() if key != name}}
    )
    changed = Catalog(products={**CATALOG.products, JIRA: fewer})
    for catalog in (CATALOG, changed):
        adopting(log).adopt(replace(HERE, catalog=catalog), reason="so", by=Operator.parse("ada"))
    assert name not in event(log).catalog.products[JIRA].editions
    assert event(log).catalog.features(JIRA, name) == features


def test_a_product_on_which_tenants_live_keeps_its_family() -> None:
    log = MemoryEventLog()
    adopting(log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    moved = CATALOG[JIRA].model_copy(update={"family": "elsewhere"})
    other = replace(HERE, catalog=Catalog(products={**CATALOG.products, JIRA: moved}))
    with refused(UsageError, match="tenants live on it"):
        adopting(log, Living({JIRA: None}, {})).adopt(other, reason="so", by=Operator.parse("ada"))
    assert adopting(log).adopt(other, reason="so", by=Operator.parse("ada")) is not None  # nobody lives on it


def test_a_shard_that_leaves_stays_known_and_takes_nothing_new() -> None:
    log = MemoryEventLog()
    for shards in (SHARDS, SHARDS.model_copy(update={"shards": SHARDS.shards[:1]})):
        adopting(log).adopt(replace(HERE, topology=shards), reason="so", by=Operator.parse("ada"))
    assert [shard.name for shard in event(log).topology.left] == ["us-1"]
    assert event(log).topology.known["us-1"].state == "closed"


def test_a_shard_with_families_keeps_its_region() -> None:
    log = MemoryEventLog()
    adopting(log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    moved = SHARDS.shards[1].model_copy(update={"region": "eu"})
    other = replace(HERE, topology=SHARDS.model_copy(update={"shards": (SHARDS.shards[0], moved)}))
    with refused(UsageError, match="cannot move to region eu"):
        adopting(log, Living({}, {"us-1": SHARDS.shards[1]})).adopt(other, reason="so", by=Operator.parse("ada"))


def test_whoever_waits_for_a_shard_is_due_with_an_adoption() -> None:
    log = MemoryEventLog(clock=lambda: NOW)
    log.record(UnitOfWork(blocked=[Blocked("shard:us-1", "family:t-1:jira")]))
    adopting(log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    assert log.scheduled(["family:t-1:jira"]) != {}


def test_differences_name_the_place_and_pass_over_what_is_only_known() -> None:
    assert differences(HERE, HERE) == []
    longer = POLICY.model_copy(update={"retention": POLICY.retention + timedelta(days=1)})
    assert [each.where for each in differences(HERE, replace(HERE, policy=longer))] == ["policy.retention"]
    retired = Catalog(products=without(APP).products, retired={APP: CATALOG[APP]})
    assert differences(replace(HERE, catalog=retired), replace(HERE, catalog=without(APP))) == []


def test_no_file_names_what_is_retired() -> None:
    with refused(UsageError, match="it is retired by that"):
        Catalog.parse('[retired.p]\nname = "P"', source="catalog.toml")


# -- deciding ------------------------------------------------------------------------------------------------------


def test_an_intake_with_an_older_catalogue_at_hand_uses_what_is_adopted() -> None:
    intake = Intake()
    adopting(intake.log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    intake.lifecycle.catalog = without(JIRA)
    intake.takes(message("tenant.created", 1), message("product.activated", 1, product=JIRA))
    assert intake.rules() == []
    assert intake.tenant().product(JIRA).activated


def test_a_saga_learns_of_an_adoption_with_the_tenants_it_loads() -> None:
    intake = Intake()
    saga = Saga(intake.log, catalog=without(JIRA), policy=POLICY, clock=intake.clock, new_id=ids(), dice=lambda: 0.0)
    intake.takes(message("tenant.created", 1), message("product.activated", 1, product=JIRA))
    assert JIRA not in {scope.key for scope in saga.snapshots(["t-1"])["t-1"].scopes}
    adopting(intake.log).adopt_first(HERE, reason="first", by=Operator.parse("ada"))
    assert JIRA in {scope.key for scope in saga.snapshots(["t-1"])["t-1"].scopes}
    assert JIRA in saga.catalog


def test_what_closes_a_product_that_nobody_knows_is_applied_and_makes_the_tenant_due() -> None:
    """Nothing was adopted, and the process has another catalogue than those before it."""
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("product.activated", 1, product=JIRA))
    intake.lifecycle.catalog = without(JIRA)
    intake.takes(message("product.suspended", 2, product=JIRA))
    assert intake.rules() == []
    assert intake.tenant().product(JIRA).suspended
    assert "tenant:t-1" in intake.log.scheduled(["tenant:t-1"])


# -- what was lost before the first adoption -----------------------------------------------------------------------


def test_a_product_of_which_the_streams_tell_nothing_gets_a_family_of_its_own() -> None:
    assert product_from("ghost", ()) == Product(name="ghost", family="ghost", editions={"unknown": ()})
