"""Resources: what a step brings about, with the acts on it and the order that each of them gets.

    ensure, remove     one effect of the saga, by an order
    observe            drift: a look at each place where completed steps say that something is
    things, owned      orphans: everything in one place that is named as ours; what of it is a scope's
    discard            one effect on an orphan, which no order names
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from domain.customer import Customer
from domain.drift import Look, Thing
from domain.scope.desired import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, Direction, RegionResult, Scope, ScopeKind, Step, StepResult, StepSpec
from domain.tenant.state import Tenant

IsClaimed = Callable[[], bool]

FOREIGN: Final = "foreign"
"""The bulkhead of all provisioners of other teams together: several that are dead leave threads for us."""


@dataclass(frozen=True, slots=True)
class Order:
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


class Resource:
    """What the steps `serves` bring about, and how it is seen and cleared away. A place is a shard, or CONTROL.

    This class is a resource of which nothing lies outside the log: it cannot drift, and leaves no orphan.
    """

    serves: ClassVar[tuple[tuple[ScopeKind, Step], ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ()
    """Of its things, in the order in which they go."""
    is_of_control: ClassVar[bool] = False
    """Whether its things lie in the control database; others lie on shards."""
    tells_of_the_log: ClassVar[bool] = True
    """Whether many orphans of it look as if another log should be asked."""

    def ensure(self, order: Order) -> StepResult:
        """See `Executor.ensure`."""
        raise NotImplementedError(order.idempotency_key)

    def remove(self, order: Order) -> None:
        """See `Executor.remove`."""

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        """See `BoundedExecutor.bulkheads`."""
        return ()

    def draft(self, order: Order) -> StepResult:
        """The result of an ensure by another team's provisioner, as far as we know it ourselves. Pure."""
        return self.ensure(order)

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        """A look at each place where the completed steps of these tenants say that something is. Pure; a look is not."""
        return {}

    def things(self, where: str) -> Iterable[Thing]:
        """Everything in the place that is named as ours. Raises as a look does."""
        return ()

    def owned(self, actual: Provisioning, homes: Iterable[Thing] = ()) -> Iterable[Thing]:
        """What is the scope's, or perhaps is: a step that was started counts, whatever its outcome. `homes` is what
        other scopes of the tenant own. Pure."""
        return ()

    def may_own(self, actual: Provisioning, thing: Thing) -> bool:
        """Whether an intent of the scope may mean the thing. Pure."""
        return thing in set(self.owned(actual))

    def home_of(self, thing: Thing) -> str | None:
        """The name of another thing in the same place, with which this one goes anyway. Pure."""
        return None

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        """Make sure that the thing is not there; the obstacles that end with it. None where it is claimed after all,
        which is asked under the lock that every executor passes.

        Raises ExecutorError where it cannot be removed, or not now.
        """
        raise NotImplementedError(thing.kind)
