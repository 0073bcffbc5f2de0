"""The Kafka client on kafka-python, in pure Python: `Consumer` and `Producer`, and the topics.

kafka-python runs a loop in a thread of its own, which joins the group and sends the heartbeats. What that loop assigns
is paused at once and given a position, so that nothing is fetched; our poll, in the caller's thread, asks the database,
seeks and resumes. Why, and what a recreated topic has to do with it: adapters/kafka/ports.py; what it shares with the
other client: adapters/kafka/group_consumer.py.

An error in decoding names no partition, and leaves kafka-python in a state in which it would try for ever. So from
there on our own reader reads, one batch of each partition that is ours, until it has carried all of them past.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
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

from adapters.kafka.group_consumer import GroupConsumer, Key, key_of, log_failed_commit, logged
from adapters.kafka.ports import (
    LARGEST_MESSAGE_BYTES,
    LONGEST_FETCH_MS,
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
from domain.errors import Unavailable, problem

log = logging.getLogger(__name__)

# One refused connection is a dozen of its lines, some with tracebacks. What matters reaches us as an
# exception.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

# In pure Python the checksum costs seven eighths of the throughput, and this is the only place for a faster one
# (docs/adr/0001-dependencies.md).
default_records.calc_crc32c = lambda view: google_crc32c.value(bytes(view))


LONGEST_BACKOFF_MS: Final = 1_000
"""Of every client of a consumer and a producer: the slowest is how late they are back after an outage."""


class KafkaPythonConsumer(GroupConsumer):
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
        super().__init__(bootstrap, topics, on_assign)
        self._heard: set[Key] = set()  # what kafka-python's loop has reported
        self._stuck: _DecodingFailed | None = None
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
                fetch_max_wait_ms=LONGEST_FETCH_MS,
                isolation_level="read_committed",
            )
        self._kafka.subscribe(topics=self._topics, listener=_Listener(self._given_by_group))

    def commit(self, positions: Mapping[Partition, int]) -> None:
        offsets = {_native(key_of(ours)): OffsetAndMetadata(offset, "", -1) for ours, offset in positions.items()}
        with logged("the commit of positions for monitoring", KafkaError):
            self._kafka.commit_async(offsets, callback=_log_commit)

    def close(self) -> None:
        with logged("leaving the consumer group", KafkaError):
            self._kafka.close(timeout_ms=2_000)
        self._admin.close()

    def _given(self) -> Set[Key]:
        current: Set[Key] = self._kafka.assignment()
        return self._heard & current

    def _position(self, key: Key) -> int | None:
        position: int | None = self._kafka.position(_native(key), timeout_ms=0)
        return position

    def _given_by_group(self, partitions: Iterable[TopicPartition]) -> None:
        """On kafka-python's loop: nothing may be fetched before the database was asked where to begin."""
        given = list(partitions)
        self._hold(given)
        self._heard.update(given)

    def _hold(self, keys: Iterable[Key]) -> None:
        """A position, any, keeps kafka-python from looking for a committed one."""
        for key in keys:
            self._placed.pop(key, None)
            self._set_aside.pop(key, None)
            self._kafka.pause(_native(key))
            self._kafka.seek(_native(key), 0)

    def _begin(self, key: Key, offset: int | None) -> None:
        if offset is None:
            self._kafka.seek_to_beginning(_native(key))
        else:
            self._kafka.seek(_native(key), offset)
        self._kafka.resume(_native(key))

    def _go_on(self, key: Key, offset: int) -> None:
        self._kafka.seek(_native(key), offset)

    def _fetch(self, timeout_seconds: float, limit: int) -> list[Message]:
        if self._stuck is None:
            try:
                return self._fetch_batches(timeout_seconds, limit)
            except _DecodingFailed as failed:
                log.warning("kafka-python cannot decode what it fetched, so our reader does: %s", failed.__cause__)
                self._stuck = failed
        return self._read_past_all(limit, self._stuck)

    def _fetch_batches(self, timeout_seconds: float, limit: int) -> list[Message]:
        batches: Mapping[TopicPartition, Sequence[Any]] = {}
        refused: OffsetOutOfRangeError | None = None
        try:
            batches = self._kafka.poll(timeout_ms=int(timeout_seconds * 1000), max_records=limit)
        except OffsetOutOfRangeError as error:
            refused = error
        except NoOffsetForPartitionError:
            return []  # an assignment whose listener has not run yet
        except (CorruptRecordError, UnsupportedCodecError) as error:
            raise _DecodingFailed from error
        except KafkaError as error:
            if type(error) is KafkaError:  # "no complete records were found"
                raise _DecodingFailed from error
            topics = ", ".join(self._topics)
            raise Unavailable(problem("kafka-not-allowed", topics=topics, reason=f"{error!r}")) from error
        except Exception as error:  # of a codec, or of what kafka-python took for impossible
            raise _DecodingFailed from error
        if batches or refused or time.monotonic() - self._asked_at > 1:
            self._hold_recreated(self._ask_ids())
        if refused is not None:
            self._explain(next(iter(refused.args[0])))
        try:
            self._look_past_the_ends()
        except PositionOutOfRange:
            self._hold([key for key in batches if key in self._placed])  # what came is lost with this error
            raise
        placed = self._placed.copy()  # what is not comes again when it is placed
        return [_message(placed[key], each) for key, records in batches.items() if key in placed for each in records]

    def _look_past_the_ends(self) -> None:
        """Kafka refuses a fetch past the end; the embedded broker answers it with nothing, for ever."""
        for key, _ in self._ours():
            position, end = self._position(key), self._kafka.highwater(_native(key))
            if position is not None and end is not None and position > end:
                self._hold_recreated(self._ask_ids())
                if key in self._placed:
                    self._look(key)

    def _read_past_all(self, limit: int, stuck: _DecodingFailed) -> list[Message]:
        """kafka-python's error names no partition, so our own reader reads past in all that are ours."""
        self._hold_recreated(self._ask_ids())
        before = self.positions()
        messages = self._read_past([key_of(ours) for ours in before], limit)
        if before and not self._set_aside and self.positions() == before:
            raise stuck  # not about what lies there, for our reader finds nothing
        if before and not self._waiting():
            self._stuck = None  # else what is held back may be what it is about
        return messages

    def _ask_ids(self) -> dict[str, str]:
        self._asked_at = time.monotonic()
        ids: dict[str, str] = {}
        silence: KafkaError | None = None
        try:
            ids = _ids(self._admin.describe_topics(self._topics))
        except KafkaError as error:
            silence = error
        self._tell(silence)
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
            with suppress(TopicAlreadyExistsError):  # another process was quicker
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
    """A client for one question. What fails in the middle of it is reported as an absent broker is: both may pass."""
    with _connecting(bootstrap, connect_seconds):
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=int(connect_seconds * 1000))
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def _connecting(bootstrap: str, seconds: float) -> Iterator[None]:
    """A client that finds no broker leaves a thread and sockets behind: knock first."""
    knock(bootstrap, seconds)
    try:
        yield
    except KafkaError as error:
        raise BrokerUnreachable(bootstrap, seconds) from error


def _log_commit(_: object, outcome: object) -> None:
    if isinstance(outcome, Exception):
        log_failed_commit(outcome)


def _native(key: Key) -> TopicPartition:
    return TopicPartition(*key)


def _message(partition: Partition, record: Any) -> Message:
    return Message(
        partition.topic,
        partition.topic_id,
        partition.partition,
        record.offset,
        record.key,
        record.value,
        tuple([(name.partition("\0")[0], value or b"") for name, value in record.headers]),
        record.timestamp,
    )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, hold_back: Callable[[Iterable[TopicPartition]], None]) -> None:
        self._hold_back = hold_back

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing to save: positions were recorded with what was read."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._hold_back(assigned)
