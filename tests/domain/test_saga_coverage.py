"""Does the saga end where it should when its worker is killed at any point, on any way from one level to another?

The ways are the arrows of section 4 of the domain's description. On each of them every effect and every commit has its
turn: the worker is killed before it or after it, once, and another one goes on. What comes of it is judged as in
test_saga_model.py. A way on which nobody was killed at some kind of point is a hole, and fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

import pytest

from domain.ports import Order, Recording
from domain.steps import Level
from tests.domain.driver import Killed
from tests.domain.given import JIRA
from tests.domain.test_saga_model import DAY, Story, check, check_what_time_said

pytestmark = pytest.mark.saga

Point = Literal["before a commit", "after a commit", "before an effect", "after an effect"]
POINTS: Final[tuple[Point, ...]] = get_args(Point)
MOST = 60
"""Points of a kind on one way, at most."""


def says(*types: str) -> Callable[[Story], None]:
    def said(story: Story) -> None:
        for type_ in types:
            story.says(type_, "" if type_.startswith("tenant.") else JIRA)

    return said


def passes(days: int) -> Callable[[Story], None]:
    return lambda story: story.passes(days * DAY)


START: Final[dict[Level, tuple[str, ...]]] = {
    "absent": (),
    "open": ("",),
    "closed": ("", "product.suspended"),
    "retained": ("", "product.deactivated"),
}
"""What is said, each time with all that can be done after it, to come to a level. The product was activated."""

WAYS: Final[dict[tuple[Level, Level], Callable[[Story], None]]] = {
    ("absent", "open"): says(),
    ("absent", "closed"): says("product.suspended"),
    ("open", "closed"): says("product.suspended"),
    ("open", "retained"): says("product.deactivated"),
    ("closed", "open"): says("product.unsuspended"),
    ("closed", "retained"): says("product.deactivated"),
    ("retained", "open"): says("product.activated"),
    ("retained", "closed"): says("product.activated", "product.suspended"),
    ("retained", "absent"): passes(61),
    ("closed", "absent"): passes(15),
}


def test_a_worker_killed_anywhere_on_any_way_between_levels_is_made_up_for() -> None:
    kills = {way: {point: _kills(way, point) for point in POINTS} for way in WAYS}
    lines = [f"{'from':10}{'to':10}" + "".join(f"{point:>18}" for point in POINTS)]
    lines += [f"{a:10}{b:10}" + "".join(f"{row[point]:>18}" for point in POINTS) for (a, b), row in kills.items()]
    print("\n".join(lines))  # noqa: T201 - shown by `pytest -rP`
    assert [(way, point) for way, row in kills.items() for point in POINTS if not row[point]] == []


def _kills(way: tuple[Level, Level], point: Point) -> int:
    """How many points of the kind there are on the way; the worker was killed at each."""
    return next(number for number in range(MOST) if not _is_killed(way, point, number))


def _is_killed(way: tuple[Level, Level], point: Point, number: int) -> bool:
    """Whether the worker came to the point of that number on the way, and was killed there."""
    story = Story()
    start, end = way
    for said in START[start]:
        says(*filter(None, [said]))(story)
        story.works(["none"])
    if way == ("closed", "absent"):
        story.destroys()
        story.works(["none"])
    assert story.cloud.estate().product(JIRA).level == start
    WAYS[way](story)
    strike = _Strike(story, point, number)
    story.works(["none"])
    strike.over()
    story.ends()
    assert story.cloud.estate().product(JIRA).level == end
    check(story)
    check_what_time_said(story.cloud)
    assert set(story.cloud.completions().values()) <= {1}, "a generation was completed twice"
    return strike.hit


class _Strike:
    """Kills the worker at the point of that kind and number."""

    def __init__(self, story: Story, point: Point, number: int) -> None:
        self._story = story
        self._log, self._world = story.cloud.log, story.cloud.world
        self._honest = (self._log.record, self._world.trouble)
        self._left = {point: number}
        self._log.record = self._record  # type: ignore[method-assign]
        self._world.trouble = self._trouble
        self.hit = False

    def over(self) -> None:
        self._log.record, self._world.trouble = self._honest  # type: ignore[method-assign]

    def _record(self, recording: Recording) -> None:
        self._passes("before a commit")
        self._honest[0](recording)
        self._passes("after a commit")

    def _trouble(self, order: Order, when: Literal["before", "after"]) -> None:
        self._honest[1](order, when)
        self._passes("before an effect" if when == "before" else "after an effect")

    def _passes(self, point: Point) -> None:
        left = self._left.get(point)
        if left is None or self.hit:
            return
        self._left[point] = left - 1
        if left == 0:
            self.hit = True
            raise Killed
