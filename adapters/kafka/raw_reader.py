"""Partitions as their brokers keep them: where each begins and ends, and what is in it from an offset on.

For who is in no consumer group and needs more than a client's messages tell: the adapters of both clients, for what
their client cannot decode; `tenantry status`, for the ends; `tenantry intake-position`, for the bounds of a position;
`tenantry audit intake`, for all messages again.

Each answer is that of a fetch, sent to the leader of the partition. A broker is not asked for the end of a partition,
because the embedded one can answer wrongly; the fetch tells the right one. The end is the last stable offset: what
lies behind it is of a transaction that is open, and no reader may have it yet. Messages of a transaction that was
aborted are left out, where the broker says which these are. Apache Kafka does, the embedded broker does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from kafka.errors import KafkaError, for_code
from kafka.net.compat import KafkaNetClient
from kafka.protocol.consumer import FetchRequest, IsolationLevel, ListOffsetsRequest, OffsetSpec
from kafka.protocol.metadata import MetadataRequest

from adapters.kafka.ports import BrokerUnreachable, Partition, PositionExpired, PositionPastEnd, knock
from adapters.kafka.record_batches import Decoded, decode
from domain.errors import Unavailable, problem

CHUNK_BYTES: Final = 2 * 2**20
"""What one fetch brings, at most; a larger batch comes all the same, alone."""

_NO_ERROR, _OUT_OF_RANGE = 0, 1
_MOVING: Final = frozenset({3, 5, 6, 9, 74, 75, 76, 100})
"""Errors that end when the partition has its leader again: unknown here, no leader, not the leader, fenced ..."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset that is kept, and the one behind the last that a reader may have."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a partition holds from an offset on, up to about CHUNK_BYTES."""

    bounds: Bounds
    decoded: Decoded


class PartitionReader:
    """Reads any partition, at any offset. Not to be shared between threads. Use as a context manager, or `close` it."""

    def __init__(self, bootstrap: str, *, connect_seconds: float = 10, answer_seconds: float = 10) -> None:
        self._bootstrap = bootstrap
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._leaders: dict[tuple[str, int], int] = {}
        knock(bootstrap, connect_seconds)
        self._kafka = KafkaNetClient(
            bootstrap_servers=bootstrap,
            allow_auto_create_topics=False,
            request_timeout_ms=int(answer_seconds * 1000),
            receive_message_max_bytes=64 * 2**20,
            reconnect_backoff_max_ms=1_000,
        )
        try:
            self._kafka.check_version(timeout_ms=int(connect_seconds * 1000))
        except KafkaError as error:
            self._kafka.close()
            raise BrokerUnreachable(bootstrap, connect_seconds) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._kafka.close()

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """Those of the topics that exist, in the order of topic and number."""
        found = [
            Partition(topic.name, str(topic.topic_id or topic.name), each.partition_index)
            for topic in self._describe(topics)
            for each in topic.partitions
        ]
        return sorted(found, key=lambda each: (each.topic, each.partition))

    def bounds(self, partition: Partition) -> Bounds:
        """Where the partition begins and ends now."""
        start = self._start(partition)
        return _bounds(self._fetch(partition, start, limit=1), start)

    def read(
        self, partition: Partition, offset: int, *, at_most_bytes: int = CHUNK_BYTES, enough: float = math.inf
    ) -> Fetched:
        """The messages from `offset` on, as they are now; at least one batch, if there is any, and none behind the one
        that brings them to `enough`.

        Raises PositionExpired and PositionPastEnd.
        """
        answer = self._fetch(partition, offset, limit=at_most_bytes)
        if answer.error_code == _OUT_OF_RANGE:
            start = self._start(partition)
            if offset < start:
                raise PositionExpired(partition, offset, start)
            raise PositionPastEnd(partition, offset, self._fetch(partition, start, limit=1).high_watermark)
        if offset > answer.high_watermark:  # the embedded broker answers with nothing
            raise PositionPastEnd(partition, offset, answer.high_watermark)
        bounds = _bounds(answer, 0)
        aborted = [(each.producer_id, each.first_offset) for each in answer.aborted_transactions or ()]
        decoded = decode(partition, bytes(answer.records or b""), offset, aborted, enough=enough)
        decoded.messages = [each for each in decoded.messages if each.offset < bounds.end]
        decoded.next_offset = max(offset, min(decoded.next_offset, bounds.end))
        return Fetched(bounds, decoded)

    # -- requests --------------------------------------------------------------------------------------------------

    def _fetch(self, partition: Partition, offset: int, *, limit: int) -> Any:
        place = FetchRequest.FetchTopic.FetchPartition(
            partition=partition.partition,
            current_leader_epoch=-1,
            fetch_offset=offset,
            last_fetched_epoch=-1,
            partition_max_bytes=limit,
        )
        asked = FetchRequest.FetchTopic(topic=partition.topic, partitions=[place])
        request = FetchRequest(
            max_wait_ms=20,  # at 0 the embedded broker answers without looking
            min_bytes=1,
            max_bytes=limit,
            isolation_level=IsolationLevel.READ_COMMITTED,
            session_id=0,
            session_epoch=-1,  # no session: each fetch names all that it wants
            topics=[asked],
            forgotten_topics_data=[],
            rack_id="",
            min_version=5,  # tells where the partition begins
            max_version=12,  # the last that knows topics by name
        )
        return self._ask_leader(
            partition, request, lambda answer: answer.responses and answer.responses[0].partitions[0]
        )

    def _start(self, partition: Partition) -> int:
        place = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
            partition_index=partition.partition, current_leader_epoch=-1, timestamp=OffsetSpec.EARLIEST
        )
        asked = ListOffsetsRequest.ListOffsetsTopic(name=partition.topic, partitions=[place])
        request = ListOffsetsRequest(
            replica_id=-1, isolation_level=IsolationLevel.READ_COMMITTED, topics=[asked], min_version=1, max_version=5
        )
        answer = self._ask_leader(partition, request, lambda answer: answer.topics[0].partitions[0])
        return int(answer.offset)

    def _ask_leader(self, partition: Partition, request: Any, part: Callable[[Any], Any]) -> Any:
        """The part of the leader's answer that is about the partition. Waits for a leader, as elections pass."""
        deadline = time.monotonic() + self._answer_seconds
        while True:
            error = "it has no leader"
            leader = self._leader(partition)
            if leader is not None:
                try:
                    answer = part(self._kafka.send_and_receive(leader, request, int(self._answer_seconds * 1000)))
                except KafkaError as failure:
                    error = str(failure) or type(failure).__name__
                else:
                    if answer and answer.error_code in (_NO_ERROR, _OUT_OF_RANGE):
                        return answer
                    error = for_code(answer.error_code).__name__ if answer else "its leader answers nothing"
                    if answer and answer.error_code not in _MOVING:
                        break
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
            self._leaders.clear()
        raise Unavailable(problem("kafka-not-allowed", topics=f"{partition.topic}/{partition.partition}", reason=error))

    def _leader(self, partition: Partition) -> int | None:
        if (partition.topic, partition.partition) not in self._leaders:
            self._describe([partition.topic])
        leader = self._leaders.get((partition.topic, partition.partition), -1)
        return leader if leader >= 0 else None

    def _describe(self, topics: Iterable[str]) -> list[Any]:
        """Those of the topics that exist, with their partitions; their leaders are known from here on."""
        asked = [MetadataRequest.MetadataRequestTopic(name=name) for name in topics]
        request = MetadataRequest(topics=asked, allow_auto_topic_creation=False, max_version=12)
        try:
            broker = self._kafka.least_loaded_node(bootstrap_fallback=True)
            answer = self._kafka.send_and_receive(broker, request, int(self._answer_seconds * 1000))
            self._kafka.cluster.update_metadata(answer)  # where each broker is
        except KafkaError as error:
            raise Unavailable(problem("topics-unknown", topics=", ".join(topics), reason=error)) from error
        found = [topic for topic in answer.topics if not topic.error_code]
        self._leaders.update(
            {(topic.name, each.partition_index): each.leader_id for topic in found for each in topic.partitions}
        )
        return found


def _bounds(answer: Any, start: int) -> Bounds:
    """The last stable offset is -1 from a broker that knows none."""
    stable = answer.last_stable_offset
    end = answer.high_watermark if stable < 0 else min(stable, answer.high_watermark)
    return Bounds(max(start, answer.log_start_offset), end)
