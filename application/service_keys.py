"""Service keys as operators publish and revoke them: loads, decides, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from application.ports import Clock, EventLog, NewId, Recording
from domain.errors import Conflict
from domain.event import Cause, Recorded
from domain.service_keys import STREAM, ServiceKey, ServiceKeyPublished, ServiceKeyRevoked, keys_of

ATTEMPTS: Final = 10


Decide = Callable[[Mapping[str, ServiceKey]], ServiceKeyPublished | ServiceKeyRevoked]


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Reads and records service keys."""

    log: EventLog
    clock: Clock
    new_id: NewId

    def all(self) -> Mapping[str, ServiceKey]:
        """Every key that ever was, by its name."""
        return keys_of(self._facts())

    def record(self, decide: Decide) -> Recorded:
        """What `decide` answers on the keys as they are, as it was recorded. Raises what it raises, and Conflict."""
        for attempt in range(ATTEMPTS):
            facts, id_ = self._facts(), self.new_id()
            event = decide(keys_of(facts))
            recorded = Recorded(
                stream=STREAM,
                version=len(facts) + 1,
                id=id_,
                time=self.clock(),
                cause=Cause(kind="operator", source=event.operator, id=str(id_)),
                correlation=f"{event.operator} {id_}",
                event=event,
            )
            try:
                self.log.record(Recording(events=[recorded]))
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return recorded
        raise AssertionError("unreachable")

    def _facts(self) -> list[Recorded]:
        return self.log.load({STREAM: 0}).get(STREAM, [])
