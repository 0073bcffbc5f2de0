"""How does librdkafka carry out the two ports? (The extra `[fast]`.)

librdkafka joins, sends heartbeats and fetches ahead in threads of its own, and hands its news over in our poll, in the
caller's thread. What the group gives us is held back by not telling librdkafka to read it:

    consume ──▶ given (by the group): read nothing ──▶ on_assign(partitions) ──▶ assign(offsets) ──▶ messages
                                  ▲                        ask the database
                                  └── a topic is another one than was assigned, or an error cost us messages

So there is one way to begin, to seek and to begin again: `assign` with the offset of every partition that is placed.
What it had fetched ahead is thrown away then, and nothing of it is delivered later. The rest of the reasons:
adapters/kafka/ports.py.

A batch that does not decode is an error of librdkafka's, or nothing at all: it may skip the batch, or fetch it again
for ever. A header's name that does not is an error when headers are asked for. In all three cases, and where the end is
ahead of us and nothing comes (control records are not delivered either), our own reader reads the next batch.

Both clients share a group and place equal keys in equal partitions, so one can take over from the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from operator import methodcaller
from typing import Any, Final
from uuid import UUID

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

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
from adapters.kafka.raw_reader import PartitionReader
from adapters.kafka.record_batches import Decoded
from domain.errors import Unavailable

log = logging.getLogger(__name__)

SUSPICIOUS_AFTER_SECONDS: Final = 0.5
"""A partition has been fetched from by then, several times, if its broker answers."""

STALLED_AFTER_SECONDS: Final = 2.0
"""Something would have come from a partition by then, if its next message were one that librdkafka delivers."""

_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001

# What it says of a batch, or a message, that it cannot decode.
_UNDECODABLE: Final = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError._UNDERFLOW,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)

# librdkafka goes on by itself after each of these; a topic that is not there may come.
_PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)

_Key = tuple[str, int]
"""Topic and partition, as librdkafka names them."""


class ConfluentConsumer:
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
        knock(bootstrap, connect_seconds)
        self._bootstrap = bootstrap
        self._on_assign = on_assign
        self._topics = list(topics)
        self._given: set[_Key] = set()
        self._placed: dict[_Key, Partition] = {}
        self._next: dict[_Key, int] = {}
        self._unproven: dict[_Key, float] = {}  # placed, and nothing says yet that the position is one; since when
        self._came_at: dict[_Key, float] = {}  # when something came from there, or it was placed
        self._set_aside: dict[_Key, PositionOutOfRange] = {}
        self._broken: set[_Key] = set()  # what comes next there does not decode
        self._moved = False  # librdkafka has to be told where to read
        self._asked_at = 0.0
        self._is_answered = True
        self._admin = AdminClient(_client(bootstrap))
        self._kafka = confluent_kafka.Consumer(
            _reading(bootstrap, group)
            | {
                "session.timeout.ms": session.session_ms,
                "heartbeat.interval.ms": session.heartbeat_ms,
                "max.poll.interval.ms": session.max_poll_interval_ms,
                "partition.assignment.strategy": "range,roundrobin",  # those of kafka-python
                "topic.metadata.refresh.interval.ms": 5_000,  # how soon new partitions are seen
                "on_commit": _log_failed_commit,
            }
        )
        self._kafka.subscribe(self._topics, on_assign=self._on_given, on_revoke=self._on_taken)

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """As the port says; up to 2 s longer while no broker answers."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._place()
            messages = self._fetch(max(0.0, deadline - time.monotonic()), limit)
            if messages or time.monotonic() >= deadline:
                return messages

    def assignment(self) -> set[Partition]:
        return set(self._placed.values())

    def positions(self) -> dict[Partition, int]:
        return {ours: self._next[key] for key, ours in self._placed.items() if self._next[key] >= 0}

    def set_aside(self) -> dict[Partition, PositionOutOfRange]:
        return {error.partition: error for error in self._set_aside.values()}

    def begin_again(self) -> None:
        self._set_aside.clear()
        self._hold(list(self._placed))

    def commit(self, positions: Mapping[Partition, int]) -> None:
        offsets = [TopicPartition(ours.topic, ours.partition, offset) for ours, offset in positions.items()]
        if not offsets:
            return
        with _logged("the commit of positions for monitoring"):
            self._kafka.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        with _logged("leaving the consumer group"):
            self._kafka.close()

    def _on_given(self, kafka: confluent_kafka.Consumer, partitions: Iterable[TopicPartition]) -> None:
        """All that is ours from now on. Nothing may be fetched before the database was asked where to begin."""
        self._forget()
        self._given = {(each.topic, each.partition) for each in partitions}
        kafka.assign([])

    def _on_taken(self, kafka: confluent_kafka.Consumer, _: object) -> None:
        """Nothing to save: positions were recorded with what was read."""
        self._forget()
        kafka.unassign()

    def _forget(self) -> None:
        for each in (self._given, self._placed, self._next, self._unproven, self._came_at, self._set_aside):
            each.clear()
        self._moved = False

    def _start(self, key: _Key, offset: int) -> None:
        self._next[key] = offset
        self._unproven[key] = self._came_at[key] = time.monotonic()
        self._moved = True

    def _hold(self, keys: Iterable[_Key]) -> None:
        """Deliver nothing more from there until the database was asked again."""
        for key in keys:
            if self._placed.pop(key, None) is not None:
                del self._next[key]
                self._unproven.pop(key, None)
                self._came_at.pop(key, None)
                self._moved = True

    def _place(self) -> None:
        """Ask where to begin in the partitions that are held back, and begin there."""
        waiting = self._given - self._placed.keys() - self._set_aside.keys()
        ids = self._answered(self._ask()) if waiting else {}
        found = {key: Partition(key[0], ids[key[0]], key[1]) for key in waiting if key[0] in ids}
        positions = self._on_assign(frozenset(found.values())) if found else {}
        for key, ours in found.items():
            self._placed[key] = ours
            self._start(key, positions.get(ours, OFFSET_BEGINNING))
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
            messages += self._read_past(limit)
        except (Unavailable, PositionOutOfRange):
            self._hold({(message.topic, message.partition) for message in messages})
            raise
        return [message for message in messages if (message.topic, message.partition) in self._placed]

    def _read(self, records: Iterable[Any]) -> tuple[list[Message], list[tuple[KafkaError, _Key]]]:
        """The messages, and what librdkafka says against reading on; of a partition nothing behind what is broken."""
        messages: list[Message] = []
        refusals: list[tuple[KafkaError, _Key]] = []
        placed, following, unproven, broken = self._placed, self._next, self._unproven, self._broken
        now = time.monotonic()
        for record in records:
            key = (record.topic(), record.partition())
            if (error := record.error()) is not None:
                if error.code() in _UNDECODABLE:
                    broken.add(key)
                else:
                    refusals.append((error, key))
            elif (ours := placed.get(key)) is not None and key not in broken:  # else it comes again when it is placed
                offset = record.offset()
                try:
                    messages.append(_message(ours, offset, record))
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
                with PartitionReader(self._bootstrap) as reader:
                    is_stalled = self._read_one(reader, key).next_offset > max(0, self._next[key])
                self._came_at[key] = now
                if is_stalled:
                    self._broken.add(key)

    def _read_past(self, limit: int) -> list[Message]:
        """One batch of each partition in which something does not decode; librdkafka goes on behind it."""
        messages: list[Message] = []
        broken = sorted(self._broken & self._placed.keys())
        if broken:
            with PartitionReader(self._bootstrap) as reader:
                for key in broken:
                    decoded = self._read_one(reader, key)
                    decoded.cut_to(max(1, limit // len(broken)))
                    messages += decoded.messages
                    self._start(key, decoded.next_offset)
        self._broken.clear()
        return messages

    def _read_one(self, reader: PartitionReader, key: _Key) -> Decoded:
        ours, position = self._placed[key], self._next[key]
        try:
            return reader.read(ours, position if position >= 0 else reader.bounds(ours).start).decoded
        except PositionOutOfRange as error:
            raise self._put_aside(error) from None

    def _put_aside(self, error: PositionOutOfRange) -> PositionOutOfRange:
        key = (error.partition.topic, error.partition.partition)
        self._hold([key])
        self._set_aside[key] = error
        return error

    def _judge(self, error: KafkaError, key: _Key) -> None:
        """Raise what librdkafka can't get over by itself."""
        if error.code() in _OUT_OF_RANGE:
            self._explain(key)
        elif error.code() in _PASSING or error.retriable():
            log.warning("reading from Kafka: %s", error)
        else:
            raise Unavailable(f"Kafka does not let us read {', '.join(self._topics)}: {error}: correct it there")

    def _explain(self, key: _Key) -> None:
        """Raise what a refused position means; begin anew if the topic is another by now."""
        if key not in self._placed:
            return
        with PartitionReader(self._bootstrap) as reader:
            self._read_one(reader, key)
        self._hold([key])  # it was refused, and would not be by now

    def _look_past_the_ends(self) -> None:
        """Kafka refuses a fetch past the end; the embedded broker answers it with nothing, for ever.

        librdkafka's end may be of the last time that this partition was ours, so our reader has a fresh look.
        """
        for key, since in list(self._unproven.items()):
            position, end = self._next[key], self._end(key)
            if position < 0 or (end is not None and position <= end):
                del self._unproven[key]
            elif end is not None and time.monotonic() - since > SUSPICIOUS_AFTER_SECONDS:
                self._hold_recreated(self._answered(self._ask()))
                if key in self._placed:
                    with PartitionReader(self._bootstrap) as reader:
                        self._read_one(reader, key)
                    self._unproven[key] = time.monotonic()

    def _end(self, key: _Key) -> int | None:
        """As of the last fetch."""
        try:
            _, end = self._kafka.get_watermark_offsets(TopicPartition(*key), cached=True)
        except KafkaException:
            return None  # librdkafka does not know the partition yet
        return end if end >= 0 else None

    def _hold_recreated(self, ids: Mapping[str, str]) -> None:
        """Hold back each partition that is not, or not provably, of the topic that was assigned."""
        self._hold([key for key, ours in self._placed.items() if ids.get(ours.topic) != ours.topic_id])

    def _ask(self) -> Mapping[str, Future[Any]]:
        """Ask a broker for the ids of our topics; it has 2 s."""
        self._asked_at = time.monotonic()
        return self._admin.describe_topics(TopicCollection(self._topics), request_timeout=2)

    def _answered(self, asked: Mapping[str, Future[Any]]) -> dict[str, str]:
        """The ids of those of the topics that exist; none if no broker answers, which is told once."""
        ids: dict[str, str] = {}
        silence: KafkaException | None = None
        for name, answer in asked.items():
            try:
                ids[name] = _id(name, answer.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    silence = error
        if silence is not None and self._is_answered:
            log.warning("no broker tells the ids of %s: %s", self._topics, silence)
        self._is_answered = silence is None
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
            _client(self._bootstrap)
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


def _client(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "allow.auto.create.topics": False,
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": _log_error,
        "log_level": 0,  # it would write on our stderr; what matters reaches us as an error
    }


def _reading(bootstrap: str, group: str) -> dict[str, Any]:
    return _client(bootstrap) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # "earliest" would hide a position that Kafka does not have
        "max.partition.fetch.bytes": 2 * 2**20,  # a larger message comes all the same, alone
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 32 * 2**10,  # fetched ahead; the rest of a worker needs memory, too
        "check.crcs": True,
    }


def _id(topic: str, number: Any) -> str:
    """Written as kafka-python does: the database compares it."""
    high, low = number.get_most_significant_bits(), number.get_least_significant_bits()  # signed
    return str(UUID(int=(high % 2**64 << 64) | low % 2**64)) if high or low else topic


_headers_of: Final = methodcaller("headers")
"""Where a header's name is not UTF-8, confluent-kafka returns a list with a hole, and an error at the same time. A
plain call misses the error, once Python has optimised it, and the hole ends the process; `methodcaller` finds it."""


def _message(partition: Partition, offset: int, record: Any) -> Message:
    headers = _headers_of(record)
    return Message(
        partition.topic,
        partition.topic_id,
        partition.partition,
        offset,
        record.key(),
        record.value(),
        tuple([(name, value or b"") for name, value in headers]) if headers else (),
        record.timestamp()[1],
    )


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        log.warning("%s failed: %s", what, error)


def _log_failed_commit(error: KafkaError | None, _: object) -> None:
    if error is not None:
        log.warning("the commit of positions for monitoring failed: %s", error)


def _log_error(error: KafkaError) -> None:
    log.debug("librdkafka: %s", error)
