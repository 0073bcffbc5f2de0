"""Commands of operators on tenants and scopes.

To a run:

    retry      what has failed, or is on hold because a step failed, is tried again
    hold       nothing is begun for the scope, whatever commerce says, until it is released, or its time is over
    release    what an operator put on hold goes on
    ensure     every step of a scope that has converged is ensured again

Each act is one event in the scope's own stream, with who and why, decided on the version that was read: of two acts,
the first makes the other decide again. A retry, a release and an ensure make the scope and its dependents due, in the
same transaction.

To a tenant: restore it. To what the destroy guard holds: approve a plan of it by its hash, or reject it; all of the
plan in one transaction, so that it is carried out whole or not at all, even if a process is killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Literal, Protocol

from application.operator_event import OperatorAct, check_seen
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.stream_index import ApprovalIndex
from application.ports.work_queue import WorkItem
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog
from domain.commands import RestoreTenant
from domain.errors import Code, Problem, UsageError, problem
from domain.event import Event, Recorded
from domain.operator import Operator
from domain.policy import Policy
from domain.scope.dependencies import dependents
from domain.scope.purges import purged_by
from domain.scope.snapshot import TenantSnapshot, due_of
from domain.scope.state import EnsureRequested, Provisioning, ScopePutOnHold, ScopeResumed
from domain.scope.steps import Scope
from domain.tenant import decisions as tenant_decisions
from domain.tenant import state as tenants
from domain.tenant.approval import Plan, pending_approvals_of, plan
from domain.tenant.budget import live_products
from domain.tenant.events import (
    ChangesApproved,
    ChangesRejected,
    Closing,
    Destructive,
    TenantDestroyed,
    TenantRestored,
)
from domain.tenant.guarded import Guarded
from domain.tenant.state import PendingChange, Tenant

ActKind = Literal["retry", "hold", "release", "ensure"]


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator wants of a scope, and why.

    `seen` is the version that the operator looked at (`version_of`); `until` is when a hold ends by itself.
    An ensure of a family `rotates` the password of that product's login role.
    """

    kind: ActKind
    scope: Scope
    reason: str
    seen: str | None = None
    until: datetime | None = None
    rotates: str | None = None


def version_of(scope: Scope, snapshot: TenantSnapshot) -> str:
    """The version of what an operator sees of a scope: those of its stream and of its tenant's, `7/12`."""
    return seen_version(snapshot.actual(scope).version, snapshot.tenant.version)


def seen_version(of_scope: int, of_tenant: int) -> str:
    """The same by the versions of the two streams."""
    return f"{of_scope}/{of_tenant}"


def decide(act: Act, actual: Provisioning) -> ScopePutOnHold | ScopeResumed | EnsureRequested:
    """The event that the act comes to. Raises UsageError where the scope is in no state for it."""
    match act.kind:
        case "retry":
            return _retry(act, actual)
        case "hold":
            return _hold(act, actual)
        case "release":
            return _release(act, actual)
        case "ensure":
            return _ensure(act, actual)


def _retry(act: Act, actual: Provisioning) -> ScopeResumed:
    if actual.is_on_operator_hold:
        raise UsageError(_on_hold("scope-on-hold", act.scope, actual))
    if actual.on_hold is None and actual.failure is None:
        raise UsageError(problem("nothing-to-retry", scope=act.scope))
    return _resumed(act)


def _hold(act: Act, actual: Provisioning) -> ScopePutOnHold:
    if actual.is_on_operator_hold:
        raise UsageError(_on_hold("scope-on-hold-already", act.scope, actual))
    scope = act.scope
    return ScopePutOnHold(tenant_id=scope.tenant_id, kind=scope.kind, key=scope.key, reason=act.reason, until=act.until)


def _release(act: Act, actual: Provisioning) -> ScopeResumed:
    if actual.on_hold is None:
        raise UsageError(problem("nothing-to-release", scope=act.scope))
    if not actual.is_on_operator_hold:
        raise UsageError(problem("step-failed", scope=act.scope, reason=actual.on_hold.reason))
    return _resumed(act)


def _ensure(act: Act, actual: Provisioning) -> EnsureRequested:
    scope = act.scope
    if actual.is_on_operator_hold:
        raise UsageError(_on_hold("scope-on-hold", scope, actual))
    if actual.on_hold is not None or actual.failure is not None:
        raise UsageError(problem("scope-failed", scope=scope))
    if not actual.at_rest:
        raise UsageError(problem("scope-not-converged", scope=scope))
    if actual.is_empty:
        raise UsageError(problem("nothing-to-ensure", scope=scope))
    return EnsureRequested(
        tenant_id=scope.tenant_id, kind=scope.kind, key=scope.key, reason=act.reason, rotates=act.rotates
    )


def _resumed(act: Act) -> ScopeResumed:
    return ScopeResumed(tenant_id=act.scope.tenant_id, kind=act.scope.kind, key=act.scope.key, reason=act.reason)


def _on_hold(code: Code, scope: Scope, actual: Provisioning) -> Problem:
    assert actual.on_hold is not None
    return problem(code, scope=scope, by=actual.on_hold.by or None, reason=actual.on_hold.reason)


class OperatorLog(EventLog, ApprovalIndex, Protocol):
    """What the commands of operators read and record."""


@dataclass(frozen=True, slots=True)
class OperatorCommands:
    """Loads, decides, records. `snapshots` gives the tenants as committed now."""

    log: OperatorLog
    snapshots: Callable[[Iterable[str]], Mapping[str, TenantSnapshot]]
    catalog: Catalog
    policy: Policy
    clock: Clock
    new_id: NewId

    def carry_out(self, act: Act, *, by: Operator) -> Recorded:
        """The act as it was recorded.

        Raises UsageError where it is refused (`scope-moved` where another version was seen), Conflict when others
        record first again and again.
        """

        def decided() -> tuple[UnitOfWork, Recorded]:
            recording = self.unit_of(act, by=by)
            return recording, recording.events[0]

        return transact(self.log, decided)

    def unit_of(self, act: Act, *, by: Operator) -> UnitOfWork:
        """What the act would record now. Raises UsageError where it is refused."""
        return self._recording(act, self._snapshot(act.scope.tenant_id), by=by)

    def restore(self, tenant_id: str, *, reason: str, by: Operator, seen: str | None = None) -> TenantRestored:
        """Undo the destruction of a tenant; `seen` is a version of its stream.

        Raises UsageError, Refused, and Conflict when others record first again and again.
        """
        command = RestoreTenant(tenant_id=tenant_id, reason=reason, operator=str(by))

        def decided() -> tuple[UnitOfWork, TenantRestored]:
            tenant = self._snapshot(tenant_id).tenant
            check_seen(f"tenant {tenant_id}", seen=seen, now=str(tenant.version))
            event = tenant_decisions.restore(tenant, command)
            return self._of_tenant(tenant, event, (), by=by, seen=seen), event

        return transact(self.log, decided)

    def plan(self) -> Plan:
        """What the destroy guard holds now, and what would become of it."""
        snapshots = self.snapshots(self.log.awaiting_approval())
        return plan(snapshots.values(), catalog=self.catalog, policy=self.policy, now=self.clock())

    def approve(self, plan_hash: str, *, reason: str, by: Operator) -> Plan:
        """Carry the plan out: what it lists is done. An empty plan says that nothing awaits approval any more.

        Raises UsageError where the plan has changed, Conflict when others record first again and again.
        """
        return self._settled(plan_hash, ChangesApproved, reason=reason, by=by)

    def reject(self, plan_hash: str, *, reason: str, by: Operator) -> Plan:
        """Drop what the plan would do. A purge still awaits approval: time would only bring it back."""
        return self._settled(plan_hash, ChangesRejected, reason=reason, by=by)

    def _settled(
        self, plan_hash: str, verdict: type[ChangesApproved | ChangesRejected], *, reason: str, by: Operator
    ) -> Plan:
        return transact(self.log, lambda: self.unit_of_plan(plan_hash, verdict, reason=reason, by=by))

    def unit_of_plan(
        self, plan_hash: str, verdict: type[ChangesApproved | ChangesRejected], *, reason: str, by: Operator
    ) -> tuple[UnitOfWork, Plan]:
        """What the verdict on the plan would record now; nothing for an empty plan. Raises UsageError."""
        found = self.plan()
        if found.changes and found.hash != plan_hash:
            raise UsageError(problem("plan-changed", plan=plan_hash, pending=found.hash))
        return self.unit_of_verdict(found, verdict, reason=reason, by=by), found

    def unit_of_verdict(
        self, found: Plan, verdict: type[ChangesApproved | ChangesRejected], *, reason: str, by: Operator
    ) -> UnitOfWork:
        """What the verdict on that plan would record; nothing for an empty one. Raises UsageError."""
        whole = UnitOfWork()
        if not found.changes:
            return whole
        for tenant_id, snapshot in found.snapshots.items():
            pending = [each for each in snapshot.tenant.pending if _may(verdict, each)]
            if not pending:
                continue
            event = verdict(
                tenant_id=tenant_id,
                changes=tuple(each.version for each in pending),
                plan=found.hash,
                reason=reason,
                operator=str(by),
            )
            events = found.events[tenant_id] if verdict is ChangesApproved else ()
            recording = self._of_tenant(snapshot.tenant, event, events, by=by)
            going = [scope for _, released in events for scope in purged_by(released, snapshot)]
            recording.unmoved = {str(scope): snapshot.actual(scope).version for scope in going}
            whole.merge(recording)
        if whole.is_empty:
            raise UsageError(problem("only-purges-held"))
        return whole

    def _snapshot(self, tenant_id: str) -> TenantSnapshot:
        return self.snapshots([tenant_id])[tenant_id]

    def _of_tenant(
        self,
        tenant: Tenant,
        act: Event,
        events: Iterable[tuple[PendingChange, Destructive | Closing]],
        *,
        by: Operator,
        seen: str | None = None,
    ) -> UnitOfWork:
        """The act in the tenant's stream, then the events that it lets pass with their own causes; all scopes due."""
        begun, before = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id, seen=seen), tenant
        stream = tenants.stream_of(tenant.id)
        recording = UnitOfWork(events=[begun.recorded(act, stream=stream, version=tenant.version + 1)])
        for version, (pending, released) in enumerate(events, start=tenant.version + 2):
            recording.events.append(
                Recorded(stream, version, self.new_id(), begun.time, pending.cause, pending.correlation, released)
            )
        tenant = reduce(tenants.evolve, recording.events, tenant)
        recording.work_items.extend(WorkItem(name, begun.time) for name in due_of(tenant, self.catalog))
        destroyed = sum(_destroys(recorded.event) for recorded in recording.events)
        if destroyed:
            recording.guarded = Guarded(self.policy.guard, begun.time, destroyed=destroyed)
        if tenant.pending != before.pending:
            recording.pending_approvals[tenant.id] = pending_approvals_of(tenant)
        recording.live_products = live_products(tenant) - live_products(before)
        return recording

    def _recording(self, act: Act, snapshot: TenantSnapshot, *, by: Operator) -> UnitOfWork:
        if not snapshot.tenant.exists or act.scope not in snapshot.scopes:
            raise UsageError(problem("scope-unknown", scope=act.scope, tenant=act.scope.tenant_id))
        actual = snapshot.actual(act.scope)
        check_seen(act.scope, seen=act.seen, now=version_of(act.scope, snapshot))
        if act.until is not None and act.until <= self.clock():
            raise UsageError(problem("hold-already-over", scope=act.scope, until=f"{act.until:%Y-%m-%d %H:%M:%S} UTC"))
        event = decide(act, actual)
        begun = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id, seen=act.seen)
        recorded = begun.recorded(event, stream=str(act.scope), version=actual.version + 1)
        due: tuple[Scope, ...] = ()
        if not isinstance(event, ScopePutOnHold):
            due = (act.scope, *dependents(act.scope, snapshot, catalog=self.catalog))
        tenant = snapshot.tenant
        ends = [WorkItem(str(act.scope), act.until)] if act.until is not None else []
        return UnitOfWork(
            events=[recorded],
            work_items=[*(WorkItem(str(scope), recorded.time) for scope in due), *ends],
            unmoved={tenants.stream_of(tenant.id): tenant.version} if isinstance(event, ScopePutOnHold) else {},
        )


def _may(verdict: type[ChangesApproved | ChangesRejected], pending: PendingChange) -> bool:
    return verdict is ChangesApproved or pending.event.change != "purge"


def _destroys(event: Event) -> int:
    match event:
        case TenantDestroyed():
            return 1
        case TenantRestored():
            return -1
        case _:
            return 0
