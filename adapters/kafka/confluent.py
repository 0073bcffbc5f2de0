"""The Kafka client on librdkafka, the extra `[fast]`: `Consumer` and `Producer`.

librdkafka joins, sends heartbeats and fetches ahead in threads of its own, and hands its news over in our poll, in the
caller's thread. What the group gives us is held back: librdkafka is not yet asked to read it:

    consume ──▶ given (by the group): read nothing ──▶ on_assign(partitions) ──▶ assign(offsets) ──▶ messages
                                  ▲                        ask the database
                                  └── a topic is another one than was assigned, or an error cost us messages

So there is one way to begin, to seek and to begin again: `assign` with the offset of every partition that is placed.
What it had fetched ahead is thrown away then, and nothing of it is delivered later. The rest of the reasons:
adapters/kafka/ports.py; what it shares with the other client: adapters/kafka/group_consumer.py.

A batch that does not decode is an error of librdkafka's, or nothing at all: it may skip the batch, or fetch it again
for ever. A header's name that does not is an error when headers are asked for. In all three cases, and where the end is
ahead of us and nothing comes (control records are not delivered either), our own reader reads the next batch.

Both clients share a group and place equal keys in equal partitions, so one can take over from the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Future
from typing import Any, Final

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.kafka.group_consumer import GroupConsumer, Key, log_failed_commit, logged
from adapters.kafka.librdkafka import (
    OUT_OF_RANGE,
    PASSING,
    UNDECODABLE,
    client_settings,
    consumer_settings,
    message_of,
    topic_id,
)
from adapters.kafka.ports import (
    LARGEST_MESSAGE_BYTES,
    SESSION,
    GroupSession,
    Message,
    OnAssign,
    Partition,
    PositionOutOfRange,
    PublishFailed,
    knock,
)
from domain.errors import Unavailable, problem

log = logging.getLogger(__name__)

SUSPICIOUS_AFTER_SECONDS: Final = 0.5
"""A partition has been fetched from by then, several times, if its broker answers."""

STALLED_AFTER_SECONDS: Final = 2.0
"""Something would have come from a partition by then, if its next message were one that librdkafka delivers."""


class ConfluentConsumer(GroupConsumer):
    """`Consumer` on librdkafka; opens its connection at once, joins in the first polls."""

    def __init__(
        self,
        bootstrap: str,
        *,
        group: str,
        topics: Sequence[str],
        on_assign: OnAssign,
        session: GroupSession = SESSION,
        connect_seconds: float = 10,
    ) -> None:
        super().__init__(bootstrap, topics, on_assign)
        knock(bootstrap, connect_seconds)
        self._group_gave: set[Key] = set()
        self._next: dict[Key, int] = {}
        self._unproven: dict[Key, float] = {}  # placed, and nothing says yet that the position is one; since when
        self._came_at: dict[Key, float] = {}  # when something came from there, or it was placed
        self._broken: set[Key] = set()  # what comes next there does not decode
        self._moved = False  # librdkafka needs a new place to read from
        self._admin = AdminClient(client_settings(bootstrap))
        self._kafka = confluent_kafka.Consumer(
            consumer_settings(bootstrap, group)
            | {
                "session.timeout.ms": session.session_ms,
                "heartbeat.interval.ms": session.heartbeat_ms,
                "max.poll.interval.ms": session.max_poll_interval_ms,
                "partition.assignment.strategy": "range,roundrobin",  # those of kafka-python
                "topic.metadata.refresh.interval.ms": 5_000,  # how soon new partitions are seen
                "on_commit": _log_commit,
            }
        )
        self._kafka.subscribe(self._topics, on_assign=self._on_given, on_revoke=self._on_taken)

    def commit(self, positions: Mapping[Partition, int]) -> None:
        offsets = [TopicPartition(ours.topic, ours.partition, offset) for ours, offset in positions.items()]
        if not offsets:
            return
        with logged("the commit of positions for monitoring", KafkaException):
            self._kafka.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        with logged("leaving the consumer group", KafkaException):
            self._kafka.close()

    def _on_given(self, kafka: confluent_kafka.Consumer, partitions: Iterable[TopicPartition]) -> None:
        """All that is ours from now on. Nothing may be fetched before the database was asked where to begin."""
        self._forget()
        self._group_gave = {(each.topic, each.partition) for each in partitions}
        kafka.assign([])

    def _on_taken(self, kafka: confluent_kafka.Consumer, _: object) -> None:
        """Nothing to save: positions were recorded with what was read."""
        self._forget()
        kafka.unassign()

    def _forget(self) -> None:
        for each in (self._group_gave, self._placed, self._next, self._unproven, self._came_at, self._set_aside):
            each.clear()
        self._moved = False

    def _given(self) -> Set[Key]:
        return self._group_gave

    def _position(self, key: Key) -> int | None:
        return self._next[key] if self._next[key] >= 0 else None

    def _begin(self, key: Key, offset: int | None) -> None:
        self._go_on(key, OFFSET_BEGINNING if offset is None else offset)

    def _go_on(self, key: Key, offset: int) -> None:
        self._next[key] = offset
        self._unproven[key] = self._came_at[key] = time.monotonic()
        self._moved = True

    def _hold(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._set_aside.pop(key, None)
            if self._placed.pop(key, None) is not None:
                for each in (self._next, self._unproven, self._came_at):
                    each.pop(key, None)
                self._moved = True

    def _place(self) -> None:
        super()._place()
        if self._moved:
            self._kafka.assign([TopicPartition(*key, offset) for key, offset in self._next.items()])
            self._moved = False

    def _fetch(self, timeout_seconds: float, limit: int) -> list[Message]:
        records = self._kafka.consume(1, timeout_seconds)  # for more than one it would wait all the time
        if records and limit > 1:
            records += self._kafka.consume(limit - 1, 0)
        asked = self._ask() if records or time.monotonic() - self._asked_at > 1 else None
        messages, refusals = self._read(records)  # while the broker thinks
        try:
            if asked is not None:
                self._hold_recreated(self._answered(asked))
            for error, key in refusals:
                self._judge(error, key)
            if self._unproven:
                self._look_past_the_ends()
            if not records:
                self._look_for_stalled()
            messages += self._read_past(sorted(self._broken & self._placed.keys()), limit)
            self._broken.clear()
        except (Unavailable, PositionOutOfRange):
            self._hold({(message.topic, message.partition) for message in messages} & self._placed.keys())
            raise
        return [message for message in messages if (message.topic, message.partition) in self._placed]

    def _read(self, records: Iterable[Any]) -> tuple[list[Message], list[tuple[KafkaError, Key]]]:
        """The messages, and what librdkafka says against reading on; of a partition nothing behind what is broken."""
        messages: list[Message] = []
        refusals: list[tuple[KafkaError, Key]] = []
        placed, following, unproven, broken = self._placed, self._next, self._unproven, self._broken
        now = time.monotonic()
        for record in records:
            key = (record.topic(), record.partition())
            if (error := record.error()) is not None:
                if error.code() in UNDECODABLE:
                    broken.add(key)
                else:
                    refusals.append((error, key))
            elif (ours := placed.get(key)) is not None and key not in broken:  # else it comes again when it is placed
                offset = record.offset()
                try:
                    messages.append(message_of(ours, offset, record))
                except (UnicodeDecodeError, SystemError):  # the name of a header
                    broken.add(key)
                    continue
                following[key] = offset + 1
                self._came_at[key] = now
                if unproven:
                    unproven.pop(key, None)
        return messages, refusals

    def _look_for_stalled(self) -> None:
        """Pass over what librdkafka neither delivers nor complains about: control records, and what stops it."""
        now = time.monotonic()
        for key, since in list(self._came_at.items()):
            if now - since > STALLED_AFTER_SECONDS and (self._end(key) or 0) > self._next[key]:
                is_stalled = self._look(key).next_offset > max(0, self._next[key])
                self._came_at[key] = now
                if is_stalled:
                    self._broken.add(key)

    def _judge(self, error: KafkaError, key: Key) -> None:
        """Raise what librdkafka can't get over by itself."""
        if error.code() in OUT_OF_RANGE:
            self._explain(key)
        elif error.code() in PASSING or error.retriable():
            log.warning("reading from Kafka: %s", error)
        else:
            raise Unavailable(problem("kafka-not-allowed", topics=", ".join(self._topics), reason=error))

    def _look_past_the_ends(self) -> None:
        """Kafka refuses a fetch past the end; the embedded broker answers it with nothing, for ever.

        librdkafka's end may be of the last time that this partition was ours, so our reader has a fresh look.
        """
        for key, since in list(self._unproven.items()):
            position, end = self._next[key], self._end(key)
            if position < 0 or (end is not None and position <= end):
                del self._unproven[key]
            elif end is not None and time.monotonic() - since > SUSPICIOUS_AFTER_SECONDS:
                self._hold_recreated(self._ask_ids())
                if key in self._placed:
                    self._look(key)
                    self._unproven[key] = time.monotonic()

    def _end(self, key: Key) -> int | None:
        """As of the last fetch."""
        try:
            _, end = self._kafka.get_watermark_offsets(TopicPartition(*key), cached=True)
        except KafkaException:
            return None  # librdkafka does not know the partition yet
        return end if end >= 0 else None

    def _ask_ids(self) -> dict[str, str]:
        return self._answered(self._ask())

    def _ask(self) -> Mapping[str, Future[Any]]:
        """Ask a broker for the ids of our topics; it has 2 s."""
        self._asked_at = time.monotonic()
        return self._admin.describe_topics(TopicCollection(self._topics), request_timeout=2)

    def _answered(self, asked: Mapping[str, Future[Any]]) -> dict[str, str]:
        """The ids of those of the topics that exist; none if no broker answers, which is logged once."""
        ids: dict[str, str] = {}
        silence: KafkaException | None = None
        for name, answer in asked.items():
            try:
                ids[name] = topic_id(name, answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    silence = error
        self._tell(silence)
        return ids


class ConfluentProducer:
    """`Producer` on librdkafka: acknowledged by all replicas; a retry neither repeats nor reorders.

    librdkafka reports only what failed; what it still has in hand when `flush` gives up counts as failed. After a
    failure the client is thrown away: it would send the old messages to a broker that comes back, after newer ones.
    """

    def __init__(self, bootstrap: str, *, connect_seconds: float = 10) -> None:
        self._bootstrap = bootstrap
        self._connect_seconds = connect_seconds
        self._failures: list[KafkaError] = []
        self._kafka: confluent_kafka.Producer | None = self._connect()

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        if self._kafka is None:
            self._kafka = self._connect()
        deadline = time.monotonic() + 10
        while True:
            try:
                self._kafka.produce(topic, value=value, key=key, headers=list(headers), on_delivery=self._report)
            except BufferError as error:  # too much is on its way: wait until some of it has arrived
                if time.monotonic() > deadline:
                    raise self._failed(error) from error
                self._kafka.poll(0.1)
            except KafkaException as error:
                self._failures.append(error.args[0])
                raise self._failed(error) from error
            else:
                return

    def flush(self, timeout_seconds: float = 10) -> None:
        if self._kafka is None:
            return
        left = self._kafka.flush(timeout_seconds)
        if self._failures or left:
            raise self._failed(f"no acknowledgement within {timeout_seconds:g} s")

    def close(self) -> None:
        """Waits for nothing: what was sent and not flushed may be lost."""
        if self._kafka is not None:
            self._kafka.purge(in_queue=True, in_flight=True, blocking=False)
            self._kafka = None
        self._failures = []

    def _report(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failures.append(error)

    def _failed(self, otherwise: object) -> PublishFailed:
        count = len(self._failures) + (len(self._kafka) if self._kafka is not None else 0)
        cause = self._failures[0] if self._failures else otherwise
        self.close()
        return PublishFailed(count or 1, cause)

    def _connect(self) -> confluent_kafka.Producer:
        knock(self._bootstrap, self._connect_seconds)
        return confluent_kafka.Producer(
            client_settings(self._bootstrap)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # that of kafka-python, and of Java
                "linger.ms": 5,
                "message.max.bytes": LARGEST_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": 64 * 2**10,
                "request.timeout.ms": 10_000,
                "delivery.timeout.ms": 20_000,
                "delivery.report.only.error": True,
            }
        )


def _log_commit(error: KafkaError | None, _: object) -> None:
    if error is not None:
        log_failed_commit(error)
