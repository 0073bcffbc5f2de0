"""Drift detection: what has drifted gets back to what the log says.

    sweep    page by page: read the estates, then look, then compare. Nothing is recorded
    mend     for each scope with findings: `StepMissing` at the version that was read before looking

Only the saga mends: a step that is missing is not done, so that `next_action` ensures it again. Where a database is
missing (`data_missing`) its products are closed from that event on, and its executor closes the login roles and makes
nothing: the scope is on hold until an operator has restored it, or accepts the loss (database_recreation.py). If a
stream has moved on since it was read, its observation is void: the append's version check drops it, and the next sweep
looks again. A process that is stopped between two scopes has recorded whole scopes or nothing.

Beside the real things it looks at the work queue: an unsettled scope, which no entry of the queue would make due, is
made due (unsettled_scopes.py).

A sweep that finds too much missing in one place records nothing anywhere: that is how a wrong or an empty server looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final, Protocol

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.stream_index import StreamPages
from application.ports.work_queue import WorkItem, WorkQueue
from application.resources import Resources
from application.unit_of_work import UnitOfWork
from application.unsettled_scopes import Unsettled, names_in_queue, still, unsettled
from domain.catalog import Catalog
from domain.drift import Seen, suspicious
from domain.errors import Conflict, TenantryError, problem
from domain.operator import Operator
from domain.policy import Policy
from domain.scope.dependencies import dependents
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning, StepMissing, evolve
from domain.scope.steps import Scope, Step

PAGE: Final = 500
"""Tenants that are read and looked at together."""


@dataclass(slots=True)
class Sweep:
    """The outcome of one sweep. `looked_at`, `absent`: scopes by place; `unreachable`: places not looked at, and why.

    `suspicious`: places where too much is missing. Nothing may be recorded. `lost`: scopes whose database was missing
    before, which is recorded already and not found again. `unsettled`: scopes that are not as they should be, and that
    nobody would look at.
    """

    tenants: int = 0
    looked_at: Counter[str] = field(default_factory=Counter)
    absent: Counter[str] = field(default_factory=Counter)
    drifted: list[Seen] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    suspicious: tuple[str, ...] = ()
    lost: list[Scope] = field(default_factory=list)
    unsettled: list[Unsettled] = field(default_factory=list)

    def add(self, page: Sweep) -> None:
        """What was found on one page more."""
        self.tenants += page.tenants
        self.looked_at.update(page.looked_at)
        self.absent.update(page.absent)
        self.drifted.extend(page.drifted)
        self.unreachable |= page.unreachable
        self.lost.extend(page.lost)
        self.unsettled.extend(page.unsettled)


@dataclass(frozen=True, slots=True)
class Audited:
    """A page of an audit: how many scopes were looked at, and which of them are unsettled."""

    scopes: int
    unsettled: list[Unsettled]


@dataclass(slots=True)
class Mended:
    """`handed_over`: scopes the saga mends, or that are on hold; `dropped`: whose streams had moved on; `woken`: that
    nobody would have looked at, and that are due now."""

    handed_over: list[Scope] = field(default_factory=list)
    dropped: list[Scope] = field(default_factory=list)
    rescheduled: list[Scope] = field(default_factory=list)


class DriftLog(EventLog, StreamPages, WorkQueue, Protocol):
    """What drift detection reads and records."""


@dataclass(frozen=True, slots=True)
class DriftDetector:
    """`snapshots` gives tenants as committed now."""

    log: DriftLog
    snapshots: Callable[[Iterable[str]], Mapping[str, TenantSnapshot]]
    resources: Resources
    catalog: Catalog
    policy: Policy
    clock: Clock
    new_id: NewId

    def sweep(self, tenant_id: str | None = None, *, say: Callable[[Sweep], None]) -> Sweep:
        """Look at one tenant or at all of them; `say` hears of every page."""
        sweep = Sweep()
        for page in [[tenant_id]] if tenant_id is not None else self._pages("tenant"):
            sweep.add(self.look(page))
            say(sweep)
        sweep.suspicious = suspicious(sweep.absent, sweep.looked_at, self.policy.drift)
        return sweep

    def look(self, tenant_ids: Sequence[str]) -> Sweep:
        """Look at these tenants: read their estates, then look, then compare."""
        snapshots = [snapshot for snapshot in self.snapshots(tenant_ids).values() if snapshot.tenant.exists]
        left_alone = list(self.unsettled(snapshots))
        observed = self.resources.observe(snapshots)
        seen = observed.seen
        return Sweep(
            tenants=len(snapshots),
            looked_at=Counter(each.where for each in seen),
            absent=Counter(each.where for each in seen if each.is_absent),
            drifted=[each for each in seen if each.findings],
            unreachable=dict(observed.unreachable),
            lost=[scope for each in snapshots for scope, actual in each.scopes.items() if actual.data_missing],
            unsettled=left_alone,
        )

    def unsettled(self, snapshots: Sequence[TenantSnapshot]) -> Iterator[Unsettled]:
        """The scopes of these tenants that are neither as they should be, nor due, nor waiting for something named."""
        scheduled = self.log.scheduled(name for snapshot in snapshots for name in names_in_queue(snapshot))
        now = self.clock()
        found = {
            snapshot.tenant.id: each
            for snapshot in snapshots
            if (each := list(unsettled(snapshot, scheduled, catalog=self.catalog, policy=self.policy, now=now)))
        }
        before = {snapshot.tenant.id: snapshot for snapshot in snapshots}
        for tenant_id, after in self.snapshots(found).items():
            yield from still(found[tenant_id], before[tenant_id], after)

    def audit(self, tenant_id: str | None = None) -> Iterator[Audited]:
        """Hold every scope against the work queue, page by page; then every stream against the registers."""
        for page in [[tenant_id]] if tenant_id is not None else self._pages("tenant"):
            snapshots = [snapshot for snapshot in self.snapshots(page).values() if snapshot.tenant.exists]
            yield Audited(sum(len(snapshot.scopes) for snapshot in snapshots), list(self.unsettled(snapshots)))
        for kind in () if tenant_id is not None else ("family", "product"):
            for page in self._pages(kind):
                yield Audited(0, list(self._strays([Scope.parse(f"{kind}:{key}") for key in page])))

    def _strays(self, scopes: Sequence[Scope]) -> Iterator[Unsettled]:
        """Scopes of which something is there, though the tenant's registers name no product of theirs."""
        snapshots = self.snapshots(scope.tenant_id for scope in scopes)
        unnamed = {scope: str(scope) for scope in scopes if scope not in snapshots[scope.tenant_id].scopes}
        for scope, stream in unnamed.items():
            actual = reduce(evolve, self.log.load({stream: 0}).get(stream, []), Provisioning(scope))
            if not actual.is_empty:
                yield Unsettled(
                    scope, "something of it is there, and no register of its tenant names it", is_known=False
                )

    def tenants_after(self, tenant_id: str, limit: int) -> Sequence[str]:
        """The ids of the next tenants, in their order; `""` begins."""
        return self.log.streams_after("tenant", tenant_id, limit)

    def _pages(self, kind: str) -> Iterator[Sequence[str]]:
        last = ""
        while page := self.log.streams_after(kind, last, PAGE):
            yield page
            last = page[-1]

    def mend(self, sweep: Sweep, *, by: Operator) -> Mended:
        """Record what was seen, scope by scope. Raises TenantryError where the sweep may not be believed."""
        if sweep.suspicious:
            raise TenantryError(problem("drift-implausible", places=tuple(sweep.suspicious)))
        mended = Mended(rescheduled=[each.scope for each in sweep.unsettled if each.is_known])
        if mended.rescheduled:
            now = self.clock()
            self.log.record(UnitOfWork(work_items=[WorkItem(str(scope), now) for scope in mended.rescheduled]))
        by_scope: dict[Scope, list[Seen]] = {}
        for seen in sweep.drifted:
            by_scope.setdefault(seen.scope, []).append(seen)
        for scope, each in by_scope.items():
            try:
                self.log.record(self._recording(scope, each, by=by))
            except Conflict:
                mended.dropped.append(scope)
            else:
                mended.handed_over.append(scope)
        return mended

    def _recording(self, scope: Scope, seen: Sequence[Seen], *, by: Operator) -> UnitOfWork:
        """At the version that was read: of one scope, whatever was seen of it in which place."""
        version = min(each.version for each in seen)
        act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
        by_step: dict[Step, list[str]] = {}
        lost: set[Step] = set()
        for finding in (finding for each in seen for finding in each.findings):
            by_step.setdefault(finding.step, []).append(finding.text)
            if finding.kind == "data":
                lost.add(finding.step)
        events = [
            StepMissing(
                tenant_id=scope.tenant_id,
                kind=scope.kind,
                key=scope.key,
                step=step,
                observed_version=version,
                reason="; ".join(reasons),
                data=step in lost,
            )
            for step, reasons in sorted(by_step.items())
        ]
        recorded = [
            act.recorded(
                event, stream=str(scope), version=version + number, event_id=None if number == 1 else self.new_id()
            )
            for number, event in enumerate(events, start=1)
        ]
        snapshot = self.snapshots([scope.tenant_id])[scope.tenant_id]
        due = (scope, *dependents(scope, snapshot, catalog=self.catalog))
        return UnitOfWork(events=recorded, work_items=[WorkItem(str(each), act.time) for each in due])
