"""Intake: messages on Kafka become events in the log.

Poll a batch, read each message, hand the batch to the lifecycle, which records events and positions in one transaction.
The database decides where a partition begins, never the committed offsets of Kafka; offsets are committed to Kafka
afterwards, for tools that watch lags there.

Each batch carries the position that it was fetched from, and is recorded only where that is the position of the
database. So no batch can be recorded past one that failed, and none twice: one that was recorded but not known to be
(the connection broke), or that another intake took over after a rebalance, is PositionLost.

    poll ─▶ fetched from 5, ends at 9 ─▶ record: 5 ─▶ 9        recorded ─▶ the next batch is fetched from 9
      ▲                                       └──────────────▶ failed, or PositionLost
      └── begin where the database is ◀── nothing is delivered until the database has answered ◀─┘

A batch that meets an unexpected error is bisected, until one message is left: that one is refused, so that the others
go on. Where even that fails, it is tried again: it is no message's doing. Where too many are refused, the intake halts:
it stays, takes nothing more, and says so.

Where a partition stands is what the consumer says, not the last message of a batch: behind control records too, which
no consumer gets. A position that Kafka does not have (PositionOutOfRange) stops its own partition only: it is
logged once, and its partition goes on when an operator has moved the position.

A statement of ours that the database refuses outside of a batch (a Fault: of the question where to begin, say) ends no
intake either. The intake waits, says so once with the traceback, and asks again, like every other worker.

After any failure the consumer holds all of its partitions back, until `positions` has answered: the database may be
away for as long as it likes, and the batch comes again by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from adapters.kafka.clients import Consumer, Message, OnAssign, Partition, PositionOutOfRange
from adapters.kafka.traceparents import traceparents
from adapters.outage import Outage
from application.ingest import Outcome
from application.ports.inbox import KafkaPosition
from application.ports.measures import measure
from application.ports.tracing import taken_in
from application.problem_texts import sentence
from domain.errors import Conflict, Fault, Unavailable, problem
from domain.faults import EXPECTED, INTERNAL_ERROR, IntakeHalted, fingerprint

log = structlog.get_logger(__name__)

QUIET_SECONDS = 3.0
"""So long after a failure nothing has come again: then there was no batch that had failed."""

LOOK_SECONDS = 1.0
"""How often the database is asked whether a position was moved."""


class Positions(Protocol):
    """The positions of partitions in the database."""

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """The next offset to read, by (topic id, partition)."""


def _partition(place: KafkaPosition | Message) -> Partition:
    return Partition(place.topic, place.topic_id, place.partition)


def _ends(messages: Sequence[Message]) -> dict[Partition, int]:
    return {_partition(message): message.offset + 1 for message in messages}


Read = TypeVar("Read")
Read_contra = TypeVar("Read_contra", contravariant=True)


class Taker(Protocol[Read_contra]):
    """Port that records a batch with its positions in one transaction: `Lifecycle`, or replies.py."""

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
        refused: Callable[[Message, Exception], Iterable[Read]],
        positions: Positions,
        batch: int,
        poll_seconds: float,
        counts: dict[str, int] | None = None,
        outage: Outage | None = None,
    ) -> None:
        """`refused`: as what a message is taken that met an unexpected error; more than one, to be tried in turn."""
        self._lifecycle = lifecycle
        self._read = read
        self._refused = refused
        self._positions = positions
        self._batch = batch
        self._poll = max(poll_seconds, 0.05)
        self._fetched: dict[Partition, int | None] = {}
        """Where the next batch of each partition is fetched from; None: the database knows no position yet."""
        self.halted: str | None = None
        """Why it takes nothing more."""
        self._reported: dict[Partition, int] = {}
        """The partitions that were already reported because Kafka does not have our position."""
        self._looked_at, self._failed_at = time.monotonic(), 0.0
        self._consumer = connect(self._assigned)
        self.outage = outage or Outage("the intake")
        self.counts: dict[str, int] = {} if counts is None else counts
        self.reading: dict[str, list[str] | dict[str, str]] = {}
        """The partitions that are ours, and why we do not go on in some of them; replaced whole, for other threads."""

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Take in until `stop` is set; the batch at hand is finished."""
        announced = False
        try:
            while not stop.is_set():
                try:
                    stop.wait(self.round())
                except IntakeHalted as error:
                    self.halted = sentence(error)
                    log.error(self.halted)  # noqa: TRY400 - the traceback was logged with the message that met it
                    while not stop.wait(LOOK_SECONDS):
                        self.outage.moves()
                if not announced and (self._consumer.assignment() or self._consumer.set_aside()):
                    announced = True
                    ready()
        finally:
            self.close()

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def round(self) -> float:
        """One batch, or what becomes of one that failed; the seconds to wait before the next turn."""
        pause = self._turn()
        self.reading = {
            "partitions": sorted(f"{each.topic}/{each.partition}" for each in self._consumer.assignment()),
            "set_aside": {
                f"{each.topic}/{each.partition}": str(error) for each, error in self._consumer.set_aside().items()
            },
        }
        return pause

    def _turn(self) -> float:
        try:
            self._look_for_moved_positions()
            self.step()
        except PositionOutOfRange as error:
            if self._reported.get(error.partition) != error.position:
                log.warning("a partition stands still", error=str(error))
                self._reported[error.partition] = error.position
        except (Conflict, Unavailable, Fault) as error:
            self.outage.goes_on(error)
            self._failed_at = time.monotonic()
            self._resume()
            return 0.5 if isinstance(error, Conflict) else 1.0
        return 0.0

    def step(self) -> int:
        """One batch; the number of its messages."""
        messages = self._consumer.poll(self._poll, self._batch)
        ends = {
            partition: end
            for partition, end in self._consumer.positions().items()
            if partition in self._fetched and end > (self._fetched[partition] or 0)
        }
        if not ends:
            if time.monotonic() - self._failed_at > QUIET_SECONDS:
                self.outage.is_over()  # nothing comes again: what had failed were questions
            return 0
        if messages:  # what was taken away from us since the poll comes again, here or elsewhere
            ours = {(each.topic, each.topic_id, each.partition) for each in ends}
            messages = [each for each in messages if (each.topic, each.topic_id, each.partition) in ours]
        self._take(messages, ends)
        self.outage.is_over()
        return len(messages)

    def _take(self, messages: Sequence[Message], ends: Mapping[Partition, int]) -> None:
        """Record the messages, and where they end; where they meet an unexpected error, half by half, and of one
        message that it did."""
        carried = self._carried(ends)
        try:
            with taken_in(_place(messages), len(messages), lambda: traceparents(messages)):
                self._record([self._read(message) for message in messages], carried)
        except EXPECTED:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the intake, nor block a partition
            if len(messages) < 2:
                self._record_refused(messages, error, carried)
                return
            self._fetched.update({_partition(each): each.expected for each in carried})
            half = len(messages) // 2
            self._take(messages[:half], _ends(messages[:half]))
            self._take(messages[half:], ends)

    def _record(self, read: Sequence[Read], carried: Sequence[KafkaPosition]) -> None:
        outcome = self._lifecycle.intake(read, carried)
        self._consumer.commit({_partition(each): each.next_offset for each in carried})
        for name, count in outcome.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        for (type_, became), count in outcome.by_type.items():
            measure("message", count, type_, became)

    def _record_refused(self, messages: Sequence[Message], error: Exception, carried: Sequence[KafkaPosition]) -> None:
        latest = error
        for read in (each for message in messages for each in self._refused(message, error)):
            try:
                self._record([read], carried)
            except EXPECTED:
                raise
            except Exception as another:  # noqa: BLE001 - the next way may be the one
                latest = another
            else:
                self.counts[INTERNAL_ERROR] = self.counts.get(INTERNAL_ERROR, 0) + 1
                return
        raise Unavailable(problem("message-stuck", name=type(latest).__name__, latest=fingerprint(latest))) from latest

    def _carried(self, ends: Mapping[Partition, int]) -> list[KafkaPosition]:
        """From where each partition that moved was fetched, and to where; the next batch is fetched from there."""
        carried = [
            KafkaPosition(
                topic=partition.topic,
                topic_id=partition.topic_id,
                partition=partition.partition,
                expected=self._fetched.get(partition),
                next_offset=end,
            )
            for partition, end in ends.items()
        ]
        self._fetched.update(ends)
        return carried

    def _assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        found = self._positions.positions({partition.topic_id for partition in partitions})
        known = {
            partition: found[partition.topic_id, partition.partition]
            for partition in partitions
            if (partition.topic_id, partition.partition) in found
        }
        self._fetched.update({partition: known.get(partition) for partition in partitions})
        return known

    def _look_for_moved_positions(self) -> None:
        """Begin again where an operator has moved a position, also of a partition in which nothing comes."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        known = {partition: self._fetched.get(partition) for partition in self._consumer.assignment()}
        known |= {partition: error.position for partition, error in self._consumer.set_aside().items()}
        found = self._positions.positions({partition.topic_id for partition in known}) if known else {}
        if any(found.get((each.topic_id, each.partition)) != position for each, position in known.items()):
            self._consumer.begin_again()

    def _resume(self) -> None:
        """Deliver nothing more until the database was asked where it is: the next poll asks, and fails if it cannot."""
        self._consumer.begin_again()


def _place(messages: Sequence[Message]) -> str:
    return f"{messages[0].topic}/{messages[0].partition}@{messages[0].offset}" if messages else ""
