"""Kafka clients of a process: the classes that the setting `kafka_client` chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from adapters.kafka.ports import Consumer, OnAssign, Producer
from domain.errors import UsageError, problem

if TYPE_CHECKING:
    from runtime.compose.parts import Parts
    from runtime.settings import Settings


def producer_of(parts: Parts) -> Producer:
    """A new one; the caller closes it."""
    _, make = client_of(parts.settings)
    return make(parts.endpoints.kafka_bootstrap)


def consumer_of(parts: Parts, on_assign: OnAssign, *, group: str, topics: Sequence[str]) -> Consumer:
    """A new member of the group; the caller closes it."""
    make, _ = client_of(parts.settings)
    return make(parts.endpoints.kafka_bootstrap, group=group, topics=topics, on_assign=on_assign)


def client_of(settings: Settings) -> tuple[Callable[..., Consumer], Callable[..., Producer]]:
    """The chosen client's classes. Raises UsageError where it, or a codec, is not installed."""
    from adapters.kafka.record_batches import require_codecs  # noqa: PLC0415

    require_codecs()
    if settings.kafka_client == "kafka-python":
        from adapters.kafka.kafka_python import KafkaPythonConsumer, KafkaPythonProducer  # noqa: PLC0415

        return KafkaPythonConsumer, KafkaPythonProducer
    try:
        from adapters.kafka import confluent  # noqa: PLC0415 - an extra, and 12 MB of library
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise UsageError(problem("kafka-client-not-installed")) from None
    return confluent.ConfluentConsumer, confluent.ConfluentProducer
