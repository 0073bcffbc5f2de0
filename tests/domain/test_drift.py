"""Drift: when too much is missing to be believed, and what becomes of a step that is missing."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from domain.drift import suspicious
from domain.policy import Drift
from domain.scope.desired import desired_state
from domain.scope.next_action import Action, PutOnHold, Start, Wait, blockers, next_action
from domain.scope.purges import data_lost
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import DataAbandoned, Ensured, StepFailed, StepMissing, StepStarted
from domain.scope.steps import DatabaseSpec, RoleSpec, Step
from tests.domain.given import (
    CATALOG,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    NOW,
    POLICY,
    SITE,
    a_tenant,
    after,
    all_converged,
    of,
)


def one_product() -> TenantSnapshot:
    commerce = a_tenant(JIRA)
    return commerce.snapshot(all_converged(commerce).values())


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
        family.but(converged=replace(family.converged, level="closed")),
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
    snapshot = replace(snapshot, scopes={**snapshot.scopes, JIRA_SCOPE: product.but(steps=without)})
    action = next_of_family()
    assert isinstance(action, Start)
    assert (action.step, action.direction) == (Step.DATABASE, "remove")
    assert data_lost(JIRA, snapshot, catalog=CATALOG)
