"""Rehearsal of an operator's act: what the saga would do after it, if every step succeeded; nothing is recorded.

    act ─▶ what it would record ─▶ folded into the snapshots ─▶ a scope that is due ─▶ the saga's decision ─┐
                                          ▲                                                               │
                                          └──── its events, with the assumed result of its effect ◀───────┘

It is the saga itself that decides (`next_action`), so a rehearsal cannot say other things than what comes. What it
cannot know are the answers of the systems that are called: each step is assumed to succeed at the first attempt. Of a
region that is not chosen yet it names no shard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from msgspec import structs

from application.operator_commands import Act, OperatorCommands
from application.ports.clock import Clock
from application.ports.resources import Order
from application.reconcile import Saga
from application.scope_decision import Decision
from application.unit_of_work import UnitOfWork
from domain.event import Event, Recorded
from domain.operator import Operator
from domain.scope import state as provisioning
from domain.scope.dependencies import HOLDS_DATA
from domain.scope.desired import desired_state
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.status import ScopeStatus, status_of
from domain.scope.steps import (
    CommerceResult,
    CommerceSpec,
    ConfigurationResult,
    ConfigurationSpec,
    DatabaseResult,
    DatabaseSpec,
    Direction,
    IdentityResult,
    IdentitySpec,
    LicenseResult,
    LicenseSpec,
    MembershipResult,
    MembershipSpec,
    RegionResult,
    RegionSpec,
    RoleResult,
    Scope,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
    StepSpec,
)
from domain.stream_name import StreamName
from domain.tenant import state as tenants
from domain.tenant.approval import Plan
from domain.tenant.events import ChangesApproved, PurgeStarted, TenantPurged, TenantPurgeStarted
from domain.tenant.state import Tenant

MOST: Final = 5_000
"""Decisions of one rehearsal: what a person can read, and an end for what has none."""

UNPLACED: Final = "not-chosen-yet"
"""Stands for the shard that the control database would choose."""

Irreversible = Literal["data-goes", "purge-begins", "name-is-freed"]
"""What cannot be undone: a database goes with its data; the point of no return passes; others may take the name."""


@dataclass(frozen=True, slots=True)
class RehearsedStep:
    """One step that would be brought about, by the system that is called for it."""

    scope: Scope
    step: Step
    direction: Direction
    compensating: bool
    spec: StepSpec
    system: str
    irreversible: Irreversible | None = None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Steps in their order, the points of no return that pass, and how each scope stands in the end.

    `is_whole` is False where it was ended before the last decision.
    """

    steps: tuple[RehearsedStep, ...]
    passed: tuple[tuple[str, Irreversible], ...]
    ends: Mapping[Scope, ScopeStatus]
    is_whole: bool

    @property
    def systems(self) -> Mapping[str, int]:
        """How often each system is called."""
        counted: dict[str, int] = {}
        for step in self.steps:
            counted[step.system] = counted.get(step.system, 0) + 1
        return counted


@dataclass(frozen=True, slots=True)
class Rehearsals:
    """`system_of` names the system that an order is sent to."""

    commands: OperatorCommands
    saga: Saga
    system_of: Callable[[Order], str]
    clock: Clock

    def of_act(self, act: Act, *, by: Operator) -> Rehearsal:
        """Raises UsageError where the act is refused."""
        return self._rehearsed(self.commands.unit_of(act, by=by))

    def of_plan(self, plan_hash: str, *, reason: str, by: Operator) -> Rehearsal:
        """The approval of a plan of the destroy guard. Raises UsageError where it is refused."""
        unit, _ = self.commands.unit_of_plan(plan_hash, ChangesApproved, reason=reason, by=by)
        return self._rehearsed(unit)

    def of_found(self, plan: Plan, *, reason: str, by: Operator, most: int) -> Rehearsal:
        """The approval of a plan that was just read: of its first `most` tenants, ended after as many decisions.

        The points of no return that pass with the approval itself are those of all tenants. Raises UsageError.
        """
        begun = plan.beginning(most)
        found = self._rehearsed(self.commands.unit_of_verdict(begun, ChangesApproved, reason=reason, by=by), most=most)
        if len(begun.events) == len(plan.events):
            return found
        passed = tuple(
            (tenant_id, point)
            for tenant_id, events in plan.events.items()
            if tenant_id not in begun.events
            for _, event in events
            if (point := _point_of_no_return(event)) is not None
        )
        return replace(found, passed=(*found.passed, *passed), is_whole=False)

    def _rehearsed(self, unit: UnitOfWork, *, most: int = MOST) -> Rehearsal:
        named = [Scope.parse(item.scope) for item in unit.work_items if StreamName.parse(item.scope).is_of_scope]
        ids = {scope.tenant_id for scope in named} | {_tenant_of(recorded) for recorded in unit.events}
        play = _Play(self.saga, self.system_of, self.clock, dict(self.commands.snapshots(ids)))
        for recorded in unit.events:
            play.fold(recorded)
        play.run(named, most)
        return play.end({*named, *play.taken})


@dataclass(slots=True)
class _Play:
    """One rehearsal under way: the snapshots as they would be by now."""

    saga: Saga
    system_of: Callable[[Order], str]
    clock: Clock
    snapshots: dict[str, TenantSnapshot]
    steps: list[RehearsedStep] = field(default_factory=list)
    passed: list[tuple[str, Irreversible]] = field(default_factory=list)
    taken: set[Scope] = field(default_factory=set)
    is_whole: bool = True

    def fold(self, recorded: Recorded) -> None:
        """An event of the act."""
        tenant_id = _tenant_of(recorded)
        snapshot = self.snapshots[tenant_id]
        self._note(recorded)
        if recorded.stream == tenants.stream_of(tenant_id):
            self.snapshots[tenant_id] = structs.replace(snapshot, tenant=tenants.evolve(snapshot.tenant, recorded))
        else:
            scope = Scope.parse(recorded.stream)
            after = provisioning.evolve(snapshot.actual(scope), recorded)
            self.snapshots[tenant_id] = structs.replace(snapshot, scopes={**snapshot.scopes, scope: after})

    def run(self, due: Iterable[Scope], most: int) -> None:
        """Decide until nothing is due now, of `most` scopes at most."""
        queue = deque(due)
        for _ in range(most):
            if not queue:
                return
            scope = queue.popleft()
            self.taken.add(scope)
            decision = self._keep(self.saga.take(scope, self.snapshots[scope.tenant_id]), queue)
            while (order := decision.order) is not None:
                self._add(order)
                outcome = self.saga.outcome(order, assumed(order), self.snapshots[scope.tenant_id], draining=False)
                decision = self._keep(outcome, queue)
        self.is_whole = False

    def _keep(self, decision: Decision, queue: deque[Scope]) -> Decision:
        tenant_id = decision.scope.tenant_id
        snapshot = self.snapshots[tenant_id]
        for stream, state in decision.after.items():
            if isinstance(state, Tenant):
                snapshot = structs.replace(snapshot, tenant=state)
            elif isinstance(state, Provisioning):
                snapshot = structs.replace(snapshot, scopes={**snapshot.scopes, Scope.parse(stream): state})
        self.snapshots[tenant_id] = snapshot
        for recorded in decision.unit.events:
            self._note(recorded)
        now = self.clock()
        for item in decision.unit.work_items:
            is_due = item.at <= now and StreamName.parse(item.scope).is_of_scope
            if is_due and (scope := Scope.parse(item.scope)) not in queue:
                queue.append(scope)
        return decision

    def _note(self, recorded: Recorded) -> None:
        """A point of no return that passes."""
        if (point := _point_of_no_return(recorded.event)) is not None:
            self.passed.append((_tenant_of(recorded), point))

    def _add(self, order: Order) -> None:
        goes = order.direction == "remove" and (order.scope.kind, order.step) == HOLDS_DATA
        intent = self.snapshots[order.scope.tenant_id].actual(order.scope)
        self.steps.append(
            RehearsedStep(
                order.scope,
                order.step,
                order.direction,
                intent.failure is not None,
                order.spec,
                self.system_of(order),
                "data-goes" if goes else None,
            )
        )

    def end(self, scopes: Iterable[Scope]) -> Rehearsal:
        now, ends = self.clock(), dict[Scope, ScopeStatus]()
        for scope in sorted(scopes):
            snapshot = self.snapshots[scope.tenant_id]
            desired = desired_state(scope, snapshot, catalog=self.saga.catalog, policy=self.saga.policy, now=now)
            ends[scope] = status_of(scope, desired, snapshot, catalog=self.saga.catalog, now=now)
        return Rehearsal(tuple(self.steps), tuple(self.passed), ends, self.is_whole)


def _tenant_of(recorded: Recorded) -> str:
    return str(getattr(recorded.event, "tenant_id"))  # noqa: B009 - every event of a tenant or scope has it


def _point_of_no_return(event: Event) -> Irreversible | None:
    match event:
        case PurgeStarted() | TenantPurgeStarted():
            return "purge-begins"
        case TenantPurged():
            return "name-is-freed"
        case _:
            return None


def assumed(order: Order) -> StepResult | None:
    """The result of a step that succeeds; None after a removal."""
    if order.direction == "remove":
        return None
    match order.spec:
        case CommerceSpec() as spec:
            return CommerceResult(customer_id=spec.customer_id, known=spec.metadata_version > 0)
        case SiteSpec() as spec:
            return SiteResult(site_name=spec.site_name, url="", access=spec.access)
        case MembershipSpec() as spec:
            return MembershipResult(product=spec.product, access=spec.access)
        case RegionSpec() as spec:
            return order.placement or RegionResult(region=spec.region or UNPLACED, shard=UNPLACED)
        case ConfigurationSpec() as spec:
            return ConfigurationResult(product=spec.product, settings={})
        case IdentitySpec() as spec:
            return IdentityResult(product=spec.product, users=(), groups=spec.groups, memberships=(), permissions=())
        case DatabaseSpec() as spec:
            return _database(order, spec)
        case LicenseSpec() as spec:
            named = {
                name: getattr(spec, name)
                for name in ("product", "edition", "users", "active", "expires_at", "features")
            }
            return LicenseResult(**named, location="")


def _database(order: Order, spec: DatabaseSpec) -> DatabaseResult:
    placed = order.placement or RegionResult(region=UNPLACED, shard=UNPLACED)
    roles = tuple(
        RoleResult(
            product=role.product,
            role=role.product,
            generation=order.generation,
            login=role.login,
            rotation=role.rotation,
        )
        for role in spec.roles
    )
    return DatabaseResult(
        family=spec.family,
        region=placed.region,
        shard=placed.shard,
        isolation="schema",
        database="",
        schema_name="",
        roles=roles,
    )
