"""Resources: what a step brings about, with the acts on it and the order that each of them gets.

ensure, remove     one effect of the saga, by an order
observe            drift: a look at each place where completed steps say that something is
things, owned      orphans: everything in one place that is named as ours; what of it is a scope's
discard            one effect on an orphan, which no order names
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

from msgspec import Struct

from domain.customer import Customer
from domain.drift import Look, Thing
from domain.event import Origin
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, Direction, RegionResult, Scope, ScopeKind, Step, StepResult, StepSpec
from domain.tenant.state import Tenant

IsClaimed = Callable[[], bool]

FOREIGN: Final = "foreign"
"""The bulkhead of all provisioners of other teams together: several that are dead leave threads for us."""


class Order(Struct, frozen=True, gc=False):
    """One effect to bring about.

    `created_generations`: each part of the step that is perhaps there, and the generation it is named after; for a
    removal all of them go, for an ensure those that the spec does not name. `placement` and `database` are the
    family's.
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
    attempt: int = 1
    """How often it is tried, this time included; an outage does not count."""
    cause: Origin | None = None
    """The event that asked for it; only where traces are made."""

    @property
    def idempotency_key(self) -> str:
        return f"{self.scope}/{int(self.step)}/{self.direction}/{self.generation}"


class Executor(Protocol):
    """Brings one step about. Both acts are ensures: done twice, they change nothing the second time.

    Raises Retryable, Permanent, Obstacle or Fenced (errors.py); anything else counts as retryable.
    """

    def ensure(self, order: Order) -> StepResult:
        """Make the spec true, and return what is now there."""

    def remove(self, order: Order) -> None:
        """Make sure that nothing of it is there."""


class BoundedExecutor(Executor, Protocol):
    """An executor that says within which limits it works."""

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        """The groups of effects whose limits hold for this one; none where it waits for nothing outside the log."""


LiesOn = Literal["the log", "control", "shard"]
"""Where what an executor makes lies: in the log alone, in the control database, or on the family's shard."""


def bulkheads(order: Order, lies_on: LiesOn) -> tuple[str, ...]:
    """The limits of an effect of ours: on its step, and on its shard."""
    if lies_on == "the log":
        return ()
    ours = f"{order.scope.kind}/{int(order.step)}"
    placed = order.placement if lies_on == "shard" else None
    return (ours, f"shard:{placed.shard}") if placed is not None else (ours,)


class StepExecutor(ABC):
    """Brings about the steps that it `serves`, and waits for the place where its things lie."""

    serves: tuple[tuple[ScopeKind, Step], ...]
    lies_on: LiesOn = "the log"

    @abstractmethod
    def ensure(self, order: Order) -> StepResult:
        """See `Executor.ensure`."""

    def remove(self, order: Order) -> None:  # noqa: B027 - that is all where nothing lies outside the log
        """See `Executor.remove`."""

    def draft(self, order: Order) -> StepResult:
        """The result of an ensure by another team's provisioner, as far as we know it ourselves. Pure."""
        return self.ensure(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        """See `BoundedExecutor.bulkheads`."""
        return bulkheads(order, self.lies_on)


class Resource(ABC):
    """Things outside the log: how they are seen, listed and cleared away. A place is a shard, or CONTROL."""

    kinds: tuple[str, ...]
    """Of its things, in the order in which they go."""
    lies_on: LiesOn
    tells_of_the_log = False
    """Whether many orphans of it look as if another log should be asked."""

    @abstractmethod
    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        """A look at each place where completed steps of these tenants say that something is. Pure; a look is not."""

    @abstractmethod
    def things(self, where: str) -> Iterable[Thing]:
        """Everything in the place that is named as ours. Raises as a look does."""

    @abstractmethod
    def owned(self, actual: Provisioning) -> Iterable[Thing]:
        """The identities of what is the scope's, or perhaps is: a step that was started counts, whatever its outcome.
        Pure."""

    @abstractmethod
    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        """Make sure that the thing is not there; the obstacles that end with it. None where it is claimed after all,
        which is asked under the lock that every executor passes.

        Raises ExecutorError where it cannot be removed, or not now.
        """

    def identity(self, thing: Thing) -> Thing:
        """By which `owned` means it: itself, where the log says all of its name."""
        return thing

    def goes_with(self, thing: Thing) -> tuple[str, str]:
        """Place and name of the thing in which it lies, and with which it goes anyway; or its own."""
        return thing.where, thing.name
