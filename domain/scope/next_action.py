"""What is the next thing to do for a scope?

`next_action` compares the desired with the actual state and names one action. There is no script for any kind of
event: suspending, renewing, destroying, purging and compensation are all differences between two states. Missing or
different steps are ensured in the order 1 to 7, unwanted ones removed in the order 7 to 1. Waiting uses up no attempt.

    wanted, actual ──▶ Start ──▶ (effect) ──▶ outcome ──▶ … ──▶ Converge ──▶ Nothing, until woken
                        │  ▲                     │
                        │  └── Execute ◀── failed, due again
                        └── Wait (a scope, a name, a time)            attempts used up ──▶ GiveUp or Hold
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from domain.catalog import Catalog
from domain.scope.dependencies import Dependency, goes_first, prerequisites
from domain.scope.desired import DesiredState
from domain.scope.snapshot import TenantSnapshot
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


class Start(Struct, frozen=True, gc=False):
    """Record the intent, then bring its effect about."""

    step: Step
    direction: Direction
    spec: StepSpec
    compensating: bool = False


class Execute(Struct, frozen=True, gc=False):
    """Bring about the effect of an intent that is recorded already."""

    intent: Intent


class Wait(Struct, frozen=True, gc=False):
    """For `on` (a text for people), or until a time; the release of it makes the scope due."""

    on: str
    until: datetime | None = None


class Converge(Struct, frozen=True, gc=False):
    """Record that the actual state equals the desired state; `purge` is the one that it has gone through."""

    level: Level
    digest: str
    purge: int | None = None


class Fail(Struct, frozen=True, gc=False):
    """Record that this desired state is not tried any more."""

    step: Step
    reason: str


class PutOnHold(Struct, frozen=True, gc=False):
    """Record that an operator must look."""

    step: Step
    reason: str


class Resume(Struct, frozen=True, gc=False):
    """Record that a failed scope is tried again."""

    reason: str


class RecordDecision(Struct, frozen=True, gc=False):
    """Record in the tenant's stream, at the version that was decided on, what time has brought about."""

    event: Passing


class Nothing(Struct, frozen=True, gc=False):
    """All is as it should be, until `wake_at`."""

    due_again_at: datetime | None = None


ANOTHER: Final = "another desired state came"
NEXT_ATTEMPT: Final = "the next attempt"
"""What a step that failed waits for: the scope is at work, no other component has to act first."""

Action = RecordDecision | Start | Execute | Wait | Converge | Fail | PutOnHold | Resume | Nothing


class Blockers(Struct, frozen=True, gc=False):
    """What the scope's neighbours stand in the way of: a text for each, None where the way is free."""

    before_ensuring: str | None = None
    before_removing: str | None = None
    before_converging: str | None = None
    impossible: str | None = None


def next_action(desired_state: DesiredState, actual: Provisioning, blockers: Blockers, now: datetime) -> Action:
    """The one next thing to do for the scope. Pure.

    A desired state that closes never fails: going back to the last converged one would open what must be closed. The
    scope is put on hold instead, as far as it came, and is tried again when another desired state comes.
    """
    if desired_state.passed is not None and not actual.is_on_operator_hold:
        return RecordDecision(desired_state.passed)
    if (hold := actual.on_hold) is not None:
        if hold.until is not None and hold.until <= now:
            return Resume("the hold has ended")
        is_another = hold.digest not in (None, desired_state.digest)
        return Resume(ANOTHER) if is_another else Nothing(earliest(desired_state.due_again_at, hold.until))
    failure = actual.failure is not None
    if actual.failure is not None and actual.failure.digest != desired_state.digest:
        return Resume(ANOTHER)
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


def earliest(*times: datetime | None) -> datetime | None:
    """The first of the times that there are."""
    return min((time for time in times if time is not None), default=None)


def _was_impossible(actual: Provisioning) -> bool:
    """Whether a product failed because of where its family is placed: step 3 is the family's, and did not fail."""
    return actual.scope.kind == "product" and actual.failure is not None and actual.failure.step is Step.REGION


def _fallback(actual: Provisioning, desired_state: DesiredState) -> Mapping[Step, StepSpec]:
    """The target of a failed scope: its last converged desired state, or nothing.

    A family may be as high as ever while one of its products is shut out: its login stays in its desired state.
    """
    if not actual.has_converged or actual.converged is None:
        return {}
    before, now = actual.converged.steps.get(Step.DATABASE), desired_state.steps.get(Step.DATABASE)
    if not isinstance(before, DatabaseSpec) or not isinstance(now, DatabaseSpec):
        return actual.converged.steps
    logins = {role.product: role.login for role in now.roles}
    roles = tuple(
        role if logins[role.product] else replace(role, login=False) for role in before.roles if role.product in logins
    )
    return {**actual.converged.steps, Step.DATABASE: replace(before, roles=roles)}


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
    """What stands in the scope's way, from the actual state of its neighbours: prerequisites that are not there yet,
    dependents that go first (dependencies.py). A product also waits for its own login role in the family's step 6.
    """
    actual = snapshot.actual(scope)
    missing = converging = None
    for edge, prerequisite in prerequisites(scope, catalog):
        found = snapshot.actual(prerequisite)
        if missing is None and desired.level in edge.levels and not _has(found, edge.step):
            missing = _awaited(f"step {int(edge.step)} of {_called(edge, prerequisite)}", found)
        if edge.lives_first and desired.level != "absent" and not found.has_converged:
            converging = _called(edge, prerequisite)  # what never converged takes its database with it
    removing = _first_to_go(actual, desired, snapshot, catalog=catalog)
    if scope.kind != "product":
        return Blockers(before_ensuring=missing, before_removing=removing)
    no_role, closed_role = _blockers_of_role(scope.key, desired, snapshot, catalog=catalog)
    return Blockers(
        before_ensuring=missing or no_role,
        before_removing=removing,
        before_converging=closed_role or converging,
        impossible=_contradiction(scope.key, desired, snapshot, catalog=catalog),
    )


def _first_to_go(
    actual: Provisioning, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog
) -> str | None:
    """A dependent that goes before a step of the scope is removed, where one is to be removed."""
    if actual.failure is None and desired.steps.keys() >= actual.steps.keys():
        return None
    stays = actual.abandoned and desired.level != "absent"  # the products stay, but for what lay in the database
    for other, there in snapshot.scopes.items():
        is_in_the_way = Step.LICENSE in there.steps if stays else not there.is_empty
        if is_in_the_way and goes_first(other, actual.scope, catalog):
            return f"the removal of {other.kind} {other.key}"
    return None


def _called(edge: Dependency, prerequisite: Scope) -> str:
    return "the site" if edge.relation == "site" else f"{edge.relation} {prerequisite.key}"


def _blockers_of_role(
    key: str, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog
) -> tuple[str | None, str | None]:
    """What a product that has a login role in its family's database waits for before it goes on, and converges."""
    family = catalog.family_of(key)
    home = snapshot.family(family)
    database = database_of(snapshot, family) if _has(home, Step.DATABASE) else None
    if catalog[key].family is None or database is None:
        return None, None
    role, step_6 = database.role_of(key), _awaited(f"step 6 of family {family}", home)
    is_as_desired = role is not None and role.login == (desired.level == "open")
    return step_6 if role is None else None, None if desired.level == "absent" or is_as_desired else step_6


def _contradiction(key: str, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog) -> str | None:
    """A pin to another region than that in which the family lives already."""
    if desired.pin is None:
        return None
    family = catalog.family_of(key)
    placement = placement_of(snapshot, family) if _has(snapshot.family(family), Step.REGION) else None
    if placement is None or placement.region == desired.pin:
        return None
    return (
        f"product {key} is pinned to region {desired.pin}, but its family {family} lives in {placement.region}:"
        " send an activation without that pin, or move the family first"
    )


def _awaited(what: str, owner: Provisioning) -> str:
    """What is waited for, and why it does not come where its owner has stopped."""
    if owner.on_hold is not None:
        return f"{what}, which is on hold: {owner.on_hold.reason}"
    return f"{what}, which has failed: {owner.failure.reason}" if owner.failure is not None else what


def _has(actual: Provisioning, step: Step) -> bool:
    """Whether others may build on the step: it is there, and no removal of it was started."""
    ensured = actual.steps.get(step)
    return ensured is not None and ensured.result is not None and not ensured.leaving


def placement_of(snapshot: TenantSnapshot, family: str) -> RegionResult | None:
    """Where the family lives, once its step 3 has completed."""
    ensured = snapshot.family(family).steps.get(Step.REGION)
    return ensured.result if ensured and isinstance(ensured.result, RegionResult) else None


def database_of(snapshot: TenantSnapshot, family: str) -> DatabaseResult | None:
    """The family's database, once its step 6 has completed."""
    ensured = snapshot.family(family).steps.get(Step.DATABASE)
    return ensured.result if ensured and isinstance(ensured.result, DatabaseResult) else None
