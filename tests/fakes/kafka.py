"""What does a Kafka look like that fits into a test's memory?

`InMemoryBroker` keeps topics, groups and what was committed; `MemoryConsumer` and `MemoryProducer` are the
two ports on it. It is strict where Kafka is: a group that changes delivers nothing until each of its members
has polled again, so that no partition is read by two. It counts: `broker.published`, `broker.committed`,
`consumer.assignments`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition
from uuid import uuid4
from zlib import crc32

from adapters.kafka.clients import (
    Message,
    OnAssign,
    Partition,
    PositionExpired,
    PositionOutOfRange,
    PositionPastEnd,
    PublishFailed,
)


@dataclass
class _Topic:
    topic_id: str
    partitions: list[list[Message | None]]
    """By offset; None: a control record."""
    starts: dict[int, int] = field(default_factory=dict)


@dataclass
class _Group:
    topics: dict[MemoryConsumer, tuple[str, ...]] = field(default_factory=dict)
    generation: int = 0
    joined: set[MemoryConsumer] = field(default_factory=set)

    def rebalance(self) -> None:
        self.generation += 1
        self.joined.clear()


class InMemoryBroker:
    """Topics, groups, and a wake-up for those who wait. While `refuse` is set, publications fail with it."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.refuse: str | None = None
        self.published = 0
        self.committed: dict[tuple[str, Partition], int] = {}
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)

    def ensure_topics(self, partitions: Mapping[str, int]) -> None:
        for name, count in partitions.items():
            if name not in self._topics:
                self._topics[name] = _Topic(uuid4().hex, [[] for _ in range(count)])
                self._rebalance_all()

    def delete_topic(self, name: str) -> None:
        del self._topics[name]
        self._rebalance_all()

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        return {name: self._topics[name].topic_id for name in names if name in self._topics}

    def messages(self, topic: str) -> list[Message]:
        """All that was ever published there, partition by partition."""
        return [message for partition in self._topics[topic].partitions for message in partition if message]

    def group(self, name: str) -> _Group:
        return self._groups[name]

    def append_undecodable(self, topic: str, partition: int, content: bytes, why: str) -> None:
        """What no client can decode; ours tells of it."""
        target = self._topics[topic]
        log = target.partitions[partition]
        log.append(Message(topic, target.topic_id, partition, len(log), None, content, (), -1, undecodable=why))
        with self.changed:
            self.changed.notify_all()

    def append_control(self, topic: str, partition: int) -> None:
        """The end of a transaction: it has an offset, and nobody gets it."""
        self._topics[topic].partitions[partition].append(None)
        with self.changed:
            self.changed.notify_all()

    def remove_before(self, topic: str, partition: int, offset: int) -> None:
        """As retention does."""
        self._topics[topic].starts[partition] = offset

    def start_of(self, partition: Partition) -> int:
        topic = self._topics.get(partition.topic)
        return topic.starts.get(partition.partition, 0) if topic is not None else 0

    def log_of(self, partition: Partition) -> list[Message | None] | None:
        topic = self._topics.get(partition.topic)
        if topic is None or topic.topic_id != partition.topic_id:
            return None
        return topic.partitions[partition.partition]

    def partitions_of(self, topics: Iterable[str]) -> list[Partition]:
        return [
            Partition(name, self._topics[name].topic_id, number)
            for name in sorted(topics)
            if name in self._topics
            for number in range(len(self._topics[name].partitions))
        ]

    def append(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
    ) -> None:
        if self.refuse is not None or topic not in self._topics:
            raise PublishFailed(1, self.refuse or f"there is no topic {topic}")
        target = self._topics[topic]
        number = (crc32(key) if key is not None else self.published) % len(target.partitions)
        self.append_at(topic, number, key=key, value=value, headers=headers)

    def append_at(
        self,
        topic: str,
        number: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...],
    ) -> None:
        """As `append`, in a partition that is named."""
        target = self._topics[topic]
        log = target.partitions[number]
        now = int(time.time() * 1000)
        named = tuple((name.partition("\0")[0], content) for name, content in headers)
        log.append(Message(topic, target.topic_id, number, len(log), key, value, named, now))
        self.published += 1
        with self.changed:
            self.changed.notify_all()

    def _rebalance_all(self) -> None:
        for group in self._groups.values():
            group.rebalance()


class MemoryConsumer:
    """`adapters.kafka.Consumer` on an InMemoryBroker."""

    def __init__(self, broker: InMemoryBroker, *, group: str, topics: Sequence[str], on_assign: OnAssign) -> None:
        self.assignments = 0
        self._broker = broker
        self._name = group
        self._on_assign = on_assign
        self._generation = -1
        self._positions: dict[Partition, int] = {}
        self._set_aside: dict[Partition, PositionOutOfRange] = {}
        self._group = broker.group(group)
        self._group.topics[self] = tuple(topics)
        self._group.rebalance()

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        deadline = time.monotonic() + timeout_seconds
        with self._broker.changed:
            while not (messages := self._fetch(limit)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._broker.changed.wait(left):
                    return self._fetch(limit)
            return messages

    def assignment(self) -> set[Partition]:
        return set(self._positions)

    def positions(self) -> dict[Partition, int]:
        return dict(self._positions)

    def set_aside(self) -> dict[Partition, PositionOutOfRange]:
        return dict(self._set_aside)

    def begin_again(self) -> None:
        self._positions.clear()
        self._generation = -1

    def commit(self, positions: Mapping[Partition, int]) -> None:
        for partition, offset in positions.items():
            self._broker.committed[self._name, partition] = offset

    def close(self) -> None:
        with self._broker.changed:
            if self._group.topics.pop(self, None) is not None:
                self._group.rebalance()
            self._broker.changed.notify_all()
        self._positions.clear()

    def _fetch(self, limit: int) -> list[Message]:
        if not self._joined():
            return []
        for partition, position in self._positions.items():
            start, end = self._broker.start_of(partition), len(self._broker.log_of(partition) or ())
            if not start <= position <= end:
                del self._positions[partition]
                self._set_aside[partition] = (
                    PositionExpired(partition, position, start)
                    if position < start
                    else PositionPastEnd(partition, position, end)
                )
                raise self._set_aside[partition]
        messages: list[Message] = []
        for partition, position in self._positions.items():
            batch = (self._broker.log_of(partition) or [])[position : position + limit - len(messages)]
            self._positions[partition] = position + len(batch)
            messages.extend(message for message in batch if message is not None)
        return messages

    def _joined(self) -> bool:
        """Join the group as it is now; with all of it joined, ask where to begin in what is ours."""
        group = self._group
        if self not in group.joined:
            group.joined.add(self)
            self._positions.clear()
            self._broker.changed.notify_all()
        if group.joined != set(group.topics):
            return False
        if self._generation != group.generation:
            ours = frozenset(self._share())
            positions = self._on_assign(ours) if ours else {}
            self._positions = {
                partition: positions.get(partition, self._broker.start_of(partition))
                for partition in sorted(ours, key=repr)
            }
            self._set_aside.clear()
            self._generation = group.generation
            self.assignments += 1
        return True

    def _share(self) -> list[Partition]:
        members = list(self._group.topics)
        return self._broker.partitions_of(self._group.topics[self])[members.index(self) :: len(members)]


class MemoryProducer:
    """`adapters.kafka.Producer` on an InMemoryBroker: what was sent is there after the flush."""

    def __init__(self, broker: InMemoryBroker) -> None:
        self._broker = broker
        self._sent: list[tuple[str, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]] = []

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        self._sent.append((topic, key, value, tuple(headers)))

    def flush(self, timeout_seconds: float = 10) -> None:
        sent, self._sent = self._sent, []
        for topic, key, value, headers in sent:
            self._broker.append(topic, key=key, value=value, headers=headers)

    def close(self) -> None:
        self._sent.clear()
