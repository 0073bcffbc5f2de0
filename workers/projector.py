"""How do facts become read models?

For each projection, in a transaction of its own: lock its position, read the log after it, fold the row changes, write
them in bulk, move the position. Several projectors share the projections, for a locked position is passed over. A
handler that raises halts its own projection, with the event named in `status`, and is tried again after a pause; the
others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from domain.errors import Unavailable, UnreadableEvent
from domain.event import Recorded
from domain.ports import EventLog
from projections.base import Projection
from projections.positions import HandlerFailed, halt, lock_position, project

log = structlog.get_logger(__name__)

HALTED_SECONDS = 5.0
"""How long a halted projection rests before it is tried again."""


class Projector:
    """Brings the projections up to date, and keeps them so."""

    def __init__(
        self,
        event_log: EventLog,
        engine: Engine,
        projections: Sequence[Projection],
        *,
        batch: int,
        poll_seconds: float,
    ) -> None:
        self._log = event_log
        self._engine = engine
        self._projections = projections
        self._batch = batch
        self._poll = poll_seconds
        self._resting: dict[str, float] = {}
        self._read_once: tuple[int, Sequence[Recorded]] = (-1, ())

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Project until `stop` is set; the batch at hand is finished."""
        ready()
        while not stop.is_set():
            try:
                if not self.step():
                    stop.wait(self._poll)
            except (Unavailable, OperationalError) as error:
                log.warning("waiting for the database", error=str(error).splitlines()[0])
                stop.wait(1.0)

    def step(self) -> int:
        """One batch for each projection; the number of facts that the furthest behind has moved on by."""
        self._read_once = (-1, ())
        moved = 0
        for projection in self._projections:
            if self._resting.get(projection.name, 0.0) <= time.monotonic():
                moved = max(moved, self._project(projection))
        return moved

    def _project(self, projection: Projection) -> int:
        try:
            with self._engine.begin() as connection:
                position = lock_position(connection, projection.name)
                if position is None:
                    return 0
                events = self._after(position)
                if events:
                    project(connection, projection, events, events[-1].position)
                return len(events)
        except HandlerFailed as error:
            self._halt(projection, error.event, str(error))
        except UnreadableEvent as error:
            self._halt(projection, None, str(error))
        except OperationalError:
            raise
        except DBAPIError as error:
            self._halt(projection, None, f"the rows cannot be written ({type(error.orig).__name__})")
        return 0

    def _after(self, position: int) -> Sequence[Recorded]:
        """The next batch; projections that stand at the same position share one read."""
        if self._read_once[0] != position:
            self._read_once = (position, self._log.read(position, self._batch))
        return self._read_once[1]

    def _halt(self, projection: Projection, event: Recorded | None, reason: str) -> None:
        log.error("projection halted", projection=projection.name, reason=reason)
        self._resting[projection.name] = time.monotonic() + HALTED_SECONDS
        with self._engine.begin() as connection:
            halt(connection, projection.name, event, reason)
