"""Service keys as operators publish and revoke them: loads, decides, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from application.operator_event import recorded_next
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from domain.event import Recorded
from domain.operator import Operator
from domain.service_keys import STREAM, ServiceKey, ServiceKeyPublished, ServiceKeyRevoked, keys_of

Decide = Callable[[Mapping[str, ServiceKey]], ServiceKeyPublished | ServiceKeyRevoked]


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Reads and records service keys."""

    log: EventLog
    clock: Clock
    new_id: NewId

    def all(self) -> Mapping[str, ServiceKey]:
        """Every key that ever was, by its name."""
        return keys_of(self._recorded())

    def record(self, decide: Decide, *, by: Operator) -> Recorded:
        """What `decide` answers on the keys as they are, as it was recorded. Raises what it raises, and Conflict."""
        return recorded_next(
            self.log, STREAM, lambda before: decide(keys_of(before)), by=by, clock=self.clock, new_id=self.new_id
        )

    def _recorded(self) -> list[Recorded]:
        return self.log.load({STREAM: 0}).get(STREAM, [])
