"""What is a difference between the log and the real thing, and what is none?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.catalog import Catalog, ForeignExecutor
from domain.drift import (
    CONTROL,
    Entitlement,
    Observed,
    Role,
    compare,
    entitled,
    place_of,
    suspicious,
)
from domain.policy import Drift
from domain.scope.desired import desired_state
from domain.scope.next_action import Action, PutOnHold, Start, Wait, blockers, database_of, next_action
from domain.scope.purges import data_lost
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import DataAbandoned, Ensured, StepFailed, StepMissing, StepStarted
from domain.scope.steps import DatabaseSpec, LicenseResult, RoleSpec, Step
from tests.domain.given import (
    CATALOG,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    NOW,
    POLICY,
    SITE,
    TENANT,
    a_tenant,
    after,
    all_converged,
    of,
)


def one_product() -> TenantSnapshot:
    commerce = a_tenant(JIRA)
    return commerce.snapshot(all_converged(commerce).values())


def as_it_should_be(snapshot: TenantSnapshot) -> Observed:
    """What an observer sees where nothing has drifted."""
    database = database_of(snapshot, "jira")
    facts, _ = entitled(JIRA_SCOPE, snapshot, catalog=CATALOG)
    assert database is not None
    assert facts is not None
    name = database.schema_name if database.isolation == "schema" else database.database
    entitlement = Entitlement(facts.edition, facts.users, facts.active, facts.expires_at, facts.features)
    return Observed(
        site_names={"acme": TENANT},
        rooms={str(JIRA_FAMILY): database.shard},
        places=frozenset({place_of(database)}),
        roles={(database.shard, role.role): Role(role.login, frozenset({name})) for role in database.roles},
        entitlements={(database.shard, f"{database.database}.{facts.location}", JIRA): entitlement},
    )


def found(snapshot: TenantSnapshot, observed: Observed, *, catalog: Catalog = CATALOG) -> list[tuple[str, Step, str]]:
    return [
        (str(seen.scope), finding.step, finding.kind)
        for seen in compare(snapshot, observed, catalog=catalog)
        for finding in seen.findings
    ]


def test_what_is_as_it_was_made_has_no_finding_and_is_counted_where_it_was_looked_at() -> None:
    snapshot = one_product()
    seen = list(compare(snapshot, as_it_should_be(snapshot), catalog=CATALOG))
    assert [(each.scope, each.where == CONTROL) for each in seen] == [
        (SITE, True),
        (JIRA_FAMILY, True),
        (JIRA_FAMILY, False),
        (JIRA_SCOPE, False),
    ]
    assert [each.findings for each in seen] == [()] * 4
    assert [each.version for each in seen] == [snapshot.actual(each.scope).version for each in seen]


def test_what_went_missing_is_found_in_each_step() -> None:
    snapshot = one_product()
    there = as_it_should_be(snapshot)
    empty = Observed(places=there.places)
    assert found(snapshot, empty) == [
        (str(SITE), Step.SITE, "missing"),
        (str(JIRA_FAMILY), Step.REGION, "missing"),
        (str(JIRA_FAMILY), Step.DATABASE, "missing"),
        (str(JIRA_SCOPE), Step.LICENSE, "missing"),
    ]


def test_data_that_is_gone_is_told_once_and_not_for_each_thing_in_it() -> None:
    snapshot = one_product()
    there = replace(as_it_should_be(snapshot), places=frozenset(), roles={}, entitlements={})
    assert found(snapshot, there) == [(str(JIRA_FAMILY), Step.DATABASE, "data")]


@pytest.mark.parametrize("role", [Role(login=False, places=frozenset()), Role(login=True, places=frozenset())])
def test_a_role_with_other_rights_differs(role: Role) -> None:
    snapshot = one_product()
    there = as_it_should_be(snapshot)
    changed = replace(there, roles=dict.fromkeys(there.roles, role))
    assert found(snapshot, changed) == [(str(JIRA_FAMILY), Step.DATABASE, "differs")]


def test_a_role_that_was_given_more_and_a_place_that_is_open_to_others_differ() -> None:
    snapshot = one_product()
    there = as_it_should_be(snapshot)
    more = {name: replace(role, beyond=("SUPERUSER",)) for name, role in there.roles.items()}
    changed = replace(there, roles=more, unexpected_grants=dict.fromkeys(there.places, ("PUBLIC",)))
    assert found(snapshot, changed) == [(str(JIRA_FAMILY), Step.DATABASE, "differs")] * 2


def test_a_site_name_that_is_another_tenants_and_an_entitlement_that_says_more_differ() -> None:
    snapshot = one_product()
    there = as_it_should_be(snapshot)
    richer = {place: replace(each, users=10_000) for place, each in there.entitlements.items()}
    changed = replace(there, site_names={"acme": "t-2"}, entitlements=richer)
    assert found(snapshot, changed) == [
        (str(SITE), Step.SITE, "differs"),
        (str(JIRA_SCOPE), Step.LICENSE, "differs"),
    ]


def test_what_does_not_answer_is_not_missing() -> None:
    snapshot = one_product()
    database = database_of(snapshot, "jira")
    assert database is not None
    unreachable = Observed(unreachable={database.shard: "no route", CONTROL: "no route"})
    assert list(compare(snapshot, unreachable, catalog=CATALOG)) == []


def test_an_entitlement_with_somebody_elses_provisioner_is_not_looked_for() -> None:
    snapshot = one_product()
    foreign = {Step.LICENSE: ForeignExecutor(webhook="https://p.example", secret="p")}
    product = CATALOG[JIRA].model_copy(update={"executors": foreign})
    catalog = CATALOG.model_copy(update={"products": {**CATALOG.products, JIRA: product}})
    there = replace(as_it_should_be(snapshot), entitlements={})
    assert found(snapshot, there, catalog=catalog) == []


@pytest.mark.parametrize("location", ["licenses/t-1", "with the provisioner of jira-software", "there.entitlement"])
def test_nor_one_that_was_laid_down_by_somebody_else_before_the_catalogue_changed(location: str) -> None:
    snapshot = one_product()
    product = snapshot.actual(JIRA_SCOPE)
    step = product.steps[Step.LICENSE]
    assert isinstance(step.facts, LicenseResult)
    elsewhere = replace(step, facts=step.facts.model_copy(update={"location": location}))
    moved = replace(product, steps={**product.steps, Step.LICENSE: elsewhere})
    there = replace(as_it_should_be(snapshot), entitlements={})
    assert found(snapshot, there) == [(str(JIRA_SCOPE), Step.LICENSE, "missing")]
    assert found(replace(snapshot, scopes={**snapshot.scopes, JIRA_SCOPE: moved}), there) == []


def test_what_is_under_way_or_known_to_be_missing_is_not_compared() -> None:
    snapshot = one_product()
    missing = StepMissing(**of(SITE), step=Step.SITE, observed_version=1, reason="gone")
    told = replace(snapshot, scopes={**snapshot.scopes, SITE: after(snapshot.site(), missing)})
    assert str(SITE) not in {scope for scope, _, _ in found(told, replace(as_it_should_be(snapshot), site_names={}))}


def test_too_much_missing_in_one_place_is_more_than_the_larger_of_a_number_and_a_share() -> None:
    bounds = Drift(absences=3, share=0.05)
    assert suspicious({"eu-1": 3}, {"eu-1": 3}, bounds) == ()
    assert suspicious({"eu-1": 4}, {"eu-1": 4}, bounds) == ("eu-1",)
    assert suspicious({"eu-1": 50, "us-1": 51}, {"eu-1": 1000, "us-1": 1000}, bounds) == ("us-1",)


# -- what becomes of it --------------------------------------------------------------------------------------------


def test_a_step_that_is_missing_is_ensured_again() -> None:
    snapshot = one_product()
    missing = StepMissing(**of(SITE), step=Step.SITE, observed_version=1, reason="gone")
    snapshot = replace(snapshot, scopes={**snapshot.scopes, SITE: after(snapshot.site(), missing)})
    desired = desired_state(SITE, snapshot, catalog=CATALOG, policy=POLICY, now=NOW)
    action = next_action(desired, snapshot.site(), blockers(SITE, desired, snapshot, catalog=CATALOG), NOW)
    assert action == Start(Step.SITE, "ensure", desired.steps[Step.SITE])


def test_products_are_closed_without_an_entitlement_while_their_database_is_missing() -> None:
    snapshot = one_product()
    lost = after(
        snapshot.family("jira"),
        StepMissing(**of(JIRA_FAMILY), step=Step.DATABASE, observed_version=1, reason="gone", data=True),
    )
    snapshot = replace(snapshot, scopes={**snapshot.scopes, JIRA_FAMILY: lost})
    desired = desired_state(JIRA_SCOPE, snapshot, catalog=CATALOG, policy=POLICY, now=NOW)
    assert desired.level == "closed"
    assert Step.LICENSE not in desired.steps
    family = desired_state(JIRA_FAMILY, snapshot, catalog=CATALOG, policy=POLICY, now=NOW)
    action = next_action(family, lost, blockers(JIRA_FAMILY, family, snapshot, catalog=CATALOG), NOW)
    closed = DatabaseSpec(family="jira", roles=(RoleSpec(product=JIRA, login=False),))
    assert action == Start(Step.DATABASE, "ensure", closed), "its executor closes the roles, and makes nothing"


def test_a_missing_database_is_held_and_never_given_up_however_low_its_wish_was() -> None:
    snapshot = one_product()
    missing = StepMissing(**of(JIRA_FAMILY), step=Step.DATABASE, observed_version=1, reason="gone", data=True)
    closed = DatabaseSpec(family="jira", roles=(RoleSpec(product=JIRA, login=False),))
    family = snapshot.family("jira")
    assert family.converged is not None
    at: dict[str, Any] = {"step": Step.DATABASE, "direction": "ensure", "generation": family.version + 2}
    lost = after(
        replace(family, converged=replace(family.converged, level="closed")),
        missing,
        StepStarted(**of(JIRA_FAMILY), **at, spec=closed),
        StepFailed(**of(JIRA_FAMILY), **at, attempt=1, reason="data_missing"),
    )
    snapshot = replace(snapshot, scopes={**snapshot.scopes, JIRA_FAMILY: lost})
    desired = desired_state(JIRA_FAMILY, snapshot, catalog=CATALOG, policy=POLICY, now=NOW)
    action = next_action(desired, lost, blockers(JIRA_FAMILY, desired, snapshot, catalog=CATALOG), NOW)
    assert action == PutOnHold(Step.DATABASE, "data_missing")


def test_an_abandoned_database_goes_when_no_entitlement_lies_in_it_any_more() -> None:
    snapshot = one_product()
    abandoned = DataAbandoned(**of(JIRA_FAMILY), products=(JIRA,), reason="no backup", operator="ada")
    lost = after(snapshot.family("jira"), abandoned)
    snapshot = replace(snapshot, scopes={**snapshot.scopes, JIRA_FAMILY: lost})

    def next_of_family() -> Action:
        desired = desired_state(JIRA_FAMILY, snapshot, catalog=CATALOG, policy=POLICY, now=NOW)
        return next_action(desired, lost, blockers(JIRA_FAMILY, desired, snapshot, catalog=CATALOG), NOW)

    assert isinstance(next_of_family(), Wait)
    product = snapshot.product(JIRA)
    without: dict[Step, Ensured] = {
        step: ensured for step, ensured in product.steps.items() if step is not Step.LICENSE
    }
    snapshot = replace(snapshot, scopes={**snapshot.scopes, JIRA_SCOPE: replace(product, steps=without)})
    action = next_of_family()
    assert isinstance(action, Start)
    assert (action.step, action.direction) == (Step.DATABASE, "remove")
    assert data_lost(JIRA, snapshot, catalog=CATALOG)
