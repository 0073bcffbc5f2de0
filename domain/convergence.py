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
from domain.provisioning import Intent, Provisioning
from domain.steps import LEVELS, DatabaseFacts, DatabaseWish, Direction, Level, RegionFacts, Scope, Step, Wish
from domain.tenant import Tenant
from domain.tenant_events import Passing
from domain.wanted import Estate, Wanted


@dataclass(frozen=True, slots=True)
class Start:
    """Record the intent, then bring its effect about."""

    step: Step
    direction: Direction
    wish: Wish
    undoing: bool = False


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
class GiveUp:
    """Record that this wish is not tried any more."""

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
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

    wake_at: datetime | None = None


NEXT_ATTEMPT: Final = "the next attempt"
"""What a step that failed waits for: the scope is at work, nobody else has to do anything first."""

Action = Note | Start | Execute | Wait | Converge | GiveUp | Hold | Resume | Nothing


@dataclass(frozen=True, slots=True)
class Around:
    """What the scope's neighbours stand in the way of: a text for each, None where the way is free."""

    before_ensuring: str | None = None
    before_removing: str | None = None
    before_converging: str | None = None
    impossible: str | None = None


def next_action(wanted: Wanted, actual: Provisioning, around: Around, now: datetime) -> Action:
    """The one next thing to do for the scope. Pure.

    A wish that closes is never given up: going back to the last converged one would open what must be closed. It is
    held instead, as far as it came. What is held for a wish is tried again when another one comes.
    """
    if wanted.passed is not None and not actual.held_by_hand:
        return Note(wanted.passed)
    if actual.held is not None:
        is_another = actual.held.digest not in (None, wanted.digest)
        return Resume("another wish came") if is_another else Nothing(wanted.wake_at)
    given_up = actual.given_up is not None
    if actual.given_up is not None and actual.given_up.digest != wanted.digest:
        return Resume("another wish came")
    if _was_impossible(actual) and around.impossible is None:
        return Resume("its family lives elsewhere no more")
    target = _fallback(actual, wanted) if given_up else wanted.steps
    difference = next(_differences(target, actual), None)
    if difference is None:
        return _settled(wanted, actual, around)
    step, direction, wish = difference
    if direction == "ensure" and around.impossible and not given_up:
        return GiveUp(Step.REGION, around.impossible)
    obstacle = around.before_ensuring if direction == "ensure" else around.before_removing
    if obstacle is not None:
        return Wait(obstacle, until=wanted.wake_at)
    intent = actual.intent
    if intent is None or (intent.step, intent.direction, intent.wish) != (step, direction, wish):
        return Start(step, direction, wish, undoing=given_up)
    if intent.failures and intent.retry_at is None and intent.obstacle is None:
        reason = intent.reason or "failed"
        closes = actual.lived and LEVELS.index(wanted.level) < LEVELS.index(actual.level)
        may_give_up = direction == "ensure" and not given_up and not closes and not actual.data_missing
        return GiveUp(step, reason) if may_give_up else Hold(step, reason)
    if intent.retry_at is not None and intent.retry_at > now:
        return Wait(NEXT_ATTEMPT, until=min(intent.retry_at, wanted.wake_at or intent.retry_at))
    return Execute(intent)


def _was_impossible(actual: Provisioning) -> bool:
    """Whether a product was given up for where its family lives: step 3 is the family's, and did not fail."""
    return actual.scope.kind == "product" and actual.given_up is not None and actual.given_up.step is Step.REGION


def _fallback(actual: Provisioning, wanted: Wanted) -> Mapping[Step, Wish]:
    """What a scope whose wish was given up goes back to: its last converged wish, or nothing.

    A family may be as high as ever while one of its products is shut out: that product's login stays as it is wanted.
    """
    if not actual.lived or actual.converged is None:
        return {}
    before, now = actual.converged.steps.get(Step.DATABASE), wanted.steps.get(Step.DATABASE)
    if not isinstance(before, DatabaseWish) or not isinstance(now, DatabaseWish):
        return actual.converged.steps
    logins = {role.product: role.login for role in now.roles}
    roles = tuple(
        role if logins[role.product] else role.model_copy(update={"login": False})
        for role in before.roles
        if role.product in logins
    )
    return {**actual.converged.steps, Step.DATABASE: before.model_copy(update={"roles": roles})}


def _differences(target: Mapping[Step, Wish], actual: Provisioning) -> Iterator[tuple[Step, Direction, Wish]]:
    for step in sorted(target):
        ensured = actual.steps.get(step)
        wish = target[step]
        if ensured is None or not ensured.done or (ensured.wish is not wish and ensured.wish != wish):
            yield step, "ensure", wish
    for step in sorted(actual.steps, reverse=True):
        if step not in target:
            yield step, "remove", actual.steps[step].wish


def _settled(wanted: Wanted, actual: Provisioning, around: Around) -> Action:
    if actual.given_up is not None:
        return Nothing(wanted.wake_at)
    was_never_there = actual.version == 0 and wanted.level == "absent"
    is_so = actual.at_rest and actual.converged is not None and actual.converged.digest == wanted.digest
    if was_never_there or is_so:
        return Nothing(wanted.wake_at) if wanted.awaited is None else Wait(wanted.awaited, until=wanted.wake_at)
    if around.before_converging is not None:
        return Wait(around.before_converging, until=wanted.wake_at)
    return Converge(wanted.level, wanted.digest, wanted.purge)


# -- neighbours ----------------------------------------------------------------------------------------------------


def around(scope: Scope, wish: Wanted, estate: Estate, *, catalog: Catalog) -> Around:
    """What stands in the scope's way, from the actual state of its neighbours.

    Products wait for the site's step 2 and for their role in the family's step 6, an app for its host's step 7;
    families wait for the site's step 2. Teardown goes the other way: families wait for products, the site for families.
    """
    site_is_there = _has(estate.site(), Step.SITE)
    match scope.kind:
        case "site":
            left = [str(other) for other, actual in estate.scopes.items() if other != scope and not actual.is_empty]
            return Around(before_removing=f"the removal of {left[0]}" if left else None)
        case "family":
            inside = [
                key
                for key in estate.tenant.products
                if key in catalog and catalog.family_of(key) == scope.key and not estate.product(key).is_empty
            ]
            if estate.actual(scope).abandoned and wish.level != "absent":  # the products stay, but for what lay in it
                inside = [key for key in inside if Step.LICENSE in estate.product(key).steps]
            return Around(
                before_ensuring=None if site_is_there else _awaited("step 2 of the site", estate.site()),
                before_removing=f"the removal of product {inside[0]}" if inside else None,
            )
        case "product":
            return _around_product(scope.key, wish, estate, catalog=catalog, site_is_there=site_is_there)


def _around_product(key: str, wish: Wanted, estate: Estate, *, catalog: Catalog, site_is_there: bool) -> Around:
    family, host = catalog.family_of(key), catalog[key].host
    home = estate.family(family)
    database = database_of(estate, family) if _has(home, Step.DATABASE) else None
    placement = placement_of(estate, family) if _has(home, Step.REGION) else None
    role = database.role_of(key) if database else None
    step_6 = _awaited(f"step 6 of family {family}", home)
    before: str | None = None
    before_converging: str | None = None
    if not site_is_there:
        before = _awaited("step 2 of the site", estate.site())
    elif database is None:
        before = step_6
    elif host is not None and wish.level == "open" and not _has(estate.product(host), Step.LICENSE):
        before = f"step 7 of host {host}"
    if catalog[key].family is not None and database is not None:
        if role is None:
            before = before or step_6
        if wish.level != "absent" and (role is None or role.login != (wish.level == "open")):
            before_converging = step_6
    if host is not None and wish.level != "absent" and not estate.product(host).lived:
        before_converging = before_converging or f"host {host}"  # what never lived takes its database with it
    impossible = None
    if wish.pin is not None and placement is not None and placement.region != wish.pin:
        impossible = (
            f"product {key} is pinned to region {wish.pin}, but its family {family} lives in {placement.region}:"
            " send an activation without that pin, or move the family first"
        )
    return Around(before_ensuring=before, before_converging=before_converging, impossible=impossible)


def _awaited(what: str, owner: Provisioning) -> str:
    """What is waited for, and why it does not come where its owner has stopped."""
    if owner.held is not None:
        return f"{what}, which is held: {owner.held.reason}"
    return f"{what}, which was given up: {owner.given_up.reason}" if owner.given_up is not None else what


def _has(actual: Provisioning, step: Step) -> bool:
    """Whether others may build on the step: it is there, and nobody started to remove it."""
    ensured = actual.steps.get(step)
    return ensured is not None and ensured.facts is not None and not ensured.leaving


def placement_of(estate: Estate, family: str) -> RegionFacts | None:
    """Where the family lives, once its step 3 has completed."""
    ensured = estate.family(family).steps.get(Step.REGION)
    return ensured.facts if ensured and isinstance(ensured.facts, RegionFacts) else None


def database_of(estate: Estate, family: str) -> DatabaseFacts | None:
    """The family's database, once its step 6 has completed."""
    ensured = estate.family(family).steps.get(Step.DATABASE)
    return ensured.facts if ensured and isinstance(ensured.facts, DatabaseFacts) else None


def concerned(tenant: Tenant, key: str, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes whose wish may follow from the registers of a product: it, its apps, and the families of all."""
    products = (key, *(other for other in tenant.products if other in catalog and catalog[other].host == key))
    families = sorted({catalog.family_of(product) for product in products})
    return (
        *(Scope("family", tenant.id, family) for family in families),
        *(Scope("product", tenant.id, product) for product in products),
    )


def dependents(scope: Scope, estate: Estate, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes that may wait for `scope`: they are made due whenever something of it changed."""
    tenant_id, products = scope.tenant_id, [key for key in estate.tenant.products if key in catalog]
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
