"""The recorder of what is in force: `InForce(up_to=N)`, some time after everything up to N could be read.

    observe: the mark is at N ──▶ wait T and a margin, by our own clock ──▶ record InForce(up_to=N)

A lease that was asked for before N was committed ends T after that, by the clock of its process; every later one has
applied N. So after T, and a margin for clocks that go faster than another, none is left that does not know N. The
recorder needs no list of caches. One that stops in between waits longer, which is right; one that is started again
begins to wait anew. Only changes of contexts are worth an event: its own event is none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from application.ports.clock import Clock, NewId
from application.ports.event_log import UnitRecorder
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict
from domain.event import Cause, Recorded
from domain.in_force import STREAM, InForce, wait_of

EVERY_SECONDS: Final = 1.0
"""At most one event, and one observation, in that time."""


class ProofLike(Protocol):
    """An event of the stream."""

    @property
    def version(self) -> int: ...
    @property
    def up_to(self) -> int: ...


class InForceIndex(Protocol):
    """What the recorder looks at."""

    def observe(self) -> tuple[int, int]:
        """The high-water mark, and the position of the newest change of any context."""

    def last(self) -> ProofLike | None:
        """The last event of the stream."""


class InForceRecorder:
    """Not for several threads. `monotonic` counts the time that the machine sleeps as well, or less."""

    def __init__(
        self,
        log: UnitRecorder,
        index: InForceIndex,
        *,
        clock: Clock,
        new_id: NewId,
        lease_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._index = index
        self._clock = clock
        self._new_id = new_id
        self._lease_seconds = lease_seconds
        self._wait = wait_of(lease_seconds)
        self._monotonic = monotonic
        self._observed: deque[tuple[float, int]] = deque()
        self._recorded: tuple[int, int] | None = None
        """Version and `up_to` of the last event; None: to be looked up."""

    def step(self) -> int | None:
        """Look, and record what has been readable for long enough; up to where. Raises Conflict, Unavailable."""
        version, up_to = self._standing()
        mark, changed = self._index.observe()
        now = self._monotonic()
        newest = self._observed[-1][1] if self._observed else up_to
        if changed > newest and (not self._observed or now - self._observed[-1][0] >= EVERY_SECONDS):
            self._observed.append((now, mark))
        due, waited = 0, 0.0
        while self._observed and now - self._observed[0][0] >= self._wait:
            observed, due = self._observed.popleft()
            waited = round(now - observed, 3)
        if due <= up_to:
            return None
        self._record(version + 1, InForce(up_to=due, lease_seconds=self._lease_seconds, waited_seconds=waited))
        self._recorded = (version + 1, due)
        return due

    def forget(self) -> None:
        """Another process was the recorder in between: begin anew."""
        self._observed.clear()
        self._recorded = None

    def _standing(self) -> tuple[int, int]:
        if self._recorded is None:
            last = self._index.last()
            self._recorded = (last.version, last.up_to) if last is not None else (0, 0)
        return self._recorded

    def _record(self, version: int, event: InForce) -> None:
        recorded = Recorded(
            stream=STREAM,
            version=version,
            id=self._new_id(),
            time=self._clock(),
            cause=Cause(kind="event", source=STREAM, id=""),
            correlation=STREAM,
            event=event,
        )
        try:
            self._log.record(UnitOfWork(events=[recorded]))
        except Conflict:
            self.forget()
            raise
