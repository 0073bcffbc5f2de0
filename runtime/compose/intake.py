"""Intake: messages from Kafka, from the backlog and from the quarantine, and the lifecycle that takes them in."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from adapters.kafka import cloudevents_reader as inbound
from adapters.kafka import fast_reader
from adapters.kafka.ports import Consumer, Message, OnAssign
from adapters.kafka.preserved_messages import KafkaMessage, preserve, restore
from application.inbound import Inbound, Readable, RefusedMessage, set_aside
from application.ingest import Lifecycle
from application.ingest_parts import IntakeLog
from application.ports.inbox import WaitingMessage
from domain.faults import INTERNAL_ERROR
from runtime import faults
from runtime.compose.kafka import consumer_of
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, utc_now


@once
def lifecycle_of(parts: Parts) -> Lifecycle:
    return lifecycle_on(parts, parts.log)


def lifecycle_on(parts: Parts, log: IntakeLog) -> Lifecycle:
    """The lifecycle on a log that may be another one: for a rehearsal."""
    return Lifecycle(
        log=log,
        catalog=parts.catalog,
        policy=parts.policy,
        clock=utc_now,
        new_id=new_id,
        reread=messages_of(parts).reread,
        on_fault=faults.tell,
    )


@once
def messages_of(parts: Parts) -> IncomingMessages:
    return IncomingMessages(parts.master_key, lifecycle_topic=parts.settings.lifecycle_topic)


def intake_consumer_of(parts: Parts, on_assign: OnAssign) -> Consumer:
    settings = parts.settings
    topics = [settings.commerce_topic, settings.lifecycle_topic]
    return consumer_of(parts, on_assign, group=settings.consumer_group, topics=topics)


class IncomingMessages:
    """Messages as the lifecycle takes them, whether they come from Kafka, the backlog or the quarantine.

    Their digests are keyed: a reader of the table cannot try out whom a message was about.
    """

    def __init__(self, master_key: bytes, *, lifecycle_topic: str) -> None:
        self._lifecycle_topic = lifecycle_topic
        self._digest = hmac.new(hmac.digest(master_key, b"tenantry.message-digest.v1", "sha256"), digestmod="sha256")

    def read(self, message: Message) -> Inbound:
        """A message on Kafka, as the lifecycle takes it."""
        why = message.undecodable
        read = fast_reader.read(message) if why is None else inbound.unread(message, "undecodable", why)
        return self._placed(message, read, message.topic, message.partition, message.offset)

    def reread(self, waiting: WaitingMessage) -> Inbound:
        """A message from the backlog, as it came."""
        return self.restored(waiting.body, waiting.topic, waiting.partition, waiting.offset)

    def restored(self, body: bytes, topic: str, partition: int, offset: int) -> Inbound:
        """A stored message through the front door again."""
        message = restore(body)
        return self._placed(message, fast_reader.read(message), topic, partition, offset)

    def refused(self, message: Message, error: Exception) -> Iterator[Inbound]:
        """As what a message is quarantined that met an unexpected error: with all that is known of it; as it came, of
        the tenant that its key names; and without a tenant, where the fault lies in the tenant's keys."""
        reason = faults.tell(error)
        place = message.topic, message.partition, message.offset
        read: Inbound | None = None
        with suppress(Exception):  # it may be the reading that fails
            read = self.read(message)
        if read is not None:
            yield set_aside(read, reason)
        unread = inbound.unread(message, INTERNAL_ERROR, reason)
        if message.topic == self._lifecycle_topic:
            yield self._placed(message, replace(unread, tenant_id=inbound.tenant_in_key(message)), *place)
        yield self._placed(message, unread, *place)

    def _placed(
        self,
        message: KafkaMessage,
        read: inbound.InboundMessage | inbound.UnreadableMessage,
        topic: str,
        partition: int,
        offset: int,
    ) -> Inbound:
        keyed = self._digest.copy()  # half the work is done with the key
        keyed.update(read.digest)
        digest = keyed.digest()
        if isinstance(read, inbound.InboundMessage):
            return Readable(
                source=read.source,
                id=read.id,
                type=read.type,
                time=read.time,
                revision=read.revision,
                command=read.command,
                tenant_id=read.tenant_id,
                digest=digest,
                whole=partial(preserve, message),
                topic=topic,
                partition=partition,
                offset=offset,
            )
        return RefusedMessage(
            rule=read.rule,
            explanation=read.explanation,
            source=read.source,
            id=read.id,
            type=read.type,
            tenant_id=read.tenant_id,
            customer_id=read.customer_id,
            digest=digest,
            body=read.body,
            topic=topic,
            partition=partition,
            offset=offset,
        )
