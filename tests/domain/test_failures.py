"""What does the saga make of an effect that fails?

How often and after which pauses it is tried again is the policy's matter, unless the executor says when.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from domain.errors import Permanent, Retryable
from domain.policy import Retry
from domain.ports import Order
from domain.provisioning import ScopeGaveUp, StepFailed
from domain.steps import Step
from tests.domain.driver import Cloud
from tests.domain.given import JIRA_SCOPE, POLICY, message

SECOND = timedelta(seconds=1)


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
    return any(isinstance(fact.event, ScopeGaveUp) for fact in cloud.log.events)


@pytest.mark.parametrize("attempts", [1, 3, 12])
def test_a_step_is_tried_as_often_as_the_policy_says_and_then_given_up(attempts: int) -> None:
    cloud = failing(*[Retryable("busy")] * 20, attempts=attempts)
    assert len(pauses(cloud)) == attempts
    assert pauses(cloud)[-1] is None
    assert gave_up(cloud)
    assert cloud.estate().actual(JIRA_SCOPE).is_empty


def test_pauses_grow_by_the_policys_factor_up_to_its_longest() -> None:
    cloud = failing(*[Retryable("busy")] * 4, first_delay=2 * SECOND, factor=3.0, longest_delay=20 * SECOND, jitter=0.0)
    assert pauses(cloud) == [2 * SECOND, 6 * SECOND, 18 * SECOND, 20 * SECOND]
    assert not gave_up(cloud)
    assert cloud.estate().actual(JIRA_SCOPE).level == "open"


def test_the_pause_that_an_executor_asks_for_is_kept_and_uses_up_an_attempt() -> None:
    cloud = failing(Retryable("maintenance", delay=90 * SECOND), Retryable("busy"), attempts=2)
    assert pauses(cloud) == [90 * SECOND, None]
    assert gave_up(cloud)


def test_what_can_never_come_about_is_tried_once() -> None:
    cloud = failing(Permanent("not sold here"), attempts=12)
    assert pauses(cloud) == [None]
    assert gave_up(cloud)
