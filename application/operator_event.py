"""The recorded events of one operator's act: cause, correlation, id and time, the same for every command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from application.ports.clock import Clock, NewId
from domain.event import Cause, Event, Recorded


@dataclass(frozen=True, slots=True)
class OperatorAct:
    """An act of the operator `by`. `id` is the id of its first event; every event that follows from it names it."""

    by: str
    id: UUID
    time: datetime

    @classmethod
    def begun(cls, *, by: str, clock: Clock, new_id: NewId) -> OperatorAct:
        """A new act, at the time now."""
        return cls(by, new_id(), clock())

    @property
    def cause(self) -> Cause:
        return Cause(kind="operator", source=self.by, id=str(self.id))

    @property
    def correlation(self) -> str:
        return f"{self.by} {self.id}"

    def recorded(
        self, event: Event, *, stream: str, version: int, event_id: UUID | None = None, correlation: str | None = None
    ) -> Recorded:
        """The event at its place. `event_id` is given from the act's second event on."""
        return Recorded(
            stream=stream,
            version=version,
            id=event_id or self.id,
            time=self.time,
            cause=self.cause,
            correlation=correlation or self.correlation,
            event=event,
        )
