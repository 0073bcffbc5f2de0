"""Standing of the intake: each partition that it reads, by the database and by Kafka, and which worker reads it.

The lag is the broker's end less the position of the database, whichever program reads the partition, or none: a
foreign consumer in our group takes partitions away from us, and what it reads of them says nothing about us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.kafka.ports import Partition, PositionOutOfRange
from adapters.kafka.raw_reader import PartitionReader
from adapters.postgres.connection import connect
from adapters.postgres.errors import answering
from adapters.postgres.live_workers import alive

LOOK_BYTES: Final = 64 * 2**10
"""What is read of a partition that is behind, to see whether there are messages, or control records only."""


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """One partition. `position` is none while nothing of it was taken in; `reader` is a live intake of ours."""

    topic: str
    topic_id: str
    partition: int
    position: int | None
    start: int
    end: int
    lag: int
    reader: str | None
    stands_still: str | None

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition}"


def standings(url: str, reader: PartitionReader, topics: Sequence[str]) -> list[PartitionStanding]:
    """All partitions of the topics, in their order. Raises Unavailable."""
    partitions = reader.partitions(topics)
    positions = _positions(url, {each.topic_id for each in partitions})
    readers, still = _readers(url)
    found = []
    for each in partitions:
        name, position = f"{each.topic}/{each.partition}", positions.get((each.topic_id, each.partition))
        bounds = reader.bounds(each)
        found.append(
            PartitionStanding(
                topic=each.topic,
                topic_id=each.topic_id,
                partition=each.partition,
                position=position,
                start=bounds.start,
                end=bounds.end,
                lag=_lag(reader, each, max(bounds.start, position or 0), bounds.end),
                reader=readers.get(name),
                stands_still=still.get(name),
            )
        )
    return found


def _lag(reader: PartitionReader, partition: Partition, position: int, end: int) -> int:
    """Messages from the position on; where many, offsets, which control records have as well."""
    if position >= end:
        return 0
    try:
        decoded = reader.read(partition, position, at_most_bytes=LOOK_BYTES).decoded
    except PositionOutOfRange:  # by retention, since the bounds were asked for
        return end - position
    return len(decoded.messages) + max(0, end - decoded.next_offset)


def _positions(url: str, topic_ids: set[str]) -> Mapping[tuple[str, int], int]:
    with answering(), connect(url) as connection:
        rows = connection.execute(
            "SELECT topic_id, partition, next_offset FROM kafka_positions WHERE topic_id = ANY(%s)",
            (list(topic_ids),),
        ).fetchall()
    return {(topic_id, partition): next_offset for topic_id, partition, next_offset in rows}


def _readers(url: str) -> tuple[dict[str, str], dict[str, str]]:
    """By partition: the live intake that it belongs to, and why that intake does not go on there."""
    intakes: list[dict[str, Any]] = [each for each in alive(url) if each["kind"] == "intake"]
    still = {name: why for each in intakes for name, why in each["details"].get("set_aside", {}).items()}
    readers = {
        name: str(each["name"])
        for each in intakes
        for name in (*each["details"].get("partitions", ()), *each["details"].get("set_aside", ()))
    }
    return readers, still
