"""The consumer in a group, without its client: what kafka-python and librdkafka share as our `Consumer`.

A partition that the group gave us is in one of three states. Only what is placed is delivered:

    given ──▶ waiting ──▶ on_assign(partitions): ask the database ──▶ placed ──▶ messages
                 ▲                                                      │ │
                 └── another topic than was assigned, or begin_again ◀──┘ └──▶ set aside: Kafka has no such position

Each client says in `_fetch` how messages come, and in five short methods how it holds, begins, moves on and tells where
it is. The reasons: adapters/kafka/ports.py.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from adapters.kafka.ports import Message, OnAssign, Partition, PositionOutOfRange
from adapters.kafka.raw_reader import PartitionReader
from adapters.kafka.record_batches import Decoded

log = logging.getLogger(__name__)

Key = tuple[str, int]
"""Topic and partition, as the clients name them."""


def key_of(partition: Partition) -> Key:
    return partition.topic, partition.partition


class GroupConsumer(ABC):
    """`Consumer`, but for what its client does."""

    def __init__(self, bootstrap: str, topics: Sequence[str], on_assign: OnAssign) -> None:
        self._bootstrap = bootstrap
        self._topics = list(topics)
        self._on_assign = on_assign
        self._placed: dict[Key, Partition] = {}
        self._set_aside: dict[Key, PositionOutOfRange] = {}
        self._asked_at = 0.0
        self._is_answered = True

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """As the port says; up to 2 s longer while no broker answers."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._place()
            messages = self._fetch(max(0.0, deadline - time.monotonic()), limit)
            if messages or time.monotonic() >= deadline:
                return messages

    def assignment(self) -> set[Partition]:
        return {ours for _, ours in self._ours()}

    def positions(self) -> dict[Partition, int]:
        found = {ours: self._position(key) for key, ours in self._ours()}
        return {ours: position for ours, position in found.items() if position is not None}

    def set_aside(self) -> dict[Partition, PositionOutOfRange]:
        given = self._given()
        return {error.partition: error for key, error in list(self._set_aside.items()) if key in given}

    def begin_again(self) -> None:
        self._hold(self._given())

    # -- what a client says ----------------------------------------------------------------------------------------

    @abstractmethod
    def _given(self) -> Set[Key]:
        """What is ours by the group, as far as the client reported it."""

    @abstractmethod
    def _position(self, key: Key) -> int | None:
        """The offset of the next message; None while the client does not know it."""

    @abstractmethod
    def _hold(self, keys: Iterable[Key]) -> None:
        """Deliver nothing more from there until the database was asked again."""

    @abstractmethod
    def _begin(self, key: Key, offset: int | None) -> None:
        """Begin at the offset, or at the start."""

    @abstractmethod
    def _go_on(self, key: Key, offset: int) -> None:
        """Go on at the offset, behind what our own reader has read."""

    @abstractmethod
    def _ask_ids(self) -> dict[str, str]:
        """The ids of our topics, as a broker has them now; none if no broker answers, which is logged once."""

    @abstractmethod
    def _fetch(self, timeout_seconds: float, limit: int) -> list[Message]: ...

    # -- what follows from it --------------------------------------------------------------------------------------

    def _ours(self) -> list[tuple[Key, Partition]]:
        """What is placed. A copy: kafka-python holds partitions back in a thread of its own."""
        given = self._given()
        return [(key, ours) for key, ours in list(self._placed.items()) if key in given]

    def _waiting(self) -> Set[Key]:
        return self._given() - self._placed.keys() - self._set_aside.keys()

    def _place(self) -> None:
        """Ask where to begin in the partitions that are held back, and begin there."""
        waiting = self._waiting()
        ids = self._ask_ids() if waiting else {}
        found = {key: Partition(key[0], ids[key[0]], key[1]) for key in waiting if key[0] in ids}
        positions = self._on_assign(frozenset(found.values())) if found else {}
        for key, ours in found.items():
            if key in self._given():  # else taken away again while we asked
                self._begin(key, positions.get(ours))
                self._placed[key] = ours

    def _hold_recreated(self, ids: Mapping[str, str]) -> None:
        """Hold back each partition that is not, or not provably, of the topic that was assigned; of those that are set
        aside each that provably is not."""
        gone = [key_of(each) for each in self.set_aside() if ids.get(each.topic, each.topic_id) != each.topic_id]
        self._hold([*gone, *(key for key, ours in self._ours() if ids.get(ours.topic) != ours.topic_id)])

    def _tell(self, silence: Exception | None) -> None:
        if silence is not None and self._is_answered:
            log.warning("no broker tells the ids of %s: %s", self._topics, silence)
        self._is_answered = silence is None

    def _put_aside(self, error: PositionOutOfRange) -> PositionOutOfRange:
        key = key_of(error.partition)
        self._hold([key])
        self._set_aside[key] = error
        return error

    def _explain(self, key: Key) -> None:
        """Raise what a refused position means; begin again if it is not refused any more."""
        if key in self._placed:
            self._look(key)
            self._hold([key])

    def _look(self, key: Key) -> Decoded:
        """What our own reader finds there. Raises that the position is out of range, if it still is: what a client
        knows of the bounds is of its last fetch."""
        with PartitionReader(self._bootstrap) as reader:
            return self._read_one(reader, key, enough=1)

    def _read_past(self, keys: Collection[Key], limit: int) -> list[Message]:
        """A part of `limit` of each partition, read by our own reader; the client goes on behind it."""
        messages: list[Message] = []
        if not keys:
            return messages
        enough = max(1, limit // len(keys))
        with PartitionReader(self._bootstrap) as reader:
            batches = [(key, self._read_one(reader, key, enough=enough)) for key in keys]
        for key, decoded in batches:
            decoded.cut_to(enough)
            messages += decoded.messages
            self._go_on(key, decoded.next_offset)
        return messages

    def _read_one(self, reader: PartitionReader, key: Key, *, enough: int) -> Decoded:
        ours, position = self._placed[key], self._position(key)
        try:
            start = reader.bounds(ours).start if position is None else position
            return reader.read(ours, start, enough=enough).decoded
        except PositionOutOfRange as error:
            raise self._put_aside(error) from None


@contextmanager
def logged(what: str, failure: type[Exception]) -> Iterator[None]:
    """A failure within the block is a line in the log: nothing depends on it."""
    try:
        yield
    except failure as error:
        log.warning("%s failed: %s", what, error)


def log_failed_commit(error: object) -> None:
    log.warning("the commit of positions for monitoring failed: %s", error)
