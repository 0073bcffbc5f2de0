"""Service keys as operators publish and revoke them: loads, decides, records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.transact import transact
from application.unit_of_work import UnitOfWork
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

        def decided() -> tuple[UnitOfWork, Recorded]:
            before = self._recorded()
            event = decide(keys_of(before))
            act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
            recorded = act.recorded(event, stream=STREAM, version=len(before) + 1)
            return UnitOfWork(events=[recorded]), recorded

        return transact(self.log, decided)

    def _recorded(self) -> list[Recorded]:
        return self.log.load({STREAM: 0}).get(STREAM, [])
