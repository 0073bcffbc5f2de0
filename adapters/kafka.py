"""How do messages come from Kafka and go to it?

Two ports, `Consumer` and `Producer`, and their implementation by kafka-python. The fake is
tests/fakes/kafka.py, the contract of both tests/contracts/test_kafka_clients.py.

Where a consumer begins is the database's to say, never Kafka's. What Kafka remembers as committed serves
monitoring:

    poll ──▶ kafka-python joins the group ──▶ its loop tells us: assigned     held back: paused, not yet
    fetched from
         ──▶ our poll, in the caller's thread: on_assign(partitions) ──▶ seek, resume ──▶ messages

on_assign asks a database, so it must not run on kafka-python's loop, which sends the heartbeats. If it
raises, its error leaves poll and the partitions stay held back: the next poll asks again, and nothing was
delivered from a wrong place.

A topic that was deleted and created anew has another id, and its offsets start again. kafka-python fetches by
name and would go on at the old offset without a word. So whatever was fetched is delivered only after a
broker was asked (one round trip, and one a second where nothing comes) whether the topics are still those
that were assigned. What is not is held back like a new assignment: the database knows no position for that
id, and it is read from its start.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError, TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata, TopicPartition

from domain.errors import TenantryError, Unavailable

log = logging.getLogger(__name__)

# One refused connection is a dozen of its lines, some with tracebacks. What matters reaches us as an
# exception.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

LARGEST_MESSAGE_BYTES = 16 * 2**20
"""What we can send. More than the 1 MiB we accept: what is too large must arrive, to be quarantined."""

# ---------------------------------------------------------------- the ports


@dataclass(frozen=True, slots=True)
class Partition:
    """`topic_id` tells a topic from an earlier one of its name; it is the name if the broker has no ids."""

    topic: str
    topic_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


OnAssign = Callable[[frozenset[Partition]], Mapping[Partition, int]]
"""From the partitions that are ours now to the offset of the next message of each; absent: from its start."""


class Consumer(Protocol):
    """One member of a consumer group. Not to be shared between threads."""

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """Up to `limit` messages, in order in each partition; nothing after `timeout_seconds` without any.

        Raises PositionOutOfRange, and whatever on_assign raises.
        """
        ...

    def assignment(self) -> set[Partition]:
        """The partitions that messages can come from now."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Go back (or on) to `offset` in a partition that is assigned."""
        ...

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tell Kafka how far we are, for those who watch lags there. Never raises: nothing depends on it."""
        ...

    def high_watermarks(self) -> dict[Partition, int]:
        """The offset of the next message to be written, as of the last fetch; less our position: the lag."""
        ...

    def close(self) -> None:
        """Leave the group, so that its others take over at once."""
        ...


class Producer(Protocol):
    """Publishes in order for each key. May be shared between threads."""

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """Take the message over; only `flush` says whether it arrived."""
        ...

    def flush(self, timeout_seconds: float = 10) -> None:
        """Wait until all that was sent is on the brokers.

        Raises PublishFailed if any message since the last flush is not, or not surely. Then the rest is
        thrown away: send all of it again, in order. Some may arrive twice, none is overtaken for good.
        """
        ...

    def close(self) -> None: ...


class BrokerUnreachable(Unavailable):
    """No Kafka broker answers at the address."""

    def __init__(self, bootstrap: str, seconds: float) -> None:
        super().__init__(
            f"no Kafka broker answered at {bootstrap} within {seconds:g} s:"
            " start one, or set TENANTRY_KAFKA_BOOTSTRAP to where it is"
        )


class PublishFailed(Unavailable):
    """Messages did not reach Kafka, or nobody knows."""

    def __init__(self, count: int, cause: object) -> None:
        super().__init__(f"{count} messages may not have reached Kafka, send them again; the first: {cause}")


class PositionOutOfRange(TenantryError):
    """The position that the database has is not in the partition."""

    def __init__(self, partition: Partition, position: int, remedy: str) -> None:
        self.partition, self.position = partition, position
        name = f"{partition.topic}/{partition.partition} (topic id {partition.topic_id})"
        super().__init__(f"position {position} of {name} {remedy}")


class PositionPastEnd(PositionOutOfRange):
    """Kafka lost messages that we have read: restored from a backup, or an unclean leader election."""

    def __init__(self, partition: Partition, position: int, end: int | None) -> None:
        self.end = end
        remedy = "lies past its end" + (f", {end}" if end is not None else "")
        super().__init__(
            partition,
            position,
            f"{remedy}: Kafka lost what was read already; set the position back once you know why",
        )


class PositionExpired(PositionOutOfRange):
    """Kafka's retention removed messages that we have not read."""

    def __init__(self, partition: Partition, position: int, start: int) -> None:
        remedy = f"lies before its start, {start}: what is between was removed unread; have it sent again"
        super().__init__(partition, position, f"{remedy}, then set the position to the start")


# ---------------------------------------------------------------- kafka-python


@dataclass(frozen=True, slots=True)
class GroupSession:
    """How soon a silent member is given up. At the embedded broker each joining waits half a session."""

    session_ms: int = 6_000
    heartbeat_ms: int = 1_000
    max_poll_interval_ms: int = 60_000


class KafkaPythonConsumer:
    """`Consumer` on kafka-python; opens its connection at once, joins in the first polls."""

    def __init__(
        self,
        bootstrap: str,
        *,
        group: str,
        topics: Sequence[str],
        on_assign: OnAssign,
        session: GroupSession = GroupSession(),
        connect_seconds: float = 10,
    ) -> None:
        self._on_assign = on_assign
        self._assigned: dict[TopicPartition, Partition] = {}
        self._held_back: set[TopicPartition] = set()
        self._topics = list(topics)
        self._asked_at = 0.0
        with _connecting(bootstrap, connect_seconds):
            self._admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2_000)
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
                reconnect_backoff_max_ms=1_000,
                max_partition_fetch_bytes=2 * 2**20,  # a larger message comes all the same, alone
                fetch_max_wait_ms=100,
                # In pure Python it costs seven eighths of the throughput; TCP checks, and so did the broker.
                check_crcs=find_spec("crc32c") is not None,
            )
        self._kafka.subscribe(topics=self._topics, listener=_Listener(self._held))

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """As the port says; up to 2 s longer while no broker answers."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._place()
            batches = self._fetch(max(0.0, deadline - time.monotonic()), limit)
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
        return {ours for tp, ours in self._assigned.items() if tp in current and tp not in self._held_back}

    def seek(self, partition: Partition, offset: int) -> None:
        self._kafka.seek(TopicPartition(partition.topic, partition.partition), offset)

    def commit(self, positions: Mapping[Partition, int]) -> None:
        offsets = {
            TopicPartition(ours.topic, ours.partition): OffsetAndMetadata(offset, "", -1)
            for ours, offset in positions.items()
        }
        with _logged("the commit of positions for monitoring"):
            self._kafka.commit_async(offsets, callback=_log_failed_commit)

    def high_watermarks(self) -> dict[Partition, int]:
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
        if batches or refused or time.monotonic() - self._asked_at > 1:
            self._hold_recreated()
        if refused is not None:
            self._explain(*next(iter(refused.args[0].items())))
        # Kafka refuses a fetch past the end; the embedded broker answers it with nothing, for ever.
        for ours, end in self.high_watermarks().items():
            position = self._kafka.position(_native(ours), timeout_ms=0)
            if position is not None and position > end:
                self._hold_recreated()
                if _native(ours) not in self._held_back:
                    raise PositionPastEnd(ours, position, end)
        return batches

    def _explain(self, tp: TopicPartition, position: int) -> None:
        """Raise what a refused position means; nothing if the topic is another by now."""
        if tp in self._held_back or tp not in self._assigned:
            return
        start = self._kafka.beginning_offsets([tp], timeout_ms=5_000)[tp]
        if position < start:
            raise PositionExpired(self._assigned[tp], position, start)
        end = self._kafka.end_offsets([tp], timeout_ms=5_000)[tp]
        raise PositionPastEnd(self._assigned[tp], position, end)

    def _hold_recreated(self) -> None:
        """Hold back each partition that is not, or not provably, of the topic that was assigned."""
        current = self._kafka.assignment()
        ids = self._ask_ids()
        self._held(tp for tp, ours in self._assigned.items() if tp in current and ids.get(tp.topic) != ours.topic_id)

    def _ask_ids(self) -> dict[str, str]:
        """The ids of our topics, as a broker has them now; none if no broker answers."""
        self._asked_at = time.monotonic()
        try:
            return _ids(self._admin.describe_topics(self._topics))
        except KafkaError as error:
            log.warning("no broker told the ids of %s: %s", self._topics, error)
            return {}


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
                reconnect_backoff_max_ms=1_000,
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
    with _connecting(bootstrap, connect_seconds):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(connect_seconds * 1000))
    try:
        yield admin
    finally:
        admin.close()


@contextmanager
def _connecting(bootstrap: str, seconds: float) -> Iterator[None]:
    """Knock before a client is made: one that finds nobody leaves a thread and sockets behind."""
    addresses = [address.strip().rpartition(":") for address in bootstrap.split(",")]
    deadline = time.monotonic() + seconds
    while not any(_listens(host.strip("[]"), int(port)) for host, _, port in addresses):
        if time.monotonic() > deadline:
            raise BrokerUnreachable(bootstrap, seconds)
        time.sleep(0.05)
    try:
        yield
    except KafkaError as error:
        raise BrokerUnreachable(bootstrap, seconds) from error


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


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
        headers=tuple((name, value or b"") for name, value in record.headers),
        timestamp_ms=record.timestamp,
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, held: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._held = held

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing to save: positions were recorded with what was read."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._held(assigned)
