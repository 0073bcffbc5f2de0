"""What is named as ours and belongs to nobody, and how does it go?

    plan     what is there is listed first, the streams are read after it; the plan is kept by its hash
    remove   OrphansCondemned   the intent: exactly what the plan shows, who and why, before anything is touched
             each thing         under the lock that every executor passes; what was claimed since is spared
             OrphansRemoved     what is gone, what was spared, and what is left, with the reasons

A hash is over what the plan shows: where anything differs, nothing is condemned. What was condemned stays so: whoever
is killed in the middle names the same hash again, and what is left of that plan goes, no more. A plan whose removal is
through has nothing left to do, however often it is named.

Why no race with the saga can be lost: the high-water mark is read before the streams, so every intent up to it was
seen. Under the lock the intents after it are read once more. One that is committed later finds the lock taken before
its effect, and makes anew what was removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Final, Protocol

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.stream_index import Intents, StreamPages
from application.problem_texts import sentence
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.drift import Inventory, Thing
from domain.errors import Problem, TenantryError, UsageError, problem
from domain.event import Event, Recorded
from domain.operator_events import Kept, OrphansMarkedForRemoval, OrphansRemoved, RemovalCandidate
from domain.policy import Drift
from domain.scope.state import Provisioning, evolve
from domain.scope.steps import Scope, Step
from domain.stream_name import EntitlementName, ResourceName, StreamName

PAGE: Final = 500
"""Streams that are read together."""

MOST: Final = 1000
"""Things in one plan: what a person can read, and what one fact can hold."""


# -- facts ---------------------------------------------------------------------------------------------------------


def stream_of(plan_hash: str) -> str:
    return str(StreamName("orphans", plan_hash))


# -- plans ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """The orphans as of now, in the order in which they are shown.

    `beyond`: how many more there are than fit into one plan. `there`: everything that was found, `orphans`: all of
    it that belongs to nobody. `silent`: places that were not looked at, and why. `suspicious`: why the list may not be
    believed. `mark`: every intent up to it was read.
    """

    things: tuple[Thing, ...]
    beyond: int
    there: frozenset[Thing]
    orphans: frozenset[Thing]
    unreachable: Mapping[str, str]
    suspicious: tuple[str, ...]
    mark: int

    @property
    def hash(self) -> str:
        return hash_of(self.things)


def hash_of(things: Iterable[Thing]) -> str:
    content = json.dumps(sorted(things), ensure_ascii=False).encode()
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of a plan, and who had said so; `began` is False where nothing was left to do."""

    removed: tuple[Thing, ...]
    skipped: tuple[Thing, ...]
    left: tuple[tuple[Thing, str], ...]
    operator: str
    reason: str
    began: bool = True


class ResourceInventory(Protocol):
    """Lists the real things."""

    def inventory(self) -> Inventory:
        """Everything that is named as we name things."""

    def owned(self, actual: Provisioning) -> set[Thing]:
        """What of that is the scope's, or perhaps is; of a product see `entitlement`."""


class OrphanRemover(Protocol):
    """Removes real things."""

    def remove(self, thing: Thing, *, is_claimed: Callable[[], bool]) -> bool:
        """Make sure that it is not there; False where it has an owner after all, which is asked for under the lock.

        Raises ExecutorError where it cannot be removed, or not now.
        """

    def freed(self, thing: Thing) -> str | None:
        """The obstacle that ends with it, for those who wait for it. To be asked before it is removed."""


class Plans(Protocol):
    """Remembers plans that were shown, to tell what differs."""

    def keep(self, plan_hash: str, things: Sequence[Thing]) -> None: ...

    def find(self, plan_hash: str) -> Sequence[Thing] | None: ...


def entitlement(where: str, product: str, place: str) -> Thing:
    """The entitlement of a product (or app) in a family's schema or database."""
    return Thing(where, "entitlement", str(EntitlementName(product, place)))


class OrphanLog(EventLog, StreamPages, Intents, Protocol):
    """What the removal of orphans reads and records."""


@dataclass(frozen=True, slots=True)
class OrphanRemoval:
    """Lists what belongs to no scope, and removes what an operator has named by its plan."""

    log: OrphanLog
    looking: ResourceInventory
    removing: OrphanRemover
    plans: Plans
    drift: Drift
    clock: Clock
    new_id: NewId

    # -- listing

    def plan(self) -> Plan:
        """What belongs to no scope, nor may belong to one by an intent that is under way; kept by its hash."""
        found = self._look()
        self.plans.keep(found.hash, found.things)
        return found

    def _look(self) -> Plan:
        mark, found = self.log.advance_mark(), self.looking.inventory()
        orphans = set(found.things)
        homes: dict[str, set[Thing]] = {}
        for kind in ("site", "family"):
            for actual in self._scopes(kind):
                owned = self.looking.owned(actual) & found.things
                orphans -= owned
                homes.setdefault(actual.scope.tenant_id, set()).update(owned)
        for actual in self._scopes("product"):
            if Step.LICENSE in actual.steps:
                places = homes.get(actual.scope.tenant_id, ())
                orphans -= {entitlement(home.where, actual.scope.key, home.name) for home in places}
        gone = {(thing.where, thing.name) for thing in orphans if thing.kind in ("schema", "database")}
        listed = sorted(thing for thing in orphans if not _lies_in(thing, gone))
        return Plan(
            things=tuple(listed[:MOST]),
            beyond=max(0, len(listed) - MOST),
            there=found.things,
            orphans=frozenset(orphans),
            unreachable=found.unreachable,
            suspicious=tuple(self._suspicious(orphans, found.things)),
            mark=mark,
        )

    def _scopes(self, kind: str) -> Iterator[Provisioning]:
        last = ""
        while page := self.log.streams_after(kind, last, PAGE):
            yield from self._loaded(f"{kind}:{key}" for key in page)
            last = page[-1]

    def _loaded(self, streams: Iterable[str]) -> Iterator[Provisioning]:
        for stream, facts in self.log.load(dict.fromkeys(streams, 0)).items():
            yield reduce(evolve, facts, Provisioning(Scope.parse(stream)))

    def _suspicious(self, orphans: set[Thing], there: Iterable[Thing]) -> Iterator[str]:
        """Where so much belongs to nobody that it looks as if another log should be asked."""
        counted = [thing for thing in there if thing.kind in ("schema", "database", "site name")]
        for where in sorted({thing.where for thing in counted}):
            here = [thing for thing in counted if thing.where == where]
            nobodys = sum(thing in orphans for thing in here)
            if self.drift.is_too_much(nobodys, len(here)):
                yield f"{where}: {nobodys} of {len(here)} databases, schemas or site names belong to no scope"

    # -- removing

    def remove(self, plan_hash: str, *, reason: str, by: str) -> Removal:
        """Remove exactly what that plan shows, or what is left of it.

        Raises UsageError, with nothing changed, where what is there is not what the plan showed.
        """

        def decide() -> tuple[UnitOfWork, tuple[Plan, Sequence[Thing]] | Removal]:
            found, story = self._look(), self._story(plan_hash)
            if story.is_open:
                return UnitOfWork(), (found, story.things)
            if found.things and found.hash == plan_hash:
                return self._marked(story, found, plan_hash, reason=reason, by=by), (found, found.things)
            if story.removal is not None:
                return UnitOfWork(), story.removal
            raise UsageError(self._differs(plan_hash, found))

        decided = transact(self.log, decide)
        if isinstance(decided, Removal):
            return decided
        found, marked_for_removal = decided
        freed: list[str] = []
        removal = self._removed(marked_for_removal, found, freed, reason=reason, by=by)
        return self._conclude(plan_hash, removal, freed)

    def _marked(self, story: _Story, found: Plan, plan_hash: str, *, reason: str, by: str) -> UnitOfWork:
        if found.suspicious:
            raise UsageError(problem("orphans-implausible", found=tuple(found.suspicious)))
        event = OrphansMarkedForRemoval(
            plan=plan_hash, things=tuple(map(_told, found.things)), reason=reason, operator=by
        )
        return UnitOfWork(events=[self._fact(story, event, plan_hash, by=by)])

    def _removed(
        self, marked_for_removal: Sequence[Thing], found: Plan, freed: list[str], *, reason: str, by: str
    ) -> Removal:
        removed: list[Thing] = []
        skipped: list[Thing] = []
        left: list[tuple[Thing, str]] = []
        for thing in sorted(marked_for_removal, key=_turn):
            if thing.where in found.unreachable:
                left.append((thing, f"{thing.where} was not looked at: {found.unreachable[thing.where]}"))
            elif thing not in found.there:
                removed.append(thing)
            elif thing not in found.orphans:
                skipped.append(thing)
            else:
                try:
                    obstacle = self.removing.freed(thing)
                    gone = self.removing.remove(thing, is_claimed=partial(self._is_claimed, thing, found.mark))
                except TenantryError as error:
                    left.append((thing, sentence(error)))
                    continue
                (removed if gone else skipped).append(thing)
                if gone and obstacle is not None:
                    freed.append(obstacle)
        return Removal(tuple(sorted(removed)), tuple(sorted(skipped)), tuple(sorted(left)), by, reason)

    def _is_claimed(self, thing: Thing, mark: int) -> bool:
        """Whether an intent that was committed since may mean it; of entitlements any that names the product."""
        for actual in self._loaded(self.log.started_after(mark)):
            if thing in self.looking.owned(actual):
                return True
            if thing.kind == "entitlement" and EntitlementName.parse(thing.name).product == actual.scope.key:
                return True
        return False

    def _conclude(self, plan_hash: str, removal: Removal, freed: list[str]) -> Removal:
        """Record what became of it; whoever did the same at the same time has recorded the same, or less."""
        event = OrphansRemoved(
            plan=plan_hash,
            removed=tuple(map(_told, removal.removed)),
            skipped=tuple(map(_told, removal.skipped)),
            left=tuple(Kept(**_told(thing).model_dump(), why=why) for thing, why in removal.left),
            reason=removal.reason,
            operator=removal.operator,
        )

        def decide() -> tuple[UnitOfWork, Removal]:
            story = self._story(plan_hash)
            if not story.is_open and story.removal is not None:
                return UnitOfWork(), story.removal
            fact = self._fact(story, event, plan_hash, by=removal.operator)
            return UnitOfWork(events=[fact], unblocked=freed), removal

        return transact(self.log, decide)

    # -- both

    def _story(self, plan_hash: str) -> _Story:
        stream = stream_of(plan_hash)
        return reduce(_told_on, self.log.load({stream: 0}).get(stream, []), _Story())

    def _fact(self, story: _Story, event: Event, plan_hash: str, *, by: str) -> Recorded:
        act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
        stream, correlation = stream_of(plan_hash), f"orphans {plan_hash}"
        return act.recorded(event, stream=stream, version=story.version + 1, correlation=correlation)

    def _differs(self, plan_hash: str, found: Plan) -> Problem:
        shown = self.plans.find(plan_hash)
        if shown is None:
            return problem("orphan-plan-unknown", plan=plan_hash)
        before, now = set(shown), set(found.things)
        unseen = sorted({thing.where for thing in before if thing.where in found.unreachable})
        return problem(
            "orphan-plan-changed",
            plan=plan_hash,
            unseen=tuple(f"{where}: {found.unreachable[where]}" for where in unseen),
            gone=tuple(map(_name, sorted(before - now))),
            new=tuple(map(_name, sorted(now - before))),
        )


@dataclass(frozen=True, slots=True)
class _Story:
    """What the stream of a plan says: condemned and not through (`is_open`), or through with a `removal`."""

    version: int = 0
    things: tuple[Thing, ...] = ()
    is_open: bool = False
    removal: Removal | None = None


def _told_on(story: _Story, recorded: Recorded) -> _Story:
    match recorded.event:
        case OrphansMarkedForRemoval() as event:
            return _Story(recorded.version, tuple(map(_thing, event.things)), is_open=True)
        case OrphansRemoved() as event:
            removal = Removal(
                tuple(map(_thing, event.removed)),
                tuple(map(_thing, event.skipped)),
                tuple((_thing(kept), kept.why) for kept in event.left),
                event.operator,
                event.reason,
                began=False,
            )
            return _Story(recorded.version, story.things, is_open=bool(event.left), removal=removal)
        case _:
            raise AssertionError(f"{recorded.event.TOPIC} in {recorded.stream}")


def _lies_in(thing: Thing, places: set[tuple[str, str]]) -> bool:
    """Whether it goes with its schema or database anyway."""
    return thing.kind == "entitlement" and (thing.where, EntitlementName.parse(thing.name).place) in places


def _turn(thing: Thing) -> tuple[int, Thing]:
    """What holds things goes before the roles that may own them, logins go before their groups."""
    order = ("database", "schema", "entitlement", "room", "site name", "role")
    return order.index(thing.kind) * 2 + (thing.kind == "role" and ResourceName.parse(thing.name).kind == "g"), thing


def _told(thing: Thing) -> RemovalCandidate:
    return RemovalCandidate(where=thing.where, kind=thing.kind, name=thing.name)


def _thing(told: RemovalCandidate) -> Thing:
    return Thing(told.where, told.kind, told.name)


def _name(thing: Thing) -> str:
    return f"{thing.where}: {thing.kind} {thing.name}"
