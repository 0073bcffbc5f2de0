"""Kafka ports: what Tenantry needs of a Kafka client.

Two ports, `Consumer` and `Producer`, and what every implementation of them shares. kafka-python's is always there
(adapters/kafka/kafka_python.py), librdkafka's comes with the extra `[fast]` (adapters/kafka/confluent.py), the fake is
tests/fakes/kafka.py, and tests/contracts/test_kafka_clients.py is the contract of all three.

The database decides where a consumer begins, never Kafka. What Kafka remembers as committed serves monitoring:

    poll ──▶ the client joins the group ──▶ it reports: assigned     held back: nothing is delivered from there yet
         ──▶ our poll, in the caller's thread: on_assign(partitions) ──▶ begin there ──▶ messages

on_assign asks a database, so it must not run where the client sends its heartbeats. If it raises, its error leaves poll
and the partitions stay held back: the next poll asks again, and nothing was delivered from a wrong place.

A topic that was deleted and created anew has another id, and its offsets start again. The clients fetch by name and
would go on at the old offset without a word. So whatever was fetched is delivered only after a broker was asked (one
round trip, and one a second where nothing comes) whether the topics are still those that were assigned. What is not is
held back like a new assignment: the database knows no position for that id, and it is read from its start.

What a client cannot decode (a header's name that is not UTF-8, a wrong checksum, an unknown codec, lengths that
contradict each other) would stop its partition for ever. There the adapter reads one batch with our own reader
(adapters/kafka/raw_reader.py), which isolates what is broken, and then lets the client go on behind that batch.

Both clients read what is committed only: nothing of an open transaction, or of one that was aborted. The embedded
broker does not say which ones were aborted, so on it their messages come.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import Struct

from domain.errors import TenantryError, Unavailable

LARGEST_MESSAGE_BYTES = 16 * 2**20
"""What we can send. More than the 1 MiB we accept: what is too large must arrive, to be quarantined."""


@dataclass(frozen=True, slots=True)
class Partition:
    """`topic_id` tells a topic from an earlier one of its name; it is the name if the broker has no ids."""

    topic: str
    topic_id: str
    partition: int


class Message(Struct, frozen=True):
    """`undecodable` says why it is none, as far as Kafka's format goes; then `value` may hold the raw bytes.

    The name of a header ends at a NUL: librdkafka tells no more of it, and all clients must tell the same.
    """

    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    undecodable: str | None = None


OnAssign = Callable[[frozenset[Partition]], Mapping[Partition, int]]
"""From the partitions that are ours now to the offset of the next message of each; absent: from its start."""


class Consumer(Protocol):
    """One member of a consumer group. Not to be shared between threads."""

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        """Up to `limit` messages, in order in each partition; nothing after `timeout_seconds` without any.

        What the client cannot decode comes as a message that is `undecodable`. Raises whatever on_assign raises, and
        PositionOutOfRange, once: nothing more comes from that partition until the consumer has begun again.
        """
        ...

    def assignment(self) -> set[Partition]:
        """The partitions that messages can come from now."""
        ...

    def positions(self) -> dict[Partition, int]:
        """The offset behind all that was delivered, and behind what is never delivered: control records, and messages
        of aborted transactions, where those come next."""
        ...

    def set_aside(self) -> dict[Partition, PositionOutOfRange]:
        """The partitions that are ours, and of which Kafka does not have our position."""
        ...

    def begin_again(self) -> None:
        """Hold back all that is assigned: the next poll asks on_assign where to begin before it delivers anything."""
        ...

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tell Kafka how far we are, for those who watch lags there. Never raises: nothing depends on it."""
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
    """Messages did not reach Kafka, or it is not known whether they did."""

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
            f"{remedy}: Kafka lost what was read already; once you know why, run"
            f" `tenantry intake-position move {partition.topic}/{partition.partition} --to OFFSET --reason ...`",
        )


class PositionExpired(PositionOutOfRange):
    """Kafka's retention removed messages that we have not read."""

    def __init__(self, partition: Partition, position: int, start: int) -> None:
        self.start = start
        lost = f"offset {position} was" if start == position + 1 else f"offsets {position} to {start - 1} were"
        super().__init__(
            partition,
            position,
            f"lies before its start, {start}: {lost} removed unread; have it sent again, then run"
            f" `tenantry intake-position move {partition.topic}/{partition.partition} --to {start} --reason ...`",
        )


# ---------------------------------------------------------------- what the clients share


@dataclass(frozen=True, slots=True)
class GroupSession:
    """Seconds until a member without heartbeats is removed. At the embedded broker a join waits half a session."""

    session_ms: int = 6_000
    heartbeat_ms: int = 1_000
    max_poll_interval_ms: int = 60_000


SESSION: Final = GroupSession()

LONGEST_FETCH_MS: Final = 30
"""How long the broker holds a fetch for which it has no message.

Apache Kafka answers as soon as one comes. The embedded broker looks only now and then until this time is over: of
messages that came 20 a second, half were there after 28 ms with 100 ms here, after 17 with 50, 13 with 30, 11 with 20.
A consumer that gets nothing takes 3.8 % of a core with 100 ms, 5.3 % with 30, 6 % with 20.
"""


def knock(bootstrap: str, seconds: float) -> None:
    """Wait until a broker listens at one of the addresses; raises BrokerUnreachable after `seconds`."""
    addresses = [address.strip().rpartition(":") for address in bootstrap.split(",")]
    deadline = time.monotonic() + seconds
    while not any(_listens(host.strip("[]"), int(port)) for host, _, port in addresses):
        if time.monotonic() > deadline:
            raise BrokerUnreachable(bootstrap, seconds)
        time.sleep(0.05)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
