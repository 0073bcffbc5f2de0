"""Provisioner: it takes the scopes that are due towards their desired state.

One loop decides and records, a pool of threads brings effects about. A round takes the scopes just claimed and the
effects just finished, loads their tenants as committed now, decides for each, and records all of it in one
transaction: one commit for many outcomes, each with the intent of the next effect.

    claim ──▶ due scopes ─┐
                          ├──▶ decide ──▶ one commit ──▶ effects (threads) ──┐
    finished effects ─────┘                    │                             │
          ▲                                    └──▶ lease ended              │
          └──────────────────────────────────────────────────────────────────┘

A scope stays leased from its claim until it has nothing more to do; leases are renewed while effects run. A worker that
has lost a lease finds a conflict when it records an outcome or an intent, and drops the scope: the new lease holder
goes on from the log. SIGKILL at any point leaves an intent without outcome; the next lease holder executes it again.

A slow part, or a large tenant, does not delay the others: a claim takes a limited number of scopes of one tenant, an
effect needs a place in each of its bulkheads, and where a bulkhead is full the scope is put off and its lease ends
(bulkheads.py).

An order of which nothing lies outside the log has no effect to wait for: it is carried out while the scope is decided,
and its intent and outcome are in one commit.

An intent that has to wait for a thread is decided again before its effect begins: an operator may have put the scope on
hold meanwhile. An outcome that conflicts with such an act is decided again after it, because the log must know the
effect.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog
from msgspec.structs import replace

from adapters.outage import Outage
from application.ports.clock import Clock
from application.ports.event_log import EventLog
from application.ports.resources import BoundedExecutor, Order
from application.ports.stream_index import CustomerTenants
from application.ports.work_queue import Lease, WorkItem, WorkQueue
from application.reconcile import Saga
from application.scope_decision import Decision
from application.unit_of_work import UnitOfWork, merged
from domain.configuration import Configuration
from domain.errors import Conflict, ExecutorError, Fault, GuardTripped, NewerEvent, TenantryError, Unavailable, problem
from domain.scope.steps import Scope, ScopeKind, Step, StepResult
from workers.bulkheads import ConcurrencyLimits, Timetables
from workers.claims import claim
from workers.effects import Effects, result_of
from workers.fan_out import fan_out, fans_out, put_off
from workers.loops import run_step
from workers.step_effects import StepEffect, StepOutcome, ages_of, hanging, measure_opening, measure_step, timed

log = structlog.get_logger(__name__)

LOOK_AGAIN = timedelta(seconds=1)
"""An intent that has waited longer for a thread is decided again, and begins only if the decision is the same."""

MOST_LEFT_BEHIND = 64
"""The most hanging threads with which a worker goes on; with more it ends, so that a new worker takes its place."""

MOST_IN_A_TURN = 20
"""The most steps of one scope that are carried out before a commit; the next turn goes on."""

LOGGED_SCOPES = 10
"""The most scopes that one line of the log names."""

Executors = Mapping[tuple[ScopeKind, Step], BoundedExecutor]

MakeExecutors = Callable[[Configuration], Executors]
"""The executors of a configuration that was adopted while the worker runs."""


_Work = Lease | StepOutcome
_Decided = tuple[_Work, Decision | None, UnitOfWork]


class ProvisionerLog(EventLog, WorkQueue, CustomerTenants, Protocol):
    """What the provisioner reads and records."""


class Provisioner:
    """The saga's worker. Any number run side by side, each under its own `owner` name.

    `executors` serve the configuration in use at the start; `learn` makes those of one that is adopted later. The
    worker calls it between decisions: effects that run already go on unchanged.
    """

    def __init__(
        self,
        event_log: ProvisionerLog,
        saga: Saga,
        executors: Executors,
        *,
        clock: Clock,
        owner: str,
        limits: ConcurrencyLimits,
        lease: timedelta,
        poll_seconds: float,
        drain_seconds: float,
        step_timeout: timedelta = timedelta(seconds=30),
        effects: Effects[StepEffect, StepResult | None] | None = None,
        learn: MakeExecutors | None = None,
        configured: int | None = None,
    ) -> None:
        self._log = event_log
        self._saga = saga
        self._executors = executors
        self._learn = learn
        self._configured = configured
        self._clock = clock
        self._owner = owner
        self._limits = limits
        self._timetables = Timetables(limits)
        self._lease = lease
        self._poll = poll_seconds
        self._drain = drain_seconds
        self._step_timeout = step_timeout
        self._effects = effects or Effects[StepEffect, StepResult | None](
            threads=limits.threads, limit=step_timeout, places=limits.places
        )
        self._news = threading.Event()
        self._done: list[StepOutcome] = []
        self.outage = Outage("the provisioner")
        self.upgrade = Outage("the provisioner of an older version")
        self.hanging = Outage("a step of the provisioner")
        self._met_newer_at = 0.0
        self.recorded = 0

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set; then finish the effects that run, start no other, and leave the rest due.

        Raises TenantryError when too many effects hang: the supervisor should start another worker.
        """
        ready()
        while not stop.is_set() and self._effects.left_behind < MOST_LEFT_BEHIND:
            run_step(self.round, lambda: self._collect(timeout=self._poll), stop=stop, outage=self.outage)
        self.drain()
        if not stop.is_set():
            raise TenantryError(problem("effects-hang", most_left_behind=MOST_LEFT_BEHIND))

    def look_again(self) -> None:
        """End a rest: there may be work. For another thread; a wake-up that is lost costs one rest."""
        if not self._news.is_set():
            self._news.set()
            self._effects.nudge()

    def round(self) -> bool:
        """One round; False when there was nothing to do."""
        if time.monotonic() - self._met_newer_at > 2 * self._lease.total_seconds():
            self.upgrade.is_over()
        self._news.clear()  # what comes from here on, the claim may have missed
        leases = self._claim()
        self._collect(timeout=self._poll if self._effects.under_way and not leases else 0)
        self._renew()
        self._name_what_hangs()
        late = self._late()
        if leases or late or self._done:
            self._decide([*late, *leases], draining=False)
            return True
        return bool(self._effects.under_way) or self._news.is_set()

    def _claim(self) -> list[Lease]:
        """Lease as many scopes as the limit allows."""
        orders = [effect.order for effect in self._effects.under_way] + [done.order for done in self._done]
        leased = Counter(order.scope.tenant_id for order in orders)
        return claim(self._log, leased, self._limits, owner=self._owner, now=self._clock(), lease=self._lease)

    def drain(self) -> None:
        """Record the outcomes of the running effects, and end the leases of their scopes."""
        deadline = self._clock() + timedelta(seconds=self._drain)
        with suppress(Conflict, Unavailable, Fault):
            for effect in self._effects.queued:
                if self._effects.withdraw(effect):
                    self._give_back(effect.lease)
            while self._effects.under_way and self._clock() < deadline:
                self._collect(timeout=0.1)
                if self._done:
                    self._decide([], draining=True)
        self._effects.close()

    # -- effects ------------------------------------------------------------------------------------------------------

    def _learns(self) -> None:
        """Use the executors of the adopted configuration, if it differs from the one in use."""
        adopted = self._saga.adopted
        if self._learn is None or adopted.version == self._configured or (found := adopted.configuration) is None:
            return
        self._executors = self._learn(found)
        if self._configured is not None:
            log.info("uses another configuration from here on", configuration=adopted.version)
        self._configured = adopted.version

    def _executor(self, order: Order) -> BoundedExecutor:
        return self._executors[order.scope.kind, order.step]

    def _begin(self, lease: Lease, order: Order) -> None:
        bulkheads = self._executor(order).bulkheads(order)
        effect = StepEffect(lease, order, self._clock(), bulkheads)
        self._effects.begin(effect, partial(timed, effect, self._act(order)), bulkheads)

    def _act(self, order: Order) -> Callable[[Order], StepResult | None]:
        executor = self._executor(order)
        return executor.ensure if order.direction == "ensure" else executor.remove

    def _late(self) -> list[Lease]:
        """Scopes whose effects have waited long for a thread: the effects are withdrawn, the scopes decided again."""
        before = self._clock() - LOOK_AGAIN
        waiting = [effect for effect in self._effects.queued if effect.since < before]
        return [effect.lease for effect in waiting if self._effects.withdraw(effect)]

    def _collect(self, *, timeout: float) -> None:
        for effect, result in self._effects.finished(timeout=timeout):
            seconds = effect.seconds if effect.seconds is not None else self._step_timeout.total_seconds()
            self._timetables.took(effect.bulkheads, seconds)
            outcome = self._measured(effect.order, result, seconds, effect.bulkheads)
            self._done.append(StepOutcome(effect.lease, effect.order, outcome))

    def _measured(
        self, order: Order, result: StepResult | BaseException | None, seconds: float, bulkheads: tuple[str, ...] = ()
    ) -> StepResult | Exception | None:
        measure_step(order, bulkheads, result, seconds)
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        if isinstance(result, Exception) and not isinstance(result, ExecutorError):
            log.error("executor failed unexpectedly", effect=order.idempotency_key, exc_info=result)
        return result

    def _name_what_hangs(self) -> None:
        """Report to `status` the bulkhead whose effect does not end, long before its time is over."""
        text = hanging(self._effects.under_way, self._step_timeout)
        if text is not None:
            self.hanging.goes_on(Unavailable(text, why="hangs"))
        else:
            self.hanging.is_over()

    def _renew(self) -> None:
        """Keep the leases of long effects: halfway through, so that a slow round does not lose them."""
        now = self._clock()
        until = now + self._lease
        long = [effect for effect in self._effects.under_way if effect.lease.until - now < self._lease / 2]
        if long and not self._are_renewed(long, until):
            lost = [effect.lease.scope for effect in long if not self._are_renewed([effect], until)]
            if lost:
                log.warning("lost the leases of effects that ran", count=len(lost), scopes=lost[:LOGGED_SCOPES])
        for effect in long:  # that one is lost shows again at its outcome
            effect.lease = replace(effect.lease, until=until)

    def _are_renewed(self, effects: Sequence[StepEffect], until: datetime) -> bool:
        """Renew all of them in one commit; False, with none renewed, if another worker has one of the leases."""
        try:
            self._log.record(UnitOfWork(renewals=[(effect.lease, until) for effect in effects]))
        except Conflict:
            return False
        return True

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _decide(self, leases: Sequence[Lease], *, draining: bool) -> None:
        """Decide for all and record in one commit. Outcomes are kept until they are recorded."""
        decisions = self._decisions([*leases, *self._done], draining=draining)
        for work, decision, _ in self._recorded(decisions, draining=draining):
            if decision is not None:
                self._saga.keep(decision)
                measure_opening(decision)
            if decision is not None and decision.order is not None:
                self._begin(_lease_of(work), decision.order)
        self._done.clear()

    def _decisions(self, work: Sequence[_Work], *, draining: bool, budget: int | None = None) -> list[_Decided]:
        """The decision for each; `budget` is what the destroy guard lets pass (None: it was not asked).

        A scope whose stream cannot be read does not stop the others: its lease runs out, and it is tried again then. A
        scope whose stream a later version has written is left to a worker of that version.
        """
        try:
            return self._decided(work, draining=draining, budget=budget)
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error, NewerEvent):
                raise
            if len(work) > 1:
                return [
                    decision for each in work for decision in self._decisions([each], draining=draining, budget=budget)
                ]
            if isinstance(error, NewerEvent):
                self.upgrade.goes_on(error)
                self._met_newer_at = time.monotonic()
                return []
            log.exception("cannot decide for a scope", scope=_lease_of(work[0]).scope, error=str(error))
            return []

    def _decided(self, work: Sequence[_Work], *, draining: bool, budget: int | None) -> list[_Decided]:
        scopes = {
            each: each.order.scope if isinstance(each, StepOutcome) else Scope.parse(each.scope)
            for each in work
            if isinstance(each, StepOutcome) or not fans_out(each)
        }
        snapshots = self._saga.snapshots(scope.tenant_id for scope in scopes.values())
        self._learns()
        taken = Counter(bulkhead for effect in self._effects.under_way for bulkhead in effect.bulkheads)
        decisions: list[_Decided] = []
        for each in work:
            if isinstance(each, StepOutcome):
                snapshot = snapshots[each.order.scope.tenant_id]
                left_to_others = draining or bool(self._saga.unknown_among(snapshot))
                decision = self._saga.outcome(each.order, each.result, snapshot, draining=left_to_others, budget=budget)
                self._see_through(decision, taken)
                decisions.append((each, decision, decision.under(each.lease)))
            elif (scope := scopes.get(each)) is None:
                decisions.append((each, None, fan_out(each, self._saga, self._log, now=self._clock())))
            elif unknown := self._saga.unknown_among(snapshots[scope.tenant_id]):
                decisions.append((each, None, put_off(each, unknown, now=self._clock())))
            else:
                decision = self._saga.take(scope, snapshots[scope.tenant_id], budget=budget)
                self._see_through(decision, taken)
                decisions.append((each, decision, decision.under(each)))
        return decisions

    def _see_through(self, decision: Decision, taken: Counter[str]) -> None:
        """Carry out the orders of which nothing lies outside the log, until one has an effect, or there is none."""
        for _ in range(MOST_IN_A_TURN):
            if (order := decision.order) is None:
                return
            if bulkheads := self._executor(order).bulkheads(order):
                self._admit(decision, bulkheads, taken)
                return
            self._saga.follow(decision, self._measured(order, result_of(partial(self._act(order), order)), 0.0))
        if decision.order is not None:
            decision.order = None
            decision.due_again(self._clock())

    def _admit(self, decision: Decision, bulkheads: tuple[str, ...], taken: Counter[str]) -> None:
        """Count the decision's effect in its bulkheads; where one of them is full, put the scope off."""
        full = self._timetables.full(bulkheads, taken)
        if full:
            decision.order = None
            slot = self._timetables.slot(full, self._clock(), runs_for=ages_of(self._effects.under_way))
            decision.unit.work_items.append(WorkItem(decision.stream, slot))
        else:
            taken.update(bulkheads)

    def _recorded(self, decisions: Sequence[_Decided], *, draining: bool) -> list[_Decided]:
        """The decisions that were recorded: all in one commit, or, after a conflict, one by one."""
        try:
            self._log.record(merged(unit for _, _, unit in decisions))
        except Conflict:
            return list(self._one_by_one(decisions, draining=draining))
        return list(decisions)

    def _one_by_one(self, decisions: Sequence[_Decided], *, draining: bool) -> Iterator[_Decided]:
        """An outcome that conflicts is decided once more: an operator may have acted on the scope meanwhile. So is a
        purge beyond the budget of the destroy guard: it then awaits approval. A worker that has lost the lease finds
        the next conflict, and drops the scope."""
        for each in decisions:
            work, conflict = each[0], self._conflict(each)
            kept = [each] if conflict is None else []
            if isinstance(conflict, GuardTripped) or (conflict and isinstance(work, StepOutcome)):
                budget = 0 if isinstance(conflict, GuardTripped) else None
                again = self._decisions([work], draining=draining, budget=budget)
                kept = [decision for decision in again if self._conflict(decision) is None]
            if not kept:
                self._give_back(_lease_of(work))
            yield from kept

    def _conflict(self, decided: _Decided) -> Conflict | None:
        """Record the decision; the conflict that refused it, or None."""
        work, _, recording = decided
        try:
            self._log.record(recording)
        except Conflict as conflict:
            log.debug("not recorded", scope=_lease_of(work).scope, reason=str(conflict))
            return conflict
        return None

    def _give_back(self, lease: Lease) -> None:
        """If the lease is still ours, end it and leave the scope due; if not, its new holder goes on."""
        with suppress(Conflict):
            self._log.record(UnitOfWork(leases=[lease], work_items=[WorkItem(lease.scope, self._clock())]))


def _lease_of(work: _Work) -> Lease:
    return work.lease if isinstance(work, StepOutcome) else work
