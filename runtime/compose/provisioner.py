"""Provisioner: the executors of the configuration in use, and the replies of provisioners of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from adapters.kafka.ports import Consumer, Message, OnAssign, Producer
from adapters.postgres.event_log import PostgresEventLog
from adapters.provisioners import replies
from adapters.provisioners.foreign import check_secrets
from adapters.provisioners.signed_requests import SigningSecret
from adapters.resources.executors import executors
from application.ports.work_queue import Reply
from domain.catalog import Catalog
from domain.configuration import Configuration
from runtime import faults
from runtime.compose.kafka import consumer_of, producer_of
from runtime.compose.parts import Parts
from runtime.compose.process import once, once_per_configuration
from runtime.compose.resources import outside_of
from runtime.settings import Settings
from runtime.webhook_secrets import load_webhook_secrets


@once_per_configuration
def executors_of(parts: Parts) -> Any:
    check_secrets(parts.catalog, webhook_secrets_of(parts))
    return _executors(parts)


def executors_of_configuration(parts: Parts, configuration: Configuration) -> Any:
    """The executors of a configuration that was adopted while this process runs; it is used from here on."""
    parts.use(configuration)
    return _executors(parts)


def _executors(parts: Parts) -> Any:
    return executors(
        outside_of(parts),
        webhook_secrets=webhook_secrets_of(parts),
        producer=_commands(parts).producer,
        egress_proxy=parts.settings.egress_proxy,
    )


@once
def webhook_secrets_of(parts: Parts) -> Mapping[str, SigningSecret]:
    secrets = load_webhook_secrets(parts.settings)
    return {name: SigningSecret.parse(secret, name=name) for name, secret in secrets.items()}


class _Commands:
    """The producer of commands to the provisioners of others, for all threads; it connects with the first."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._connecting = Lock()
        self._producer: Producer | None = None

    def producer(self) -> Producer:
        with self._connecting:
            if self._producer is None:
                self._producer = self._parts.closing(producer_of(self._parts))
            return self._producer


_commands = once(_Commands)


class ReplyConsumer:
    """The replies of provisioners of others: their consumer, and how one is read."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def settings(self) -> Settings:
        return self._parts.settings

    @property
    def catalog(self) -> Catalog:
        return self._parts.catalog

    @property
    def log(self) -> PostgresEventLog:
        return self._parts.log

    def reply_consumer(self, on_assign: OnAssign) -> Consumer:
        group = f"{self.settings.consumer_group}-replies"
        return consumer_of(self._parts, on_assign, group=group, topics=[self.settings.replies_topic])

    def reply(self, message: Message) -> Reply | None:
        """A message on the topic of replies, as it is stored."""
        return replies.read(message, self.catalog, webhook_secrets_of(self._parts))

    def pass_reply(self, _: Message, error: Exception) -> Iterator[Reply | None]:
        """A reply that met an unexpected error is passed: the provisioner that awaits it asks again."""
        faults.tell(error)
        yield None
