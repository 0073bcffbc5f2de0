"""Inbound messages: readable ones with their command, unreadable ones with their rule, each with its place on Kafka."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from application.ports.inbox import Incoming, QuarantinedMessage, WaitingMessage
from domain import customer as customers
from domain.commands import Command, CreateTenant, UpdateCustomer
from domain.faults import INTERNAL_ERROR
from domain.tenant import state as tenants
from domain.times import is_ahead


class Readable(Struct, frozen=True):
    """A message that is a CloudEvent of ours, with its place on Kafka. `tenant_id`: the tenant that the command is
    about; None for a customer's."""

    source: str
    id: str
    type: str
    time: datetime | None
    revision: int | None
    command: Command
    tenant_id: str | None
    digest: bytes
    whole: Callable[[], bytes]
    topic: str
    partition: int
    offset: int

    @property
    def body(self) -> bytes:
        """The message whole, for the backlog and the quarantine: most messages never need it."""
        return self.whole()

    @property
    def subject(self) -> str:
        """The subject whose key encrypts the body."""
        match self.command:
            case UpdateCustomer() | CreateTenant() as command:
                return customers.stream_of(command.customer_id)
            case command:
                return tenants.stream_of(command.tenant_id)


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """A message that is none of ours, with what could be read of it. `body` keeps it whole."""

    rule: str
    explanation: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    customer_id: str | None
    digest: bytes
    body: bytes
    topic: str
    partition: int
    offset: int

    @property
    def subject(self) -> str:
        if self.customer_id:
            return customers.stream_of(self.customer_id)
        return tenants.stream_of(self.tenant_id) if self.tenant_id else "unattributed"


Inbound = Readable | RefusedMessage

Reread = Callable[[WaitingMessage], Inbound]
"""Reads a message from the backlog again."""


Place = tuple[str, int, int]
"""Topic, partition and offset: which message it is, also of those that wait."""


def place_of(message: Inbound | WaitingMessage) -> Place:
    return message.topic, message.partition, message.offset


def set_aside(message: Inbound | WaitingMessage, reason: str) -> RefusedMessage:
    """The message as it is quarantined for an error of ours, where it cannot be read or decided at all."""
    command = message.command if isinstance(message, Readable) else None
    customer_id = command.customer_id if isinstance(command, UpdateCustomer | CreateTenant) else None
    return RefusedMessage(
        rule=INTERNAL_ERROR,
        explanation=reason,
        source=message.source,
        id=message.id,
        type=message.type,
        tenant_id=message.tenant_id,
        customer_id=message.customer_id if isinstance(message, RefusedMessage) else customer_id,
        digest=message.digest,
        body=message.body or b"",  # none where the person was forgotten
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
    )


def quarantined(message: Inbound, rule: str, explanation: str, *, now: datetime) -> QuarantinedMessage:
    """The message as the quarantine keeps it."""
    return QuarantinedMessage(
        digest=message.digest,
        rule=rule,
        reason=explanation,
        subject=message.subject,
        source=message.source,
        id=message.id,
        type=message.type,
        tenant_id=message.tenant_id,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        body=message.body,
        received_at=now,
    )


def dealt_with(message: Readable, outcome: str, *, now: datetime) -> Incoming:
    """The message as the inbox remembers it."""
    return Incoming(
        source=message.source,
        id=message.id,
        digest=message.digest,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        outcome=outcome,
        is_ahead=outcome == "recorded" and is_ahead(message.time, now),
    )
