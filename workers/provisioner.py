"""How do scopes that are due get what they want?

One loop decides and records, a pool of threads brings effects about. A round takes the scopes just claimed and the
effects just finished, loads their tenants as committed now, decides for each, and records all of it in one
transaction: one commit for many outcomes, each with the intent of the next effect.

    claim ──▶ due scopes ─┐
                          ├──▶ decide ──▶ one commit ──▶ effects (threads) ──┐
    finished effects ─────┘                    │                             │
          ▲                                    └──▶ lease ended              │
          └──────────────────────────────────────────────────────────────────┘

A scope stays leased from its claim until it has nothing more to do; leases are renewed while effects run. Whoever
loses a lease finds a conflict when recording, and drops the scope: the other one goes on from the log. SIGKILL at any
point leaves an intent without outcome, which the next holder of the scope brings about again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from domain.catalog import Catalog
from domain.errors import Conflict, ExecutorError, Unavailable
from domain.ports import Clock, EventLog, Executor, Lease, Order, Recording, Wake
from domain.saga import Saga, Turn
from domain.steps import Facts, Scope, ScopeKind, Step
from domain.wanted import scopes_of

log = structlog.get_logger(__name__)

NOT_OFFERED = timedelta(minutes=1)
"""How long a scope that our catalogue does not have is left to others."""

Executors = Mapping[tuple[ScopeKind, Step], Executor]


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """An effect that came to an end: with facts, with None after a removal, or with the error."""

    lease: Lease
    order: Order
    result: Facts | Exception | None


_Decided = tuple[Lease, Turn | None, Recording]


class Provisioner:
    """The saga's worker. Any number run side by side, each under its own `owner` name."""

    def __init__(
        self,
        event_log: EventLog,
        saga: Saga,
        executors: Executors,
        *,
        catalog: Catalog,
        clock: Clock,
        owner: str,
        threads: int,
        claim: int,
        lease: timedelta,
        poll_seconds: float,
        drain_seconds: float,
    ) -> None:
        self._log = event_log
        self._saga = saga
        self._executors = executors
        self._catalog = catalog
        self._clock = clock
        self._owner = owner
        self._claim = claim
        self._lease = lease
        self._poll = poll_seconds
        self._drain = drain_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="step")
        self._running: dict[Future[Facts | None], tuple[Lease, Order]] = {}
        self._done: list[_Done] = []
        self.recorded = 0

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set; then finish the effects that run, start no other, and leave the rest due."""
        ready()
        while not stop.is_set():
            try:
                if not self.round():
                    stop.wait(self._poll)
            except Unavailable as error:
                log.warning("waiting for the database", error=str(error))
                stop.wait(1.0)
        self.drain()

    def round(self) -> bool:
        """One round; False when there was nothing to do."""
        room = self._claim - len(self._running) - len(self._done)
        now = self._clock()
        leases = self._log.claim(owner=self._owner, limit=room, now=now, until=now + self._lease) if room > 0 else []
        if self._running and not leases:
            self._collect(timeout=self._poll)
        else:
            self._collect(timeout=0)
        self._renew()
        if not leases and not self._done:
            return bool(self._running)
        self._decide(leases, draining=False)
        return True

    def drain(self) -> None:
        """Record what the running effects come to, and give their scopes back."""
        deadline = self._clock() + timedelta(seconds=self._drain)
        while self._running and self._clock() < deadline:
            self._collect(timeout=0.1)
            if self._done:
                try:
                    self._decide([], draining=True)
                except Unavailable:
                    break
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- effects ------------------------------------------------------------------------------------------------------

    def _start(self, lease: Lease, order: Order) -> None:
        executor = self._executors[order.scope.kind, order.step]
        act = executor.ensure if order.direction == "ensure" else executor.remove
        self._running[self._pool.submit(act, order)] = (lease, order)

    def _collect(self, *, timeout: float) -> None:
        if not self._running:
            return
        finished, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in finished:
            lease, order = self._running.pop(future)
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            if error is not None and not isinstance(error, ExecutorError):
                log.error("executor failed unexpectedly", effect=order.idempotency_key, exc_info=error)
            self._done.append(_Done(lease, order, error if error is not None else future.result()))

    def _renew(self) -> None:
        """Keep the leases of long effects: halfway through, so that a slow round does not lose them."""
        now = self._clock()
        for future, (lease, order) in list(self._running.items()):
            if lease.until - now < self._lease / 2:
                renewed = Lease(lease.scope, lease.owner, lease.token, lease.wakes, now + self._lease)
                try:
                    self._log.record(Recording(renewals=[(lease, renewed.until)]))
                except Conflict:
                    log.warning("lost the lease while an effect ran", scope=lease.scope)
                self._running[future] = (renewed, order)

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _decide(self, leases: Sequence[Lease], *, draining: bool) -> None:
        """Decide for all and record in one commit. Outcomes are kept until they are recorded."""
        for lease, turn in self._recorded(self._turns([*leases, *self._done], draining=draining)):
            if turn is not None and turn.order is not None:
                self._start(lease, turn.order)
        self._done.clear()

    def _turns(self, work: Sequence[Lease | _Done], *, draining: bool) -> list[_Decided]:
        """What each comes to. One that cannot be decided (its stream cannot be read) does not stop the others: its
        lease runs out, and it is tried again then."""
        try:
            return self._decided(work, draining=draining)
        except Unavailable:
            raise
        except Exception as error:
            if len(work) > 1:
                return [turn for each in work for turn in self._turns([each], draining=draining)]
            lease = work[0].lease if isinstance(work[0], _Done) else work[0]
            log.exception("cannot decide for a scope", scope=lease.scope, error=str(error))
            return []

    def _decided(self, work: Sequence[Lease | _Done], *, draining: bool) -> list[_Decided]:
        scopes = {
            each: each.order.scope if isinstance(each, _Done) else Scope.parse(each.scope)
            for each in work
            if isinstance(each, _Done) or not _is_customer(each)
        }
        estates = self._saga.estates(scope.tenant_id for scope in scopes.values())
        turns: list[_Decided] = []
        for each in work:
            if isinstance(each, _Done):
                estate = estates[each.order.scope.tenant_id]
                turn = self._saga.outcome(each.order, each.result, estate, draining=draining)
                turns.append((each.lease, turn, self._recording(each.lease, turn)))
            elif _is_customer(each):
                turns.append((each, None, self._fan_out(each)))
            elif not self._is_offered(scopes[each]):
                turns.append((each, None, self._put_off(each)))
            else:
                turn = self._saga.take(scopes[each], estates[scopes[each].tenant_id])
                turns.append((each, turn, self._recording(each, turn)))
        return turns

    def _recording(self, lease: Lease, turn: Turn) -> Recording:
        goes_on = turn.order is not None
        return Recording(
            events=turn.facts,
            wakes=turn.wakes,
            blocked=turn.blocked,
            unblocked=turn.unblocked,
            leases=[] if goes_on else [lease],
        )

    def _is_offered(self, scope: Scope) -> bool:
        """Whether our catalogue has it: another process may have recorded it with a newer one."""
        match scope.kind:
            case "site":
                return True
            case "family":
                return any(self._catalog.family_of(key) == scope.key for key in self._catalog.products)
            case "product":
                return scope.key in self._catalog

    def _put_off(self, lease: Lease) -> Recording:
        """Somebody with the newer catalogue may take it, or we ourselves once we were started with it."""
        log.warning("this catalogue does not have it: start the provisioner with the newer one", scope=lease.scope)
        return Recording(wakes=[Wake(lease.scope, self._clock() + NOT_OFFERED)], leases=[lease])

    def _fan_out(self, lease: Lease) -> Recording:
        """A customer changed: every site and product of its tenants is due. Read after the change was committed."""
        tenant_ids = self._log.tenants_of(lease.scope.removeprefix("customer:"))
        estates = self._saga.estates(tenant_ids)
        now = self._clock()
        wakes = [
            Wake(str(scope), now)
            for estate in estates.values()
            for scope in scopes_of(estate.tenant, self._catalog)
            if scope.kind != "family"
        ]
        return Recording(wakes=wakes, leases=[lease])

    def _recorded(self, turns: Sequence[tuple[Lease, Turn | None, Recording]]) -> list[tuple[Lease, Turn | None]]:
        """The turns that were recorded."""
        try:
            self._log.record(_together([recording for _, _, recording in turns]))
        except Conflict:
            kept = []
            for lease, turn, recording in turns:
                try:
                    self._log.record(recording)
                except Conflict as conflict:
                    log.info("dropped a scope", scope=lease.scope, reason=str(conflict))
                    self._give_back(lease)
                else:
                    kept.append((lease, turn))
            return kept
        return [(lease, turn) for lease, turn, _ in turns]

    def _give_back(self, lease: Lease) -> None:
        """If the lease is still ours, end it and leave the scope due; if not, its new holder sees to it."""
        with suppress(Conflict):
            self._log.record(Recording(leases=[lease], wakes=[Wake(lease.scope, self._clock())]))


def _is_customer(lease: Lease) -> bool:
    return lease.scope.startswith("customer:")


def _together(recordings: Sequence[Recording]) -> Recording:
    whole = Recording()
    for recording in recordings:
        whole.events.extend(recording.events)
        whole.wakes.extend(recording.wakes)
        whole.blocked.extend(recording.blocked)
        whole.unblocked.extend(recording.unblocked)
        whole.leases.extend(recording.leases)
    whole.wakes = list({(wake.scope, wake.at): wake for wake in whole.wakes}.values())
    return whole
