"""Which parts of a worker does the simulator have in its hands?

Everything at which a real worker can be stopped or fail: its effects (begun by no thread, but when the story says so)
and the event log (which asks the story before and after each commit). The rest of a worker is workers/provisioner.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Literal, Protocol

from application.ports.clock import Clock
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.errors import ExecutorError, Retryable
from domain.event import Recorded
from domain.scope.state import StepCompleted, StepStarted
from domain.scope.steps import Scope, Step, StepResult, StepSpec
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.world import OUTSIDE, World, events_of
from workers.effects import Effects, Key, Result


class Killed(BaseException):
    """SIGKILL: nothing of the worker goes on, not even what stands in a `finally`."""


class SteppedEffects(Effects[Key, Result]):
    """Effects that come about when the story says so. One that hangs is told as failed, and may come late."""

    def __init__(self) -> None:
        super().__init__(threads=0, limit=timedelta(seconds=30))
        self.late: list[Callable[[], Result]] = []

    def act(self, dice: random.Random) -> None:
        """One effect comes about, and its outcome waits for the worker's next round."""
        key, act = self._taken(dice)
        result: Result | BaseException
        try:
            result = act()
        except AssertionError:
            raise  # a witness speaks, not the world
        except Exception as error:  # noqa: BLE001 - told to the worker, as the real ones do
            result = error
        self._outcomes.put((key, result))

    def hang(self, dice: random.Random) -> None:
        """One effect takes longer than its time."""
        key, act = self._taken(dice)
        self.late.append(act)
        self._outcomes.put((key, Retryable("took longer than 30 s")))

    def come_late(self) -> None:
        """One that hung comes about after all; nobody hears of its outcome."""
        with suppress(ExecutorError, OSError):
            self.late.pop(0)()

    @property
    def has_outcomes(self) -> bool:
        return self._outcomes.qsize() > 0

    def finished(self, *, timeout: float) -> list[tuple[Key, Result | BaseException]]:
        return super().finished(timeout=0) if self.has_outcomes else []

    def _taken(self, dice: random.Random) -> tuple[Key, Callable[[], Result]]:
        key = dice.choice(list(self._queued))
        return key, self._queued.pop(key).act


class WorldBesideLog(World):
    """A world in which a thing that lies in the log alone is there once it is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self._specs: dict[tuple[Scope, Step], StepSpec] = {}

    def ensure(self, order: Order) -> StepResult:
        if self.bulkheads(order):
            return super().ensure(order)
        self.trouble(order, "before")
        self.trouble(order, "after")
        return events_of(order.spec, order.created_generations)

    def remove(self, order: Order) -> None:
        if self.bulkheads(order):
            super().remove(order)
        else:
            self.trouble(order, "before")
            self.trouble(order, "after")

    def sees(self, event: StepStarted | StepCompleted) -> None:
        """Of a step that lies in the log alone."""
        place = (event.scope, event.step)
        if (event.scope.kind, event.step) in OUTSIDE:
            return
        if isinstance(event, StepStarted):
            self._specs[place] = event.spec
        elif event.direction == "ensure":
            self.things[place] = self._specs[place]
        else:
            self.things.pop(place, None)


class Watch(Protocol):
    """Whoever looks on at a commit, and may let it fail."""

    def blockers(self, recording: UnitOfWork, when: Literal["before", "after"]) -> None:
        """May raise: before the commit nothing is recorded, after it everything is, and nobody learns of it."""

    def sees(self, facts: Sequence[Recorded]) -> None:
        """The facts of one commit."""


class WatchedLog(MemoryEventLog):
    """The log in memory, with somebody who looks on."""

    def __init__(self, watch: Watch, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._watch = watch

    def record(self, recording: UnitOfWork) -> None:
        self._watch.blockers(recording, "before")
        before = self.last_position()
        super().record(recording)
        self._watch.sees(self.events[before:])
        self._watch.blockers(recording, "after")
