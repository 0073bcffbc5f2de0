"""Rates: GCRA, by which requests of many processes are admitted at a rate, in chunks.

    next   the time at which the next request would come if all came evenly: grows by 1/rate with each admitted one
    free   how many may be admitted now: next may lie ahead of now by burst/rate at most

A process is admitted a chunk of requests ahead, and uses it within moments. So in any time the processes together
admit what GCRA admits, shifted by what they hold. Pure: the time comes from the coordinator's clock, in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit by its name: requests a second, and how many at once after a pause."""

    name: str
    per_second: int
    burst: int


class Admitted(NamedTuple):
    """So many requests now. `again_seconds`: until at least one more is free; 0 where some are."""

    requests: int
    again_seconds: float


class RateCoordinator(Protocol):
    """Admits chunks of a rate to processes."""

    def admit(self, rate: Rate, requests: int) -> Admitted:
        """At most `requests` requests. Raises Unavailable."""


def admitted(rate: Rate, requests: int, *, next_us: int, now_us: int) -> tuple[Admitted, int]:
    """What is admitted now, and the next time after that."""
    interval = MICROSECONDS / rate.per_second
    ahead = max(0, next_us - now_us)
    free = int(rate.burst - ahead / interval)
    count = max(0, min(requests, free))
    after = max(next_us, now_us) + round(count * interval)
    missing = after + round(interval) - now_us - round(rate.burst * interval)
    return Admitted(count, max(0, missing) / MICROSECONDS), after
