"""Consistency check of the log.

The seal shows that the log was not changed; this check shows that its events fit together. Each fault has its position:

    gap       a version is missing in a stream
    order     a version stands before the one it follows
    orphan    a scope has a stream, its tenant has none
    topic     this version does not know the event's topic
    schema    the event has a newer schema version than this version reads
    state     bytes that no version of Tenantry has written
    cause     an event names an event as its cause that is not in the log before it

Tenantry stops at an event that it cannot read, and never skips one. This check finds `topic` and `schema` before a
worker stops. PostgreSQL does the check in one snapshot and locks nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from adapters.postgres.log_faults import Fault, LogFaults
from application.progress import Progress
from domain.event_registry import REGISTRY

RANGE: Final = 100_000
"""Positions that one statement looks at."""

KEPT: Final = 1_000
"""Faults that are named one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fault of the event at one position."""

    position: int
    kind: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at. The log hangs together where there are no `faults`; `more` counts those that are not kept."""

    position: int
    faults: tuple[Found, ...]
    more: int
    seconds: float


def check(log: LogFaults, *, size: int = RANGE, say: Callable[[Progress], None] = lambda _: None) -> Checked:
    """Look at everything up to the high-water mark. Raises Unavailable."""
    started = time.monotonic()
    faults: list[Found] = []
    more = 0

    def keep(found: Iterable[Fault]) -> None:
        nonlocal more
        for position, text in found:
            kind, _, explanation = text.partition(": ")
            if len(faults) < KEPT:
                faults.append(Found(position, kind, explanation))
            else:
                more += 1

    schemas = REGISTRY.schemas
    with log.looking():
        begin, mark = log.bounds()
        total = max(0, mark - begin)
        for after in range(begin, mark, size):
            upto = min(after + size, mark)
            keep(log.unknown(after, upto, schemas))
            keep(log.unreadable(after, upto))
            keep(log.without_cause(after, upto))
            say(Progress(upto - begin, total, upto - begin))
        keep(log.streams(mark))
        keep(log.orphans(mark))
    ordered = tuple(sorted(faults, key=lambda fault: (fault.position, fault.kind)))
    return Checked(mark, ordered, more, time.monotonic() - started)
