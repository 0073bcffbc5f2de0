"""Kafka clients: the entry to the ports and to the client that is always installed.

The front door: the ports and their errors (adapters/kafka/ports.py) and the client that is always installed
(adapters/kafka/kafka_python.py). The other one, adapters/kafka/confluent.py, is imported only where it is asked for.
"""

from __future__ import annotations

from adapters.kafka.kafka_python import KafkaPythonConsumer, KafkaPythonProducer, ensure_topics, topic_ids
from adapters.kafka.ports import (
    LARGEST_MESSAGE_BYTES,
    BrokerUnreachable,
    Consumer,
    GroupSession,
    Message,
    OnAssign,
    Partition,
    PositionExpired,
    PositionOutOfRange,
    PositionPastEnd,
    Producer,
    PublishFailed,
)

__all__ = [
    "LARGEST_MESSAGE_BYTES",
    "BrokerUnreachable",
    "Consumer",
    "GroupSession",
    "KafkaPythonConsumer",
    "KafkaPythonProducer",
    "Message",
    "OnAssign",
    "Partition",
    "PositionExpired",
    "PositionOutOfRange",
    "PositionPastEnd",
    "Producer",
    "PublishFailed",
    "ensure_topics",
    "topic_ids",
]
