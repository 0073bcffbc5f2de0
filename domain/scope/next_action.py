"""What is the next thing to do for a scope?

`next_action` compares what is wanted with what is actual and names one action. There is no script for any kind of
event: suspending, renewing, destroying, purging and undoing are all differences between two states. Missing or
different steps are ensured in the order 1 to 7, unwanted ones removed in the order 7 to 1. Waiting uses up no attempt.

    wanted, actual ──▶ Start ──▶ (effect) ──▶ outcome ──▶ … ──▶ Converge ──▶ Nothing, until woken
                        │  ▲                     │
                        │  └── Execute ◀── failed, due again
                        └── Wait (a scope, a name, room, a time)      attempts used up ──▶ GiveUp or Hold
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.catalog import Catalog
from domain.scope.desired import DesiredState, TenantSnapshot
from domain.scope.state import Intent, Provisioning
from domain.scope.steps import (
    LEVELS,
    DatabaseResult,
    DatabaseSpec,
    Direction,
    Level,
    RegionResult,
    Scope,
    Step,
    StepSpec,
)
from domain.tenant.events import Passing
from domain.tenant.state import Tenant


@dataclass(frozen=True, slots=True)
class Start:
    """Record the intent, then bring its effect about."""

    step: Step
    direction: Direction
    spec: StepSpec
    compensating: bool = False


@dataclass(frozen=True, slots=True)
class Execute:
    """Bring about the effect of an intent that is recorded already."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Wait:
    """For `on` (said for people), or until a time; whoever releases it wakes the scope."""

    on: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Converge:
    """Record that actual equals wanted; `purge` is the one that it has gone through."""

    level: Level
    digest: str
    purge: int | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Record that this wish is not tried any more."""

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class PutOnHold:
    """Record that an operator must look."""

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Record that what was given up is tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Record in the tenant's stream, at the version that was decided on, what time has brought about."""

    event: Passing


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, until `wake_at`."""

    due_again_at: datetime | None = None


NEXT_ATTEMPT: Final = "the next attempt"
"""What a step that failed waits for: the scope is at work, nobody else has to do anything first."""

Action = Note | Start | Execute | Wait | Converge | Fail | PutOnHold | Resume | Nothing


@dataclass(frozen=True, slots=True)
class Blockers:
    """What the scope's neighbours stand in the way of: a text for each, None where the way is free."""

    before_ensuring: str | None = None
    before_removing: str | None = None
    before_converging: str | None = None
    impossible: str | None = None


def next_action(desired_state: DesiredState, actual: Provisioning, blockers: Blockers, now: datetime) -> Action:
    """The one next thing to do for the scope. Pure.

    A wish that closes is never given up: going back to the last converged one would open what must be closed. It is
    held instead, as far as it came. What is held for a wish is tried again when another one comes.
    """
    if desired_state.passed is not None and not actual.is_on_operator_hold:
        return Note(desired_state.passed)
    if actual.held is not None:
        is_another = actual.held.digest not in (None, desired_state.digest)
        return Resume("another wish came") if is_another else Nothing(desired_state.due_again_at)
    failure = actual.failure is not None
    if actual.failure is not None and actual.failure.digest != desired_state.digest:
        return Resume("another wish came")
    if _was_impossible(actual) and blockers.impossible is None:
        return Resume("its family lives elsewhere no more")
    target = _fallback(actual, desired_state) if failure else desired_state.steps
    difference = next(_differences(target, actual), None)
    if difference is None:
        return _settled(desired_state, actual, blockers)
    step, direction, spec = difference
    if direction == "ensure" and blockers.impossible and not failure:
        return Fail(Step.REGION, blockers.impossible)
    obstacle = blockers.before_ensuring if direction == "ensure" else blockers.before_removing
    if obstacle is not None:
        return Wait(obstacle, until=desired_state.due_again_at)
    intent = actual.intent
    if intent is None or (intent.step, intent.direction, intent.spec) != (step, direction, spec):
        return Start(step, direction, spec, compensating=failure)
    if intent.failures and intent.retry_at is None and intent.obstacle is None:
        reason = intent.reason or "failed"
        closes = actual.has_converged and LEVELS.index(desired_state.level) < LEVELS.index(actual.level)
        may_give_up = direction == "ensure" and not failure and not closes and not actual.data_missing
        return Fail(step, reason) if may_give_up else PutOnHold(step, reason)
    if intent.retry_at is not None and intent.retry_at > now:
        return Wait(NEXT_ATTEMPT, until=min(intent.retry_at, desired_state.due_again_at or intent.retry_at))
    return Execute(intent)


def _was_impossible(actual: Provisioning) -> bool:
    """Whether a product was given up for where its family lives: step 3 is the family's, and did not fail."""
    return actual.scope.kind == "product" and actual.failure is not None and actual.failure.step is Step.REGION


def _fallback(actual: Provisioning, desired_state: DesiredState) -> Mapping[Step, StepSpec]:
    """What a scope whose wish was given up goes back to: its last converged wish, or nothing.

    A family may be as high as ever while one of its products is shut out: that product's login stays as it is wanted.
    """
    if not actual.has_converged or actual.converged is None:
        return {}
    before, now = actual.converged.steps.get(Step.DATABASE), desired_state.steps.get(Step.DATABASE)
    if not isinstance(before, DatabaseSpec) or not isinstance(now, DatabaseSpec):
        return actual.converged.steps
    logins = {role.product: role.login for role in now.roles}
    roles = tuple(
        role if logins[role.product] else role.model_copy(update={"login": False})
        for role in before.roles
        if role.product in logins
    )
    return {**actual.converged.steps, Step.DATABASE: before.model_copy(update={"roles": roles})}


def _differences(target: Mapping[Step, StepSpec], actual: Provisioning) -> Iterator[tuple[Step, Direction, StepSpec]]:
    for step in sorted(target):
        ensured = actual.steps.get(step)
        spec = target[step]
        if ensured is None or not ensured.done or (ensured.spec is not spec and ensured.spec != spec):
            yield step, "ensure", spec
    for step in sorted(actual.steps, reverse=True):
        if step not in target:
            yield step, "remove", actual.steps[step].spec


def _settled(desired_state: DesiredState, actual: Provisioning, blockers: Blockers) -> Action:
    if actual.failure is not None:
        return Nothing(desired_state.due_again_at)
    was_never_there = actual.version == 0 and desired_state.level == "absent"
    is_so = actual.at_rest and actual.converged is not None and actual.converged.digest == desired_state.digest
    if was_never_there or is_so:
        return (
            Nothing(desired_state.due_again_at)
            if desired_state.awaited is None
            else Wait(desired_state.awaited, until=desired_state.due_again_at)
        )
    if blockers.before_converging is not None:
        return Wait(blockers.before_converging, until=desired_state.due_again_at)
    return Converge(desired_state.level, desired_state.digest, desired_state.purge)


# -- neighbours ----------------------------------------------------------------------------------------------------


def blockers(scope: Scope, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog) -> Blockers:
    """What stands in the scope's way, from the actual state of its neighbours.

    Products wait for the site's step 2 and for their role in the family's step 6, an app for its host's step 7;
    families wait for the site's step 2. Teardown goes the other way: families wait for products, the site for families.
    """
    site_is_there = _has(snapshot.site(), Step.SITE)
    match scope.kind:
        case "site":
            left = [str(other) for other, actual in snapshot.scopes.items() if other != scope and not actual.is_empty]
            return Blockers(before_removing=f"the removal of {left[0]}" if left else None)
        case "family":
            inside = [
                key
                for key in snapshot.tenant.products
                if key in catalog and catalog.family_of(key) == scope.key and not snapshot.product(key).is_empty
            ]
            if (
                snapshot.actual(scope).abandoned and desired.level != "absent"
            ):  # the products stay, but for what lay in it
                inside = [key for key in inside if Step.LICENSE in snapshot.product(key).steps]
            return Blockers(
                before_ensuring=None if site_is_there else _awaited("step 2 of the site", snapshot.site()),
                before_removing=f"the removal of product {inside[0]}" if inside else None,
            )
        case "product":
            return _blockers_of_product(scope.key, desired, snapshot, catalog=catalog, site_is_there=site_is_there)


def _blockers_of_product(
    key: str, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog, site_is_there: bool
) -> Blockers:
    family, host = catalog.family_of(key), catalog[key].host
    home = snapshot.family(family)
    database = database_of(snapshot, family) if _has(home, Step.DATABASE) else None
    placement = placement_of(snapshot, family) if _has(home, Step.REGION) else None
    role = database.role_of(key) if database else None
    step_6 = _awaited(f"step 6 of family {family}", home)
    before: str | None = None
    before_converging: str | None = None
    if not site_is_there:
        before = _awaited("step 2 of the site", snapshot.site())
    elif database is None:
        before = step_6
    elif host is not None and desired.level == "open" and not _has(snapshot.product(host), Step.LICENSE):
        before = f"step 7 of host {host}"
    if catalog[key].family is not None and database is not None:
        if role is None:
            before = before or step_6
        if desired.level != "absent" and (role is None or role.login != (desired.level == "open")):
            before_converging = step_6
    if host is not None and desired.level != "absent" and not snapshot.product(host).has_converged:
        before_converging = before_converging or f"host {host}"  # what never lived takes its database with it
    impossible = None
    if desired.pin is not None and placement is not None and placement.region != desired.pin:
        impossible = (
            f"product {key} is pinned to region {desired.pin}, but its family {family} lives in {placement.region}:"
            " send an activation without that pin, or move the family first"
        )
    return Blockers(before_ensuring=before, before_converging=before_converging, impossible=impossible)


def _awaited(what: str, owner: Provisioning) -> str:
    """What is waited for, and why it does not come where its owner has stopped."""
    if owner.held is not None:
        return f"{what}, which is held: {owner.held.reason}"
    return f"{what}, which was given up: {owner.failure.reason}" if owner.failure is not None else what


def _has(actual: Provisioning, step: Step) -> bool:
    """Whether others may build on the step: it is there, and nobody started to remove it."""
    ensured = actual.steps.get(step)
    return ensured is not None and ensured.facts is not None and not ensured.leaving


def placement_of(snapshot: TenantSnapshot, family: str) -> RegionResult | None:
    """Where the family lives, once its step 3 has completed."""
    ensured = snapshot.family(family).steps.get(Step.REGION)
    return ensured.facts if ensured and isinstance(ensured.facts, RegionResult) else None


def database_of(snapshot: TenantSnapshot, family: str) -> DatabaseResult | None:
    """The family's database, once its step 6 has completed."""
    ensured = snapshot.family(family).steps.get(Step.DATABASE)
    return ensured.facts if ensured and isinstance(ensured.facts, DatabaseResult) else None


def concerned(tenant: Tenant, key: str, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes whose wish may follow from the registers of a product: it, its apps, and the families of all."""
    products = (key, *(other for other in tenant.products if other in catalog and catalog[other].host == key))
    families = sorted({catalog.family_of(product) for product in products})
    return (
        *(Scope("family", tenant.id, family) for family in families),
        *(Scope("product", tenant.id, product) for product in products),
    )


def dependents(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes that may wait for `scope`: they are made due whenever something of it changed."""
    tenant_id, products = scope.tenant_id, [key for key in snapshot.tenant.products if key in catalog]
    families = sorted({catalog.family_of(key) for key in products})
    site = Scope("site", tenant_id)
    match scope.kind:
        case "site":
            return (
                *(Scope("family", tenant_id, key) for key in families),
                *(Scope("product", tenant_id, key) for key in products),
            )
        case "family":
            members = (key for key in products if catalog.family_of(key) == scope.key)
            return (site, *(Scope("product", tenant_id, key) for key in members))
        case "product":
            host = catalog[scope.key].host if scope.key in catalog else None
            near = [key for key in products if catalog[key].host == scope.key or key == host]
            homes = sorted({catalog.family_of(key) for key in (scope.key, *near)})
            return (
                site,
                *(Scope("family", tenant_id, key) for key in homes),
                *(Scope("product", tenant_id, key) for key in near),
            )
