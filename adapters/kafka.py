"""How do messages come from Kafka and go to it?

The front door: the ports and their errors (adapters/kafka_ports.py) and the client that is always installed
(adapters/kafka_python.py). The other one, adapters/kafka_confluent.py, is imported by who asks for it.
"""

from __future__ import annotations

from adapters.kafka_ports import (
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
from adapters.kafka_python import KafkaPythonConsumer, KafkaPythonProducer, ensure_topics, topic_ids

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
