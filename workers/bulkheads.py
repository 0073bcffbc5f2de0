"""Bulkheads: how many effects of a lane run side by side, and which come back later.

A lane is what may be slow, or dead, by itself: one of our resources, a shard, the provisioner of somebody else. An
executor names those of its order. A lane has so many places; an effect runs when all of its lanes have one. So whatever
is slow keeps its own threads few.

Who finds a lane crowded, more waiting in this worker than it gets done soon, is put off: its intent is recorded, its
lease ends, and it is due again when the lane's timetable has a place: the queue in the database waits, and costs
nothing.

    executor.bulkheads(order) ──▶ room to wait? ──▶ effect ──▶ a place in each ──▶ thread
                                       └── no ──▶ due again in its slot

A timetable is one time a lane: slots follow each other as fast as the lane has lately worked, or as slowly as what runs
in it now. A dead lane so gets a look every few seconds, not every round, and a fast one has its next at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from application.ports.resources import FOREIGN

SOON: Final = 0.5
"""Seconds in which a worker gets done what it holds of a lane; the rest is left to others, or for later."""

AT_FIRST: Final = 0.05
"""Seconds that an effect of a lane is thought to take before one has ended."""

LONGEST_SLOT: Final = timedelta(minutes=1)
_NO_TIME: Final = 1e-6
_AT_ONCE: Final = timedelta(milliseconds=10)
_WEIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """How many run side by side in one worker, by kind of lane; `tenant` is how many scopes of one tenant it holds."""

    threads: int = 8
    claim: int = 256
    executor: int = 6
    shard: int = 4
    foreign: int = 2
    tenant: int = 16

    def places(self, bulkhead: str) -> int:
        """How many effects of the lane run side by side."""
        if bulkhead == FOREIGN:
            return max(1, self.threads // 2)
        if bulkhead.startswith("shard:"):
            return self.shard
        return self.foreign if bulkhead.startswith("foreign:") else self.executor

    def concurrency_limit(self, bulkhead: str) -> int:
        """The most effects of the lane that this worker holds, running and waiting: never all that it may hold."""
        places = self.places(bulkhead)
        if bulkhead.startswith(FOREIGN):
            return max(places, min(4 * places, self.claim // 4))
        return max(places, self.claim * 3 // 4)


@dataclass(slots=True)
class Timetables:
    """When the next who is put off comes back, lane by lane. For use by one thread."""

    limits: Limits
    _next: dict[str, datetime] = field(default_factory=dict)
    _takes: dict[str, float] = field(default_factory=dict)

    def took(self, bulkheads: Iterable[str], seconds: float) -> None:
        """An effect of those lanes took so long."""
        for bulkhead in bulkheads:
            before = self._takes.get(bulkhead, seconds)
            self._takes[bulkhead] = before + _WEIGHT * (seconds - before)

    def crowded(self, bulkheads: Iterable[str], held: Counter[str]) -> list[str]:
        """Those of the lanes in which this worker holds as many as it may: as many as `SOON` is enough for."""
        return [bulkhead for bulkhead in bulkheads if held[bulkhead] >= self._concurrency_limit(bulkhead)]

    def _concurrency_limit(self, bulkhead: str) -> int:
        places, takes = self.limits.places(bulkhead), self._takes.get(bulkhead, AT_FIRST)
        return min(self.limits.concurrency_limit(bulkhead), max(places, int(places * SOON / max(takes, _NO_TIME))))

    def slot(self, bulkheads: Sequence[str], now: datetime, *, runs_for: Mapping[str, float]) -> datetime:
        """The next free slot in all of the crowded lanes, at most a minute from now; it is taken.

        `runs_for` says how many seconds the oldest effect of each lane has run.
        """
        for bulkhead in bulkheads:
            takes = max(self._takes.get(bulkhead, 0.0), runs_for.get(bulkhead, 0.0))
            pace = timedelta(seconds=takes / self.limits.places(bulkhead))
            self._next[bulkhead] = min(max(self._next.get(bulkhead, now), now) + pace, now + LONGEST_SLOT)
        slot = max(self._next[bulkhead] for bulkhead in bulkheads)
        return slot if slot - now > _AT_ONCE else now
