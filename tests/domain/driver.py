"""How does the saga run without threads, and without PostgreSQL if need be?

`Worker` does what workers/provisioner.py does, one scope at a time: it claims, lets `Saga` decide, records, and brings
effects about in a `World`. A test may kill it at any effect, and go on with another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

from application.operator_commands import OperatorCommands
from application.ports.log_store import LogStore
from application.ports.resources import Order
from application.ports.work_queue import Lease, WorkItem
from application.scope_decision import Decision
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, ExecutorError, GuardTripped
from domain.event import Recorded
from domain.operator import Operator
from domain.policy import Policy
from domain.scope.dependencies import dependents
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.state import ScopeResumed, StepCompleted
from domain.scope.steps import Scope, StepResult
from domain.tenant.events import TenantRestored
from tests.domain.checked_saga import CheckedSaga
from tests.domain.given import CATALOG, POLICY, TENANT, FrontDoor, Intake, ids, of, recorded
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.world import World

LEASE = timedelta(seconds=30)


class Killed(BaseException):
    """The worker is no more; whatever it held stays held until its lease ends."""


class Keeper(LogStore, Protocol):
    """The port, and what a driver looks up behind it."""

    before_record: Callable[[UnitOfWork], None]

    @property
    def events(self) -> Sequence[Recorded]: ...

    @property
    def work_items(self) -> Mapping[int, WorkItem]: ...

    @property
    def leases(self) -> Mapping[str, Lease]: ...


class CloudOn:
    """Intake, saga and world on one log and one clock."""

    intake: FrontDoor[Any]
    log: Keeper

    def __init__(self, intake: FrontDoor[Any], *, policy: Policy) -> None:
        self.clock = intake.clock
        self.intake = intake
        self.log = intake.log
        self.world = World()
        self.policy = policy
        self.draining = False
        """Whether workers end their turn after each effect."""

        self._new_id = ids()
        self.new_worker()

    def new_worker(self) -> None:
        """A process that has seen nothing yet."""
        self.saga = CheckedSaga(
            self.log,
            catalog=CATALOG,
            policy=self.policy,
            clock=self.clock,
            new_id=self._new_id,
            dice=lambda: 0.0,
        )

    def snapshot(self, tenant_id: str = TENANT) -> TenantSnapshot:
        return self.saga.snapshots([tenant_id])[tenant_id]

    def work(self, rounds: int = 1000) -> None:
        """Take scopes that are due, one after the other, until none is; fail when that goes on for ever."""
        for _ in range(rounds):
            if not self.work_once():
                return
        raise AssertionError(f"scopes are still due after {rounds} rounds: {self.log.work_items}")

    def work_once(self) -> bool:
        """One scope until it has nothing more to do; False where none was due."""
        now = self.clock()
        leases = self.log.claim(owner="worker", limit=1, now=now, until=now + LEASE)
        for lease in leases:
            self._see_through(lease)
        return bool(leases)

    def _see_through(self, lease: Lease) -> None:
        if lease.scope.startswith("customer:"):
            scopes = [
                scope
                for tenant_id in self.log.tenants_of(lease.scope.removeprefix("customer:"))
                for scope in scopes_of(self.snapshot(tenant_id).tenant, CATALOG)
            ]
            work_items = [WorkItem(str(scope), self.clock()) for scope in scopes]
            self.log.record(UnitOfWork(work_items=work_items, leases=[lease]))
            return
        scope = Scope.parse(lease.scope)
        order = self._record(lease, partial(self.saga.take, scope, self.snapshot(scope.tenant_id)))
        while order is not None:
            result = self._effect(order)
            snapshot = self.snapshot(scope.tenant_id)
            order = self._record(lease, partial(self.saga.outcome, order, result, snapshot, draining=self.draining))

    def _effect(self, order: Order) -> StepResult | ExecutorError | None:
        try:
            if order.direction == "ensure":
                return self.world.ensure(order)
            self.world.remove(order)
        except ExecutorError as error:
            return error
        return None

    def _record(self, lease: Lease, decide: Callable[..., Decision], budget: int | None = None) -> Order | None:
        decision = decide(budget=budget)
        try:
            self.log.record(decision.under(lease))
        except GuardTripped:
            return self._record(lease, decide, budget=0)
        except Conflict:
            self.log.record(UnitOfWork(leases=[lease], work_items=[WorkItem(lease.scope, self.clock())]))
            return None
        return decision.order

    def settle(self) -> None:
        """Let time pass until nothing is due any more within a day."""
        self.work()
        for _ in range(200):
            soon = [
                work_item.at
                for work_item in self.log.work_items.values()
                if work_item.at <= self.clock() + timedelta(days=1)
            ]
            if not soon:
                return
            ends = [lease.until for lease in self.log.leases.values()]
            self.clock.now = max([self.clock(), min(soon), *ends])
            self.work()
        raise AssertionError("time alone keeps the scopes busy")

    def restore(self) -> TenantRestored:
        """An operator's `restore` of the tenant."""
        return self.operating().restore(TENANT, reason="the wrong one was called", by=Operator.parse("ada@host"))

    def operating(self) -> OperatorCommands:
        return OperatorCommands(self.log, self.saga.snapshots, CATALOG, self.policy, self.clock, self._new_id)

    def retry_all(self) -> None:
        """An operator's `runs retry` of every scope that was given up or is held."""
        snapshot = self.snapshot()
        for scope, actual in snapshot.scopes.items():
            if actual.failure is not None or actual.on_hold is not None:
                self._operator(ScopeResumed(**of(scope), reason="runs retry"), scope, actual.version)

    def _operator(self, event: ScopeResumed, scope: Scope, version: int) -> None:
        fact = recorded(str(scope), version + 1, event, at=self.clock())
        due = (scope, *dependents(scope, self.snapshot(), catalog=CATALOG))
        work_items = [WorkItem(str(each), self.clock()) for each in due]
        self.log.record(UnitOfWork(events=[fact], work_items=work_items))

    def completions(self) -> Counter[tuple[str, int]]:
        """How often each generation was completed."""
        return Counter(
            (fact.stream, fact.event.generation) for fact in self.log.events if isinstance(fact.event, StepCompleted)
        )


class Cloud(CloudOn):
    """On a log in memory."""

    intake: Intake
    log: MemoryEventLog

    def __init__(self, *, policy: Policy = POLICY) -> None:
        super().__init__(Intake(policy=policy), policy=policy)
