"""How do the Kafka clients meet an outage, and how soon are they back?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from adapters.kafka.clients import (
    BrokerUnreachable,
    KafkaPythonConsumer,
    KafkaPythonProducer,
    Partition,
    ensure_topics,
    topic_ids,
)
from adapters.kafka.confluent import ConfluentConsumer
from tests.outages.servers import Broker

pytestmark = [pytest.mark.outages, pytest.mark.timeout(90)]


def nothing_known(partitions: frozenset[Partition]) -> dict[Partition, int]:
    return {}


@pytest.mark.parametrize("consumer_of", [KafkaPythonConsumer, ConfluentConsumer])
def test_after_a_quarter_of_a_minute_without_a_broker_a_consumer_is_back_within_five_seconds(
    consumer_of: Callable[..., Any],
) -> None:
    with Broker() as broker:
        ensure_topics(broker.bootstrap, {"t": 2})
        consumer = consumer_of(broker.bootstrap, group="g", topics=["t"], on_assign=nothing_known)
        with closing(consumer):
            _publish(broker)
            _until_it_comes(consumer, seconds=30)
            broker.wire.set("refuses")
            began = time.monotonic()
            while time.monotonic() - began < 15:
                consumer.poll(0.05, 100)
            broker.wire.set("passes")
            _publish(broker)
            _until_it_comes(consumer, seconds=5)


def test_a_question_to_the_broker_that_is_cut_off_is_an_outage_and_no_error_of_the_client() -> None:
    answered = 0
    with Broker() as broker:
        ensure_topics(broker.bootstrap, {"t": 1})
        broker.wire.set("resets")
        for _ in range(100):
            try:
                topic_ids(broker.bootstrap, ["t"], connect_seconds=2)
                answered += 1
            except BrokerUnreachable:
                continue
    assert 0 < answered < 100, "resets that meet no question, or all of them, show nothing"


def _publish(broker: Broker) -> None:
    with closing(KafkaPythonProducer(broker.bootstrap)) as producer:
        producer.send("t", key=b"k", value=b"v")
        producer.flush()


def _until_it_comes(consumer: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not consumer.poll(0.05, 100):
        assert time.monotonic() < deadline, f"nothing comes for {seconds:g} s"
