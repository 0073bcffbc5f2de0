"""When does the recorder say that a position is in force?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

import pytest

from application.in_force import InForceRecorder
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict
from domain.in_force import InForce, wait_of

T = 30.0


class Last(NamedTuple):
    version: int
    up_to: int


class Index:
    """What is in the log, as the recorder sees it."""

    def __init__(self) -> None:
        self.mark, self.changed = 0, 0
        self.recorded: list[tuple[int, InForce]] = []
        self.conflict = False

    def observe(self) -> tuple[int, int]:
        return self.mark, self.changed

    def last(self) -> Last | None:
        return Last(self.recorded[-1][0], self.recorded[-1][1].up_to) if self.recorded else None

    def record(self, recording: UnitOfWork) -> None:
        if self.conflict:
            raise Conflict("another recorder was first")
        (fact,) = recording.events
        assert isinstance(fact.event, InForce)
        self.recorded.append((fact.version, fact.event))
        self.mark += 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def recorder(index: Index, clock: Clock) -> InForceRecorder:
    return InForceRecorder(
        index, index, clock=lambda: datetime.now(UTC), new_id=uuid4, lease_seconds=T, monotonic=clock
    )


def run(made: InForceRecorder, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds * 4)):
        clock.now += 0.25
        made.step()


def test_a_change_is_in_force_after_a_lease_and_a_margin_and_not_before() -> None:
    index, clock = Index(), Clock()
    made = recorder(index, clock)
    index.mark = index.changed = 7
    made.step()
    run(made, clock, wait_of(T) - 0.5)
    assert index.recorded == []
    run(made, clock, 1.0)
    ((version, event),) = index.recorded
    assert (version, event.up_to) == (1, 7)
    assert event.waited_seconds >= wait_of(T) > T


def test_its_own_event_is_no_change() -> None:
    index, clock = Index(), Clock()
    made = recorder(index, clock)
    index.mark = index.changed = 7
    run(made, clock, 300)
    assert len(index.recorded) == 1


def test_there_is_at_most_one_a_second_however_much_changes() -> None:
    index, clock = Index(), Clock()
    made = recorder(index, clock)
    for _ in range(400):
        index.mark += 50
        index.changed = index.mark
        clock.now += 0.25
        made.step()
    assert 60 <= len(index.recorded) <= 100
    assert [version for version, _ in index.recorded] == list(range(1, len(index.recorded) + 1))


def test_a_recorder_that_is_started_again_waits_anew() -> None:
    index, clock = Index(), Clock()
    made = recorder(index, clock)
    index.mark = index.changed = 7
    made.step()
    run(made, clock, T)
    again = recorder(index, clock)
    run(again, clock, T)
    assert index.recorded == []
    run(again, clock, 3)
    assert [event.up_to for _, event in index.recorded] == [7]


def test_one_that_another_was_before_looks_again() -> None:
    index, clock = Index(), Clock()
    made = recorder(index, clock)
    index.mark = index.changed = 7
    index.conflict = True
    with pytest.raises(Conflict):
        run(made, clock, 40)
    index.conflict = False
    index.recorded.append((1, InForce(up_to=7, lease_seconds=T, waited_seconds=32)))
    run(made, clock, 80)
    assert len(index.recorded) == 1, "what the other has said need not be said again"
