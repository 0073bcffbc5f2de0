"""What both Kafka clients share, on a client of a few lines and a real broker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import pytest

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka.clients import KafkaPythonProducer, Message, PositionOutOfRange, ensure_topics, topic_ids
from adapters.kafka.group_consumer import GroupConsumer, Key

pytestmark = pytest.mark.slow

FULL, SHORT = ("full", 0), ("short", 0)


class SmallClient(GroupConsumer):
    """Of two partitions. Its positions are what a test sets."""

    def __init__(self, bootstrap: str, offsets: dict[Key, int]) -> None:
        self.offsets = offsets
        super().__init__(bootstrap, ["full", "short"], lambda ours: dict.fromkeys(ours, 0))
        self.ids = topic_ids(bootstrap, self._topics)

    def _given(self) -> Set[Key]:
        return self.offsets.keys()

    def _position(self, key: Key) -> int | None:
        return self.offsets[key]

    def _hold(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._placed.pop(key, None)
            self._set_aside.pop(key, None)

    def _begin(self, key: Key, offset: int | None) -> None: ...

    def _go_on(self, key: Key, offset: int) -> None:
        self.offsets[key] = offset

    def _ask_ids(self) -> dict[str, str]:
        return self.ids

    def _fetch(self, timeout_seconds: float, limit: int) -> list[Message]:
        self._hold_recreated(self.ids)
        return self._read_past(sorted(self._placed), limit)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory, EmbeddedBroker(Path(directory)) as broker:
        ensure_topics(broker.bootstrap, {"full": 1, "short": 1})
        producer = KafkaPythonProducer(broker.bootstrap)
        for value in (b"one", b"two"):
            producer.send("full", key=None, value=value)
        producer.flush()
        producer.close()
        yield broker.bootstrap


def test_a_position_out_of_range_loses_nothing_that_was_read_of_another_partition(bootstrap: str) -> None:
    client = SmallClient(bootstrap, {FULL: 0, SHORT: 99})
    with pytest.raises(PositionOutOfRange):
        client.poll(0, 10)
    assert client.offsets[FULL] == 0
    assert [each.topic for each in client.set_aside()] == ["short"]
    assert [message.value for message in client.poll(0, 10)] == [b"one", b"two"]


def test_a_partition_that_is_set_aside_begins_again_when_its_topic_is_another_one(bootstrap: str) -> None:
    client = SmallClient(bootstrap, {SHORT: 99})
    with pytest.raises(PositionOutOfRange):
        client.poll(0, 10)
    client.offsets[SHORT] = 0
    client.poll(0, 10)
    assert [each.topic for each in client.set_aside()] == ["short"], "told once, it stays set aside"
    client.ids = {"full": client.ids["full"], "short": "created anew"}
    client.poll(0, 10)
    assert client.set_aside() == {}
    client.poll(0, 10)
    assert {each.topic_id for each in client.assignment()} == {"created anew"}
