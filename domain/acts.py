"""What did operators do to the whole, or to what is no tenant's state?

Acts on runs, tenants and what the destroy guard holds are facts of those streams (operating.py). The others are facts
too, of streams of their own, which no read model handles:

    operator:TENANT     what concerns a tenant: its messages in the quarantine
    operator:           everything else: rebuilds, positions of the intake, messages that it reads again

A message's content is not told, and its tenant only where the id may be one: what a broken message holds may be
about a person, and the log is for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from domain import names
from domain.errors import Conflict
from domain.event import Cause, Event, Recorded
from domain.ports import Clock, Discarded, EventLog, KafkaPosition, NewId, Recording

ATTEMPTS = 10
"""How often an act is recorded again when others record first."""


class _MessageEvent(Event):
    tenant_id: names.TenantId | None = None
    number: int
    rule: str
    topic: str
    partition: int
    offset: int
    operator: str


class MessageDiscarded(_MessageEvent):
    """A quarantined message was closed without being applied; it is kept."""

    TOPIC: ClassVar[str] = "tenantry.message-discarded"
    reason: names.Reason


class MessageRetried(_MessageEvent):
    """A quarantined message is put through the front door again. What it comes to is told by facts of its own."""

    TOPIC: ClassVar[str] = "tenantry.message-retried"


class ReadModelsRebuilt(Event):
    """Read models were built anew up to a position of the log, and swapped in."""

    TOPIC: ClassVar[str] = "tenantry.read-models-rebuilt"
    read_models: tuple[str, ...]
    position: int
    operator: str
    reason: names.Reason | None = None


class PreviousReadModelsDropped(Event):
    """The generations that a rebuild had replaced were dropped."""

    TOPIC: ClassVar[str] = "tenantry.previous-read-models-dropped"
    read_models: tuple[str, ...]
    operator: str
    reason: names.Reason | None = None


class IntakePositionMoved(Event):
    """The intake goes on from another offset of a partition: what lies between is not taken in, or comes again."""

    TOPIC: ClassVar[str] = "tenantry.intake-position-moved"
    topic: str
    topic_id: str
    partition: int
    before: int | None = None
    offset: int
    operator: str
    reason: names.Reason


class MessagesReread(Event):
    """Messages that an audit missed go through the front door. What they come to is told by events of their own."""

    TOPIC: ClassVar[str] = "tenantry.messages-reread"
    topic: str
    topic_id: str
    partition: int
    offsets: tuple[int, ...]
    operator: str
    reason: names.Reason


Act = (
    MessageDiscarded
    | MessageRetried
    | ReadModelsRebuilt
    | PreviousReadModelsDropped
    | IntakePositionMoved
    | MessagesReread
)


def stream_of(act: Act) -> str:
    return f"operator:{getattr(act, 'tenant_id', None) or ''}"


@dataclass(frozen=True, slots=True)
class Acts:
    """Records what an operator does."""

    log: EventLog
    clock: Clock
    new_id: NewId

    def record(self, act: Act, *, still_right: Callable[[], None] = lambda: None) -> Recorded:
        """The act as it was recorded; a discarded message is closed, and a position moved, in the same transaction.

        `still_right` is asked before each attempt, and raises where the act is not. Raises Conflict.
        """
        for attempt in range(ATTEMPTS):
            still_right()
            recorded = self._recorded(act)
            discarded = [Discarded(act.number, act.operator, act.reason)] if isinstance(act, MessageDiscarded) else []
            moved = [_position(act)] if isinstance(act, IntakePositionMoved) else []
            try:
                self.log.record(Recording(events=[recorded], discarded=discarded, positions=moved))
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return recorded
        raise AssertionError("unreachable")

    def _recorded(self, act: Act) -> Recorded:
        stream, id_ = stream_of(act), self.new_id()
        before = self.log.load({stream: 0}).get(stream, [])
        return Recorded(
            stream=stream,
            version=len(before) + 1,
            id=id_,
            time=self.clock(),
            cause=Cause(kind="operator", source=act.operator, id=str(id_)),
            correlation=f"{act.operator} {id_}",
            event=act,
        )


def _position(act: IntakePositionMoved) -> KafkaPosition:
    return KafkaPosition(
        topic=act.topic,
        topic_id=act.topic_id,
        partition=act.partition,
        expected=act.before,
        next_offset=act.offset,
    )
