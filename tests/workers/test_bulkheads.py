"""Who shares a lane, who is put off, and until when?"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import psycopg

from adapters.resources.executors import Outside, executors
from adapters.resources.topology import Shard, Topology
from application.ports.resources import Order
from domain.catalog import Catalog, ForeignExecutor, default_catalog
from domain.scope.steps import ConfigurationSpec, DatabaseSpec, RegionResult, RegionSpec, RoleSpec, Scope, Step
from tests.adapters.provisioners.orders import license_spec, order
from tests.domain.given import NOW
from workers.bulkheads import LONGEST_SLOT, ConcurrencyLimits, Timetables

PRODUCT = "compass"
OURS = default_catalog()
WEBHOOK = ForeignExecutor(webhook="https://compass.example/tenantry", secret="compass")
THEIRS = Catalog(products={PRODUCT: OURS[PRODUCT].model_copy(update={"executors": {Step.LICENSE: WEBHOOK}})})
PLACED = RegionResult(region="eu", shard="eu-1")

FAMILY = Scope("family", "t-1", PRODUCT)
LICENSE = order(Scope("product", "t-1", PRODUCT), Step.LICENSE, license_spec(PRODUCT), placement=PLACED)
DATABASE = order(
    FAMILY,
    Step.DATABASE,
    DatabaseSpec(family=PRODUCT, roles=(RoleSpec(product=PRODUCT, login=True),)),
    placement=PLACED,
)


def bulkheads_of(order: Order, catalog: Catalog) -> tuple[str, ...]:
    """As the executor of its step says."""
    topology = Topology([Shard(name="eu-1", region="eu", url="")], default_region="eu")
    there = Outside(lambda: psycopg.connect(""), topology, catalog, "tenantry.example", bytes(32))
    return executors(there)[order.scope.kind, order.step].bulkheads(order)


def test_what_reaches_a_shard_is_in_the_lanes_of_its_executor_and_of_the_shard() -> None:
    assert bulkheads_of(DATABASE, OURS) == ("family/6", "shard:eu-1")
    assert bulkheads_of(LICENSE, OURS) == ("product/7", "shard:eu-1")
    assert bulkheads_of(order(FAMILY, Step.REGION, RegionSpec(residency="global")), OURS) == ("family/3",)


def test_what_waits_for_nobody_is_in_no_lane() -> None:
    spec = ConfigurationSpec(product=PRODUCT, residency="global", region=None)
    assert bulkheads_of(order(Scope("product", "t-1", PRODUCT), Step.CONFIGURATION, spec), OURS) == ()


def test_what_somebody_else_brings_about_is_in_a_lane_of_theirs_and_in_that_of_all_others() -> None:
    assert bulkheads_of(LICENSE, THEIRS) == ("foreign:compass/7", "foreign")
    assert bulkheads_of(DATABASE, THEIRS) == ("family/6", "shard:eu-1")


def test_no_lane_of_others_takes_all_threads_nor_any_lane_all_that_a_worker_may_hold() -> None:
    limits = ConcurrencyLimits(threads=8, claim=64)
    bulkheads = ("foreign:compass/7", "foreign", "family/6", "shard:eu-1")
    assert [limits.places(bulkhead) for bulkhead in bulkheads] == [2, 4, 6, 4]
    assert [limits.concurrency_limit(bulkhead) for bulkhead in bulkheads] == [8, 16, 48, 48]


def test_a_lane_is_crowded_once_a_worker_holds_as_many_of_it_as_it_may() -> None:
    timetables = Timetables(ConcurrencyLimits(threads=8, claim=64))
    timetables.took(["foreign:compass/7", "foreign"], 0.001)
    assert timetables.full(("foreign:compass/7", "foreign"), Counter({"foreign:compass/7": 7, "foreign": 15})) == []
    assert timetables.full(("foreign:compass/7", "foreign"), Counter({"foreign": 16})) == ["foreign"]


def test_of_a_lane_that_is_slow_a_worker_holds_no_more_than_it_gets_done_soon() -> None:
    timetables = Timetables(ConcurrencyLimits(threads=8, claim=256))
    timetables.took(["family/6"], 0.1)  # six places: thirty in half a second
    assert timetables.full(["family/6"], Counter({"family/6": 29})) == []
    assert timetables.full(["family/6"], Counter({"family/6": 30})) == ["family/6"]


def test_of_a_lane_that_hangs_a_worker_holds_what_runs() -> None:
    timetables = Timetables(ConcurrencyLimits(threads=8, claim=256))
    timetables.took(["family/6"], 30.0)
    assert timetables.full(["family/6"], Counter({"family/6": 5})) == []
    assert timetables.full(["family/6"], Counter({"family/6": 6})) == ["family/6"]


def test_who_is_put_off_comes_back_one_after_the_other_as_fast_as_the_lane_has_worked() -> None:
    timetables = Timetables(ConcurrencyLimits(foreign=2))
    timetables.took(["foreign:compass/7"], 1.0)
    slots = [timetables.slot(["foreign:compass/7"], NOW, runs_for={}) for _ in range(3)]
    assert slots == [NOW + timedelta(seconds=0.5 * number) for number in (1, 2, 3)]


def test_a_lane_of_which_nothing_is_known_but_that_it_is_at_work_has_slots_as_long_as_that() -> None:
    timetables = Timetables(ConcurrencyLimits(foreign=2))
    assert timetables.slot(["foreign:compass/7"], NOW, runs_for={}) == NOW
    slot = timetables.slot(["foreign:compass/7"], NOW, runs_for={"foreign:compass/7": 10.0})
    assert slot == NOW + timedelta(seconds=5)


def test_nobody_is_put_off_for_longer_than_a_minute() -> None:
    timetables = Timetables(ConcurrencyLimits(foreign=1))
    slots = [timetables.slot(["foreign:compass/7"], NOW, runs_for={"foreign:compass/7": 30.0}) for _ in range(9)]
    assert max(slots) == NOW + LONGEST_SLOT
