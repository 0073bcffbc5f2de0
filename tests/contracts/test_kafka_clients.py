"""Do the memory fake, kafka-python and librdkafka keep the same promises?"""

from __future__ import annotations

import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import uuid4

import confluent_kafka
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka import clients as kafka
from adapters.kafka.clients import (
    BrokerUnreachable,
    Consumer,
    GroupSession,
    KafkaPythonConsumer,
    KafkaPythonProducer,
    Message,
    OnAssign,
    Partition,
    PositionExpired,
    PositionPastEnd,
    Producer,
    PublishFailed,
)
from adapters.kafka.confluent import ConfluentConsumer, ConfluentProducer
from adapters.kafka.ports import SESSION
from adapters.kafka.raw_reader import Bounds, PartitionReader
from tests.contracts import raw_batches
from tests.fakes.kafka import InMemoryBroker, MemoryConsumer, MemoryProducer
from tests.journeys.apache_kafka import ApacheKafka, NotToBeHad, jars

pytestmark = pytest.mark.slow

ENOUGH = 60.0
QUIET = 0.5


class Cluster(Protocol):
    """What a test does to a broker besides sending and receiving."""

    def ensure_topics(self, partitions: Mapping[str, int]) -> None: ...
    def topic_ids(self, names: list[str]) -> dict[str, str]: ...
    def delete_topic(self, name: str) -> None: ...
    def put_undecodable(self, topic: str, what: str) -> None:
        """A message "first" and one "last" in partition 0, and between them what no client decodes."""
        ...

    def put_transaction(self, topic: str, value: bytes, end: Literal["commit", "abort"]) -> None:
        """One message in partition 0, in a transaction of its own."""
        ...

    def producer(self) -> Producer: ...
    def consumer(self, topic: str, *, group: str, on_assign: OnAssign) -> Consumer: ...


class MemoryCluster:
    def __init__(self) -> None:
        self.broker = InMemoryBroker()

    def ensure_topics(self, partitions: Mapping[str, int]) -> None:
        self.broker.ensure_topics(partitions)

    def topic_ids(self, names: list[str]) -> dict[str, str]:
        return self.broker.topic_ids(names)

    def delete_topic(self, name: str) -> None:
        self.broker.delete_topic(name)

    def put_undecodable(self, topic: str, what: str) -> None:
        for value in (b"first", None, b"last"):
            if value is None:
                self.broker.append_undecodable(topic, 0, b"raw", f"{what} is broken")
            else:
                self.broker.append_at(topic, 0, key=None, value=value, headers=())

    def put_transaction(self, topic: str, value: bytes, end: Literal["commit", "abort"]) -> None:
        assert end == "commit", "the fake knows no aborted ones"
        self.broker.append_at(topic, 0, key=None, value=value, headers=())
        self.broker.append_control(topic, 0)

    def producer(self) -> Producer:
        return MemoryProducer(self.broker)

    def consumer(self, topic: str, *, group: str, on_assign: OnAssign) -> Consumer:
        return MemoryConsumer(self.broker, group=group, topics=[topic], on_assign=on_assign)


SHORT = GroupSession(session_ms=2_000, heartbeat_ms=300)
"""On the embedded broker each joining waits for half of it. Apache Kafka allows no session under 6 s."""


class KafkaPythonCluster:
    def __init__(self, bootstrap: str, session: GroupSession = SHORT) -> None:
        self.bootstrap = bootstrap
        self.session = session

    def ensure_topics(self, partitions: Mapping[str, int]) -> None:
        kafka.ensure_topics(self.bootstrap, partitions)

    def topic_ids(self, names: list[str]) -> dict[str, str]:
        return kafka.topic_ids(self.bootstrap, names)

    def delete_topic(self, name: str) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        admin.delete_topics([name])
        admin.close()

    def put_undecodable(self, topic: str, what: str) -> None:
        raw_batches.produce(self.bootstrap, topic, 0, raw_batches.batch((None, b"first", ())))
        try:
            raw_batches.produce(self.bootstrap, topic, 0, raw_batches.BROKEN[what]())
        except AssertionError as refusal:
            pytest.skip(f"{what}: {refusal}")
        raw_batches.produce(self.bootstrap, topic, 0, raw_batches.batch((None, b"last", ())))

    def put_transaction(self, topic: str, value: bytes, end: Literal["commit", "abort"]) -> None:
        producer = transactional(self.bootstrap)
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush()
        (producer.commit_transaction if end == "commit" else producer.abort_transaction)()

    def producer(self) -> Producer:
        return KafkaPythonProducer(self.bootstrap)

    def consumer(self, topic: str, *, group: str, on_assign: OnAssign) -> Consumer:
        return KafkaPythonConsumer(
            self.bootstrap, group=group, topics=[topic], on_assign=on_assign, session=self.session
        )


def transactional(bootstrap: str) -> confluent_kafka.Producer:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": uuid4().hex, "log_level": 0}
    )
    producer.init_transactions()
    return producer


class ConfluentCluster(KafkaPythonCluster):
    """Topics are always made by kafka-python."""

    def producer(self) -> Producer:
        return ConfluentProducer(self.bootstrap)

    def consumer(self, topic: str, *, group: str, on_assign: OnAssign) -> Consumer:
        return ConfluentConsumer(self.bootstrap, group=group, topics=[topic], on_assign=on_assign, session=self.session)


CLUSTERS: dict[str, type[KafkaPythonCluster]] = {
    "kafka-python": KafkaPythonCluster,
    "confluent-kafka": ConfluentCluster,
}

# Of a topic that is gone the embedded broker says which node leads it now, and forgets which topic that is. librdkafka
# (2.6 to 2.16) looks for a topic without a name then, and takes the process with it. Apache Kafka answers in full.
CRASHES_LIBRDKAFKA = "the embedded broker's answer about a deleted topic crashes librdkafka; see it on Apache Kafka"


@dataclass
class Desk:
    """One test's topic on a cluster, and all that it opens there."""

    cluster: Cluster
    topic: str
    opened: list[Consumer | Producer] = field(default_factory=list)

    def producer(self) -> Producer:
        producer = self.cluster.producer()
        self.opened.append(producer)
        return producer

    def consumer(self, on_assign: OnAssign = lambda _: {}, *, group: str = "group") -> Consumer:
        consumer = self.cluster.consumer(self.topic, group=f"{self.topic}-{group}", on_assign=on_assign)
        self.opened.append(consumer)
        return consumer

    def publish(self, *values: bytes, key: bytes | None = b"key") -> None:
        producer = self.producer()
        for value in values:
            producer.send(self.topic, key=key, value=value)
        producer.flush()


@pytest.fixture(scope="session")
def apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """Asked for with `-m kafka`; the first time takes a minute."""
    try:
        class_path = jars(request.config.cache.mkdir("apache-kafka"))
        with tempfile.TemporaryDirectory(prefix="kafka-") as directory, ApacheKafka(Path(directory), class_path) as one:
            yield one
    except NotToBeHad as reason:
        pytest.skip(f"no Apache Kafka here: {reason}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each promise on each client; on Apache Kafka itself where `-m kafka` asks for it."""
    if "desk" not in metafunc.fixturenames:
        return
    desks: list[Any] = ["memory", *((client, "broker") for client in CLUSTERS)]
    if "kafka" in metafunc.config.getoption("-m"):
        desks += [pytest.param((client, "apache_kafka"), marks=pytest.mark.kafka) for client in CLUSTERS]
    metafunc.parametrize(
        "desk", desks, indirect=True, ids=lambda desk: desk if isinstance(desk, str) else "-".join(desk)
    )


@pytest.fixture
def desk(request: pytest.FixtureRequest, topic_prefix: str) -> Iterator[Desk]:
    cluster: Cluster = MemoryCluster()
    if request.param != "memory":
        client, broker = request.param
        session = SESSION if broker == "apache_kafka" else SHORT
        cluster = CLUSTERS[client](request.getfixturevalue(broker).bootstrap, session)
    desk = Desk(cluster, f"{topic_prefix}topic")
    cluster.ensure_topics({desk.topic: 4})
    yield desk
    for opened in desk.opened:
        opened.close()


def receive(consumer: Consumer, count: int) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + ENOUGH
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.poll(0.5, 500)
    return messages


def receive_until(consumer: Consumer, last: bytes) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + ENOUGH
    while last not in values(messages):
        assert time.monotonic() < deadline, f"{last!r} did not come; what did: {messages}"
        messages += consumer.poll(0.5, 500)
    return messages


def values(messages: list[Message]) -> list[bytes | None]:
    return [message.value for message in messages]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENOUGH
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_messages_of_one_key_come_in_the_order_in_which_they_were_sent(desk: Desk) -> None:
    producer = desk.producer()
    for number in range(300):
        producer.send(desk.topic, key=b"key-%d" % (number % 7), value=b"%d" % number)
    producer.flush()
    messages = receive(desk.consumer(), 300)
    for key in {message.key for message in messages}:
        numbers = [int(message.value or b"") for message in messages if message.key == key]
        assert numbers == sorted(numbers)
    assert sorted(int(message.value or b"") for message in messages) == list(range(300))


def test_a_message_arrives_as_it_was_sent(desk: Desk) -> None:
    headers = (("ce_id", b"1"), ("odd", b"\x00\xff"), ("ce_id", b""))
    producer = desk.producer()
    producer.send(desk.topic, key=b"\xfe\x00", value=b"\x00\x01\xff", headers=headers)
    producer.flush()
    [message] = receive(desk.consumer(), 1)
    assert (message.key, message.value, message.headers) == (b"\xfe\x00", b"\x00\x01\xff", headers)
    assert (message.topic, message.offset) == (desk.topic, 0)
    assert message.topic_id == desk.cluster.topic_ids([desk.topic])[desk.topic]
    assert abs(message.timestamp_ms / 1000 - time.time()) < 60


def test_a_message_may_have_no_key_and_no_value(desk: Desk) -> None:
    producer = desk.producer()
    producer.send(desk.topic, key=None, value=b"x")
    producer.send(desk.topic, key=b"k", value=None)
    producer.flush()
    received = {(message.key, message.value) for message in receive(desk.consumer(), 2)}
    assert received == {(None, b"x"), (b"k", None)}


def test_a_message_that_is_too_large_for_us_arrives_nevertheless(desk: Desk) -> None:
    """Over 1 MiB belongs into quarantine; over the fetch size of a partition (2 MiB) must not block it."""
    large = [b"x" * (3 * 2**20), b"small"]
    desk.publish(*large)
    assert values(receive(desk.consumer(), 2)) == large


def test_a_poll_returns_no_more_than_its_limit_and_loses_nothing(desk: Desk) -> None:
    desk.publish(*(b"%d" % number for number in range(10)))
    consumer = desk.consumer()
    batches: list[list[Message]] = []
    deadline = time.monotonic() + ENOUGH
    while sum(map(len, batches)) < 10 and time.monotonic() < deadline:
        batches.append(consumer.poll(0.5, 4))
    assert max(map(len, batches)) == 4
    assert values([message for batch in batches for message in batch]) == [b"%d" % n for n in range(10)]


def test_a_consumer_begins_where_on_assign_says(desk: Desk) -> None:
    desk.publish(b"0", b"1", b"2", b"3")
    asked: list[frozenset[Partition]] = []

    def positions(partitions: frozenset[Partition]) -> dict[Partition, int]:
        asked.append(partitions)
        return dict.fromkeys(partitions, 0) | {home: 2}

    [first] = receive(desk.consumer(group="other"), 4)[:1]
    home = Partition(desk.topic, first.topic_id, first.partition)
    consumer = desk.consumer(positions)
    assert values(receive(consumer, 2)) == [b"2", b"3"]
    assert {partition.partition for partition in asked[-1]} == {0, 1, 2, 3}
    assert consumer.assignment() == asked[-1]
    assert consumer.positions()[home] == 4


def test_an_on_assign_that_fails_delivers_nothing_and_is_asked_again(desk: Desk) -> None:
    desk.publish(b"0", b"1")
    failures = [RuntimeError("the database is away"), RuntimeError("still away")]

    def positions(_: frozenset[Partition]) -> dict[Partition, int]:
        if failures:
            raise failures.pop()
        return {}

    consumer = desk.consumer(positions)
    for complaint in ("still away", "the database is away"):
        with pytest.raises(RuntimeError, match=complaint):
            assert receive(consumer, 1) == []
    assert values(receive(consumer, 2)) == [b"0", b"1"]


def test_what_was_committed_does_not_say_where_a_consumer_begins(desk: Desk) -> None:
    desk.publish(b"0", b"1", b"2")
    first = desk.consumer()
    messages = receive(first, 3)
    first.commit({Partition(m.topic, m.topic_id, m.partition): m.offset + 1 for m in messages})
    first.poll(QUIET, 10)
    first.close()
    assert values(receive(desk.consumer(), 3)) == [b"0", b"1", b"2"]


def test_a_commit_for_a_partition_that_is_not_there_is_no_error(desk: Desk) -> None:
    consumer = desk.consumer()
    consumer.commit({Partition(desk.topic, "gone", 77): 3})
    consumer.poll(QUIET, 10)


def test_beginning_again_asks_where_before_anything_more_is_delivered(desk: Desk) -> None:
    desk.publish(b"0", b"1", b"2")
    positions: dict[Partition, int] = {}
    consumer = desk.consumer(lambda partitions: {each: positions[each] for each in partitions if each in positions})
    first, second, _ = receive(consumer, 3)
    consumer.begin_again()
    assert consumer.assignment() == set()
    positions[Partition(first.topic, first.topic_id, first.partition)] = second.offset
    assert values(receive(consumer, 2)) == [b"1", b"2"]


def test_beginning_again_delivers_nothing_while_nobody_says_where(desk: Desk) -> None:
    desk.publish(b"0", b"1")
    answers: list[Exception] = []

    def on_assign(partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        if answers:
            raise answers.pop()
        return {}

    consumer = desk.consumer(on_assign)
    assert values(receive(consumer, 2)) == [b"0", b"1"]
    answers += [ConnectionError("away"), ConnectionError("away")]
    consumer.begin_again()
    for _ in range(2):
        desk.publish(b"2")
        with pytest.raises(ConnectionError):
            consumer.poll(QUIET, 10)
    assert values(receive(consumer, 4)) == [b"0", b"1", b"2", b"2"]


@pytest.mark.parametrize("what", raw_batches.BROKEN)
def test_what_no_client_decodes_comes_alone_and_the_partition_goes_on(desk: Desk, what: str) -> None:
    desk.cluster.put_undecodable(desk.topic, what)
    consumer = desk.consumer()
    messages = receive_until(consumer, b"last")
    broken = [message for message in messages if message.undecodable]
    assert len(broken) == 1
    assert broken[0].value
    whole = [message.value for message in messages if not message.undecodable]
    assert (whole[0], whole[-1]) == (b"first", b"last")
    assert whole in ([b"first", b"last"], [b"first", b"before", b"after", b"last"], [b"first", b"before", b"last"])
    offsets = [message.offset for message in messages]
    assert offsets == sorted(set(offsets))
    home = Partition(desk.topic, messages[0].topic_id, 0)
    assert consumer.positions()[home] == messages[-1].offset + 1
    desk.publish(b"more", key=None)
    receive_until(consumer, b"more")


def test_the_name_of_a_header_ends_at_a_nul(desk: Desk) -> None:
    """Or two clients would tell two messages, and an audit by another client would miss what the first took in."""
    producer = desk.producer()
    producer.send(desk.topic, key=None, value=b"1", headers=[("ce_id\0more", b"x"), ("\0", b"y")])
    producer.flush()
    (message,) = receive(desk.consumer(), 1)
    assert message.headers == (("ce_id", b"x"), ("", b"y"))


def test_a_header_name_that_is_not_utf_8_behind_its_nul_is_the_same_to_all(desk: Desk) -> None:
    if not isinstance(desk.cluster, KafkaPythonCluster):
        pytest.skip("the broker in memory has no batches")
    made = raw_batches.batch((b"k", b"odd", [("x-odd", b"1")]))
    content = raw_batches.checked(bytearray(bytes(made).replace(b"x-odd", b"x\0\xff\xfe\xfd")))
    raw_batches.produce(desk.cluster.bootstrap, desk.topic, 0, content)
    (message,) = receive(desk.consumer(), 1)
    assert (message.headers, message.undecodable) == ((("x", b"1"),), None)


def test_what_no_client_decodes_in_a_partition_that_was_empty_is_not_past_its_end(desk: Desk) -> None:
    """A client may know the end of a partition from its last fetch only, and that was of nothing."""
    if not isinstance(desk.cluster, KafkaPythonCluster):
        pytest.skip("the broker in memory has no batches")
    consumer = desk.consumer()
    until(lambda: not consumer.poll(0.5, 10) and len(consumer.assignment()) == 4)
    raw_batches.produce(desk.cluster.bootstrap, desk.topic, 0, raw_batches.BROKEN["a header's name"]())
    assert values(receive(consumer, 3))[::2] == [b"before", b"after"]
    for _ in range(5):
        consumer.poll(0.1, 10)
    assert consumer.set_aside() == {}


def test_a_position_lies_behind_the_control_record_that_ends_a_transaction(desk: Desk) -> None:
    """Or a partition would seem to lag for ever, and its position to be lost once retention takes the record."""
    consumer = desk.consumer()
    until(lambda: not consumer.poll(0.1, 10) and len(consumer.assignment()) == 4)
    desk.cluster.put_transaction(desk.topic, b"committed", "commit")
    messages = receive(consumer, 1)
    assert values(messages) == [b"committed"]
    home = Partition(desk.topic, messages[0].topic_id, 0)
    until(lambda: not consumer.poll(0.1, 10) and consumer.positions()[home] == 2)
    desk.publish(b"more", key=None)
    receive_until(consumer, b"more")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_message_comes_whatever_codec_its_producer_has_chosen(desk: Desk, codec: str) -> None:
    if not isinstance(desk.cluster, KafkaPythonCluster):
        pytest.skip("the fake compresses nothing")
    producer = KafkaProducer(bootstrap_servers=desk.cluster.bootstrap, compression_type=codec)
    for number in range(20):
        producer.send(desk.topic, key=b"k", value=b"%d" % number, headers=[("name", b"x")])
    producer.flush()
    producer.close()
    messages = receive(desk.consumer(), 20)
    assert values(messages) == [b"%d" % number for number in range(20)]
    assert {message.headers for message in messages} == {(("name", b"x"),)}


def test_what_no_client_decodes_is_the_same_to_whoever_begins_there(desk: Desk) -> None:
    desk.cluster.put_undecodable(desk.topic, "a length in a record")
    [broken] = [each for each in receive_until(desk.consumer(group="other"), b"last") if each.undecodable]
    home = Partition(desk.topic, broken.topic_id, 0)
    again = receive_until(desk.consumer(lambda _: {home: broken.offset}), b"last")
    assert (again[0].offset, again[0].value, again[0].undecodable) == (broken.offset, broken.value, broken.undecodable)


def test_a_poll_returns_no_more_than_its_limit_where_something_does_not_decode(desk: Desk) -> None:
    desk.cluster.put_undecodable(desk.topic, "a header's name")
    consumer = desk.consumer()
    seen: list[int] = []
    deadline = time.monotonic() + ENOUGH
    values_seen: list[bytes | None] = []
    while b"last" not in values_seen:
        messages = consumer.poll(0.5, 1)
        assert len(messages) <= 1
        seen += [message.offset for message in messages]
        values_seen += values(messages)
        assert time.monotonic() < deadline
    assert seen == list(range(len(seen)))


def test_a_position_past_the_end_is_an_error_that_names_it(desk: Desk) -> None:
    desk.publish(b"0", b"1", b"2")
    consumer = desk.consumer(lambda partitions: dict.fromkeys(partitions, 50))
    with pytest.raises(
        PositionPastEnd, match=rf"position 50 of {desk.topic}/\d .* past its end, [03]: .*move"
    ) as raised:
        receive(consumer, 1)
    assert (raised.value.position, raised.value.partition.topic) == (50, desk.topic)


def test_a_position_that_kafka_does_not_have_stops_only_its_partition(desk: Desk) -> None:
    desk.publish(b"0", b"1", key=b"a")
    [first, _] = receive(desk.consumer(group="other"), 2)
    home = Partition(desk.topic, first.topic_id, first.partition)
    elsewhere = Partition(desk.topic, first.topic_id, (first.partition + 1) % 4)
    database = {elsewhere: 50}
    consumer = desk.consumer(lambda _: database)
    received: list[Message] = []
    errors: list[PositionPastEnd] = []
    deadline = time.monotonic() + ENOUGH
    while (len(received) < 2 or not errors) and time.monotonic() < deadline:
        try:
            received += consumer.poll(1.0, 10)
        except PositionPastEnd as error:
            errors.append(error)
    assert [error.partition for error in errors] == [elsewhere]
    assert values(received) == [b"0", b"1"]
    assert [(each.position, each.partition) for each in consumer.set_aside().values()] == [(50, elsewhere)]
    assert home in consumer.assignment()
    assert elsewhere not in consumer.assignment()
    database |= {elsewhere: 0, home: 1}
    consumer.begin_again()
    assert values(receive(consumer, 1)) == [b"1"]
    assert consumer.set_aside() == {}
    assert elsewhere in consumer.assignment()


def test_two_consumers_share_the_partitions_and_who_stays_gets_all(desk: Desk) -> None:
    """Each in its thread, as workers are: a group waits for all of its members to poll."""
    seen: dict[str, list[Message]] = {"first": [], "second": []}
    consumers: dict[str, Consumer] = {}
    leave = {name: threading.Event() for name in seen}

    def work(name: str) -> None:
        consumer = consumers[name] = desk.cluster.consumer(desk.topic, group=desk.topic, on_assign=lambda _: {})
        while not leave[name].is_set():
            seen[name] += consumer.poll(0.1, 100)
        consumer.close()

    def owned(name: str) -> set[int]:
        return {partition.partition for partition in consumers[name].assignment()} if name in consumers else set()

    threads = {name: threading.Thread(target=work, args=(name,)) for name in seen}
    try:
        threads["first"].start()
        until(lambda: len(owned("first")) == 4)
        threads["second"].start()
        until(lambda: len(owned("first")) == len(owned("second")) == 2)
        assert owned("first") | owned("second") == {0, 1, 2, 3}
        leave["second"].set()
        until(lambda: len(owned("first")) == 4)
        desk.publish(b"after", key=None)
        until(lambda: values(seen["first"])[-1:] == [b"after"])
    finally:
        for name, thread in threads.items():
            leave[name].set()
            if thread.ident is not None:  # it was started
                thread.join()


def test_a_topic_created_anew_has_another_id_and_is_read_from_its_start(
    desk: Desk, request: pytest.FixtureRequest
) -> None:
    if request.node.callspec.params["desk"] == ("confluent-kafka", "broker"):
        pytest.skip(CRASHES_LIBRDKAFKA)
    desk.publish(b"0", b"1", b"2")
    database: dict[Partition, int] = {}
    consumer = desk.consumer(lambda _: database)
    for message in receive(consumer, 3):
        database[Partition(message.topic, message.topic_id, message.partition)] = message.offset + 1
    old = desk.cluster.topic_ids([desk.topic])[desk.topic]

    desk.cluster.delete_topic(desk.topic)
    until(lambda: desk.cluster.topic_ids([desk.topic]) == {})
    desk.cluster.ensure_topics({desk.topic: 4})
    until(lambda: desk.topic in desk.cluster.topic_ids([desk.topic]))
    new = desk.cluster.topic_ids([desk.topic])[desk.topic]
    assert new != old

    desk.publish(b"new 0", b"new 1", b"new 2", b"new 3")
    messages = receive(consumer, 4)
    assert values(messages) == [b"new 0", b"new 1", b"new 2", b"new 3"]
    assert {message.topic_id for message in messages} == {new}


def test_ensuring_topics_again_changes_nothing(desk: Desk) -> None:
    before = desk.cluster.topic_ids([desk.topic])
    desk.cluster.ensure_topics({desk.topic: 4})
    assert desk.cluster.topic_ids([desk.topic]) == before


# ---------------------------------------------------------------- only the real one can be away


def test_a_broker_that_is_not_there_is_an_error_that_names_address_and_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        attempts: list[Callable[[], object]] = [
            lambda: KafkaPythonProducer(address, connect_seconds=0.3),
            lambda: KafkaPythonConsumer(address, group="g", topics=["t"], on_assign=lambda _: {}, connect_seconds=0.3),
            lambda: ConfluentProducer(address, connect_seconds=0.3),
            lambda: ConfluentConsumer(address, group="g", topics=["t"], on_assign=lambda _: {}, connect_seconds=0.3),
            lambda: kafka.ensure_topics(address, {"t": 1}, connect_seconds=0.3),
            lambda: kafka.topic_ids(address, ["t"], connect_seconds=0.3),
        ]
        for attempt in attempts:
            with pytest.raises(BrokerUnreachable, match=rf"{address}.*TENANTRY_KAFKA_BOOTSTRAP"):
                attempt()


@pytest.mark.kafka
def test_a_position_before_the_start_is_an_error_that_names_it(desk: Desk, request: pytest.FixtureRequest) -> None:
    """Only Apache Kafka removes what is old."""
    if "apache_kafka" not in request.node.callspec.params["desk"]:
        pytest.skip("not asked for: `pytest -m kafka` runs it, on Apache Kafka")
    desk.publish(b"0", b"1", b"2")
    [message] = receive(desk.consumer(group="other"), 3)[:1]
    home = Partition(message.topic, message.topic_id, message.partition)
    admin = KafkaAdminClient(bootstrap_servers=request.getfixturevalue("apache_kafka").bootstrap)
    admin.delete_records({TopicPartition(home.topic, home.partition): 2})
    admin.close()
    consumer = desk.consumer(lambda _: {home: 1})
    with pytest.raises(PositionExpired, match=rf"position 1 of {desk.topic}/\d .* before its start, 2: .*sent again"):
        receive(consumer, 1)


@pytest.mark.kafka
def test_only_what_is_committed_comes(desk: Desk, request: pytest.FixtureRequest) -> None:
    """Apache Kafka says which transactions were aborted; the embedded broker does not, and their messages come."""
    if "apache_kafka" not in request.node.callspec.params["desk"]:
        pytest.skip("not asked for: `pytest -m kafka` runs it, on Apache Kafka")
    assert isinstance(desk.cluster, KafkaPythonCluster)
    desk.cluster.put_transaction(desk.topic, b"aborted", "abort")
    open_one = transactional(desk.cluster.bootstrap)
    open_one.begin_transaction()
    open_one.produce(desk.topic, b"open", partition=0)
    open_one.flush()
    consumer = desk.consumer()
    seen: list[Message] = []
    silent_until = time.monotonic() + 6
    while time.monotonic() < silent_until:
        seen += consumer.poll(0.2, 10)
    assert seen == []
    home = next(each for each in consumer.assignment() if each.partition == 0)
    assert consumer.positions()[home] <= 2
    with PartitionReader(desk.cluster.bootstrap) as reader:
        assert reader.bounds(home) == Bounds(start=0, end=2)
    open_one.commit_transaction()
    assert values(receive(consumer, 1)) == [b"open"]
    until(lambda: not consumer.poll(0.1, 10) and consumer.positions()[home] == 4)


@pytest.mark.parametrize("client", CLUSTERS)
def test_each_of_several_servers_may_be_an_ipv6_address_and_away(
    client: str, broker: EmbeddedBroker, topic_prefix: str
) -> None:
    with forwarded("::1", int(broker.bootstrap.rpartition(":")[2])) as port, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        desk = Desk(CLUSTERS[client](f"127.0.0.1:{closed.getsockname()[1]},[::1]:{port}"), f"{topic_prefix}topic")
        desk.cluster.ensure_topics({desk.topic: 1})
        desk.publish(b"0")
        consumer = desk.consumer()
        assert values(receive(consumer, 1)) == [b"0"]
        for opened in desk.opened:
            opened.close()


@contextmanager
def forwarded(host: str, port: int) -> Iterator[int]:
    """A port on `host` whose connections go to `port` on 127.0.0.1."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as other:
                back = threading.Thread(target=_copy, args=(other, self.request))
                back.start()
                _copy(self.request, other)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6
        daemon_threads = True
        block_on_close = False

    with Server((host, 0), Forward) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("client", CLUSTERS)
def test_producer_and_consumer_outlive_a_broker_that_lost_its_memory(
    tmp_path: Path, topic_prefix: str, client: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"{topic_prefix}topic"
    broker = EmbeddedBroker(tmp_path)
    broker.start()
    cluster = CLUSTERS[client](broker.bootstrap)
    port = int(broker.bootstrap.split(":")[1])
    cluster.ensure_topics({topic: 1})
    database: dict[Partition, int] = {}
    producer, consumer = (
        cluster.producer(),
        cluster.consumer(topic, group=topic, on_assign=lambda _: database),
    )
    producer.send(topic, key=b"k", value=b"before")
    producer.flush()
    for message in receive(consumer, 1):
        database[Partition(message.topic, message.topic_id, message.partition)] = message.offset + 1

    broker.stop()
    producer.send(topic, key=b"k", value=b"lost")
    with pytest.raises(PublishFailed, match="1 messages may not have reached Kafka"):
        producer.flush(0.5)
    asked_twice = time.monotonic() + 3
    while time.monotonic() < asked_twice:
        assert consumer.poll(0.2, 10) == []
    assert sum("no broker tells the ids" in each.getMessage() for each in caplog.records) == 1

    broker = EmbeddedBroker(tmp_path, port=port)
    broker.start()
    cluster.ensure_topics({topic: 1})
    for value in (b"again", b"and on"):
        producer.send(topic, key=b"k", value=value)
        producer.flush()
    assert values(receive(consumer, 2)) == [b"again", b"and on"]
    consumer.close()
    producer.close()
    broker.stop()
