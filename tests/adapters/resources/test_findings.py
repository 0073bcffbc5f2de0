"""Findings: what is a difference between the log and the real thing, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from adapters.resources.login_role import Role
from adapters.resources.places import Place
from domain.catalog import Catalog, ForeignExecutor
from domain.drift import CONTROL
from domain.errors import Unreachable
from domain.scope.next_action import database_of
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import StepMissing
from domain.scope.steps import DatabaseResult, LicenseResult, Step
from tests.domain.given import (
    CATALOG,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    SITE,
    TENANT,
    a_tenant,
    after,
    all_converged,
    of,
)
from tests.fakes.executors import FakeWorld


def one_product() -> TenantSnapshot:
    commerce = a_tenant(JIRA)
    return commerce.snapshot(all_converged(commerce).values())


def database(snapshot: TenantSnapshot) -> DatabaseResult:
    found = database_of(snapshot, "jira")
    assert found is not None
    return found


def as_it_should_be(snapshot: TenantSnapshot, *, catalog: Catalog = CATALOG) -> FakeWorld:
    """A world in which nothing has drifted."""
    there, license_ = database(snapshot), snapshot.actual(JIRA_SCOPE).steps[Step.LICENSE].result
    assert isinstance(license_, LicenseResult)
    return FakeWorld(
        catalog=catalog,
        site_names={"acme": TENANT},
        placements={JIRA_FAMILY: there.shard},
        databases={JIRA_FAMILY: there},
        roles={JIRA_FAMILY: {role.role: Role(role.login, opens=True) for role in there.roles}},
        entitlements={JIRA_SCOPE: license_},
    )


def found(world: FakeWorld, snapshot: TenantSnapshot) -> list[tuple[str, Step, str]]:
    return [
        (str(seen.scope), finding.step, finding.kind)
        for seen in world.resources().observe([snapshot]).seen
        for finding in seen.findings
    ]


def test_what_is_as_it_was_made_has_no_finding_and_is_counted_where_it_was_looked_at() -> None:
    snapshot = one_product()
    seen = as_it_should_be(snapshot).resources().observe([snapshot]).seen
    assert sorted((str(each.scope), each.where == CONTROL) for each in seen) == sorted(
        [(str(SITE), True), (str(JIRA_FAMILY), True), (str(JIRA_FAMILY), False), (str(JIRA_SCOPE), False)]
    )
    assert [each.findings for each in seen] == [()] * 4
    assert [each.version for each in seen] == [snapshot.actual(each.scope).version for each in seen]


def test_what_went_missing_is_found_in_each_step() -> None:
    snapshot = one_product()
    world = FakeWorld(databases=as_it_should_be(snapshot).databases)
    assert sorted(found(world, snapshot)) == sorted(
        [
            (str(SITE), Step.SITE, "missing"),
            (str(JIRA_FAMILY), Step.REGION, "missing"),
            (str(JIRA_FAMILY), Step.DATABASE, "missing"),
            (str(JIRA_SCOPE), Step.LICENSE, "missing"),
        ]
    )


def test_data_that_is_gone_is_told_once_and_not_for_each_thing_in_it() -> None:
    snapshot = one_product()
    world = replace(as_it_should_be(snapshot), databases={}, roles={}, entitlements={})
    assert found(world, snapshot) == [(str(JIRA_FAMILY), Step.DATABASE, "data")]


@pytest.mark.parametrize(
    "role",
    [
        Role(login=False, opens=True),
        Role(login=True, opens=False),
        Role(login=True, opens=True, beyond=("SUPERUSER",)),
        Role(login=True, opens=True, locked_out="cannot log in: its connection limit is 0"),
    ],
)
def test_a_role_with_other_rights_differs(role: Role) -> None:
    snapshot = one_product()
    world = as_it_should_be(snapshot)
    world.roles = {JIRA_FAMILY: dict.fromkeys(world.roles[JIRA_FAMILY], role)}
    assert found(world, snapshot) == [(str(JIRA_FAMILY), Step.DATABASE, "differs")]


def test_a_role_that_was_given_more_and_a_place_that_is_open_to_others_differ() -> None:
    snapshot = one_product()
    world = as_it_should_be(snapshot)
    more = Role(login=True, opens=True, beyond=("SUPERUSER",))
    world.roles = {JIRA_FAMILY: dict.fromkeys(world.roles[JIRA_FAMILY], more)}
    world.grants = {Place.of(database(snapshot)): ("PUBLIC",)}
    assert found(world, snapshot) == [(str(JIRA_FAMILY), Step.DATABASE, "differs")] * 2
    assert len(world.resources().observe([snapshot]).seen) == 4, "one scope in one place is seen once"


def test_a_site_name_that_is_another_tenants_and_an_entitlement_that_says_more_differ() -> None:
    snapshot = one_product()
    world = as_it_should_be(snapshot)
    richer = msgspec.structs.replace(world.entitlements[JIRA_SCOPE], users=10_000)
    world = replace(world, site_names={"acme": "t-2"}, entitlements={JIRA_SCOPE: richer})
    assert sorted(found(world, snapshot)) == sorted(
        [(str(SITE), Step.SITE, "differs"), (str(JIRA_SCOPE), Step.LICENSE, "differs")]
    )


def test_what_does_not_answer_is_not_missing() -> None:
    snapshot = one_product()
    observed = FakeWorld(answers=_silent).resources().observe([snapshot])
    assert observed.seen == ()
    assert set(observed.unreachable) == {database(snapshot).shard, CONTROL}


def _silent(where: str) -> None:
    raise Unreachable(where, "no route")


def test_a_place_that_falls_silent_in_the_middle_counts_as_not_looked_at_and_is_not_asked_again() -> None:
    snapshot = one_product()
    world = replace(as_it_should_be(snapshot), answers=_after(1), site_names={}, roles={})
    observed = world.resources().observe([snapshot])
    shard = database(snapshot).shard
    assert observed.unreachable == {shard: "no route"}
    assert {each.where for each in observed.seen} == {CONTROL}
    assert world.asked.count(shard) == 2


def _after(times: int) -> Callable[[str], None]:
    asked: list[str] = []

    def answers(where: str) -> None:
        asked.append(where)
        if where != CONTROL and asked.count(where) > times:
            raise Unreachable(where, "no route")

    return answers


def test_an_entitlement_with_somebody_elses_provisioner_is_not_looked_for() -> None:
    snapshot = one_product()
    foreign = {Step.LICENSE: ForeignExecutor(webhook="https://p.example", secret="p")}
    product = CATALOG[JIRA].model_copy(update={"executors": foreign})
    catalog = CATALOG.model_copy(update={"products": {**CATALOG.products, JIRA: product}})
    world = replace(as_it_should_be(snapshot, catalog=catalog), entitlements={})
    assert found(world, snapshot) == []


@pytest.mark.parametrize("location", ["licenses/t-1", "with the provisioner of jira-software", "there.entitlement"])
def test_nor_one_that_was_laid_down_by_somebody_else_before_the_catalogue_changed(location: str) -> None:
    snapshot = one_product()
    product = snapshot.actual(JIRA_SCOPE)
    step = product.steps[Step.LICENSE]
    assert isinstance(step.result, LicenseResult)
    elsewhere = msgspec.structs.replace(step, result=msgspec.structs.replace(step.result, location=location))
    moved = product.but(steps={**product.steps, Step.LICENSE: elsewhere})
    world = replace(as_it_should_be(snapshot), entitlements={})
    assert found(world, snapshot) == [(str(JIRA_SCOPE), Step.LICENSE, "missing")]
    assert found(world, msgspec.structs.replace(snapshot, scopes={**snapshot.scopes, JIRA_SCOPE: moved})) == []


def test_what_is_under_way_or_known_to_be_missing_is_not_compared() -> None:
    snapshot = one_product()
    missing = StepMissing(**of(SITE), step=Step.SITE, observed_version=1, reason="gone")
    told = msgspec.structs.replace(snapshot, scopes={**snapshot.scopes, SITE: after(snapshot.site(), missing)})
    world = replace(as_it_should_be(snapshot), site_names={})
    assert str(SITE) not in {scope for scope, _, _ in found(world, told)}
