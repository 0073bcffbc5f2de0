"""The gate of new events: an event, or a field of one, is written only when every live worker can read it.

During an upgrade workers of two versions run side by side. Each tells the newest schema of every event that it reads
with its heartbeat. The event log looks there at its first append, and again at an append when what it knows is older
than a heartbeat. As long as every worker reads everything, an append costs the gate one comparison of times.

    every live worker reads it  ──▶ written
    one does not                ──▶ Unavailable (`upgrade`): the loop waits, says so in `status`, and tries again

A worker that comes back from an older version can still meet a newer event: it waits too (docs/adr/0014).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.errors import Unavailable, problem
from domain.event import Cause, Recorded, newest_schema, schema_of
from domain.event_registry import EventRegistry

LOOK_SECONDS: Final = 1.0
"""How old what is known of the workers may be at an append: about a heartbeat."""

CAUSE: Final = "cause"
"""Stands among the topics for the cause, which every event carries."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one live worker reads: the newest schema by topic. A topic that is not in it, it does not know."""

    worker: str
    version: str
    schemas: Mapping[str, int]


def schemas_of(registry: EventRegistry) -> dict[str, int]:
    """What a worker of this version reads."""
    return {**registry.schemas, CAUSE: newest_schema(Cause)}


class UpgradeGate:
    """Knows what is withheld from the log for the sake of a live worker. `look` asks for what they read."""

    def __init__(
        self,
        registry: EventRegistry,
        look: Callable[[], Iterable[Reading]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schemas = schemas_of(registry)
        self._look = look
        self._clock = clock
        self._looked_at = float("-inf")
        self._withheld: Mapping[str, Reading] = {}

    def check(self, events: Sequence[Recorded]) -> None:
        """Raises Unavailable where a live worker cannot read one of the events."""
        if not events:
            return
        if self._clock() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock()
            self._withheld = self._asked()
        if self._withheld:
            for recorded in events:
                self._pass(recorded.event.TOPIC, schema_of(recorded.event))
                self._pass(CAUSE, schema_of(recorded.cause))

    def _asked(self) -> dict[str, Reading]:
        """For each topic that a live worker does not read as far as we write it: the worker that reads the least."""
        withheld: dict[str, Reading] = {}
        for reading in self._look():
            for topic, newest in self._schemas.items():
                known = reading.schemas.get(topic, 0)
                if known < newest and (topic not in withheld or known < withheld[topic].schemas.get(topic, 0)):
                    withheld[topic] = reading
        return withheld

    def _pass(self, topic: str, schema: int) -> None:
        reading = self._withheld.get(topic)
        if reading is not None and schema > (known := reading.schemas.get(topic, 0)):
            what = f"up to schema version {known}" if known else "no such event"
            raise Unavailable(
                problem(
                    "event-not-readable-everywhere",
                    topic=topic,
                    schema=schema,
                    worker=reading.worker,
                    version=reading.version,
                    what=what,
                ),
                why="upgrade",
            )
