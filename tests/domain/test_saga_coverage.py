"""Does the saga end where it should when its worker is killed at any point, on any way from one level to another?

Of each pair of levels the table has the ways that lead from the one to the other, by section 4 of the domain's
description, or says why there is none. On each way every effect and every commit has its turn: the worker is killed
before it or after it, once, and another one goes on. What comes of it is judged as in test_saga_model.py. A pair
without a way and without a reason is a hole, and so is a way on which nobody was killed at some kind of point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import pytest

from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.scope.steps import Level
from tests.domain.convergence_checks import check_end
from tests.domain.driver import Killed
from tests.domain.given import APP, JIRA, SERVICE
from tests.domain.story import DAY, Story

pytestmark = pytest.mark.saga

Point = Literal["before a commit", "after a commit", "before an effect", "after an effect"]
POINTS: Final[tuple[Point, ...]] = get_args(Point)
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
MOST = 120
"""Points of a kind on one way, at most."""

Act = Callable[[Story], None]


def says(*types: str, product: str = JIRA) -> Act:
    def said(story: Story) -> None:
        for type_ in types:
            story.says(type_, product if type_.startswith(("product.", "license")) else "")

    return said


def passes(days: int) -> Act:
    return lambda story: story.passes(days * DAY)


def both(first: Act, second: Act) -> Act:
    def done(story: Story) -> None:
        first(story)
        second(story)

    return done


def restored(story: Story) -> None:
    story.restores()


def half_way(story: Story) -> None:
    """The family is there, the product is not yet."""
    while not story.cloud.snapshot().family("jira").has_converged:
        assert story.cloud.work_once()


def no_return(story: Story) -> None:
    """The purge has begun, and nothing has gone yet."""
    story.passes(61 * DAY)
    while story.cloud.snapshot().tenant.product(JIRA).purge is None:
        assert story.cloud.work_once()


@dataclass(frozen=True)
class Way:
    """`before`: what is done first, each with all the work that it makes. The product is activated from the start."""

    start: Level
    end: Level
    how: str
    before: tuple[Act, ...]
    act: Act


OPEN: Final = (says(),)
CLOSED: Final = (*OPEN, says("product.suspended"))
RETAINED: Final = (*OPEN, says("product.deactivated"))
DESTROYED: Final = (*OPEN, says("tenant.destroyed"))
FULL: Final = (both(says("product.activated", product=SERVICE), says("product.activated", product=APP)),)

WAYS: Final = (
    Way("absent", "absent", "deactivated half way", (), both(half_way, says("product.deactivated"))),
    Way("absent", "open", "activated", (), says()),
    Way("absent", "open", "with sibling and app", (), FULL[0]),
    Way("absent", "closed", "suspended at once", (), says("product.suspended")),
    Way("open", "open", "license changed", OPEN, says("license.updated")),
    Way("open", "closed", "suspended", OPEN, says("product.suspended")),
    Way("open", "closed", "with sibling and app", FULL, says("product.suspended")),
    Way("open", "closed", "expired", OPEN, both(says("license expires soon"), passes(1))),
    Way("open", "closed", "destroyed", OPEN, says("tenant.destroyed")),
    Way("open", "retained", "deactivated", OPEN, says("product.deactivated")),
    Way("open", "absent", "away for 61 days", OPEN, both(says("product.deactivated"), passes(61))),
    Way("open", "absent", "destroyed, away 15 days", OPEN, both(says("tenant.destroyed"), passes(15))),
    Way("closed", "open", "unsuspended", CLOSED, says("product.unsuspended")),
    Way("closed", "open", "restored", DESTROYED, restored),
    Way("closed", "closed", "license changed", CLOSED, says("license.updated")),
    Way("closed", "retained", "deactivated", CLOSED, says("product.deactivated")),
    Way("closed", "absent", "restore window over", DESTROYED, passes(15)),
    Way("retained", "open", "activated", RETAINED, says("product.activated")),
    Way("retained", "open", "after no return", RETAINED, both(no_return, says("product.activated"))),
    Way("retained", "closed", "activated, suspended", RETAINED, says("product.activated", "product.suspended")),
    Way("retained", "retained", "customer changed", RETAINED, says("commerce.customer.updated")),
    Way("retained", "absent", "retention over", RETAINED, passes(61)),
    Way("retained", "absent", "with sibling and app", (*FULL, says("product.deactivated")), passes(61)),
)

NEVER: Final[dict[tuple[Level, Level], str]] = {
    ("absent", "retained"): "what never came to live is not kept",
}


def test_a_worker_killed_anywhere_on_any_way_between_levels_is_made_up_for() -> None:
    lines = [f"{'from':10}{'to':10}{'how':26}" + "".join(f"{point:>18}" for point in POINTS)]
    holes = list[tuple[Way | tuple[Level, Level], Point | None]]()
    for pair in [(start, end) for start in LEVELS for end in LEVELS]:
        ways = [way for way in WAYS if (way.start, way.end) == pair]
        if not ways and pair in NEVER:
            lines.append(f"{pair[0]:10}{pair[1]:10}never: {NEVER[pair]}")
        elif not ways:
            holes.append((pair, None))
        for way in ways:
            kills = {point: _kills(way, point) for point in POINTS}
            lines.append(f"{way.start:10}{way.end:10}{way.how:26}" + "".join(f"{kills[each]:>18}" for each in POINTS))
            holes += [(way, point) for point in POINTS if not kills[point]]
    print("\n".join(lines))  # noqa: T201 - shown by `pytest -rP`
    assert holes == []


def _kills(way: Way, point: Point) -> int:
    """How many points of the kind there are on the way; the worker was killed at each."""
    return next(number for number in range(MOST) if not _is_killed(way, point, number))


def _is_killed(way: Way, point: Point, number: int) -> bool:
    """Whether the worker came to the point of that number on the way, and was killed there."""
    story = Story()
    for act in way.before:
        act(story)
        story.works(["none"])
    assert story.cloud.snapshot().product(JIRA).level == way.start
    way.act(story)
    strike = _Strike(story, point, number)
    story.works(["none"])
    strike.over()
    story.ends()
    assert story.cloud.snapshot().product(JIRA).level == way.end
    check_end(story)
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

    def _record(self, recording: UnitOfWork) -> None:
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
