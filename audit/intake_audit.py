"""Was each message that Kafka still keeps taken in?

Each partition is read again, from the first offset that Kafka keeps up to the position of the intake, and each message
must be known to the database: by source and id, or as quarantined. What is not known is missing: the intake, or an
operator who moved a position, passed over it. It may be read again, which is an act of an operator; what it comes to is
told by events of its own.

The position is asked for first. What was recorded with it, or before, is in the database by then, so a message that is
taken in meanwhile is never called missing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.kafka.intake_standing import Standing
from adapters.kafka.ports import Message, Partition, PositionExpired
from adapters.kafka.raw_reader import PartitionReader
from adapters.postgres.known_messages import KnownMessages
from application.inbound import Inbound
from application.progress import Progress

AT_ONCE: Final = 500
"""Messages that are looked up, or read again, together."""

KEPT: Final = 1_000
"""Missing messages that are named one by one; the others are counted."""

Reread = Callable[[Partition, Sequence[Inbound]], Counter[str]]
"""Takes in messages of a partition that are missing; what became of them, by name."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A message that was not taken in, by its place; source and id are none where it is no event of ours."""

    topic: str
    partition: int
    offset: int
    source: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class Looked:
    """The offsets of a partition that were looked at, `end` not included, and how many messages these hold."""

    topic: str
    partition: int
    start: int
    end: int
    messages: int


@dataclass(slots=True)
class IntakeAudited:
    """All messages are known where nothing is `missing`; `more` counts those that are not named."""

    partitions: list[Looked] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    more: int = 0
    reread: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def messages(self) -> int:
        return sum(looked.messages for looked in self.partitions)


@dataclass(frozen=True, slots=True)
class IntakeAudit:
    """Reads Kafka again, a fetch at a time, whatever the size of the topics."""

    reader: PartitionReader
    known: KnownMessages
    read: Callable[[Message], Inbound]
    say: Callable[[Progress], None] = lambda _: None

    def audit(self, standings: Sequence[Standing], reread: Reread | None = None) -> IntakeAudited:
        """Look at all partitions; `reread` takes in what is missing. Raises Unavailable."""
        started = time.monotonic()
        audited = IntakeAudited()
        bounds = [(each, each.start, min(each.position or each.start, each.end)) for each in standings]
        total = sum(max(0, end - start) for _, start, end in bounds)
        done = 0
        for each, start, end in bounds:
            partition = Partition(each.topic, each.topic_id, each.partition)
            messages, at = 0, start
            while at < end:
                try:
                    decoded = self.reader.read(partition, at).decoded
                except PositionExpired as expired:  # by retention, since we began
                    at = expired.start
                    continue
                kept = [message for message in decoded.messages if message.offset < end]
                self._look(partition, kept, audited, reread)
                messages += len(kept)
                if decoded.next_offset == at:
                    break  # nothing more is there for a reader
                at = min(decoded.next_offset, end)
                self.say(Progress(done + at - start, total, audited.messages + messages))
            done += max(0, end - start)
            audited.partitions.append(Looked(each.topic, each.partition, start, max(start, end), messages))
        audited.seconds = time.monotonic() - started
        return audited

    def _look(
        self, partition: Partition, messages: Sequence[Message], audited: IntakeAudited, reread: Reread | None
    ) -> None:
        for at in range(0, len(messages), AT_ONCE):
            missing = self.known.unknown([self.read(message) for message in messages[at : at + AT_ONCE]])
            named = missing[: max(0, KEPT - len(audited.missing))]
            audited.missing += [
                Missing(each.topic, each.partition, each.offset, each.source, each.id) for each in named
            ]
            audited.more += len(missing) - len(named)
            if missing and reread is not None:
                audited.reread += reread(partition, missing)
