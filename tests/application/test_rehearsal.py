"""Does a rehearsal tell exactly what comes, and change nothing?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.resources.executors import system_of
from application.operator_commands import Act, ActKind
from application.ports.resources import LiesOn, Order
from application.rehearsal import Rehearsal, Rehearsals
from domain.catalog import Catalog, ForeignExecutor
from domain.errors import Permanent, Retryable, UsageError
from domain.operator import Operator
from domain.scope.steps import Direction, Scope, ScopeKind, Step
from tests.application.test_approval import Estates
from tests.domain.driver import Cloud
from tests.domain.given import CATALOG, CONFLUENCE, JIRA, JIRA_FAMILY, JIRA_SCOPE, POLICY, SITE, message
from tests.refusals import refused

ADA = Operator.parse("ada@host")
Told = tuple[Scope, Step, Direction]

KINDS: tuple[ScopeKind, ...] = ("site", "family", "product")
ON_SHARDS: LiesOn = "shard"
LIES_ON: dict[tuple[ScopeKind, Step], LiesOn] = {
    **{(kind, step): "the log" for kind in KINDS for step in Step},
    ("family", Step.DATABASE): ON_SHARDS,
    ("product", Step.LICENSE): ON_SHARDS,
}


def rehearsing(cloud: Cloud, catalog: Catalog = CATALOG) -> Rehearsals:
    return Rehearsals(cloud.operating(), cloud.saga, lambda order: system_of(order, catalog, LIES_ON), cloud.clock)


def tenant(**products: object) -> Cloud:
    cloud = Cloud()
    activated = [{"product": key, "edition": "standard", "users": 5, "revision": 1} for key in (JIRA, CONFLUENCE)]
    cloud.intake.takes(message("tenant.created", 1, products=activated))
    return cloud


def watched(cloud: Cloud) -> list[Told]:
    """What is brought about from here on; every step succeeds."""
    done: list[Told] = []

    def sees(order: Order, when: str) -> None:
        if when == "after":
            done.append((order.scope, order.step, order.direction))

    cloud.world.trouble = sees
    return done


def steps_of(found: Rehearsal) -> list[Told]:
    return [(each.scope, each.step, each.direction) for each in found.steps]


def of_each(told: list[Told]) -> dict[Scope, list[Told]]:
    """The order between scopes is that of the queue: within each of them it is fixed."""
    return {scope: [each for each in told if each[0] == scope] for scope in {each[0] for each in told}}


def no_disk(order: Order, when: str) -> None:
    if order.step is Step.DATABASE and order.direction == "ensure" and order.scope == JIRA_FAMILY:
        raise Permanent("no such disk")


def test_a_retry_goes_as_it_was_rehearsed_and_the_rehearsal_changes_nothing() -> None:
    cloud = tenant()
    cloud.world.trouble = no_disk
    cloud.work()
    assert cloud.snapshot().actual(JIRA_FAMILY).failure is not None
    act, count = Act("retry", JIRA_FAMILY, "the disk is in"), len(cloud.log.events)
    before = cloud.snapshot()
    found = rehearsing(cloud).of_act(act, by=ADA)
    assert len(cloud.log.events) == count
    assert cloud.snapshot() == before

    done = watched(cloud)
    cloud.operating().carry_out(act, by=ADA)
    cloud.work()
    assert of_each(steps_of(found)) == of_each(done)
    assert {JIRA_FAMILY, JIRA_SCOPE} <= of_each(done).keys()
    for scope in (SITE, JIRA_FAMILY, JIRA_SCOPE):
        assert (found.ends[scope].level, found.ends[scope].state) == ("open", "converged")
    assert found.is_whole
    assert not found.passed


@pytest.mark.parametrize(("kind", "scope"), [("ensure", JIRA_FAMILY), ("ensure", SITE), ("hold", JIRA_SCOPE)])
def test_other_acts_go_as_they_were_rehearsed(kind: ActKind, scope: Scope) -> None:
    cloud = tenant()
    cloud.work()
    act = Act(kind, scope, "somebody was at it")
    found, done = rehearsing(cloud).of_act(act, by=ADA), watched(cloud)
    cloud.operating().carry_out(act, by=ADA)
    cloud.work()
    assert of_each(steps_of(found)) == of_each(done)
    assert bool(done) == (kind == "ensure")


def test_the_systems_that_are_called_are_named_each_with_its_number() -> None:
    cloud = tenant()
    cloud.world.trouble = no_disk
    cloud.work()
    systems = rehearsing(cloud).of_act(Act("retry", JIRA_FAMILY, "again"), by=ADA).systems
    shard = next(name for name in systems if name.startswith("shard "))
    assert systems[shard] == 2, "the database, and the license in it"
    assert systems["the log alone"] >= 3


def test_a_webhook_of_another_team_is_named() -> None:
    cloud = tenant()
    cloud.work()
    address = "https://billing.example/provision"
    executor = ForeignExecutor(webhook=address, secret="billing")
    jira = CATALOG.products[JIRA].model_copy(update={"executors": {Step.LICENSE: executor}})
    catalog = Catalog(products={**CATALOG.products, JIRA: jira})
    found = rehearsing(cloud, catalog).of_act(Act("ensure", JIRA_SCOPE, "again"), by=ADA)
    assert found.systems[f"webhook {address}"] == 1


def test_an_act_that_is_refused_is_refused_in_its_rehearsal_as_well() -> None:
    cloud = tenant()
    cloud.work()
    with refused(UsageError, match="nothing of family:t-1:jira has failed or is on hold"):
        rehearsing(cloud).of_act(Act("retry", JIRA_FAMILY, "again"), by=ADA)
    with refused(UsageError, match="has moved since"):
        rehearsing(cloud).of_act(Act("ensure", JIRA_FAMILY, "again", seen="1/1"), by=ADA)


def test_a_scope_that_still_waits_in_the_end_says_for_what() -> None:
    cloud = tenant()

    def fails(order: Order, when: str) -> None:
        if order.direction == "ensure" and order.scope in (JIRA_FAMILY, JIRA_SCOPE) and order.step >= Step.DATABASE:
            raise Permanent("no such disk")

    cloud.world.trouble = fails
    cloud.work()
    cloud.operating().carry_out(Act("hold", JIRA_SCOPE, "their data is being copied"), by=ADA)
    found = rehearsing(cloud).of_act(Act("retry", JIRA_FAMILY, "again"), by=ADA)
    assert found.ends[JIRA_FAMILY].state == "converged"
    assert (found.ends[JIRA_SCOPE].state, found.ends[JIRA_SCOPE].reason) == ("on_hold", "their data is being copied")


def test_approving_a_destruction_closes_and_passes_no_point_of_no_return() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    plan = snapshots.operating().plan().hash
    found, done = rehearsing(snapshots).of_plan(plan, reason="they left", by=ADA), watched(snapshots)
    assert not found.passed
    snapshots.approve()
    snapshots.work()
    assert of_each([each for each in done if each[0].tenant_id in ("t-2", "t-3")]) == of_each(steps_of(found))
    assert {end.level for end in found.ends.values()} == {"closed"}


def test_approving_a_purge_names_what_cannot_be_undone() -> None:
    snapshots = Estates()
    for each in snapshots.ids:
        snapshots.says(each, "product.deactivated", 2, product=JIRA)
        snapshots.work()
        snapshots.clock.advance(timedelta(minutes=20))
    snapshots.clock.advance(POLICY.retention + timedelta(days=1))
    snapshots.work()
    plan = snapshots.operating().plan()
    assert {change.change for change in plan.changes} == {"purge"}
    found, done = rehearsing(snapshots).of_plan(plan.hash, reason="over", by=ADA), watched(snapshots)
    gone = {each.scope for each in found.steps if each.irreversible == "data-goes"}
    assert gone == {Scope("family", change.tenant_id, "jira") for change in plan.changes}
    assert dict(found.passed) == {change.tenant_id: "purge-begins" for change in plan.changes}
    snapshots.approve()
    snapshots.work()
    assert of_each(steps_of(found)) == of_each(done)


def test_a_step_that_would_be_tried_later_is_no_step_of_the_rehearsal() -> None:
    cloud = tenant()

    def busy(order: Order, when: str) -> None:
        if order.scope == JIRA_SCOPE and order.step is Step.LICENSE:
            raise Retryable("busy", delay=timedelta(hours=1))

    cloud.world.trouble = busy
    cloud.work()
    found = rehearsing(cloud).of_act(Act("ensure", JIRA_FAMILY, "again"), by=ADA)
    assert JIRA_SCOPE not in {each.scope for each in found.steps}
