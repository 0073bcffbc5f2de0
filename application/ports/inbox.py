"""The inbox: messages that were seen, the backlog of those that wait, the quarantine, and the positions on Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """The next offset to read of a partition; `expected` is what it was when the batch began (None: no row)."""

    topic: str
    topic_id: str
    partition: int
    expected: int | None
    next_offset: int


class Incoming(Struct, frozen=True):
    """A message that was seen, for good. `digest` is over its canonical content, keyed, so that it cannot be guessed.

    `outcome` is recorded, stale, waiting or quarantined; only the last two may still change. `is_ahead`: its own time
    was too far ahead of the time of recording to count.
    """

    source: str
    id: str
    digest: bytes
    topic: str
    partition: int
    offset: int
    outcome: str
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message whose tenant does not exist yet. `body` is the canonical message; it is stored encrypted."""

    tenant_id: str
    source: str
    id: str
    type: str
    digest: bytes
    topic: str
    partition: int
    offset: int
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A message that cannot be applied, whole; `body` is stored encrypted. `subject` names whose key encrypts it.

    One that comes again while the first still lies open (same `digest`) is counted there.
    """

    digest: bytes
    rule: str
    reason: str
    subject: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    topic: str
    partition: int
    offset: int
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Discarded:
    """A quarantined message that is closed without being applied: by whom, and why."""

    number: int
    by: str
    reason: str


class Inbox(Protocol):
    """What is known of messages. A unit of work writes it (`UnitOfWork`)."""

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """The digests of those (source, id) that were seen."""

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        """What waits for each tenant, in the order of arrival."""

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        """The numbers of the messages of each tenant that lie open in quarantine under `internal-error`."""

    def faults_since(self, moment: datetime) -> int:
        """How many messages were quarantined under `internal-error` after the moment."""
