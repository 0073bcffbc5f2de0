"""Does the setting kafka_client choose the client, and say what to do where it is not installed?"""

from __future__ import annotations

import sys

import pytest

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka import record_batches as kafka_batches
from adapters.kafka.confluent import ConfluentProducer
from adapters.kafka.kafka_python import KafkaPythonProducer
from domain.errors import UsageError
from runtime.compose import Parts
from runtime.compose.intake import intake_consumer_of
from runtime.compose.kafka import producer_of
from runtime.compose.prepare import prepare
from runtime.instance import Endpoints
from runtime.settings import Settings


def parts(settings: Settings, kafka_bootstrap: str = "nowhere:9092") -> Parts:
    return Parts(settings, Endpoints(database_url="postgresql://nowhere/none", kafka_bootstrap=kafka_bootstrap))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), KafkaPythonProducer),
        (Settings(kafka_client="kafka-python"), KafkaPythonProducer),
        (Settings(kafka_client="confluent-kafka"), ConfluentProducer),
    ],
)
def test_the_setting_chooses_the_client(settings: Settings, expected: type, broker: EmbeddedBroker) -> None:
    producer = producer_of(parts(settings, broker.bootstrap))
    producer.close()
    assert type(producer) is expected


def test_a_client_that_is_not_installed_is_a_usage_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "adapters.kafka.confluent")
    monkeypatch.delattr("adapters.kafka.confluent")
    desired_state = parts(Settings(kafka_client="confluent-kafka"))
    for attempt in (
        lambda: producer_of(desired_state),
        lambda: intake_consumer_of(desired_state, lambda _: {}),
        lambda: prepare(desired_state),
    ):
        with pytest.raises(UsageError, match=r"pip install 'tenantry\[fast\]'"):
            attempt()


def test_a_codec_that_is_not_installed_is_a_usage_error_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_batches, "_PACKAGES", (("python-snappy", lambda: False), ("lz4", lambda: True)))
    desired_state = parts(Settings())
    for attempt in (
        lambda: producer_of(desired_state),
        lambda: intake_consumer_of(desired_state, lambda _: {}),
        lambda: prepare(desired_state),
    ):
        with pytest.raises(UsageError, match="cannot be read without python-snappy: run `pip install python-snappy`"):
            attempt()
