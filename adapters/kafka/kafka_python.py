"""How does kafka-python, in pure Python, carry out the two ports?

It runs a loop in a thread of its own, which joins the group and sends the heartbeats. What that loop assigns is paused
at once and given a position, so that nothing is fetched; our poll, in the caller's thread, asks the database, seeks and
resumes. Why, and what a recreated topic has to do with it: adapters/kafka/ports.py.

An error in decoding names no partition, and leaves kafka-python in a state in which it would try for ever. So from
there on our own reader reads, one batch of each partition that is ours, until it has carried all of them past.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import google_crc32c
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import (
    CorruptRecordError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnsupportedCodecError,
)
from kafka.record import default_records
from kafka.structs import OffsetAndMetadata, TopicPartition

from adapters.kafka.ports import (
    LARGEST_MESSAGE_BYTES,
    SESSION,
    BrokerUnreachable,
    GroupSession,
    Message,
    OnAssign,
    Partition,
    PositionOutOfRange,
    PublishFailed,
    knock,
)
from adapters.kafka.raw_reader import PartitionReader
from domain.errors import Unavailable

log = logging.getLogger(__name__)

# One refused connection is a dozen of its lines, some with tracebacks. What matters reaches us as an
# exception.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

# In pure Python the checksum costs seven eighths of the throughput, and this is the only place for a faster one
# (docs/adr/0001-dependencies.md).
default_records.calc_crc32c = lambda view: google_crc32c.value(bytes(view))


LONGEST_BACKOFF_MS: Final = 1_000
"""Of every client of a consumer and a producer: the slowest is how late they are back after an outage."""


class KafkaPythonConsumer:
    """`Consumer` on kafka-python; opens its connection at once, joins in the first polls."""

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
        self._on_assign = on_assign
        self._assigned: dict[TopicPartition, Partition] = {}
        self._held_back: set[TopicPartition] = set()
        self._set_aside: dict[TopicPartition, PositionOutOfRange] = {}
        self._stuck: _DecodingFailed | None = None
        self._bootstrap = bootstrap
        self._topics = list(topics)
        self._asked_at = 0.0
        self._is_answered = True
        with _connecting(bootstrap, connect_seconds):
            self._admin = KafkaAdminClient(
                bootstrap_servers=bootstrap, request_timeout_ms=2_000, reconnect_backoff_max_ms=LONGEST_BACKOFF_MS
            )
            self._kafka = KafkaConsumer(
                bootstrap_servers=bootstrap,
                bootstrap_timeout_ms=int(connect_seconds * 1000),
                group_id=group,
                session_timeout_ms=session.session_ms,
                heartbeat_interval_ms=session.heartbeat_ms,
                max_poll_interval_ms=session.max_poll_interval_ms,
                enable_auto_commit=False,
                auto_offset_reset="none",  # "earliest" would hide a position that Kafka does not have
                allow_auto_create_topics=False,
                metadata_max_age_ms=5_000,  # how soon new partitions and recreated topics are seen
                reconnect_backoff_max_ms=LONGEST_BACKOFF_MS,
                max_partition_fetch_bytes=2 * 2**20,  # a larger message comes all the same, alone
                fetch_max_wait_ms=100,
                isolation_level="read_committed",
            )
        self._kafka.subscribe(topics=self._topics, listener=_Listener(self._held))

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """As the port says; up to 2 s longer while no broker answers."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._place()
            if self._stuck is not None:
                return self._read_past(limit)
            try:
                batches = self._fetch(max(0.0, deadline - time.monotonic()), limit)
            except _DecodingFailed as failed:
                log.warning("kafka-python cannot decode what it fetched, so our reader does: %s", failed.__cause__)
                self._stuck = failed
                continue
            messages = [
                _message(self._assigned[tp], record)
                for tp, records in batches.items()
                if tp in self._assigned and tp not in self._held_back  # else it comes again when it is placed
                for record in records
            ]
            if messages or time.monotonic() >= deadline:
                return messages

    def assignment(self) -> set[Partition]:
        current = self._kafka.assignment()
        return {
            ours
            for tp, ours in self._assigned.items()
            if tp in current and tp not in self._held_back and tp not in self._set_aside
        }

    def positions(self) -> dict[Partition, int]:
        found = {ours: self._kafka.position(_native(ours), timeout_ms=0) for ours in self.assignment()}
        return {ours: position for ours, position in found.items() if position is not None}

    def set_aside(self) -> dict[Partition, PositionOutOfRange]:
        current = self._kafka.assignment()
        return {self._assigned[tp]: error for tp, error in self._set_aside.items() if tp in current}

    def begin_again(self) -> None:
        self._held(tp for tp in self._kafka.assignment() if tp in self._assigned)

    def commit(self, positions: Mapping[Partition, int]) -> None:
        offsets = {
            TopicPartition(ours.topic, ours.partition): OffsetAndMetadata(offset, "", -1)
            for ours, offset in positions.items()
        }
        with _logged("the commit of positions for monitoring"):
            self._kafka.commit_async(offsets, callback=_log_failed_commit)

    def _ends(self) -> dict[Partition, int]:
        marks = {ours: self._kafka.highwater(_native(ours)) for ours in self.assignment()}
        return {ours: mark for ours, mark in marks.items() if mark is not None}

    def close(self) -> None:
        with _logged("leaving the consumer group"):
            self._kafka.close(timeout_ms=2_000)
        self._admin.close()

    def _held(self, partitions: Iterable[TopicPartition]) -> None:
        """On kafka-python's loop: nothing may be fetched before the database was asked where to begin.

        A position, any, keeps kafka-python from looking for a committed one.
        """
        for tp in partitions:
            self._held_back.add(tp)
            self._set_aside.pop(tp, None)
            self._kafka.pause(tp)
            self._kafka.seek(tp, 0)

    def _place(self) -> None:
        """Ask where to begin in the partitions that are held back, and begin there."""
        waiting = set(self._held_back) & self._kafka.assignment()
        ids = self._ask_ids() if waiting else {}
        found = {tp: Partition(tp.topic, ids[tp.topic], tp.partition) for tp in waiting if tp.topic in ids}
        positions = self._on_assign(frozenset(found.values())) if found else {}
        for tp, ours in found.items():
            if tp not in self._kafka.assignment():
                continue  # taken away again while we asked
            if ours in positions:
                self._kafka.seek(tp, positions[ours])
            else:
                self._kafka.seek_to_beginning(tp)
            self._assigned[tp] = ours
            self._held_back.discard(tp)
            self._kafka.resume(tp)

    def _fetch(self, timeout_seconds: float, limit: int) -> Mapping[TopicPartition, Sequence[Any]]:
        batches: Mapping[TopicPartition, Sequence[Any]] = {}
        refused: OffsetOutOfRangeError | None = None
        try:
            batches = self._kafka.poll(timeout_ms=int(timeout_seconds * 1000), max_records=limit)
        except OffsetOutOfRangeError as error:
            refused = error
        except NoOffsetForPartitionError:
            return {}  # an assignment whose listener has not run yet
        except (CorruptRecordError, UnsupportedCodecError) as error:
            raise _DecodingFailed from error
        except KafkaError as error:
            if type(error) is KafkaError:  # "no complete records were found"
                raise _DecodingFailed from error
            topics = ", ".join(self._topics)
            raise Unavailable(f"Kafka does not let us read {topics} ({error!r}): correct it there") from error
        except Exception as error:  # of a codec, or of what kafka-python took for impossible
            raise _DecodingFailed from error
        if batches or refused or time.monotonic() - self._asked_at > 1:
            self._hold_recreated()
        if refused is not None:
            self._explain(*next(iter(refused.args[0].items())))
        # Kafka refuses a fetch past the end; the embedded broker answers it with nothing, for ever.
        for ours, end in self._ends().items():
            position = self._kafka.position(_native(ours), timeout_ms=0)
            if position is not None and position > end:
                self._hold_recreated()
                if _native(ours) not in self._held_back:
                    self._look_past_the_end(ours, position, batches)
        return batches

    def _look_past_the_end(self, ours: Partition, position: int, fetched: Iterable[TopicPartition]) -> None:
        """Raise that the position lies past the end, if it still does: kafka-python's end is of its last fetch, and our
        reader may have gone further since."""
        try:
            with PartitionReader(self._bootstrap) as reader:
                reader.read(ours, position)
        except PositionOutOfRange as error:
            self._held(fetched)  # what it brought is lost with this error
            raise self._put_aside(error) from None

    def _read_past(self, limit: int) -> list[Message]:
        """One batch of each partition, read by our reader; kafka-python goes on behind it."""
        messages: list[Message] = []
        passed: dict[TopicPartition, int] = {}
        self._hold_recreated()
        positions = self.positions()
        with PartitionReader(self._bootstrap) as reader:
            for ours, position in positions.items():
                try:
                    decoded = reader.read(ours, position).decoded
                except PositionOutOfRange as error:
                    self._put_aside(error)
                    continue
                decoded.cut_to(max(1, limit // len(positions)))
                messages += decoded.messages
                if decoded.next_offset > position:
                    passed[_native(ours)] = decoded.next_offset
        if self._stuck is not None and positions and not passed and not self._set_aside:
            raise self._stuck  # not about what lies there, for our reader finds nothing
        for tp, offset in passed.items():
            self._kafka.seek(tp, offset)
        if positions and not self._held_back & self._kafka.assignment():
            self._stuck = None  # else what is held back may be what it is about
        return messages

    def _put_aside(self, error: PositionOutOfRange) -> PositionOutOfRange:
        tp = _native(error.partition)
        self._set_aside[tp] = error
        self._kafka.pause(tp)
        return error

    def _explain(self, tp: TopicPartition, position: int) -> None:
        """Raise what a refused position means; begin again if it is not refused any more."""
        if tp in self._held_back or tp not in self._assigned:
            return
        try:
            with PartitionReader(self._bootstrap) as reader:
                reader.read(self._assigned[tp], position)
        except PositionOutOfRange as error:
            raise self._put_aside(error) from None
        self._held([tp])

    def _hold_recreated(self) -> None:
        """Hold back each partition that is not, or not provably, of the topic that was assigned."""
        current = self._kafka.assignment()
        ids = self._ask_ids()
        self._held(tp for tp, ours in self._assigned.items() if tp in current and ids.get(tp.topic) != ours.topic_id)

    def _ask_ids(self) -> dict[str, str]:
        """The ids of our topics, as a broker has them now; none if no broker answers, which is told once."""
        self._asked_at = time.monotonic()
        try:
            ids = _ids(self._admin.describe_topics(self._topics))
        except KafkaError as error:
            if self._is_answered:
                log.warning("no broker tells the ids of %s: %s", self._topics, error)
            self._is_answered = False
            return {}
        self._is_answered = True
        return ids


class _DecodingFailed(Exception):
    """kafka-python cannot decode what it fetched; the cause is its error."""


class KafkaPythonProducer:
    """`Producer` on kafka-python: acknowledged by all replicas; a retry neither repeats nor reorders.

    After a failure the client is thrown away. Its sequence numbers mean nothing to a broker that lost its
    memory, and it would wait for ever for an answer that fits.
    """

    def __init__(self, bootstrap: str, *, connect_seconds: float = 10) -> None:
        self._bootstrap = bootstrap
        self._connect_seconds = connect_seconds
        self._pending: list[Any] = []
        self._kafka: KafkaProducer | None = self._connect()

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
        try:
            self._pending.append(self._kafka.send(topic, key=key, value=value, headers=list(headers)))
        except KafkaError as error:
            raise self._failed(error) from error

    def flush(self, timeout_seconds: float = 10) -> None:
        if self._kafka is None:
            return
        try:
            self._kafka.flush(timeout_seconds)
        except KafkaError as error:
            raise self._failed(error) from error
        for future in self._pending:
            if not future.succeeded():
                raise self._failed(future.exception)
        self._pending.clear()

    def close(self) -> None:
        """Waits for nothing: what was sent and not flushed may be lost."""
        if self._kafka is not None:
            # Its close() flushes first and gives up closing where that fails: the sender would live on, and
            # bring the old messages to a broker that comes back after newer ones. There is no public way to
            # abort.
            self._kafka._sender.force_close()  # noqa: SLF001
            with suppress(KafkaError):
                self._kafka.close(timeout=2)
            self._kafka = None
        self._pending.clear()

    def _failed(self, cause: object) -> PublishFailed:
        lost = sum(not future.succeeded() for future in self._pending)
        self.close()
        return PublishFailed(lost or 1, cause)

    def _connect(self) -> KafkaProducer:
        with _connecting(self._bootstrap, self._connect_seconds):
            return KafkaProducer(
                bootstrap_servers=self._bootstrap,
                bootstrap_timeout_ms=int(self._connect_seconds * 1000),
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_request_size=LARGEST_MESSAGE_BYTES,
                max_block_ms=10_000,
                request_timeout_ms=10_000,
                delivery_timeout_ms=20_000,
                allow_auto_create_topics=False,
                reconnect_backoff_max_ms=LONGEST_BACKOFF_MS,
            )


def ensure_topics(bootstrap: str, partitions: Mapping[str, int], *, connect_seconds: float = 10) -> None:
    """Create the topics that are missing, so many partitions each, replicated as is the cluster's default."""
    with _admin(bootstrap, connect_seconds) as admin:
        for name in sorted(set(partitions) - set(admin.list_topics())):
            with suppress(TopicAlreadyExistsError):  # somebody was quicker
                admin.create_topics([NewTopic(name, num_partitions=partitions[name])])


def topic_ids(bootstrap: str, names: Iterable[str], *, connect_seconds: float = 10) -> dict[str, str]:
    """The ids of those of the topics that exist; the name where the broker has no ids."""
    with _admin(bootstrap, connect_seconds) as admin:
        found = admin.describe_topics(list(names))
    return _ids(found)


def _ids(described: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {each["name"]: str(each["topic_id"] or each["name"]) for each in described if not each["error_code"]}


@contextmanager
def _admin(bootstrap: str, connect_seconds: float) -> Iterator[KafkaAdminClient]:
    """A client for one question. What fails in the middle of it is told as an absent broker is: both may pass."""
    with _connecting(bootstrap, connect_seconds):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(connect_seconds * 1000))
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def _connecting(bootstrap: str, seconds: float) -> Iterator[None]:
    """A client that finds nobody leaves a thread and sockets behind: knock first."""
    knock(bootstrap, seconds)
    try:
        yield
    except KafkaError as error:
        raise BrokerUnreachable(bootstrap, seconds) from error


@contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        log.warning("%s failed: %s", what, error)


def _log_failed_commit(_: object, outcome: object) -> None:
    if isinstance(outcome, Exception):
        log.warning("the commit of positions for monitoring failed: %s", outcome)


def _native(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.partition)


def _message(partition: Partition, record: Any) -> Message:
    return Message(
        topic=partition.topic,
        topic_id=partition.topic_id,
        partition=partition.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple((name.partition("\0")[0], value or b"") for name, value in record.headers),
        timestamp_ms=record.timestamp,
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, held: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._held = held

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing to save: positions were recorded with what was read."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._held(assigned)
