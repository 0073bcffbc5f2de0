"""How does a step fail, for good or for now, on real parts?

In the worst way: the effect has come about, and is told as failed. A removal is as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from application.ports.resources import BoundedExecutor, Order
from domain.errors import Permanent, Retryable
from domain.scope.steps import ScopeKind, Step, StepResult

Fails = Mapping[tuple[ScopeKind, Step], Literal["for good", "for now"]]

LATER = timedelta(days=30)
"""When what fails for now is tried again: not in these tests."""


@dataclass(frozen=True, slots=True)
class Failing:
    """`BoundedExecutor` that ensures nothing without failing."""

    executor: BoundedExecutor
    how: Literal["for good", "for now"]

    def ensure(self, order: Order) -> StepResult:
        self.executor.ensure(order)
        if self.how == "for good":
            raise Permanent("it cannot be")
        raise Retryable("not yet", delay=LATER)

    def remove(self, order: Order) -> None:
        self.executor.remove(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self.executor.bulkheads(order)


def failing(
    executors: Mapping[tuple[ScopeKind, Step], BoundedExecutor], fails: Fails
) -> dict[tuple[ScopeKind, Step], BoundedExecutor]:
    return {**executors, **{key: Failing(executors[key], how) for key, how in fails.items()}}
