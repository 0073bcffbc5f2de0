"""Audit of the intake: messages that Kafka still keeps and that the intake has missed.

The audit reads each partition again, from the first offset that Kafka keeps up to the position of the intake. The
database must know each message: by source and id, or as quarantined. A message that it does not know is missing: the
intake skipped it, or an operator moved the position past it. An operator can have it read again; its effects are
recorded as events.

The audit reads the position first. Everything that was recorded with that position, or before, is in the database by
then. So a message that is taken in during the audit is never reported as missing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.kafka.intake_standing import PartitionStanding
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
"""Takes in the missing messages of a partition; returns the number of messages by outcome."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A message that was not taken in, by its place; source and id are none where it is no CloudEvent."""

    topic: str
    partition: int
    offset: int
    source: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class Looked:
    """The offsets of a partition that were read, `end` not included, and the number of messages there."""

    topic: str
    partition: int
    start: int
    end: int
    messages: int


@dataclass(slots=True)
class IntakeAudited:
    """The result: all messages are known where `missing` is empty; `more` counts those beyond the named ones."""

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
    """Audit that reads Kafka again, one fetch at a time, in constant memory."""

    reader: PartitionReader
    known: KnownMessages
    read: Callable[[Message], Inbound]
    say: Callable[[Progress], None] = lambda _: None

    def audit(self, standings: Sequence[PartitionStanding], reread: Reread | None = None) -> IntakeAudited:
        """Read all partitions; `reread` takes in the missing messages. Raises Unavailable."""
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
                except PositionExpired as expired:  # by retention, since the audit began
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
