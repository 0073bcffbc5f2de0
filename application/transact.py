"""The transaction of the application: load, decide, record; decided again on a conflict.

    decide ──▶ (unit of work, answer) ──▶ record ──▶ answer
       ▲                                    │
       └───────── Conflict, 10 times ◀──────┘

`decide` loads what it needs each time it is called, so that it always decides on the newest versions. An empty unit of
work is not recorded: the decision was that nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from application.ports.event_log import UnitRecorder
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict

T = TypeVar("T")

ATTEMPTS: Final = 10
"""How often a decision is made when others record first."""


def transact(
    log: UnitRecorder,
    decide: Callable[[], tuple[UnitOfWork, T]],
    *,
    on_conflict: Callable[[Conflict], None] = lambda _: None,
) -> T:
    """The answer of the decision that was recorded.

    `on_conflict` learns of each conflict before the next attempt, and raises where another attempt is of no use.
    Raises what `decide` raises, and Conflict when others record first each time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        unit, answer = decide()
        try:
            if not unit.is_empty:
                log.record(unit)
        except Conflict as conflict:
            if attempt == ATTEMPTS:
                raise
            on_conflict(conflict)
        else:
            return answer
    raise AssertionError("unreachable")
