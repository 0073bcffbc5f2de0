"""What does one turn of a scope record, and which effect comes next?

The worker brings scopes that are due, and later the outcomes of their effects; `Saga` turns both into facts. A turn
goes on from action to action until there is an effect to bring about, or nothing more to do. The intent of the next
effect is recorded in the same commit as the outcome of the last one. What time has brought about (a license expired, a
purge begins) goes into the tenant's stream in that commit, so that whatever commerce said first makes it conflict.

    due ─▶ take(scope) ───────────┐                 ┌─▶ order: bring it about, then outcome(...)
                                  ├─▶ next_action ──┤
    effect ─▶ outcome(order, …) ──┘      ▲   │      └─▶ done: the lease ends; wake at a time, or never
                                         └───┘ facts

Scopes are decided on side by side, each from what it saw of the others. So nothing is taken from under others in the
turn that decides on it: the fact is recorded, from then on nobody begins there, and another turn looks who came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from domain import configuration as configurations
from domain import customer as customers
from domain import provisioning
from domain import tenant as tenants
from domain.catalog import Catalog
from domain.configuration import Adopted
from domain.convergence import (
    Converge,
    Execute,
    GiveUp,
    Hold,
    Note,
    Nothing,
    Resume,
    Start,
    Wait,
    around,
    database_of,
    dependents,
    next_action,
    placement_of,
)
from domain.customer import Customer
from domain.errors import UNREACHABLE, ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unreachable
from domain.event import Cause, Event, Origin, Recorded
from domain.guard import held_in
from domain.policy import Policy
from domain.ports import Blocked, Clock, Dice, EventLog, Guarded, HeldInTenant, NewId, Order, Wake
from domain.provisioning import (
    Intent,
    Provisioning,
    ScopeConverged,
    ScopeEvent,
    ScopeGaveUp,
    ScopeHeld,
    ScopeResumed,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from domain.steps import Facts, Scope, ScopeKind, SiteWish, Step
from domain.streams import State, Streams
from domain.tenant import Tenant
from domain.tenant_events import Passing, TenantEvent
from domain.times import moved
from domain.wanted import Estate, Wanted, data_lost, due_of, purged_by, scopes_with, wanted

KEPT_TENANTS: Final = 2_000
"""Of so many tenants the names of their scopes are kept; about 1 KiB each."""


@dataclass(slots=True)
class Turn:
    """What one turn came to: facts to record, and either an effect to bring about or the end of the lease."""

    scope: Scope
    facts: list[Recorded] = field(default_factory=list)
    order: Order | None = None
    wakes: list[Wake] = field(default_factory=list)
    woken: dict[str, int] = field(default_factory=dict)
    unmoved: dict[str, int] = field(default_factory=dict)
    """The streams of what a purge takes away, with the version that it was decided on: nobody may hold it since."""
    blocked: list[Blocked] = field(default_factory=list)
    unblocked: list[str] = field(default_factory=list)
    guarded: Guarded | None = None
    held: dict[str, HeldInTenant | None] = field(default_factory=dict)
    room: int | None = None
    """How many purges the destroy guard lets pass; None while nobody has asked it."""
    after: dict[str, State] = field(default_factory=dict)
    """The streams that the turn adds to, as they are once it is recorded."""


class Saga:
    """Decides for scopes. Holds no state but a cache of folded streams, so that any number may run side by side.

    `catalog` and `policy` are what the process has at hand. They count until something was adopted: the adoption is
    read by the very query that reads the tenants, so that no tenant is decided about with an older one.
    """

    def __init__(
        self, log: EventLog, *, catalog: Catalog, policy: Policy, clock: Clock, new_id: NewId, dice: Dice
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

    def estates(self, tenant_ids: Iterable[str]) -> dict[str, Estate]:
        """The estates as committed now, with one query however many there are, and another for those that are new."""
        asked = sorted(set(tenant_ids))
        known: dict[str, tuple[Tenant, Mapping[Scope, str]]] = {}
        changed = asked
        while changed:
            for tenant_id in changed:
                tenant = self._streams.tenant(tenant_id)
                scopes = self._scopes_with(tenant_id, tuple(tenant.products)) if tenant.exists else {}
                known[tenant_id] = (tenant, scopes)
            streams = (stream for tenant_id in changed for stream in _streams_of(*known[tenant_id]))
            self._streams.refresh((*streams, configurations.STREAM))
            changed = [each for each in changed if self._streams.tenant(each).version != known[each][0].version]
            if self._learns():
                changed = asked  # their scopes may have other names now
        return {tenant_id: self._estate(*known[tenant_id]) for tenant_id in asked}

    def _estate(self, tenant: Tenant, streams: Mapping[Scope, str]) -> Estate:
        customer = self._streams.customer(_customer_id(tenant)) if tenant.exists else Customer("")
        return Estate(tenant, customer, self._streams.provisionings(streams))

    def _name_scopes(self, tenant_id: str, products: tuple[str, ...]) -> Mapping[Scope, str]:
        """The scopes of a tenant with those products, and what their streams are called."""
        return {scope: str(scope) for scope in scopes_with(tenant_id, products, self._catalog)}

    def keep(self, turn: Turn) -> None:
        """The turn was recorded: what it has added need not be read again."""
        for stream, state in turn.after.items():
            self._streams.keep(stream, state)

    # -- deciding -----------------------------------------------------------------------------------------------------

    def take(self, scope: Scope, estate: Estate, *, room: int | None = None) -> Turn:
        """The turn of a scope that is due; `room` is what the destroy guard lets pass (None: it was not asked)."""
        turn = Turn(scope, room=room)
        self._go_on(turn, estate)
        return turn

    def outcome(
        self,
        order: Order,
        result: Facts | Exception | None,
        estate: Estate,
        *,
        draining: bool,
        room: int | None = None,
    ) -> Turn:
        """The turn after an effect: `result` is its facts (None after a removal), or why it did not come about.

        While draining, the outcome is recorded and the scope left due for others.
        """
        turn = Turn(order.scope, room=room)
        actual = estate.actual(order.scope)
        intent = actual.intent
        if intent is None or intent.generation != order.generation:
            turn.wakes.append(Wake(str(order.scope), self._clock()))  # somebody else was here: look again
            return turn
        if _is_back(intent, result):
            turn.unblocked.append(str(intent.obstacle))
        if isinstance(result, Exception):
            estate = self._failed(turn, intent, result, estate)
        else:
            estate = self._completed(turn, intent, result, estate)
        if draining:
            turn.wakes.append(Wake(str(order.scope), self._clock()))
        elif not turn.blocked:
            self._go_on(turn, estate)
        return turn

    def _completed(self, turn: Turn, intent: Intent, facts: Facts | None, estate: Estate) -> Estate:
        if isinstance(intent.wish, SiteWish) and intent.direction == "remove":
            turn.unblocked.append(f"site-name:{intent.wish.site_name}")
        if intent.step is Step.REGION and intent.direction == "remove":
            placement = placement_of(estate, turn.scope.key)
            if placement is not None:
                turn.unblocked.append(f"room:{placement.region}")
        return self._add(
            turn,
            StepCompleted(
                **_names(turn.scope),
                customer_id=estate.customer.id or None,
                step=intent.step,
                direction=intent.direction,
                generation=intent.generation,
                facts=facts,
            ),
            estate,
        )

    def _failed(self, turn: Turn, intent: Intent, error: Exception, estate: Estate) -> Estate:
        now, retry = self._clock(), self._policy.retry
        away_for = now - intent.blocked_since if _is_of(error, intent) and intent.blocked_since else timedelta()
        match error:
            case Obstacle():
                pause = error.delay or retry.obstacle_poll
                return self._blocked(turn, intent, error.obstacle, str(error), pause, estate)
            case Unreachable() if away_for < retry.unreachable_for:
                pause = error.delay or retry.pause(away_for, self._dice())
                return self._blocked(turn, intent, error.obstacle, str(error), pause, estate)
        attempt = intent.failures + 1
        retry_at = None
        if not isinstance(error, Permanent | Unreachable) and attempt < retry.attempts:
            delay = error.delay if isinstance(error, Retryable) and error.delay is not None else None
            retry_at = moved(now, delay if delay is not None else retry.delay(attempt, self._dice()))
        reason = f"{_said(error)}, for {_hours(away_for)} now" if isinstance(error, Unreachable) else _said(error)
        failed = StepFailed(**_intended(turn.scope, intent), attempt=attempt, reason=reason, retry_at=retry_at)
        return self._add(turn, failed, estate)

    def _blocked(
        self, turn: Turn, intent: Intent, obstacle: str, reason: str, pause: timedelta, estate: Estate
    ) -> Estate:
        """The scope waits for the release of what stands in its way, and looks again by itself."""
        now = self._clock()
        turn.blocked.append(Blocked(obstacle, str(turn.scope)))
        turn.wakes.append(Wake(str(turn.scope), moved(now, pause)))
        timer = wanted(turn.scope, estate, catalog=self._catalog, policy=self._policy, now=now).wake_at
        turn.wakes.extend([Wake(str(turn.scope), timer)] if timer is not None else [])
        if intent.obstacle == obstacle:
            return estate
        blocked = StepBlocked(**_intended(turn.scope, intent), obstacle=obstacle, reason=reason)
        return self._add(turn, blocked, estate)

    def _go_on(self, turn: Turn, estate: Estate) -> None:
        """From action to action, until there is an effect to bring about or nothing more to do."""
        scope = turn.scope
        event: ScopeEvent
        while True:
            now = self._clock()
            wish = wanted(scope, estate, catalog=self._catalog, policy=self._policy, now=now)
            actual = estate.actual(scope)
            match next_action(wish, actual, around(scope, wish, estate, catalog=self._catalog), now):
                case Note() as note:
                    estate = self._note(turn, note.event, estate)
                    continue
                case Start() as start:
                    event = StepStarted(
                        **_names(scope),
                        step=start.step,
                        direction=start.direction,
                        generation=actual.version + 1,
                        wish=start.wish,
                        undoing=start.undoing,
                    )
                    estate = self._add(turn, event, estate)
                    if _is_ground(scope, event):
                        turn.wakes.append(Wake(str(scope), now))
                    else:
                        turn.order = self._order(scope, estate)
                    return
                case Execute():
                    turn.order = self._order(scope, estate)
                    return
                case Wait() as wait:
                    if wait.until is not None:
                        turn.wakes.append(Wake(str(scope), wait.until))
                    return
                case Nothing() as nothing:
                    if nothing.wake_at is not None and nothing.wake_at > now:
                        turn.wakes.append(Wake(str(scope), nothing.wake_at))
                    return
                case Converge() | GiveUp() | Hold() | Resume() as verdict:
                    event = _said_of(scope, verdict, wish, estate, self._catalog)
            estate = self._add(turn, event, estate)
            if _is_ground(scope, event):
                turn.wakes.append(Wake(str(scope), now))
                return

    def _order(self, scope: Scope, estate: Estate) -> Order:
        intent = estate.actual(scope).intent
        assert intent is not None
        family = scope.key if scope.kind == "family" else None
        if scope.kind == "product":
            family = self._catalog.family_of(scope.key)
        return Order(
            scope=scope,
            step=intent.step,
            direction=intent.direction,
            generation=intent.generation,
            wish=intent.wish,
            born=estate.actual(scope).steps[intent.step].born,
            tenant=estate.tenant,
            customer=estate.customer,
            placement=placement_of(estate, family) if family else None,
            database=database_of(estate, family) if family else None,
        )

    # -- facts --------------------------------------------------------------------------------------------------------

    def _add(self, turn: Turn, event: ScopeEvent, estate: Estate) -> Estate:
        """Put the fact into the turn, wake whom it matters to, and return the estate after it."""
        version = estate.actual(turn.scope).version + 1
        recorded = self._recorded(turn, event, estate, stream=str(turn.scope), version=version)
        before = estate.actual(turn.scope)
        after = provisioning.evolve(before, recorded)
        turn.after[str(turn.scope)] = after
        estate = Estate(estate.tenant, estate.customer, {**estate.scopes, turn.scope: after})
        if kinds := _wakes(event, before):
            turn.woken[estate.tenant.id] = estate.tenant.version
            turn.wakes.extend(
                Wake(str(other), recorded.time)
                for other in dependents(turn.scope, estate, catalog=self._catalog)
                if other.kind in kinds
            )
        return estate

    def _note(self, turn: Turn, event: Passing, estate: Estate) -> Estate:
        """Put the fact into the tenant's stream, at the version that it was decided on, and wake every other scope.

        Whoever recorded there first makes it conflict, and it is decided again.
        """
        tenant = estate.tenant
        stream = tenants.stream_of(tenant.id)
        noted = self._guarded(turn, event, tenant)
        recorded = self._recorded(turn, noted, estate, stream=stream, version=tenant.version + 1)
        due = [name for name in due_of(tenant, self._catalog) if name != str(turn.scope)]
        turn.wakes.extend(Wake(name, recorded.time) for name in due)
        for going in purged_by(event, estate):
            actual = estate.actual(going)
            turn.unmoved[str(going)] = actual.version - sum(fact.stream == str(going) for fact in turn.facts)
        after = tenants.evolve(tenant, recorded)
        turn.after[stream] = after
        if after.held != tenant.held:
            turn.held[tenant.id] = held_in(after)
        return replace(estate, tenant=after)

    def _guarded(self, turn: Turn, event: Passing, tenant: Tenant) -> TenantEvent:
        """The fact, counted by the destroy guard; or that it is held, where there is no room for it."""
        if tenants.is_guarded(event, tenant):
            counted = turn.guarded or Guarded(self._policy.guard, self._clock())
            if turn.room is not None and counted.facts >= turn.room:
                return tenants.hold(event)
            turn.guarded = replace(counted, facts=counted.facts + 1)
        return event

    def _recorded(self, turn: Turn, event: Event, estate: Estate, *, stream: str, version: int) -> Recorded:
        origin = _origin(turn.scope, estate, self._catalog)
        cause = _because_of(origin.stream, origin.id) if origin else _BECAUSE_OF_NOTHING
        correlation = origin.correlation if origin else str(turn.scope)
        recorded = Recorded(stream, version, self._new_id(), self._clock(), cause, correlation, event)
        turn.facts.append(recorded)
        return recorded


def _is_ground(scope: Scope, event: ScopeEvent) -> bool:
    """Whether the fact takes the ground from under others, who may have come to live on it since it was decided.

    Nothing follows from it in the same turn: once it is recorded nobody begins there any more, and the next look at the
    neighbours sees whoever was first.
    """
    match event:
        case ScopeGaveUp():
            return scope.kind != "product"
        case StepStarted(step=Step.DATABASE):
            return event.direction == "remove"
        case _:
            return False


def _said_of(
    scope: Scope, verdict: Converge | GiveUp | Hold | Resume, wish: Wanted, estate: Estate, catalog: Catalog
) -> ScopeEvent:
    """The fact of an action that has no effect."""
    match verdict:
        case Converge():
            is_there = scope.kind == "product" and verdict.level != "absent"
            return ScopeConverged(
                **_names(scope),
                level=verdict.level,
                digest=verdict.digest,
                purge=verdict.purge,
                data_lost=is_there and data_lost(scope.key, estate, catalog=catalog),
            )
        case GiveUp():
            return ScopeGaveUp(**_names(scope), digest=wish.digest, step=verdict.step, reason=verdict.reason)
        case Hold():
            return ScopeHeld(**_names(scope), step=verdict.step, reason=verdict.reason, digest=wish.digest)
        case Resume():
            return ScopeResumed(**_names(scope), reason=verdict.reason)


_BUILDS_ON: Final[Mapping[tuple[ScopeKind, Step], tuple[ScopeKind, ...]]] = {
    ("site", Step.SITE): ("family", "product"),
    ("family", Step.DATABASE): ("product",),
    ("product", Step.LICENSE): ("product",),
}
"""Which kinds of scopes wait for a step until it is there."""


def _wakes(event: ScopeEvent, before: Provisioning) -> tuple[ScopeKind, ...]:
    """The kinds of scopes that may wait for this fact, or wish something else because of it."""
    match event:
        case StepCompleted(direction="ensure", kind="site", step=Step.SITE) if before.steps[event.step].facts is None:
            return ("family",)  # there for the first time: no product can begin before its family has
        case StepCompleted(direction="ensure"):
            return _BUILDS_ON.get((event.kind, event.step), ())
        case ScopeConverged(kind="product", purge=None):  # it has lived: that keeps the database of one that is gone
            return ("product",) if event.level in ("open", "closed") else ("family", "product")
        case ScopeConverged(purge=None):
            return ()
        case StepCompleted() | ScopeConverged() | ScopeGaveUp() | ScopeResumed():
            return ("site", "family", "product")
        case _:
            return ()


def _origin(scope: Scope, estate: Estate, catalog: Catalog) -> Origin | None:
    """The latest fact that has a say in what the scope should be, or that had it tried again; of several that were
    recorded at once, the one nearest to the scope."""
    tenant = estate.tenant
    candidates: list[Origin | None] = []
    if scope.kind == "product":
        candidates.append(tenant.product(scope.key).origin)
        if scope.key in catalog and (host := catalog[scope.key].host) is not None:
            candidates.append(tenant.product(host).origin)  # an app goes with its host
    elif scope.kind == "family":
        members = (key for key in tenant.products if key in catalog and catalog.family_of(key) == scope.key)
        candidates.extend(tenant.products[key].origin for key in members)
    candidates += [tenant.origin, estate.customer.origin, estate.actual(scope).resumed]
    latest: Origin | None = None
    for origin in candidates:
        if origin is not None and (latest is None or origin.time > latest.time):
            latest = origin
    return latest


_BECAUSE_OF_NOTHING: Final = Cause(kind="event", source="", id="")


@lru_cache(maxsize=10_000)
def _because_of(stream: str, event_id: UUID) -> Cause:
    """All that follows from one fact shares one cause."""
    return Cause(kind="event", source=stream, id=str(event_id))


def _names(scope: Scope) -> dict[str, Any]:
    return {"tenant_id": scope.tenant_id, "kind": scope.kind, "key": scope.key}


def _intended(scope: Scope, intent: Intent) -> dict[str, Any]:
    return {**_names(scope), "step": intent.step, "direction": intent.direction, "generation": intent.generation}


def _is_of(error: Exception, intent: Intent) -> bool:
    """Whether it is the outage that the intent waits for already."""
    return isinstance(error, Unreachable) and error.obstacle == intent.obstacle


def _is_back(intent: Intent, result: Facts | Exception | None) -> bool:
    """Whether the outcome says that what was unreachable answers again: all that wait for it are due."""
    answered = not isinstance(result, Exception) or isinstance(result, Permanent | Obstacle | Fenced)
    return intent.obstacle is not None and intent.obstacle.startswith(UNREACHABLE) and answered


def _hours(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes // 60} h" if minutes >= 120 else f"{minutes} min"


def _said(error: Exception) -> str:
    """One line for the log; of errors that are not ours only the kind, for they may quote anything."""
    return str(error)[:500] if isinstance(error, ExecutorError) else f"unexpected {type(error).__name__}"


def _streams_of(tenant: Tenant, scopes: Mapping[Scope, str]) -> Iterator[str]:
    """The streams of the tenant's estate, as far as it is known."""
    yield tenants.stream_of(tenant.id)
    if tenant.exists:
        yield customers.stream_of(_customer_id(tenant))
    yield from scopes.values()


def _customer_id(tenant: Tenant) -> str:
    assert tenant.attributes is not None
    return tenant.attributes.value.customer_id
