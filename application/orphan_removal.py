"""Orphan removal: what is named as ours and belongs to no scope, and how it goes.

    plan     what is there is listed first, the streams are read after it; the plan is kept by its hash
    remove   OrphansCondemned   the intent: exactly what the plan shows, who and why, before anything is touched
             each thing         under the lock that every executor passes; what was claimed since is skipped
             OrphansRemoved     what is gone, what was skipped, and what is left, with the reasons

A hash is over what the plan shows: where anything differs, nothing is marked for removal. What was marked stays so: a
command that is killed in the middle names the same hash again, and what is left of that plan goes, no more. A plan
whose removal is through has nothing left to do, however often it is named.

Why no race with the saga can be lost: the high-water mark is read before the streams, so every intent up to it was
seen. Under the lock the intents after it are read once more. One that is committed later finds the lock taken before
its effect, and makes anew what was removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Final, Protocol

from msgspec.structs import asdict

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.stream_index import Intents, StreamPages
from application.problem_texts import sentence
from application.resources import Resources
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.drift import Thing
from domain.errors import Problem, TenantryError, UsageError, problem
from domain.event import Event, Recorded
from domain.operator import Operator
from domain.operator_events import KeptOrphan, OrphansMarkedForRemoval, OrphansRemoved, RemovalCandidate
from domain.policy import Drift
from domain.scope.state import Provisioning, evolve
from domain.scope.steps import Scope
from domain.stream_name import SCOPE_KINDS, StreamName

PAGE: Final = 500
"""Streams that are read together."""

MOST: Final = 1000
"""Things in one plan: what a person can read, and what one event can hold."""


# -- events --------------------------------------------------------------------------------------------------------


def stream_of(plan_hash: str) -> str:
    return str(StreamName("orphans", plan_hash))


# -- plans ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrphanPlan:
    """The orphans as of now, in the order in which they are shown.

    `beyond`: how many more there are than fit into one plan. `there`: everything that was found, `orphans`: all of
    it that belongs to no scope. `unreachable`: places that did not answer, and why. `suspicious`: why the list may not
    be believed. `mark`: every intent up to it was read.
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
    content = json.dumps(sorted(things), ensure_ascii=False).encode(errors="surrogatepass")
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


class Plans(Protocol):
    """Remembers plans that were shown, to tell what differs."""

    def keep(self, plan_hash: str, things: Sequence[Thing]) -> None: ...

    def find(self, plan_hash: str) -> Sequence[Thing] | None: ...


class OrphanLog(EventLog, StreamPages, Intents, Protocol):
    """What the removal of orphans reads and records."""


@dataclass(frozen=True, slots=True)
class OrphanRemoval:
    """Lists what belongs to no scope, and removes what an operator has named by its plan."""

    log: OrphanLog
    resources: Resources
    plans: Plans
    drift: Drift
    clock: Clock
    new_id: NewId

    # -- listing

    def plan(self) -> OrphanPlan:
        """What belongs to no scope, nor may belong to one by an intent that is under way; kept by its hash."""
        found = self._look()
        self.plans.keep(found.hash, found.things)
        return found

    def _look(self) -> OrphanPlan:
        mark, found = self.log.advance_mark(), self.resources.inventory()
        orphans = set(found.things)
        there: dict[Thing, set[Thing]] = {}
        for thing in found.things:
            there.setdefault(self.resources.identity(thing), set()).add(thing)
        for actual in (actual for kind in SCOPE_KINDS for actual in self._scopes(kind)):
            for owned in self.resources.owned(actual):
                orphans -= there.get(owned, set())
        listed = self.resources.alone(orphans)
        return OrphanPlan(
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
        for stream, events in self.log.load(dict.fromkeys(streams, 0)).items():
            yield reduce(evolve, events, Provisioning(Scope.parse(stream)))

    def _suspicious(self, orphans: set[Thing], there: Iterable[Thing]) -> Iterator[str]:
        """Where so much belongs to no scope that it looks as if another log should be asked."""
        counted = [thing for thing in there if self.resources.of(thing).tells_of_the_log]
        for where in sorted({thing.where for thing in counted}):
            here = [thing for thing in counted if thing.where == where]
            nobodys = sum(thing in orphans for thing in here)
            if self.drift.is_too_much(nobodys, len(here)):
                yield f"{where}: {nobodys} of {len(here)} databases, schemas or site names belong to no scope"

    # -- removing

    def remove(self, plan_hash: str, *, reason: str, by: Operator) -> Removal:
        """Remove exactly what that plan shows, or what is left of it.

        Raises UsageError, with nothing changed, where what is there is not what the plan showed.
        """

        def decide() -> tuple[UnitOfWork, tuple[OrphanPlan, Sequence[Thing]] | Removal]:
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
        return self._conclude(plan_hash, removal, freed, by=by)

    def _marked(self, story: _Story, found: OrphanPlan, plan_hash: str, *, reason: str, by: Operator) -> UnitOfWork:
        if found.suspicious:
            raise UsageError(problem("orphans-implausible", found=tuple(found.suspicious)))
        event = OrphansMarkedForRemoval(
            plan=plan_hash, things=tuple(map(_candidate, found.things)), reason=reason, operator=str(by)
        )
        return UnitOfWork(events=[self._recorded(story, event, plan_hash, by=by)])

    def _removed(
        self, marked_for_removal: Sequence[Thing], found: OrphanPlan, freed: list[str], *, reason: str, by: Operator
    ) -> Removal:
        removed: list[Thing] = []
        skipped: list[Thing] = []
        left: list[tuple[Thing, str]] = []
        for thing in self.resources.in_turn(marked_for_removal):
            if thing.where in found.unreachable:
                left.append((thing, f"{thing.where} was not looked at: {found.unreachable[thing.where]}"))
            elif thing not in found.there:
                removed.append(thing)
            elif thing not in found.orphans:
                skipped.append(thing)
            else:
                try:
                    is_claimed = partial(self._is_claimed, thing, found.mark)
                    obstacles = self.resources.of(thing).discard(thing, is_claimed=is_claimed)
                except TenantryError as error:
                    left.append((thing, sentence(error)))
                else:
                    (removed if obstacles is not None else skipped).append(thing)
                    freed += obstacles or ()
        return Removal(tuple(sorted(removed)), tuple(sorted(skipped)), tuple(sorted(left)), str(by), reason)

    def _is_claimed(self, thing: Thing, mark: int) -> bool:
        """Whether an intent that was committed since may mean it."""
        intended = self._loaded(self.log.started_after(mark))
        return any(self.resources.identity(thing) in self.resources.owned(actual) for actual in intended)

    def _conclude(self, plan_hash: str, removal: Removal, freed: list[str], *, by: Operator) -> Removal:
        """Record what became of it; a command that did the same at the same time has recorded the same, or less."""
        event = OrphansRemoved(
            plan=plan_hash,
            removed=tuple(map(_candidate, removal.removed)),
            skipped=tuple(map(_candidate, removal.skipped)),
            left=tuple(KeptOrphan(**asdict(_candidate(thing)), why=why) for thing, why in removal.left),
            reason=removal.reason,
            operator=removal.operator,
        )

        def decide() -> tuple[UnitOfWork, Removal]:
            story = self._story(plan_hash)
            if not story.is_open and story.removal is not None:
                return UnitOfWork(), story.removal
            recorded = self._recorded(story, event, plan_hash, by=by)
            return UnitOfWork(events=[recorded], unblocked=freed), removal

        return transact(self.log, decide)

    # -- both

    def _story(self, plan_hash: str) -> _Story:
        stream = stream_of(plan_hash)
        return reduce(_evolved, self.log.load({stream: 0}).get(stream, []), _Story())

    def _recorded(self, story: _Story, event: Event, plan_hash: str, *, by: Operator) -> Recorded:
        act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
        stream, correlation = stream_of(plan_hash), f"orphans {plan_hash}"
        return act.recorded(event, stream=stream, version=story.version + 1, correlation=correlation)

    def _differs(self, plan_hash: str, found: OrphanPlan) -> Problem:
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
    """What the stream of a plan says: marked for removal and not through (`is_open`), or through with a `removal`."""

    version: int = 0
    things: tuple[Thing, ...] = ()
    is_open: bool = False
    removal: Removal | None = None


def _evolved(story: _Story, recorded: Recorded) -> _Story:
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


def _candidate(thing: Thing) -> RemovalCandidate:
    return RemovalCandidate(where=thing.where, kind=thing.kind, name=thing.name)


def _thing(candidate: RemovalCandidate) -> Thing:
    return Thing(candidate.where, candidate.kind, candidate.name)


def _name(thing: Thing) -> str:
    return f"{thing.where}: {thing.kind} {thing.name}"
