"""Reply intake: the replies of other teams' provisioners, stored for the scopes that wait for them.

Read from their topic like the events of commerce, by an `Intake` of their own (intake.py): replies, due scopes and
positions are one transaction. A reply that comes again, or to an order that is out of date, moves the position and
nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from application.ingest import Outcome
from application.ports.event_log import UnitRecorder
from application.ports.inbox import KafkaPosition
from application.ports.work_queue import Reply
from application.unit_of_work import UnitOfWork


class ReplyBox:
    """Stores replies; the scopes that wait for them are due."""

    def __init__(self, log: UnitRecorder) -> None:
        self._log = log

    def intake(self, messages: Sequence[Reply | None], positions: Sequence[KafkaPosition] = ()) -> Outcome:
        """One batch, one transaction; None is a message that is no reply."""
        replies = [reply for reply in messages if reply is not None]
        self._log.record(UnitOfWork(positions=list(positions), replies=replies))
        return Outcome(Counter(replied=len(replies), ignored=len(messages) - len(replies)))
