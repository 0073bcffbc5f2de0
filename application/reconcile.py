"""Reconciliation of a scope: what one decision records, and which effect comes next.

The worker brings scopes that are due, and later the outcomes of their effects; `Saga` turns both into events. A
decision goes on from action to action until there is an effect to bring about, or nothing more to do. The intent of the
next effect is recorded in the same commit as the outcome of the last one. What time has brought about (a license
expired, a purge begins) goes into the tenant's stream in that commit, so that whatever commerce changed first makes it
conflict.

    due ─▶ take(scope) ───────────┐                 ┌─▶ order: bring it about, then outcome(...)
                                  ├─▶ next_action ──┤
    effect ─▶ outcome(order, …) ──┘      ▲   │      └─▶ done: the lease ends; due at a time, or never
                                         └───┘ events

An order of which nothing lies outside the log is carried out before the commit, and the decision goes on (`follow`).

Scopes are decided on side by side, each from what it saw of the others. So nothing is taken from under others in the
decision on it: the event is recorded, from then on no scope begins there, and a later decision looks for earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Final

from application.ports import tracing
from application.ports.clock import Clock, Dice, NewId
from application.ports.event_log import EventStreams
from application.ports.resources import Order
from application.ports.work_queue import Blocked, WorkItem
from application.scope_decision import Aim, Decision
from application.scope_events import (
    READ_BY_OTHERS,
    cause_of,
    intended,
    is_back,
    is_same_outage,
    leaves_aim,
    named,
    opened_after,
    origin_of,
    reason_of,
    released,
    verdict_event,
)
from application.stream_cache import Streams, customer_id_of, streams_of
from domain import configuration as configurations
from domain.catalog import Catalog
from domain.configuration import Adopted
from domain.customer import Customer
from domain.errors import Obstacle, Permanent, Retryable, Unreachable
from domain.event import Event, Recorded
from domain.policy import Policy
from domain.scope import state as provisioning
from domain.scope.dependencies import made_due, removes_prerequisite, scopes_with
from domain.scope.desired import desired_state
from domain.scope.next_action import (
    Converge,
    Execute,
    Fail,
    Nothing,
    PutOnHold,
    RecordDecision,
    Resume,
    Start,
    Wait,
    blockers,
    database_of,
    next_action,
    placement_of,
)
from domain.scope.purges import purged_by
from domain.scope.snapshot import TenantSnapshot, due_of
from domain.scope.state import (
    Intent,
    ScopeEvent,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from domain.scope.steps import Scope, StepResult
from domain.tenant import state as tenants
from domain.tenant.approval import pending_approvals_of
from domain.tenant.closings import request_approval
from domain.tenant.events import Passing, TenantEvent
from domain.tenant.guarded import Guarded
from domain.tenant.state import Tenant
from domain.times import moved

KEPT_TENANTS: Final = 2_000
"""Of so many tenants the names of their scopes are kept; about 1 KiB each."""


class Saga:
    """Decides for scopes. Holds no state but a cache of folded streams, so that any number may run side by side.

    `catalog` and `policy` are what the process has at hand. They count until something was adopted: the adoption is
    read by the very query that reads the tenants, so that no tenant is decided about with an older one.
    """

    def __init__(
        self, log: EventStreams, *, catalog: Catalog, policy: Policy, clock: Clock, new_id: NewId, dice: Dice
    ) -> None:
        self._catalog = catalog
        self._policy = policy
        self.adopted = Adopted()
        """What was adopted, as of the last `estates`."""
        self._clock = clock
        self._new_id = new_id
        self._dice = dice
        self._streams = Streams(log)
        self._scopes_with = lru_cache(maxsize=KEPT_TENANTS)(self._name_scopes)

    # -- loading ------------------------------------------------------------------------------------------------------

    @property
    def catalog(self) -> Catalog:
        """With which the last estates were made, and are decided about."""
        return self._catalog

    @property
    def policy(self) -> Policy:
        return self._policy

    def _learns(self) -> bool:
        """Whether another configuration was adopted since; from here on it is used."""
        adopted = self._streams.adopted()
        if adopted.version == self.adopted.version:
            return False
        self.adopted = adopted
        if (found := adopted.configuration) is not None:
            self._catalog, self._policy = found.catalog, found.policy
        self._scopes_with.cache_clear()
        return True

    def snapshots(self, tenant_ids: Iterable[str]) -> dict[str, TenantSnapshot]:
        """The estates as committed now, with one query however many there are, and another for those that are new."""
        asked = sorted(set(tenant_ids))
        known: dict[str, tuple[Tenant, Mapping[Scope, str]]] = {}
        changed = asked
        while changed:
            for tenant_id in changed:
                tenant = self._streams.tenant(tenant_id)
                scopes = self._scopes_with(tenant_id, tuple(tenant.products)) if tenant.exists else {}
                known[tenant_id] = (tenant, scopes)
            streams = (stream for tenant_id in changed for stream in streams_of(*known[tenant_id]))
            self._streams.refresh((*streams, configurations.STREAM))
            changed = [each for each in changed if self._streams.tenant(each).version != known[each][0].version]
            if self._learns():
                changed = asked  # their scopes may have other names now
        return {tenant_id: self._snapshot(*known[tenant_id]) for tenant_id in asked}

    def unknown_among(self, snapshot: TenantSnapshot) -> tuple[str, ...]:
        """The tenant's products of which the catalogue knows nothing."""
        return self._catalog.unknown_among(snapshot.tenant.products)

    def _snapshot(self, tenant: Tenant, streams: Mapping[Scope, str]) -> TenantSnapshot:
        customer = self._streams.customer(customer_id_of(tenant)) if tenant.exists else Customer("")
        return TenantSnapshot(tenant, customer, self._streams.provisionings(streams))

    def _name_scopes(self, tenant_id: str, products: tuple[str, ...]) -> Mapping[Scope, str]:
        """The scopes of a tenant with those products, and what their streams are called."""
        return {scope: str(scope) for scope in scopes_with(tenant_id, products, self._catalog)}

    def keep(self, decision: Decision) -> None:
        """The decision was recorded: what it has added need not be read again."""
        for stream, state in decision.after.items():
            self._streams.keep(stream, state)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def take(self, scope: Scope, snapshot: TenantSnapshot, *, budget: int | None = None) -> Decision:
        """The decision about a scope that is due; `budget` is what the destroy guard lets pass (None: not asked)."""
        decision = Decision(scope, budget=budget)
        self._go_on(decision, snapshot)
        return decision

    def outcome(
        self,
        order: Order,
        result: StepResult | Exception | None,
        snapshot: TenantSnapshot,
        *,
        draining: bool,
        budget: int | None = None,
    ) -> Decision:
        """The decision after an effect: `result` is its result (None after a removal), or why it did not come about.

        While draining, the outcome is recorded and the scope left due for others.
        """
        decision = Decision(order.scope, budget=budget)
        intent = snapshot.actual(order.scope).intent
        if intent is None or intent.generation != order.generation:
            decision.due_again(self._clock())  # another worker was here: look again
            return decision
        snapshot = self._settled(decision, intent, result, snapshot)
        if draining:
            decision.due_again(self._clock())
        elif not decision.unit.blocked:
            self._go_on(decision, snapshot)
        return decision

    def follow(self, decision: Decision, result: StepResult | Exception | None) -> None:
        """The decision goes on: its order was carried out before it is recorded, for nothing of it lies outside the
        log. Intent and outcome are then in one commit, and a worker that is killed before it has done nothing."""
        assert decision.snapshot is not None
        intent = decision.snapshot.actual(decision.scope).intent
        assert intent is not None
        decision.order = None
        snapshot = self._settled(decision, intent, result, decision.snapshot)
        if not decision.unit.blocked:
            self._go_on(decision, snapshot)

    def _settled(
        self, decision: Decision, intent: Intent, result: StepResult | Exception | None, snapshot: TenantSnapshot
    ) -> TenantSnapshot:
        if is_back(intent, result):
            decision.unit.unblocked.append(str(intent.obstacle))
        if isinstance(result, Exception):
            return self._failed(decision, intent, result, snapshot)
        return self._completed(decision, intent, result, snapshot)

    def _completed(
        self, decision: Decision, intent: Intent, result: StepResult | None, snapshot: TenantSnapshot
    ) -> TenantSnapshot:
        placement = placement_of(snapshot, decision.scope.key) if decision.scope.kind == "family" else None
        if (obstacle := released(intent, placement)) is not None:
            decision.unit.unblocked.append(obstacle)
        return self._add(
            decision,
            StepCompleted(**intended(decision.scope, intent), customer_id=snapshot.customer.id or None, result=result),
            snapshot,
        )

    def _failed(self, decision: Decision, intent: Intent, error: Exception, snapshot: TenantSnapshot) -> TenantSnapshot:
        now, retry = self._clock(), self._policy.retry
        away_for = now - intent.blocked_since if is_same_outage(error, intent) and intent.blocked_since else timedelta()
        match error:
            case Obstacle():
                pause = error.delay or retry.obstacle_poll
                return self._blocked(decision, intent, error.obstacle, str(error), pause, snapshot)
            case Unreachable() if away_for < retry.unreachable_for:
                pause = error.delay or retry.pause(away_for, self._dice())
                return self._blocked(decision, intent, error.obstacle, str(error), pause, snapshot)
        attempt = intent.failures + 1
        retry_at = None
        if not isinstance(error, Permanent | Unreachable) and attempt < retry.attempts:
            delay = error.delay if isinstance(error, Retryable) and error.delay is not None else None
            retry_at = moved(now, delay if delay is not None else retry.delay(attempt, self._dice()))
        reason = reason_of(error, away_for)
        failed = StepFailed(**intended(decision.scope, intent), attempt=attempt, reason=reason, retry_at=retry_at)
        return self._add(decision, failed, snapshot)

    def _blocked(
        self, decision: Decision, intent: Intent, obstacle: str, reason: str, pause: timedelta, snapshot: TenantSnapshot
    ) -> TenantSnapshot:
        """The scope waits for the release of what stands in its way, and looks again by itself."""
        now = self._clock()
        decision.unit.blocked.append(Blocked(obstacle, decision.stream))
        decision.due_again(moved(now, pause))
        desired = desired_state(decision.scope, snapshot, catalog=self._catalog, policy=self._policy, now=now)
        decision.due_again(desired.due_again_at)
        if intent.obstacle == obstacle:
            return snapshot
        blocked = StepBlocked(**intended(decision.scope, intent), obstacle=obstacle, reason=reason)
        return self._add(decision, blocked, snapshot)

    def _go_on(self, decision: Decision, snapshot: TenantSnapshot) -> None:
        """From action to action, until there is an effect to bring about or nothing more to do."""
        scope = decision.scope
        event: ScopeEvent
        while True:
            aim = decision.aim = decision.aim or self._aim(scope, snapshot)
            desired, actual, now = aim.desired, snapshot.actual(scope), aim.now
            match next_action(desired, actual, aim.blockers, now):
                case RecordDecision() as note:
                    snapshot = self._note(decision, note.event, snapshot)
                    continue
                case Start() as start:
                    event = StepStarted(
                        **named(scope),
                        step=start.step,
                        direction=start.direction,
                        generation=actual.version + 1,
                        spec=start.spec,
                        compensating=start.compensating,
                    )
                    snapshot = self._add(decision, event, snapshot)
                    if removes_prerequisite(event):
                        return decision.due_again(now)
                    return decision.asks_for(self._order(scope, snapshot), snapshot)
                case Execute():
                    return decision.asks_for(self._order(scope, snapshot), snapshot)
                case Wait() as wait:
                    return decision.due_again(wait.until)
                case Nothing() as nothing:
                    is_ahead = nothing.due_again_at is not None and nothing.due_again_at > now
                    return decision.due_again(nothing.due_again_at if is_ahead else None)
                case Converge() | Fail() | PutOnHold() | Resume() as verdict:
                    event = verdict_event(scope, verdict, desired, snapshot, self._catalog)
            snapshot = self._add(decision, event, snapshot)
            if removes_prerequisite(event):
                return decision.due_again(now)

    def _aim(self, scope: Scope, snapshot: TenantSnapshot) -> Aim:
        now = self._clock()
        desired = desired_state(scope, snapshot, catalog=self._catalog, policy=self._policy, now=now)
        in_the_way = blockers(scope, desired, snapshot, catalog=self._catalog)
        origin = origin_of(scope, snapshot, self._catalog)
        return Aim(desired, in_the_way, origin, cause_of(origin), now)

    def _order(self, scope: Scope, snapshot: TenantSnapshot) -> Order:
        intent = snapshot.actual(scope).intent
        assert intent is not None
        family = scope.key if scope.kind == "family" else None
        if scope.kind == "product":
            family = self._catalog.family_of(scope.key)
        return Order(
            scope=scope,
            step=intent.step,
            direction=intent.direction,
            generation=intent.generation,
            spec=intent.spec,
            created_generations=snapshot.actual(scope).steps[intent.step].created_generations,
            tenant=snapshot.tenant,
            customer=snapshot.customer,
            placement=placement_of(snapshot, family) if family else None,
            database=database_of(snapshot, family) if family else None,
            attempt=intent.failures + 1,
            cause=origin_of(scope, snapshot, self._catalog) if tracing.is_on() else None,
        )

    # -- events -------------------------------------------------------------------------------------------------------

    def _add(self, decision: Decision, event: ScopeEvent, snapshot: TenantSnapshot) -> TenantSnapshot:
        """Put the event into the turn, wake whom it matters to, and return the snapshot after it."""
        before = snapshot.actual(decision.scope)
        recorded = self._recorded(decision, event, snapshot, stream=decision.stream, version=before.version + 1)
        after = provisioning.evolve(before, recorded)
        decision.after[decision.stream] = after
        if not leaves_aim(event, before, after):
            decision.aim = None
        snapshot = TenantSnapshot(snapshot.tenant, snapshot.customer, {**snapshot.scopes, decision.scope: after})
        if isinstance(event, READ_BY_OTHERS):
            # also where no scope waits yet: a product that comes meanwhile has looked before this event
            decision.unit.rescheduled[snapshot.tenant.id] = snapshot.tenant.version
        if decision.scope.kind == "product" and before.level != "open" == after.level:
            decision.opened_after = opened_after(decision.scope, recorded, snapshot, self._catalog)
        for other in made_due(event, before, snapshot, catalog=self._catalog):
            decision.unit.work_items.append(WorkItem(str(other), recorded.time))
        return snapshot

    def _note(self, decision: Decision, event: Passing, snapshot: TenantSnapshot) -> TenantSnapshot:
        """Put the event into the tenant's stream, at the version that it was decided on, and wake every other scope.

        An event that was recorded there first makes it conflict, and it is decided again.
        """
        tenant = snapshot.tenant
        stream = tenants.stream_of(tenant.id)
        noted = self._guarded(decision, event, tenant)
        recorded = self._recorded(decision, noted, snapshot, stream=stream, version=tenant.version + 1)
        due = [name for name in due_of(tenant, self._catalog) if name != decision.stream]
        decision.unit.work_items.extend(WorkItem(name, recorded.time) for name in due)
        for going in purged_by(event, snapshot):  # nobody may hold them since they were decided on
            actual = snapshot.actual(going)
            decision.unit.unmoved[str(going)] = actual.version - sum(
                each.stream == str(going) for each in decision.unit.events
            )
        after = tenants.evolve(tenant, recorded)
        decision.after[stream], decision.aim = after, None
        if after.pending != tenant.pending:
            decision.unit.pending_approvals[tenant.id] = pending_approvals_of(after)
        return TenantSnapshot(after, snapshot.customer, snapshot.scopes)

    def _guarded(self, decision: Decision, event: Passing, tenant: Tenant) -> TenantEvent:
        """The event, counted by the destroy guard; or that it awaits approval, where the budget is used up."""
        if tenants.is_guarded(event, tenant):
            counted = decision.unit.guarded or Guarded(self._policy.guard, self._clock())
            if decision.budget is not None and counted.destroys >= decision.budget:
                return request_approval(event)
            decision.unit.guarded = replace(counted, destroys=counted.destroys + 1)
        return event

    def _recorded(
        self, decision: Decision, event: Event, snapshot: TenantSnapshot, *, stream: str, version: int
    ) -> Recorded:
        if (aim := decision.aim) is not None:
            origin, cause = aim.origin, aim.cause
        else:
            origin = origin_of(decision.scope, snapshot, self._catalog)
            cause = cause_of(origin)
        correlation = origin.correlation if origin else decision.stream
        recorded = Recorded(stream, version, self._new_id(), self._clock(), cause, correlation, event)
        decision.unit.events.append(recorded)
        return recorded
