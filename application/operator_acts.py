"""Acts of operators that concern the whole, or what is no tenant's state.

Acts on runs, tenants and what awaits approval are events of those streams (operator_commands.py). The others
are events too, of streams of their own, which no read model handles:

    operator:TENANT     what concerns a tenant: its messages in the quarantine
    operator:           everything else: rebuilds, positions of the intake, messages that it reads again

A message's content is not shown, and its tenant only where the id may be one: what a broken message holds may be
about a person, and the log is for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from application.operator_event import OperatorAct
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.inbox import Discarded, KafkaPosition
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.event import Recorded
from domain.operator import Operator
from domain.operator_events import Act, IntakePositionMoved, MessageDiscarded
from domain.stream_name import StreamName


def stream_of(act: Act) -> str:
    return str(StreamName("operator", getattr(act, "tenant_id", None) or ""))


@dataclass(frozen=True, slots=True)
class Acts:
    """Records what an operator does."""

    log: EventLog
    clock: Clock
    new_id: NewId

    def record(self, act: Act, *, by: Operator, still_right: Callable[[], None] = lambda: None) -> Recorded:
        """The act as it was recorded; a discarded message is closed, and a position moved, in the same transaction.

        `still_right` is asked before each attempt, and raises where the act is not. Raises Conflict.
        """
        discarded = [Discarded(act.number, act.operator, act.reason)] if isinstance(act, MessageDiscarded) else []
        moved = [_position(act)] if isinstance(act, IntakePositionMoved) else []

        def decide() -> tuple[UnitOfWork, Recorded]:
            still_right()
            stream = stream_of(act)
            before = self.log.load({stream: 0}).get(stream, [])
            begun = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id)
            recorded = begun.recorded(act, stream=stream, version=len(before) + 1)
            return UnitOfWork(events=[recorded], discarded=discarded, positions=moved), recorded

        return transact(self.log, decide)


def _position(act: IntakePositionMoved) -> KafkaPosition:
    return KafkaPosition(
        topic=act.topic,
        topic_id=act.topic_id,
        partition=act.partition,
        expected=act.before,
        next_offset=act.offset,
    )
