"""What is the next thing to do for a scope?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.scope.dependencies import dependents
from domain.scope.desired import DesiredState
from domain.scope.next_action import (
    Action,
    Converge,
    Execute,
    Fail,
    Nothing,
    PutOnHold,
    RecordDecision,
    Resume,
    Start,
    Wait,
    blockers,
    next_action,
)
from domain.scope.state import (
    Provisioning,
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from domain.scope.steps import DatabaseSpec, Direction, RoleSpec, Scope, Step, StepSpec
from tests.domain.given import (
    APP,
    APP_SCOPE,
    CATALOG,
    CONFLUENCE,
    DAY,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    NOW,
    POLICY,
    SERVICE,
    SITE,
    TENANT,
    Commerce,
    a_tenant,
    after,
    all_converged,
    converged,
    ensured,
    of,
)

SERVICE_SCOPE = Scope("product", TENANT, SERVICE)
WIKI = (Scope("family", TENANT, CONFLUENCE), Scope("product", TENANT, CONFLUENCE))
Scopes = dict[Scope, Provisioning]


def action(commerce: Commerce, scope: Scope, scopes: Scopes) -> Action:
    """The next action of the scope, with those scopes around it."""
    snapshot = commerce.snapshot(scopes.values())
    spec = commerce.desired_state(scope, *scopes.values())
    return next_action(spec, snapshot.actual(scope), blockers(scope, spec, snapshot, catalog=CATALOG), commerce.clock())


def started(actual: Provisioning, step: Step, spec: StepSpec, direction: Direction = "ensure") -> Provisioning:
    return after(
        actual,
        StepStarted(**of(actual.scope), step=step, direction=direction, generation=actual.version + 1, spec=spec),
    )


def removed(actual: Provisioning, step: Step) -> Provisioning:
    actual = started(actual, step, actual.steps[step].spec, "remove")
    return after(
        actual,
        StepCompleted(**of(actual.scope), step=step, direction="remove", generation=actual.version),
    )


def failed(actual: Provisioning, *, attempt: int = 1, again_in: timedelta | None = None) -> Provisioning:
    """The intent failed: it is tried again after that time, or not at all."""
    assert actual.intent is not None
    return after(
        actual,
        StepFailed(
            **of(actual.scope),
            step=actual.intent.step,
            direction=actual.intent.direction,
            generation=actual.intent.generation,
            attempt=attempt,
            reason="the disk is on fire",
            retry_at=NOW + again_in if again_in is not None else None,
        ),
    )


def failure(actual: Provisioning, desired: DesiredState, step: Step = Step.LICENSE) -> Provisioning:
    return after(actual, ScopeFailed(**of(actual.scope), digest=desired.digest, step=step, reason="no"))


def walk(commerce: Commerce, scope: Scope, scopes: Scopes) -> list[tuple[str, int]]:
    """The steps that are started, one after the other, until the scope has nothing to start."""
    taken: list[tuple[str, int]] = []
    while isinstance(start := action(commerce, scope, scopes), Start):
        taken.append((start.direction, int(start.step)))
        actual = scopes.get(scope) or Provisioning(scope)
        if start.direction == "ensure":
            scopes[scope] = ensured(actual, {start.step: start.spec})
        else:
            scopes[scope] = removed(actual, start.step)
    return taken


# -- the order -----------------------------------------------------------------------------------------------------


def test_a_new_tenants_scopes_are_ensured_in_the_order_of_the_seven_steps() -> None:
    commerce = a_tenant(JIRA)
    scopes: Scopes = {}
    assert walk(commerce, SITE, scopes) == [("ensure", 1), ("ensure", 2), ("ensure", 4), ("ensure", 5)]
    assert walk(commerce, JIRA_FAMILY, scopes) == [("ensure", 3), ("ensure", 6)]
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 2), ("ensure", 4), ("ensure", 5), ("ensure", 7)]


def test_when_all_steps_are_there_the_scope_converges_and_then_rests() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    almost = {**scopes, JIRA_SCOPE: ensured(Provisioning(JIRA_SCOPE), spec.steps)}
    assert action(commerce, JIRA_SCOPE, almost) == Converge("open", spec.digest)
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()


def test_a_wish_that_changed_and_changed_back_converges_anew() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    there_and_back = ensured(scopes[JIRA_SCOPE], {Step.SITE: spec.steps[Step.SITE]})
    scopes[JIRA_SCOPE] = there_and_back
    assert action(commerce, JIRA_SCOPE, scopes) == Converge("open", spec.digest)
    scopes[JIRA_SCOPE] = after(there_and_back, ScopeConverged(**of(JIRA_SCOPE), level="open", digest=spec.digest))
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()


def test_a_scope_that_rests_names_the_time_that_will_change_its_wish() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 2, expires_at=NOW + DAY)
    assert action(commerce, JIRA_SCOPE, all_converged(commerce)) == Nothing(NOW + DAY)


def test_only_steps_that_differ_are_ensured_again() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("license.updated", 2, users=99)
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 7)]
    scopes = all_converged(commerce)
    commerce.says("product.suspended", 3)
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 2), ("ensure", 5), ("ensure", 7)]
    assert walk(commerce, JIRA_FAMILY, scopes) == [("ensure", 6)]
    assert walk(commerce, SITE, scopes) == []


def test_a_deactivated_product_is_closed_first_and_then_taken_away_from_seven_to_one() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.deactivated", 2)
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 5), ("remove", 7), ("remove", 2)]
    assert scopes[JIRA_SCOPE].steps.keys() == {Step.CONFIGURATION, Step.IDENTITY}
    assert walk(commerce, JIRA_FAMILY, scopes) == [("ensure", 6)]


def test_a_product_that_never_lived_is_taken_away_whole_and_its_family_after_it() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    scopes[JIRA_SCOPE] = ensured(Provisioning(JIRA_SCOPE), commerce.desired_state(JIRA_SCOPE).steps)
    commerce.says("product.deactivated", 2)
    assert action(commerce, JIRA_FAMILY, scopes) == Wait(f"the removal of product {JIRA}")
    assert walk(commerce, JIRA_SCOPE, scopes) == [("remove", 7), ("remove", 5), ("remove", 4), ("remove", 2)]
    assert action(commerce, JIRA_SCOPE, scopes) == Converge("absent", commerce.desired_state(JIRA_SCOPE).digest)
    assert walk(commerce, JIRA_FAMILY, scopes) == [("remove", 6), ("remove", 3)]


def test_a_product_that_was_never_there_and_is_not_wanted_needs_nothing() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.deactivated", 2)
    assert action(commerce, JIRA_SCOPE, {}) == Nothing()


# -- waiting for others --------------------------------------------------------------------------------------------


def test_families_and_products_wait_for_step_two_of_the_site() -> None:
    commerce = a_tenant(JIRA)
    scopes: Scopes = {}
    assert action(commerce, JIRA_FAMILY, scopes) == Wait("step 2 of the site")
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 2 of the site")
    spec = commerce.desired_state(SITE)
    scopes[SITE] = started(
        ensured(Provisioning(SITE), {Step.COMMERCE: spec.steps[Step.COMMERCE]}), Step.SITE, spec.steps[Step.SITE]
    )
    assert action(commerce, JIRA_FAMILY, scopes) == Wait("step 2 of the site")
    scopes[SITE] = ensured(Provisioning(SITE), {Step.SITE: spec.steps[Step.SITE]})
    assert isinstance(action(commerce, JIRA_FAMILY, scopes), Start)


def test_products_wait_for_their_role_in_step_six_of_the_family() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.activated", 1, product=SERVICE)
    assert action(commerce, SERVICE_SCOPE, scopes) == Wait("step 6 of family jira")
    walk(commerce, JIRA_FAMILY, scopes)
    assert isinstance(action(commerce, SERVICE_SCOPE, scopes), Start)


def test_a_product_has_not_converged_before_its_role_may_do_what_it_should() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.suspended", 2)
    walk(commerce, JIRA_SCOPE, scopes)
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 6 of family jira")
    walk(commerce, JIRA_FAMILY, scopes)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Converge)


def test_closing_waits_for_nobody() -> None:
    commerce = a_tenant(JIRA, APP)
    scopes = all_converged(commerce)
    commerce.says("product.deactivated", 2)
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 5), ("remove", 7), ("remove", 2)]
    assert walk(commerce, APP_SCOPE, scopes) == [("ensure", 2), ("ensure", 5), ("ensure", 7)]


def test_an_app_does_not_live_before_its_host_does() -> None:
    """A host that never lived takes the database with it, whatever an app has laid down there."""
    commerce = a_tenant(JIRA, APP)
    scopes = all_converged(commerce)
    lives = scopes[JIRA_SCOPE]
    scopes[APP_SCOPE] = ensured(Provisioning(APP_SCOPE), commerce.desired_state(APP_SCOPE, *scopes.values()).steps)
    scopes[JIRA_SCOPE] = ensured(Provisioning(JIRA_SCOPE), commerce.desired_state(JIRA_SCOPE, *scopes.values()).steps)
    assert action(commerce, APP_SCOPE, scopes) == Wait(f"host {JIRA}")
    assert isinstance(action(commerce, APP_SCOPE, scopes | {JIRA_SCOPE: lives}), Converge)


def test_an_app_opens_after_its_host() -> None:
    commerce = a_tenant(JIRA, APP)
    scopes = all_converged(commerce)
    del scopes[APP_SCOPE], scopes[JIRA_SCOPE]
    assert action(commerce, APP_SCOPE, scopes) == Wait(f"step 7 of host {JIRA}")
    walk(commerce, JIRA_SCOPE, scopes)
    assert walk(commerce, APP_SCOPE, scopes) == [("ensure", 2), ("ensure", 4), ("ensure", 5), ("ensure", 7)]


def test_a_step_that_somebody_started_to_remove_is_nothing_to_build_on() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    database = scopes[JIRA_FAMILY].steps[Step.DATABASE].spec
    del scopes[JIRA_SCOPE]
    scopes[JIRA_FAMILY] = started(scopes[JIRA_FAMILY], Step.DATABASE, database, "remove")
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 6 of family jira")
    scopes[JIRA_FAMILY] = after(scopes[JIRA_FAMILY], ScopeResumed(**of(JIRA_FAMILY), reason="another wish"))
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 6 of family jira")
    scopes[JIRA_FAMILY] = started(scopes[JIRA_FAMILY], Step.DATABASE, database)
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 6 of family jira")
    scopes[JIRA_FAMILY] = ensured(scopes[JIRA_FAMILY], {Step.DATABASE: database})
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Start)


def test_a_step_that_is_being_changed_is_still_there_for_others() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    del scopes[JIRA_SCOPE]
    scopes[SITE] = started(scopes[SITE], Step.SITE, scopes[SITE].steps[Step.SITE].spec)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Start)


def test_a_site_goes_after_its_families_and_products() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    nothing = DesiredState("absent", {})
    snapshot = commerce.snapshot(scopes.values())
    way = blockers(SITE, nothing, snapshot, catalog=CATALOG)
    assert next_action(nothing, scopes[SITE], way, NOW) == Wait("the removal of family jira")
    way = blockers(SITE, nothing, commerce.snapshot([scopes[SITE]]), catalog=CATALOG)
    assert isinstance(next_action(nothing, scopes[SITE], way, NOW), Start)


def test_who_waits_for_others_still_wakes_when_time_changes_the_wish() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 2, expires_at=NOW + DAY)
    assert action(commerce, JIRA_SCOPE, {}) == Wait("step 2 of the site", until=NOW + DAY)


@pytest.mark.parametrize(
    ("scope", "who"),
    [
        (SITE, {JIRA_FAMILY, JIRA_SCOPE, APP_SCOPE, *WIKI}),
        (JIRA_FAMILY, {SITE, JIRA_SCOPE, APP_SCOPE}),
        (JIRA_SCOPE, {SITE, JIRA_FAMILY, APP_SCOPE}),
        (APP_SCOPE, {SITE, JIRA_FAMILY, JIRA_SCOPE}),
    ],
)
def test_a_change_of_a_scope_matters_to_those_that_may_wait_for_it(scope: Scope, who: set[Scope]) -> None:
    snapshot = a_tenant(JIRA, APP, CONFLUENCE).snapshot()
    assert set(dependents(scope, snapshot, catalog=CATALOG)) == who


# -- intents -------------------------------------------------------------------------------------------------------


def one_intent(commerce: Commerce) -> tuple[Scopes, Provisioning]:
    """A product with the intent of its step 7, all else done."""
    scopes = all_converged(commerce)
    spec = commerce.desired_state(JIRA_SCOPE)
    steps: dict[Step, StepSpec] = {step: each for step, each in spec.steps.items() if step is not Step.LICENSE}
    product = started(ensured(Provisioning(JIRA_SCOPE), steps), Step.LICENSE, spec.steps[Step.LICENSE])
    scopes[JIRA_SCOPE] = product
    return scopes, product


def test_an_intent_without_outcome_is_brought_about_again_under_the_same_generation() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    assert product.intent is not None
    assert product.intent.generation == product.version
    assert action(commerce, JIRA_SCOPE, scopes) == Execute(product.intent)


def test_a_failed_intent_waits_for_its_next_attempt_and_keeps_its_generation() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = failed(product, again_in=timedelta(seconds=5))
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("the next attempt", until=NOW + timedelta(seconds=5))
    commerce.clock.advance(timedelta(seconds=5))
    again = action(commerce, JIRA_SCOPE, scopes)
    assert isinstance(again, Execute)
    assert product.intent is not None
    assert (again.intent.generation, again.intent.failures) == (product.intent.generation, 1)


def test_another_wish_is_a_new_intent_at_once_also_during_back_off() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = failed(product, again_in=DAY)
    commerce.says("license.updated", 2, users=99)
    start = action(commerce, JIRA_SCOPE, scopes)
    assert isinstance(start, Start)
    assert start.step is Step.LICENSE


def test_an_obstacle_uses_up_no_attempt() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = failed(product, attempt=7, again_in=timedelta())
    intent = scopes[JIRA_SCOPE].intent
    assert intent is not None
    scopes[JIRA_SCOPE] = after(
        scopes[JIRA_SCOPE],
        StepBlocked(
            **of(JIRA_SCOPE),
            step=intent.step,
            direction="ensure",
            generation=intent.generation,
            obstacle="room:eu",
            reason="full",
        ),
    )
    again = action(commerce, JIRA_SCOPE, scopes)
    assert isinstance(again, Execute)
    assert (again.intent.failures, again.intent.obstacle) == (7, "room:eu")


# -- giving up -----------------------------------------------------------------------------------------------------


def test_attempts_that_are_used_up_give_the_wish_up() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = failed(product, attempt=8)
    assert action(commerce, JIRA_SCOPE, scopes) == Fail(Step.LICENSE, "the disk is on fire")


def test_what_never_converged_is_undone_in_reverse_each_undoing_an_event() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    spec = commerce.desired_state(JIRA_SCOPE)
    scopes[JIRA_SCOPE] = failure(failed(product, attempt=8), spec)
    first = action(commerce, JIRA_SCOPE, scopes)
    assert isinstance(first, Start)
    assert first.compensating
    assert walk(commerce, JIRA_SCOPE, scopes) == [("remove", 7), ("remove", 5), ("remove", 4), ("remove", 2)]
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()
    assert scopes[JIRA_SCOPE].is_empty


def test_what_converged_before_goes_back_to_its_last_wish_and_stays() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    before = dict(commerce.desired_state(JIRA_SCOPE, *scopes.values()).steps)
    commerce.says("product.suspended", 2)
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    changed = {step: spec.steps[step] for step in (Step.SITE, Step.IDENTITY)}
    product = started(ensured(scopes[JIRA_SCOPE], changed), Step.LICENSE, spec.steps[Step.LICENSE])
    scopes[JIRA_SCOPE] = failure(failed(product, attempt=8), spec)
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 2), ("ensure", 5), ("ensure", 7)]
    assert {step: each.spec for step, each in scopes[JIRA_SCOPE].steps.items()} == before
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()


def test_a_family_that_goes_back_lets_nobody_in_who_is_shut_out_meanwhile() -> None:
    """Its level stays as high as its highest product's: the wish closes one of them all the same."""
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.activated", 1, product=SERVICE)
    commerce.says("product.suspended", 2)
    spec = commerce.desired_state(JIRA_FAMILY, *scopes.values())
    family = failed(started(scopes[JIRA_FAMILY], Step.DATABASE, spec.steps[Step.DATABASE]), attempt=8)
    scopes[JIRA_FAMILY] = failure(family, spec, Step.DATABASE)
    assert walk(commerce, JIRA_FAMILY, scopes) == [("ensure", 6)]
    shut = DatabaseSpec(family="jira", roles=(RoleSpec(product=JIRA, login=False),))
    assert scopes[JIRA_FAMILY].steps[Step.DATABASE].spec == shut
    assert action(commerce, JIRA_FAMILY, scopes) == Nothing()
    walk(commerce, JIRA_SCOPE, scopes)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Converge)


def test_what_was_given_up_is_not_tried_again_while_the_wish_is_the_same() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    spec = commerce.desired_state(JIRA_SCOPE)
    scopes[JIRA_SCOPE] = failure(Provisioning(JIRA_SCOPE), spec)
    commerce.clock.advance(DAY * 100)
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()


def test_another_wish_resumes_what_was_given_up() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    scopes[JIRA_SCOPE] = failure(Provisioning(JIRA_SCOPE), commerce.desired_state(JIRA_SCOPE))
    commerce.says("license.updated", 2)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Resume)


def test_what_was_given_up_still_wakes_when_time_changes_the_wish() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("license.updated", 2, users=99, expires_at=NOW + DAY)
    scopes[JIRA_SCOPE] = failure(scopes[JIRA_SCOPE], commerce.desired_state(JIRA_SCOPE, *scopes.values()))
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing(NOW + DAY)
    commerce.clock.advance(DAY)
    note = action(commerce, JIRA_SCOPE, scopes)
    assert isinstance(note, RecordDecision)
    commerce.notes(note.event)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Resume)


def test_a_wish_that_changes_during_the_undoing_turns_it_round() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = removed(failure(failed(product, attempt=8), commerce.desired_state(JIRA_SCOPE)), Step.LICENSE)
    identity = scopes[JIRA_SCOPE].steps[Step.IDENTITY].spec
    scopes[JIRA_SCOPE] = started(scopes[JIRA_SCOPE], Step.IDENTITY, identity, "remove")
    commerce.says("license.updated", 2, users=99)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Resume)
    scopes[JIRA_SCOPE] = after(scopes[JIRA_SCOPE], ScopeResumed(**of(JIRA_SCOPE), reason="another wish came"))
    assert walk(commerce, JIRA_SCOPE, scopes) == [("ensure", 5), ("ensure", 7)]
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Converge)


def test_a_removal_that_fails_backs_off_and_is_held_when_its_attempts_are_used_up() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.deactivated", 2)
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    product = ensured(scopes[JIRA_SCOPE], {Step.IDENTITY: spec.steps[Step.IDENTITY]})
    product = started(product, Step.LICENSE, product.steps[Step.LICENSE].spec, "remove")
    scopes[JIRA_SCOPE] = failed(product, again_in=DAY)
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("the next attempt", until=NOW + DAY)
    scopes[JIRA_SCOPE] = failed(product, attempt=8)
    assert action(commerce, JIRA_SCOPE, scopes) == PutOnHold(Step.LICENSE, "the disk is on fire")


def test_an_undoing_that_fails_is_held() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    product = failure(failed(product, attempt=8), commerce.desired_state(JIRA_SCOPE))
    product = started(product, Step.LICENSE, product.steps[Step.LICENSE].spec, "remove")
    scopes[JIRA_SCOPE] = failed(product, attempt=8)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), PutOnHold)


def test_a_wish_that_closes_is_held_and_never_given_up_for_one_that_is_more_open() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.suspended", 2, reason="unpaid")
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    product = started(scopes[JIRA_SCOPE], Step.SITE, spec.steps[Step.SITE])
    scopes[JIRA_SCOPE] = failed(product, attempt=8)
    assert action(commerce, JIRA_SCOPE, scopes) == PutOnHold(Step.SITE, "the disk is on fire")


def test_what_is_held_for_a_wish_is_tried_again_when_another_one_comes() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    held = ScopePutOnHold(**of(JIRA_SCOPE), step=Step.LICENSE, reason="look", digest="another wish's")
    scopes[JIRA_SCOPE] = after(product, held)
    assert action(commerce, JIRA_SCOPE, scopes) == Resume("another desired state came")


def test_what_is_held_still_hears_what_time_has_brought_about() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 2, expires_at=NOW + DAY)
    scopes = all_converged(commerce)
    spec = commerce.desired_state(JIRA_SCOPE, *scopes.values())
    scopes[JIRA_SCOPE] = after(
        scopes[JIRA_SCOPE], ScopePutOnHold(**of(JIRA_SCOPE), step=Step.LICENSE, reason="no", digest=spec.digest)
    )
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing(NOW + DAY)
    commerce.clock.advance(DAY)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), RecordDecision)


def test_what_no_other_wish_can_help_is_not_purged_before_an_operator_has_looked() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.deactivated", 2)
    commerce.clock.advance(POLICY.retention)
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), RecordDecision)
    scopes[JIRA_SCOPE] = after(scopes[JIRA_SCOPE], ScopePutOnHold(**of(JIRA_SCOPE), reason="its data is missing"))
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Nothing)


def test_a_scope_that_is_held_waits_for_an_operator() -> None:
    commerce = a_tenant(JIRA)
    scopes, product = one_intent(commerce)
    scopes[JIRA_SCOPE] = after(product, ScopePutOnHold(**of(JIRA_SCOPE), step=Step.LICENSE, reason="look"))
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()
    scopes[JIRA_SCOPE] = after(scopes[JIRA_SCOPE], ScopeResumed(**of(JIRA_SCOPE), reason="looked"))
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Start)


# -- pins ----------------------------------------------------------------------------------------------------------


def test_a_pin_that_contradicts_where_the_family_lives_gives_up_naming_both() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.activated", 1, product=SERVICE, residency="pinned", region="us")
    given = action(commerce, SERVICE_SCOPE, scopes)
    assert isinstance(given, Fail)
    assert given.step is Step.REGION
    assert "pinned to region us" in given.reason
    assert "lives in eu" in given.reason


def test_a_pin_to_where_the_family_lives_is_welcome() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.activated", 1, product=SERVICE, residency="pinned", region="eu")
    assert action(commerce, SERVICE_SCOPE, scopes) == Wait("step 6 of family jira")


def test_a_product_that_lives_stays_as_it_is_when_a_later_pin_contradicts() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.activated", 2, residency="pinned", region="us")
    assert isinstance(action(commerce, JIRA_SCOPE, scopes), Fail)
    scopes[JIRA_SCOPE] = failure(scopes[JIRA_SCOPE], commerce.desired_state(JIRA_SCOPE, *scopes.values()), Step.REGION)
    assert action(commerce, JIRA_SCOPE, scopes) == Nothing()
    assert action(commerce, JIRA_FAMILY, scopes) == Nothing()


def test_a_placement_that_is_being_taken_away_contradicts_no_pin() -> None:
    commerce = a_tenant(JIRA)
    family = converged(JIRA_FAMILY, commerce.desired_state(JIRA_FAMILY))
    family = removed(family, Step.DATABASE)
    family = started(family, Step.REGION, family.steps[Step.REGION].spec, "remove")
    scopes = {SITE: converged(SITE, commerce.desired_state(SITE)), JIRA_FAMILY: family}
    commerce.says("product.activated", 2, residency="pinned", region="us")
    assert action(commerce, JIRA_SCOPE, scopes) == Wait("step 6 of family jira")
