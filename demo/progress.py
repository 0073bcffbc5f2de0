"""Progress of the demo: the seven steps while they happen, as bars for people and as lines for logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from cli.output import out
from cli.progress import Bars, bars

STEPS: Final = ("commerce", "site", "region", "configuration", "identity", "database", "license")


@dataclass(frozen=True, slots=True)
class _Sight:
    """The progress of the whole installation at one moment."""

    done: dict[int, int]
    scopes: dict[str, int]
    messages: int
    waiting: int
    quarantined: int
    events: int


def _sight(connection: Connection) -> _Sight:
    steps = connection.execute(text("SELECT step, count(*) FROM provisioning_steps WHERE state = 'done' GROUP BY step"))
    scopes = connection.execute(text("SELECT state, count(*) FROM provisionings GROUP BY state"))
    counts = connection.execute(
        text(
            "SELECT (SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_positions),"
            " (SELECT count(*) FROM waiting),"
            " (SELECT count(*) FROM quarantine WHERE state = 'open'),"
            " (SELECT coalesce(max(notification_id), 0) FROM stored_events)"
        )
    ).one()
    return _Sight(dict(steps.tuples().all()), dict(scopes.tuples().all()), *counts)


class Screen:
    """Display without output: for programs."""

    def wave(self, title: str, steps: dict[int, int], messages: int) -> None:
        """A wave begins; after it so many scopes have each step, and so many messages have come."""

    def look(self, connection: Connection) -> None:
        """Called repeatedly while the wave runs."""

    def end_of_wave(self) -> None:
        """The wave has settled."""


class _Lines(Screen):
    """A line at intervals: for logs."""

    def __init__(self, every_seconds: float = 2.0) -> None:
        self._begun = self._printed = time.monotonic()
        self._every = every_seconds
        self._title, self._steps, self._messages = "", dict[int, int](), 0
        self._sight: _Sight | None = None

    def wave(self, title: str, steps: dict[int, int], messages: int) -> None:
        self._title, self._steps, self._messages = title, steps, messages
        out.print(title)

    def look(self, connection: Connection) -> None:
        self._sight = _sight(connection)
        if time.monotonic() - self._printed > self._every:
            self._tell(self._sight)

    def end_of_wave(self) -> None:
        if self._sight:
            self._tell(self._sight)

    def _tell(self, sight: _Sight) -> None:
        self._printed = time.monotonic()
        steps = "  ".join(f"{step} {sight.done.get(step, 0)}/{must}" for step, must in self._steps.items())
        out.print(
            f"  {self._printed - self._begun:5.1f} s  steps {steps}  {'; '.join(_counts(sight))}",
        )


class _Bars(Screen):
    """A bar for each step: for people."""

    def __init__(self, draw: Callable[[Bars], None]) -> None:
        self._draw = draw
        self._begun = time.monotonic()
        self._title, self._steps, self._messages = "", dict[int, int](), 0

    def wave(self, title: str, steps: dict[int, int], messages: int) -> None:
        self._title, self._steps, self._messages = title, steps, messages

    def look(self, connection: Connection) -> None:
        self._draw(self._drawn(_sight(connection)))

    def _drawn(self, sight: _Sight) -> Bars:
        steps = [
            (f"{number} {name}", sight.done.get(number, 0), self._steps.get(number, 0))
            for number, name in enumerate(STEPS, 1)
        ]
        elapsed = time.monotonic() - self._begun
        speed = (
            f"{sight.messages}/{self._messages} messages, {sight.events} events, {sight.events / elapsed:.0f} a second"
        )
        return Bars(self._title, steps, (*_counts(sight), f"{speed}, {elapsed:.1f} s"))


def _counts(sight: _Sight) -> tuple[str, str]:
    scopes = ", ".join(
        f"{sight.scopes.get(state, 0)} {state.replace('_', ' ')}"
        for state in ("converged", "in_progress", "waiting", "failed")
    )
    return f"scopes: {scopes}", f"messages: {sight.waiting} waiting, {sight.quarantined} quarantined"


@contextmanager
def screen(*, show: bool) -> Iterator[Screen]:
    if not show:
        yield Screen()
    elif not out.is_terminal:
        yield _Lines()
    else:
        with bars() as draw:
            yield _Bars(draw)
