"""Bulkheads: each has a concurrency limit of its own for effects, and a timetable for scopes that must wait.

A bulkhead is a part that may be slow, or dead, by itself: one of our resources, a shard, the provisioner of another
team. An executor names the bulkheads of its order. A bulkhead has a number of places; an effect runs when all of its
bulkheads have a free place. So a slow part keeps only a few threads busy.

A bulkhead is full when more effects wait in this worker than it finishes soon. The scope is then put off: its intent is
recorded, its lease ends, and it is due again when the timetable of the bulkhead has a slot. The work queue in the
database holds the wait, which costs nothing.

    executor.bulkheads(order) ──▶ space to wait? ──▶ effect ──▶ a place in each ──▶ thread
                                       └── no ──▶ due again in its slot

A timetable is one time for each bulkhead: the distance between slots is the recent pace of the bulkhead, or the age of
the effect that runs in it now, if that is longer. So a dead bulkhead is tried every few seconds, not every round, and
a fast one has its next slot at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from application.ports.resources import FOREIGN

SOON: Final = 0.5
"""Seconds in which a worker finishes its effects of a bulkhead; other workers, or a later round, do the rest."""

AT_FIRST: Final = 0.05
"""The assumed seconds of an effect, until the first effect of the bulkhead has ended."""

LONGEST_SLOT: Final = timedelta(minutes=1)
_NO_TIME: Final = 1e-6
_AT_ONCE: Final = timedelta(milliseconds=10)
_WEIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """Concurrency limits of one worker, by kind of bulkhead; `tenant` is how many scopes of one tenant it leases."""

    threads: int = 8
    claim: int = 256
    executor: int = 6
    shard: int = 4
    foreign: int = 2
    tenant: int = 16

    def places(self, bulkhead: str) -> int:
        """How many effects of the bulkhead run in parallel."""
        if bulkhead == FOREIGN:
            return max(1, self.threads // 2)
        if bulkhead.startswith("shard:"):
            return self.shard
        return self.foreign if bulkhead.startswith("foreign:") else self.executor

    def concurrency_limit(self, bulkhead: str) -> int:
        """The most effects of the bulkhead in this worker, running and waiting: fewer than it may claim in all."""
        places = self.places(bulkhead)
        if bulkhead.startswith(FOREIGN):
            return max(places, min(4 * places, self.claim // 4))
        return max(places, self.claim * 3 // 4)


@dataclass(slots=True)
class Timetables:
    """The next free slot of each bulkhead, for scopes that are put off. For use by one thread."""

    limits: ConcurrencyLimits
    _next: dict[str, datetime] = field(default_factory=dict)
    _takes: dict[str, float] = field(default_factory=dict)

    def took(self, bulkheads: Iterable[str], seconds: float) -> None:
        """Record the seconds that an effect of those bulkheads took."""
        for bulkhead in bulkheads:
            before = self._takes.get(bulkhead, seconds)
            self._takes[bulkhead] = before + _WEIGHT * (seconds - before)

    def full(self, bulkheads: Iterable[str], taken: Counter[str]) -> list[str]:
        """The bulkheads in which this worker has all the effects that it can finish within `SOON`."""
        return [bulkhead for bulkhead in bulkheads if taken[bulkhead] >= self._concurrency_limit(bulkhead)]

    def _concurrency_limit(self, bulkhead: str) -> int:
        places, takes = self.limits.places(bulkhead), self._takes.get(bulkhead, AT_FIRST)
        return min(self.limits.concurrency_limit(bulkhead), max(places, int(places * SOON / max(takes, _NO_TIME))))

    def slot(self, bulkheads: Sequence[str], now: datetime, *, runs_for: Mapping[str, float]) -> datetime:
        """Take the next slot that is free in all of the full bulkheads, at most a minute from now.

        `runs_for` gives the seconds that the oldest effect of each bulkhead has run.
        """
        for bulkhead in bulkheads:
            takes = max(self._takes.get(bulkhead, 0.0), runs_for.get(bulkhead, 0.0))
            pace = timedelta(seconds=takes / self.limits.places(bulkhead))
            self._next[bulkhead] = min(max(self._next.get(bulkhead, now), now) + pace, now + LONGEST_SLOT)
        slot = max(self._next[bulkhead] for bulkhead in bulkheads)
        return slot if slot - now > _AT_ONCE else now
