"""What did operators do to the whole, or to what is no tenant's state?

Acts on runs, tenants and what the destroy guard holds are facts of those streams (operator_commands.py). The others
are facts too, of streams of their own, which no read model handles:

    operator:TENANT     what concerns a tenant: its messages in the quarantine
    operator:           everything else: rebuilds, positions of the intake, messages that it reads again

A message's content is not told, and its tenant only where the id may be one: what a broken message holds may be
about a person, and the log is for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from application.ports import Clock, Discarded, EventLog, KafkaPosition, NewId, Recording
from domain.errors import Conflict
from domain.event import Cause, Recorded
from domain.operator_events import Act, IntakePositionMoved, MessageDiscarded
from domain.stream_name import StreamName

ATTEMPTS = 10
"""How often an act is recorded again when others record first."""


def stream_of(act: Act) -> str:
    return str(StreamName("operator", getattr(act, "tenant_id", None) or ""))


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
