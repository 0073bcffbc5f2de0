"""What does the saga make of an effect that fails?

How often and after which pauses it is tried again is the policy's matter, unless the executor says when.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest

from application.ports.resources import Order
from domain.errors import Permanent, Retryable, Unreachable
from domain.policy import Retry
from domain.scope.state import ScopeFailed, StepBlocked, StepFailed
from domain.scope.steps import Step
from tests.domain.driver import Cloud
from tests.domain.given import JIRA_SCOPE, POLICY, TENANT, message

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
AWAY = "provisioner:jira-software/7"


def failing(*errors: Exception, **retry: object) -> Cloud:
    """One product whose license fails with each of the errors, and then no more; under that policy."""
    policy = POLICY.model_copy(update={"retry": Retry(**(POLICY.retry.model_dump() | retry))})
    cloud = Cloud(policy=policy)
    left: Iterator[Exception] = iter(errors)

    def trouble(order: Order, when: str) -> None:
        if (order.step, order.direction, when) == (Step.LICENSE, "ensure", "before"):
            error = next(left, None)
            if error is not None:
                raise error

    cloud.world.trouble = trouble
    cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1))
    cloud.settle()
    return cloud


def pauses(cloud: Cloud) -> list[timedelta | None]:
    """From each failure to the next attempt; None where there is none."""
    failures = [(fact.time, fact.event) for fact in cloud.log.events if isinstance(fact.event, StepFailed)]
    return [event.retry_at - at if event.retry_at else None for at, event in failures]


def gave_up(cloud: Cloud) -> bool:
    return any(isinstance(fact.event, ScopeFailed) for fact in cloud.log.events)


@pytest.mark.parametrize("attempts", [1, 3, 12])
def test_a_step_is_tried_as_often_as_the_policy_says_and_then_given_up(attempts: int) -> None:
    cloud = failing(*[Retryable("busy")] * 20, attempts=attempts)
    assert len(pauses(cloud)) == attempts
    assert pauses(cloud)[-1] is None
    assert gave_up(cloud)
    assert cloud.snapshot().actual(JIRA_SCOPE).is_empty


def test_pauses_grow_by_the_policys_factor_up_to_its_longest() -> None:
    cloud = failing(*[Retryable("busy")] * 4, first_delay=2 * SECOND, factor=3.0, longest_delay=20 * SECOND, jitter=0.0)
    assert pauses(cloud) == [2 * SECOND, 6 * SECOND, 18 * SECOND, 20 * SECOND]
    assert not gave_up(cloud)
    assert cloud.snapshot().actual(JIRA_SCOPE).level == "open"


def test_the_pause_that_an_executor_asks_for_is_kept_and_uses_up_an_attempt() -> None:
    cloud = failing(Retryable("maintenance", delay=90 * SECOND), Retryable("busy"), attempts=2)
    assert pauses(cloud) == [90 * SECOND, None]
    assert gave_up(cloud)


def test_what_can_never_come_about_is_tried_once() -> None:
    cloud = failing(Permanent("not sold here"), attempts=12)
    assert pauses(cloud) == [None]
    assert gave_up(cloud)


# -- outages -------------------------------------------------------------------------------------------------------


class Outage:
    """Step 7 has nobody to bring it about for so long, counted from its first attempt."""

    def __init__(self, hours: float, *, attempts: int = 3, unreachable_for: timedelta = 24 * HOUR) -> None:
        retry = Retry(**(POLICY.retry.model_dump() | {"attempts": attempts, "unreachable_for": unreachable_for}))
        self.cloud = Cloud(policy=POLICY.model_copy(update={"retry": retry}))
        self.began = self.cloud.clock()
        self.ends = self.began + hours * HOUR
        self.looks: list[timedelta] = []
        self.cloud.world.trouble = self._trouble
        self.cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1))
        self.cloud.settle()

    def _trouble(self, order: Order, when: str) -> None:
        is_asked = (order.step, order.direction, when) == (Step.LICENSE, "ensure", "before")
        if is_asked and self.cloud.clock() < self.ends:
            self.looks.append(self.cloud.clock() - self.began)
            raise Unreachable(AWAY, "the provisioner of jira-software, step 7 (host) cannot be reached")

    def events(self, kind: type[object]) -> list[object]:
        return [fact.event for fact in self.cloud.log.events if isinstance(fact.event, kind)]


def test_an_outage_of_hours_uses_up_no_attempt_and_is_one_fact() -> None:
    outage = Outage(12)
    assert outage.cloud.snapshot().actual(JIRA_SCOPE).level == "open"
    assert not outage.events(StepFailed)
    assert not outage.events(ScopeFailed)
    assert len(outage.events(StepBlocked)) == 1
    assert len(outage.looks) > 3 * 8


def test_an_outage_is_looked_at_soon_at_first_and_then_ever_more_slowly() -> None:
    outage = Outage(1)
    pauses = [later - earlier for earlier, later in pairwise(outage.looks)]
    assert pauses[:4] == [1 * SECOND, 1 * SECOND, 2 * SECOND, 4 * SECOND]
    assert max(pauses) == POLICY.retry.longest_delay


def test_an_outage_that_is_longer_than_the_policy_waits_fails_the_step() -> None:
    outage = Outage(1000, unreachable_for=6 * HOUR)
    [failed] = outage.events(StepFailed)
    assert isinstance(failed, StepFailed)
    assert failed.reason.endswith("cannot be reached, for 6 h now")
    assert outage.events(ScopeFailed)
    assert 6 * HOUR <= max(outage.looks) < 6 * HOUR + 2 * POLICY.retry.longest_delay


def test_a_refusal_is_no_outage_and_fails_at_once() -> None:
    cloud = failing(Unreachable(AWAY, "away"), Permanent("answered 422"))
    assert pauses(cloud) == [None]
    assert gave_up(cloud)


def test_the_first_answer_wakes_all_scopes_that_wait_for_the_provisioner() -> None:
    cloud = Cloud()
    is_away = True

    def trouble(order: Order, when: str) -> None:
        if (order.step, when) == (Step.LICENSE, "before") and is_away:
            raise Unreachable(AWAY, "away")

    cloud.world.trouble = trouble
    tenants = (TENANT, "t-2", "t-3")
    for number, tenant in enumerate(tenants, 1):
        cloud.intake.takes(
            message("tenant.created", tenant_id=tenant, site_name=f"site-{number}"),
            message("product.activated", tenant_id=tenant),
        )
    cloud.work()
    cloud.clock.advance(5 * HOUR)
    cloud.work()
    is_away = False
    first = min((work_item for work_item in cloud.log.work_items.values()), key=lambda work_item: work_item.at)
    cloud.clock.advance(first.at - cloud.clock())
    cloud.work()
    levels = {tenant: cloud.snapshot(tenant).product("jira-software").level for tenant in tenants}
    assert levels == dict.fromkeys(tenants, "open")
