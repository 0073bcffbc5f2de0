"""The recorded events of one operator's act: cause, correlation, id and time; and what every act is refused for.

Every act has an operator, and a reason of at most 1,024 characters. It may name the version that the operator had seen:
where the object has moved since, the act is refused, and the operator looks again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.errors import UsageError, problem
from domain.event import Cause, Event, Recorded
from domain.operator import Operator

LONGEST_REASON: Final = 1024
LONGEST_HOLD: Final = timedelta(days=365)


def checked_reason(text: str) -> str:
    """The reason as it is recorded. Raises UsageError where it is empty or too long."""
    reason = text.strip()
    if not reason:
        raise UsageError(problem("reason-empty"))
    if len(reason) > LONGEST_REASON:
        raise UsageError(problem("reason-too-long", length=len(reason), longest=LONGEST_REASON))
    return reason


def check_seen(of: object, *, seen: str | None, now: str) -> None:
    """Raises UsageError where another version was seen than there is now. An act that names none is not refused."""
    if seen is not None and seen != now:
        raise UsageError(problem("scope-moved", scope=of, seen=seen, now=now))


@dataclass(frozen=True, slots=True)
class OperatorAct:
    """An act of the operator `by`. `id` is the id of its first event; every event that follows from it names it."""

    by: Operator
    id: UUID
    time: datetime
    seen: str | None = None

    @classmethod
    def begun(cls, *, by: Operator, clock: Clock, new_id: NewId, seen: str | None = None) -> OperatorAct:
        """A new act, at the time now; `seen` is the version that the operator had seen."""
        return cls(by, new_id(), clock(), seen)

    @property
    def cause(self) -> Cause:
        return Cause(kind="operator", source=str(self.by), id=str(self.id), act=self.by.origin(self.seen))

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


def recorded_next(
    log: EventLog,
    stream: str,
    decide: Callable[[list[Recorded]], Event],
    *,
    by: Operator,
    clock: Clock,
    new_id: NewId,
) -> Recorded:
    """The event that `decide` answers on the whole stream, as it was recorded. Raises what it raises, and Conflict."""

    def decided() -> tuple[UnitOfWork, Recorded]:
        before = log.load({stream: 0}).get(stream, [])
        event = decide(before)
        act = OperatorAct.begun(by=by, clock=clock, new_id=new_id)
        recorded = act.recorded(event, stream=stream, version=len(before) + 1)
        return UnitOfWork(events=[recorded]), recorded

    return transact(log, decided)


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d12h`. Raises UsageError."""
    found = _DURATION.fullmatch(text.strip())
    period = timedelta(**{unit: int(number) for unit, number in found.groupdict("0").items()}) if found else timedelta()
    if not timedelta() < period <= LONGEST_HOLD:
        raise UsageError(problem("duration-malformed", text=text, longest=LONGEST_HOLD.days))
    return period


_DURATION: Final = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,5})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,7})s)?"
)
