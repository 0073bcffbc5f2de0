"""librdkafka: its settings, its errors by what follows from them, and its messages and topic ids as ours."""

from __future__ import annotations

import logging
from operator import methodcaller
from typing import Any, Final
from uuid import UUID

from confluent_kafka import KafkaError

from adapters.kafka.ports import LONGEST_FETCH_MS, Message, Partition

log = logging.getLogger(__name__)

OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001

# What it says of a batch, or a message, that it cannot decode.
UNDECODABLE: Final = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError._UNDERFLOW,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)

# librdkafka goes on by itself after each of these; a topic that is not there may come.
PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def client_settings(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "allow.auto.create.topics": False,
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": _log_error,
        "log_level": 0,  # it would write on our stderr; what matters reaches us as an error
    }


def consumer_settings(bootstrap: str, group: str) -> dict[str, Any]:
    return client_settings(bootstrap) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # "earliest" would hide a position that Kafka does not have
        "max.partition.fetch.bytes": 2 * 2**20,  # a larger message comes all the same, alone
        "fetch.wait.max.ms": LONGEST_FETCH_MS,
        "queued.max.messages.kbytes": 32 * 2**10,  # fetched ahead; the rest of a worker needs memory, too
        "check.crcs": True,
    }


def topic_id(topic: str, number: Any) -> str:
    """Written as kafka-python does: the database compares it."""
    high, low = number.get_most_significant_bits(), number.get_least_significant_bits()  # signed
    return str(UUID(int=(high % 2**64 << 64) | low % 2**64)) if high or low else topic


_headers_of: Final = methodcaller("headers")
"""Where a header's name is not UTF-8, confluent-kafka returns a list with a hole, and an error at the same time. A
plain call misses the error, once Python has optimised it, and the hole ends the process; `methodcaller` finds it."""


def message_of(partition: Partition, offset: int, record: Any) -> Message:
    headers = _headers_of(record)
    return Message(
        partition.topic,
        partition.topic_id,
        partition.partition,
        offset,
        record.key(),
        record.value(),
        tuple([(name, value or b"") for name, value in headers]) if headers else (),
        record.timestamp()[1],
    )


def _log_error(error: KafkaError) -> None:
    log.debug("librdkafka: %s", error)
