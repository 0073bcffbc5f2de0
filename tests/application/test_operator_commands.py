"""What comes of an operator's act, and what is refused?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from application.operator_commands import Act, decide, version_of
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, Permanent, Retryable, UsageError
from domain.event import Recorded
from domain.operator import Operator
from domain.scope.state import (
    EnsureRequested,
    Hold,
    Provisioning,
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepCompleted,
    StepStarted,
)
from domain.scope.steps import MembershipResult, MembershipSpec, Scope, Step
from tests.domain.driver import Cloud
from tests.domain.given import JIRA, JIRA_FAMILY, JIRA_SCOPE, SITE, TENANT, after, message, of
from tests.refusals import refused

GAVE_UP = ScopeFailed(**of(JIRA_SCOPE), digest="d", step=Step.LICENSE, reason="no such disk")
HELD_BY_SAGA = ScopePutOnHold(**of(JIRA_SCOPE), step=Step.LICENSE, reason="stuck", digest="d")
HELD_BY_HAND = ScopePutOnHold(**of(JIRA_SCOPE), reason="moving house")


def retry(scope: Scope = JIRA_SCOPE) -> Act:
    return Act("retry", scope, "mended")


def hold(scope: Scope = JIRA_SCOPE) -> Act:
    return Act("hold", scope, "moving house")


def release(scope: Scope = JIRA_SCOPE) -> Act:
    return Act("release", scope, "moved")


# -- decisions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [GAVE_UP, HELD_BY_SAGA])
def test_what_was_given_up_or_held_for_a_failure_is_tried_again(stopped: ScopeFailed | ScopePutOnHold) -> None:
    assert decide(retry(), after(JIRA_SCOPE, stopped)) == ScopeResumed(**of(JIRA_SCOPE), reason="mended")


def test_retrying_what_goes_well_is_refused() -> None:
    with refused(UsageError, match=r"nothing of product:t-1:jira-software has failed or is on hold"):
        decide(retry(), Provisioning(JIRA_SCOPE))


def test_a_retry_does_not_run_through_the_hold_of_a_person() -> None:
    with refused(UsageError, match=r"is on hold .*moving house.*runs release product:t-1:jira-software"):
        decide(retry(), after(JIRA_SCOPE, GAVE_UP, HELD_BY_HAND))


def test_a_hold_stands_whatever_the_wish_is() -> None:
    held = decide(hold(), Provisioning(JIRA_SCOPE))
    assert held == HELD_BY_HAND
    assert after(JIRA_SCOPE, held).on_hold == Hold("moving house", None)


def test_what_the_saga_holds_may_be_held_by_hand_as_well() -> None:
    assert decide(hold(), after(JIRA_SCOPE, HELD_BY_SAGA)) == HELD_BY_HAND


def test_holding_twice_is_refused() -> None:
    with refused(UsageError, match=r"is on hold already .*moving house.*release it first"):
        decide(hold(), after(JIRA_SCOPE, HELD_BY_HAND))


def test_a_release_lets_go_what_a_person_held() -> None:
    assert decide(release(), after(JIRA_SCOPE, HELD_BY_HAND)) == ScopeResumed(**of(JIRA_SCOPE), reason="moved")


def test_a_release_of_what_a_failure_holds_points_to_retry() -> None:
    with refused(UsageError, match=r"because a step failed \(stuck\).*runs retry product:t-1:jira-software"):
        decide(release(), after(JIRA_SCOPE, HELD_BY_SAGA))


@pytest.mark.parametrize("events", [(), (GAVE_UP,)])
def test_releasing_what_nobody_holds_is_refused(events: tuple[ScopeFailed, ...]) -> None:
    with refused(UsageError, match="nothing of product:t-1:jira-software is on hold"):
        decide(release(), after(JIRA_SCOPE, *events))


def test_a_converged_scope_is_ensured_again() -> None:
    of_step = {**of(JIRA_SCOPE), "step": Step.SITE, "direction": "ensure", "generation": 1}
    converged = ScopeConverged(**of(JIRA_SCOPE), level="open", digest="d")
    done = [
        StepStarted(**of_step, spec=MembershipSpec(product=JIRA, access="open")),
        StepCompleted(**of_step, result=MembershipResult(product=JIRA, access="open")),
        converged,
    ]
    act = Act("ensure", JIRA_SCOPE, "its password was changed")
    assert decide(act, after(JIRA_SCOPE, *done)) == EnsureRequested(**of(JIRA_SCOPE), reason="its password was changed")
    with refused(UsageError, match="runs release"):
        decide(act, after(JIRA_SCOPE, *done, HELD_BY_HAND))
    with refused(UsageError, match="has failed: `tenantry runs retry"):
        decide(act, after(JIRA_SCOPE, *done, GAVE_UP))
    with refused(UsageError, match="has not converged"):
        decide(act, after(JIRA_SCOPE, *done[:-1]))
    with refused(UsageError, match="is absent"):
        decide(act, after(JIRA_SCOPE, converged))


# -- acts on a log -------------------------------------------------------------------------------------------------


class Desk:
    """A tenant with one product, and an operator who acts on it."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        product = {"product": JIRA, "edition": "standard", "users": 5, "revision": 1}
        self.cloud.intake.takes(message("tenant.created", 1, products=[product]))

    def does(self, act: Act) -> Recorded:
        return self.cloud.operating().carry_out(act, by=Operator.parse("ada@console"))

    def actual(self, scope: Scope = JIRA_SCOPE) -> Provisioning:
        return self.cloud.snapshot().actual(scope)

    def due(self) -> set[str]:
        return {
            work_item.scope for work_item in self.cloud.log.work_items.values() if work_item.at <= self.cloud.clock()
        }


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_act_on_what_has_moved_since_it_was_seen_is_refused(desk: Desk) -> None:
    seen = version_of(JIRA_SCOPE, desk.cloud.snapshot())
    desk.does(Act("hold", JIRA_SCOPE, "moving house", seen))
    with refused(UsageError, match=rf"has moved since: version {seen} was seen, now it is 1/.*look at it again") as why:
        desk.does(Act("release", JIRA_SCOPE, "moved", seen))
    assert why.value.problem is not None
    assert why.value.problem.code == "scope-moved"
    after = version_of(JIRA_SCOPE, desk.cloud.snapshot())
    desk.cloud.intake.takes(message("product.suspended", 2, product=JIRA, reason="unpaid"))
    with refused(UsageError, match="has moved since"):
        desk.does(Act("release", JIRA_SCOPE, "moved", after))
    done = desk.does(Act("release", JIRA_SCOPE, "moved", version_of(JIRA_SCOPE, desk.cloud.snapshot())))
    assert done.cause.act is not None
    assert done.cause.act.seen != after


def fails_for_good(order: Order, when: str) -> None:
    if order.scope == JIRA_FAMILY and order.direction == "ensure" and when == "before":
        raise Permanent("no such disk")


def test_a_retry_says_who_and_why_and_wakes_the_scope_with_its_dependents(desk: Desk) -> None:
    desk.cloud.world.trouble = fails_for_good
    desk.cloud.work()
    assert desk.actual(JIRA_FAMILY).failure is not None
    done = desk.does(retry(JIRA_FAMILY))
    assert (done.cause.kind, done.cause.source, done.cause.id) == ("operator", "ada@console", str(done.id))
    assert done.event == ScopeResumed(**of(JIRA_FAMILY), reason="mended")
    assert desk.due() == {str(JIRA_FAMILY), str(JIRA_SCOPE), str(SITE)}
    desk.cloud.world.trouble = lambda order, when: None
    desk.cloud.work()
    assert desk.actual().level == "open"


def test_what_follows_from_a_retry_names_it_as_its_cause_until_another_wish_comes(desk: Desk) -> None:
    desk.cloud.world.trouble = fails_for_good
    desk.cloud.work()
    desk.cloud.clock.advance(timedelta(minutes=1))
    done = desk.does(retry(JIRA_FAMILY))
    desk.cloud.world.trouble = lambda order, when: None
    desk.cloud.work()
    facts = [fact for fact in desk.cloud.log.events if fact.stream == str(JIRA_FAMILY)]
    after_it = facts[done.version :]
    assert {(fact.cause.kind, fact.cause.id, fact.correlation) for fact in after_it} == {
        ("event", str(done.id), done.correlation)
    }
    desk.cloud.clock.advance(timedelta(minutes=1))
    desk.cloud.intake.takes(message("product.suspended", 2))
    desk.cloud.work()
    assert desk.cloud.log.load({str(JIRA_FAMILY): 0})[str(JIRA_FAMILY)][-1].correlation != done.correlation


def test_retrying_twice_is_told_that_nothing_is_held(desk: Desk) -> None:
    desk.cloud.world.trouble = fails_for_good
    desk.cloud.work()
    desk.does(retry(JIRA_FAMILY))
    with refused(UsageError, match="nothing of family:t-1:jira has failed or is on hold"):
        desk.does(retry(JIRA_FAMILY))


def test_a_scope_that_is_held_does_nothing_for_any_wish_until_it_is_released(desk: Desk) -> None:
    desk.cloud.work()
    held = desk.does(hold())
    assert desk.actual().on_hold == Hold("moving house", None, "ada@console")
    assert not desk.due()
    desk.cloud.intake.takes(message("license.updated", 2, users=99), message("product.suspended", 3))
    desk.cloud.work()
    assert desk.actual().version == held.version
    desk.does(release())
    desk.cloud.work()
    assert desk.actual().level == "closed"


def test_a_hold_with_an_end_ends_by_itself_and_the_scope_is_due_then(desk: Desk) -> None:
    desk.cloud.work()
    until = desk.cloud.clock() + timedelta(hours=2)
    held = desk.does(Act("hold", JIRA_SCOPE, "moving house", until=until))
    assert desk.actual().on_hold == Hold("moving house", None, "ada@console", until)
    desk.cloud.intake.takes(message("product.suspended", 3))
    desk.cloud.work()
    desk.cloud.clock.advance(timedelta(hours=2) - timedelta(seconds=1))
    desk.cloud.work()
    assert desk.actual().version == held.version
    desk.cloud.clock.advance(timedelta(seconds=1))
    assert str(JIRA_SCOPE) in desk.due()
    desk.cloud.work()
    assert desk.actual().on_hold is None
    assert desk.actual().level == "closed"
    [resumed] = [fact for fact in desk.cloud.log.events if isinstance(fact.event, ScopeResumed)]
    assert resumed.event == ScopeResumed(**of(JIRA_SCOPE), reason="the hold has ended")
    assert resumed.cause.kind == "event"


def test_a_hold_with_an_end_is_released_before_it_as_any_other(desk: Desk) -> None:
    desk.cloud.work()
    desk.does(Act("hold", JIRA_SCOPE, "moving house", until=desk.cloud.clock() + timedelta(hours=2)))
    desk.does(release())
    desk.cloud.work()
    desk.does(hold())
    desk.cloud.clock.advance(timedelta(days=1))
    desk.cloud.work()
    assert desk.actual().on_hold == Hold("moving house", None, "ada@console"), "the end was that of the other hold"


def test_a_hold_that_would_be_over_already_is_refused(desk: Desk) -> None:
    with refused(UsageError, match="would be over already: name a later time"):
        desk.does(Act("hold", JIRA_SCOPE, "moving house", until=desk.cloud.clock()))


def test_a_step_that_failed_is_not_tried_again_while_the_scope_is_held(desk: Desk) -> None:
    def fails(order: Order, when: str) -> None:
        if order.step is Step.LICENSE:
            raise Retryable("busy", delay=timedelta(seconds=5))

    desk.cloud.world.trouble = fails
    desk.cloud.work()
    held = desk.does(hold())
    desk.cloud.clock.advance(timedelta(hours=1))
    desk.cloud.work()
    assert desk.actual().version == held.version


def test_an_effect_in_flight_finishes_and_its_outcome_is_recorded(desk: Desk) -> None:
    def held_meanwhile(order: Order, when: str) -> None:
        if order.step is Step.CONFIGURATION and order.scope == JIRA_SCOPE and when == "before":
            desk.does(hold())

    desk.cloud.world.trouble = held_meanwhile
    desk.cloud.work()
    actual = desk.actual()
    assert actual.on_hold is not None
    assert actual.steps[Step.CONFIGURATION].done
    assert Step.IDENTITY not in actual.steps
    last = [fact.event for fact in desk.cloud.log.events if fact.stream == str(JIRA_SCOPE)][-3:]
    assert [type(event) for event in last] == [StepStarted, ScopePutOnHold, StepCompleted]


def test_an_act_is_decided_again_when_somebody_else_records_first(desk: Desk) -> None:
    desk.cloud.work()
    other = Recorded(
        str(JIRA_SCOPE), desk.actual().version + 1, desk.cloud.intake.lifecycle.new_id(), desk.cloud.clock(),
        desk.cloud.log.events[-1].cause, "test", ScopeConverged(**of(JIRA_SCOPE), level="open", digest="x"),
    )  # fmt: skip

    def first(recording: UnitOfWork) -> None:
        desk.cloud.log.before_record = lambda recording: None
        desk.cloud.log.record(UnitOfWork(events=[other]))

    desk.cloud.log.before_record = first
    done = desk.does(hold())
    assert done.version == other.version + 1
    assert desk.cloud.log.conflicts == 1


def test_an_act_that_is_overtaken_again_and_again_is_told_so(desk: Desk) -> None:
    def always(recording: UnitOfWork) -> None:
        raise Conflict("somebody else recorded first")

    desk.cloud.log.before_record = always
    with pytest.raises(Conflict):
        desk.does(hold())


@pytest.mark.parametrize(
    "scope", [Scope("product", TENANT, "confluence"), Scope("family", TENANT, "x"), Scope("site", "t-unknown")]
)
def test_a_scope_that_is_not_there_is_named_with_the_way_to_those_that_are(desk: Desk, scope: Scope) -> None:
    told = rf"there is no scope {scope}: see `tenantry runs list --tenant {scope.tenant_id}`"
    with refused(UsageError, match=told):
        desk.does(hold(scope))


@pytest.mark.parametrize("scope", [SITE, JIRA_FAMILY, JIRA_SCOPE], ids=str)
def test_what_is_ensured_again_goes_through_all_of_its_steps_and_converges(desk: Desk, scope: Scope) -> None:
    desk.cloud.work()
    before = desk.actual(scope)
    asked: list[Step] = []

    def sees(order: Order, when: str) -> None:
        assert order.scope == scope, "nobody else is disturbed"
        asked.extend([order.step] if when == "after" else [])

    desk.cloud.world.trouble = sees
    desk.does(Act("ensure", scope, "somebody was at it"))
    assert not desk.actual(scope).at_rest
    desk.cloud.work()
    assert asked == sorted(before.steps)
    after_it = desk.actual(scope)
    assert after_it.at_rest
    assert {step: each.result for step, each in after_it.steps.items()} == {
        step: each.result for step, each in before.steps.items()
    }
