"""Relay: the outbox, and the identity of the topic that it goes to."""

from __future__ import annotations

from adapters.kafka.kafka_python import topic_ids
from adapters.postgres.outbox import PostgresOutbox
from domain.errors import Unavailable, problem
from runtime.compose.parts import Parts
from runtime.compose.process import once


@once
def outbox_of(parts: Parts) -> PostgresOutbox:
    return PostgresOutbox(parts.endpoints.database_url)


def provisioning_topic_id_of(parts: Parts) -> str:
    name = parts.settings.provisioning_topic
    found = topic_ids(parts.endpoints.kafka_bootstrap, [name])
    if name not in found:
        raise Unavailable(problem("topic-missing", name=name))
    return found[name]
