"""How do messages on Kafka become facts?

Poll a batch, read each message, hand the batch to the lifecycle, which records facts and positions in one transaction.
Where to begin in a partition is what the database says, never what Kafka remembers; offsets are committed to Kafka
afterwards, for those who watch lags there.

A batch that was recorded but not known to be (the connection broke), or that another intake took over after a
rebalance, shows as a position that is not the expected one: nothing was recorded twice, and the intake seeks to where
the database is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from adapters.kafka import Consumer, Message, OnAssign, Partition
from adapters.outage import Outage
from domain.errors import Conflict, Unavailable
from domain.lifecycle import Outcome
from domain.ports import KafkaPosition


class Positions(Protocol):
    """What the database says of partitions."""

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """The next offset to read, by (topic id, partition)."""


Read = TypeVar("Read")
Read_contra = TypeVar("Read_contra", contravariant=True)


class Taker(Protocol[Read_contra]):
    """Who records a batch, with its positions, in one transaction: `Lifecycle`, or replies.py."""

    def intake(self, messages: Sequence[Read_contra], positions: Sequence[KafkaPosition] = ()) -> Outcome:
        """The whole batch or nothing. Raises Conflict."""


class Intake(Generic[Read]):
    """One member of the consumer group."""

    def __init__(
        self,
        connect: Callable[[OnAssign], Consumer],
        lifecycle: Taker[Read],
        *,
        read: Callable[[Message], Read],
        positions: Positions,
        batch: int,
        poll_seconds: float,
        outage: Outage | None = None,
    ) -> None:
        self._lifecycle = lifecycle
        self._read = read
        self._positions = positions
        self._batch = batch
        self._poll = max(poll_seconds, 0.05)
        self._next: dict[Partition, int | None] = {}
        self._consumer = connect(self._assigned)
        self.outage = outage or Outage("the intake")
        self.counts: dict[str, int] = {}

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Take in until `stop` is set; the batch at hand is finished."""
        announced = False
        try:
            while not stop.is_set():
                try:
                    self.step()
                    self.outage.is_over()
                except (Conflict, Unavailable) as error:
                    self.outage.goes_on(error)
                    stop.wait(0.5 if isinstance(error, Conflict) else 1.0)
                    self._resume()
                if not announced and self._consumer.assignment():
                    announced = True
                    ready()
        finally:
            self._consumer.close()

    def step(self) -> int:
        """One batch; the number of its messages."""
        messages = self._consumer.poll(self._poll, self._batch)
        if not messages:
            return 0
        moved = self._moved(messages)
        outcome = self._lifecycle.intake([self._read(message) for message in messages], moved)
        for position in moved:
            self._next[Partition(position.topic, position.topic_id, position.partition)] = position.next_offset
        self._consumer.commit({partition: offset for partition, offset in self._next.items() if offset})
        for name, count in outcome.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        return len(messages)

    def lag(self) -> dict[str, int]:
        """Messages not yet taken in, by `topic/partition`."""
        return {
            f"{partition.topic}/{partition.partition}": max(0, mark - (self._next.get(partition) or 0))
            for partition, mark in self._consumer.high_watermarks().items()
        }

    def _moved(self, messages: Sequence[Message]) -> list[KafkaPosition]:
        ends: dict[Partition, int] = {}
        for message in messages:
            ends[Partition(message.topic, message.topic_id, message.partition)] = message.offset + 1
        return [
            KafkaPosition(
                topic=partition.topic,
                topic_id=partition.topic_id,
                partition=partition.partition,
                expected=self._next.get(partition),
                next_offset=end,
            )
            for partition, end in ends.items()
        ]

    def _assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        found = self._positions.positions({partition.topic_id for partition in partitions})
        known = {
            partition: found[partition.topic_id, partition.partition]
            for partition in partitions
            if (partition.topic_id, partition.partition) in found
        }
        self._next.update({partition: known.get(partition) for partition in partitions})
        return known

    def _resume(self) -> None:
        """Go on from where the database is."""
        assigned = frozenset(self._consumer.assignment())
        try:
            known = self._assigned(assigned)
        except Unavailable:
            return  # asked again after the next failure
        for partition in assigned:
            self._consumer.seek(partition, known.get(partition, 0))
