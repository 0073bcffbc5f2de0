"""Are effects brought about side by side, each within its time, and none of them told twice?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from domain.errors import Retryable
from workers.effects import Effects

Results = dict[str, object]


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def effects(*, threads: int, seconds: float = 30) -> Effects[str, object]:
    return Effects(threads=threads, limit=timedelta(seconds=seconds))


def all_of(under_way: Effects[str, object]) -> Results:
    """Everything that comes to an end, until nothing is under way."""
    found: Results = {}
    while under_way.under_way:
        for key, result in under_way.finished(timeout=0.05):
            assert key not in found
            found[key] = result
    return found


def test_each_is_told_once_with_its_result_or_its_error() -> None:
    ours = effects(threads=2)
    error = Retryable("busy")

    def fails() -> object:
        raise error

    for number in range(50):
        ours.begin(f"good-{number}", lambda number=number: number)  # type: ignore[misc]
    ours.begin("bad", fails)
    told = all_of(ours)
    assert told.pop("bad") is error
    assert told == {f"good-{number}": number for number in range(50)}
    ours.close()


def test_a_nudge_ends_the_wait_for_outcomes_and_none_of_them_is_lost() -> None:
    pool = effects(threads=1)
    pool.nudge()
    began = time.monotonic()
    assert not pool.finished(timeout=60)
    assert time.monotonic() - began < 30
    pool.nudge()
    pool.begin("one", lambda: 1)
    assert all_of(pool) == {"one": 1}
    pool.close()


def test_one_that_takes_too_long_is_told_as_failed_and_its_thread_is_replaced(let_go: threading.Event) -> None:
    ours = effects(threads=1, seconds=0.1)
    ours.begin("stuck", let_go.wait)
    ours.begin("next", lambda: "done")
    told = all_of(ours)
    assert str(told["stuck"]) == "took longer than 0.1 s"
    assert isinstance(told["stuck"], Retryable)
    assert told["next"] == "done"
    assert ours.left_behind == 1
    ours.close()


def test_what_comes_too_late_is_dropped_and_its_thread_ends(let_go: threading.Event) -> None:
    ours = effects(threads=1, seconds=0.05)
    ours.begin("stuck", let_go.wait)
    all_of(ours)
    let_go.set()
    while ours.left_behind:
        assert ours.finished(timeout=0.01) == []
    assert ours.finished(timeout=0.01) == []
    ours.close()


def test_the_time_of_an_effect_runs_from_its_beginning_not_from_its_waiting() -> None:
    ours = effects(threads=1, seconds=0.3)
    for number in range(5):
        ours.begin(str(number), lambda: threading.Event().wait(0.1))
    assert all_of(ours) == {str(number): False for number in range(5)}
    ours.close()


def test_one_that_still_waits_can_be_withdrawn_and_one_that_began_cannot(let_go: threading.Event) -> None:
    ours = effects(threads=1)
    began = threading.Event()

    def first() -> object:
        began.set()
        return let_go.wait(10)

    ours.begin("first", first)
    ours.begin("second", lambda: "never")
    assert began.wait(10)
    assert ours.queued == ("second",)
    assert ours.withdraw("second")
    assert not ours.withdraw("second")
    assert not ours.withdraw("first")
    let_go.set()
    assert all_of(ours) == {"first": True}
    ours.close()


def test_who_waits_for_a_place_in_its_lane_holds_up_nobody_behind_it(let_go: threading.Event) -> None:
    ours = Effects[str, object](threads=3, limit=timedelta(seconds=30), places={"slow": 1, "all": 2}.__getitem__)
    ours.begin("slow-1", let_go.wait, ["slow", "all"])
    ours.begin("slow-2", lambda: "after it", ["slow", "all"])
    ours.begin("other", lambda: "at once", ["all"])
    assert ours.finished(timeout=10) == [("other", "at once")]
    assert ours.queued == ("slow-2",)
    let_go.set()
    assert all_of(ours) == {"slow-1": True, "slow-2": "after it"}
    ours.close()


def test_one_that_takes_too_long_gives_its_place_back(let_go: threading.Event) -> None:
    ours = Effects[str, object](threads=1, limit=timedelta(seconds=0.1), places=lambda _: 1)
    ours.begin("stuck", let_go.wait, ["slow"])
    ours.begin("next", lambda: "done", ["slow"])
    told = all_of(ours)
    assert isinstance(told["stuck"], Retryable)
    assert told["next"] == "done"
    ours.close()
