"""Is somebody else's provisioner that is away asked by one probe at a time, and by everybody once it answers?"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec.structs import asdict

from adapters.provisioners.circuit_breaker import LONGEST_PAUSE, CircuitBreaker
from application.ports.resources import Order
from domain.errors import Obstacle, Permanent, Unreachable
from domain.scope.steps import LicenseResult, Scope, Step, StepResult
from tests.adapters.provisioners.orders import license_spec, order

ORDER = order(Scope("product", "t-1", "compass"), Step.LICENSE, license_spec("compass"))
FACTS = LicenseResult(**asdict(license_spec("compass")), location="there")
AWAY = Unreachable("provisioner:compass/7", "answered 503: no room for Ada")


@dataclass
class Asked:
    """A provisioner that answers what it is told to."""

    answer: StepResult | Exception = AWAY
    count: int = 0
    time: float = 1000.0
    begun: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event | None = None

    def ensure(self, order: Order) -> StepResult:
        self.count += 1
        self.begun.set()
        if self.goes_on is not None:
            assert self.goes_on.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def remove(self, order: Order) -> None:
        self.ensure(order)

    def now(self) -> float:
        return self.time


def fails(breaker: CircuitBreaker) -> Unreachable:
    with pytest.raises(Unreachable) as caught:
        breaker.ensure(ORDER)
    return caught.value


def test_while_the_provisioner_is_away_orders_fail_without_a_request() -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    assert fails(breaker).delay == timedelta(seconds=1)
    for _ in range(100):
        error = fails(breaker)
        assert error.obstacle == AWAY.obstacle
        assert error.delay is None
    assert asked.count == 1


def test_what_it_said_to_one_order_is_not_told_of_another() -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    fails(breaker)
    assert "Ada" not in str(fails(breaker))
    assert "the provisioner of compass, step 7" in str(fails(breaker))


def test_pauses_between_probes_grow_with_the_outage_to_four_seconds() -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    pauses = []
    for _ in range(10):
        delay = fails(breaker).delay
        assert delay is not None
        pauses.append(delay.total_seconds())
        asked.time += pauses[-1]
    assert pauses == [1, 1, 2, *[LONGEST_PAUSE] * 7]
    assert asked.count == 10


def test_of_many_orders_at_once_one_is_the_probe() -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    fails(breaker)
    asked.time += 1
    asked.begun.clear()
    asked.goes_on, asked.answer = threading.Event(), FACTS
    done: list[StepResult] = []
    probe = threading.Thread(target=lambda: done.append(breaker.ensure(ORDER)))
    probe.start()
    assert asked.begun.wait(10)
    for _ in range(5):
        fails(breaker)
    asked.goes_on.set()
    probe.join(10)
    assert done == [FACTS]
    assert breaker.ensure(ORDER) == FACTS
    assert asked.count == 3


@pytest.mark.parametrize("answer", [Permanent("answered 422"), Obstacle("provisioner:compass/7", "at work")])
def test_any_answer_closes_the_breaker(answer: Exception) -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    fails(breaker)
    asked.time += 1
    asked.answer = answer
    for _ in range(3):
        with pytest.raises(type(answer)):
            breaker.ensure(ORDER)
    assert asked.count == 4


def test_an_error_that_nobody_foresaw_does_not_keep_the_breaker_open_for_good() -> None:
    asked = Asked()
    breaker = CircuitBreaker(asked, now=asked.now)
    fails(breaker)
    asked.time += 1
    asked.answer = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        breaker.ensure(ORDER)
    asked.answer = FACTS
    assert breaker.ensure(ORDER) == FACTS


def test_a_pause_that_the_provisioner_asks_for_is_kept() -> None:
    asked = Asked(Unreachable("provisioner:compass/7", "answered 503", delay=timedelta(minutes=5)))
    breaker = CircuitBreaker(asked, now=asked.now)
    assert fails(breaker).delay == timedelta(minutes=5)
    asked.time += 299
    fails(breaker)
    assert asked.count == 1
