"""The executors of steps, and the order that each of them gets: one effect on a real resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from domain.customer import Customer
from domain.scope.steps import DatabaseResult, Direction, RegionResult, Scope, Step, StepResult, StepSpec
from domain.tenant.state import Tenant


@dataclass(frozen=True, slots=True)
class Order:
    """One effect to bring about.

    `born`: each part of the step that is perhaps there, and the generation it is named after; for a removal all of
    them go, for an ensure those that the wish does not name. `placement` and `database` are the family's.
    """

    scope: Scope
    step: Step
    direction: Direction
    generation: int
    spec: StepSpec
    created_generations: Mapping[str, int]
    tenant: Tenant
    customer: Customer
    placement: RegionResult | None
    database: DatabaseResult | None

    @property
    def idempotency_key(self) -> str:
        return f"{self.scope}/{int(self.step)}/{self.direction}/{self.generation}"


class Executor(Protocol):
    """Brings one step about. Both acts are ensures: done twice, they change nothing the second time.

    Raises Retryable, Permanent, Obstacle or Fenced (errors.py); anything else counts as retryable.
    """

    def ensure(self, order: Order) -> StepResult:
        """Make the wish true, and say what is now there."""

    def remove(self, order: Order) -> None:
        """Make sure that nothing of it is there."""
