"""Quarantine: the messages that could not be applied, as operators see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One message. `repeats` counts how often it came again while it lay here."""

    number: int
    state: str
    rule: str
    reason: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    topic: str
    partition: int
    offset: int
    repeats: int
    received_at: datetime
    digest: bytes
    encrypted_body: str


@dataclass(frozen=True, slots=True)
class Picked:
    """Selection of messages: those that match all fields; None matches any."""

    rule: str | None = None
    source: str | None = None
    type: str | None = None
    tenant_id: str | None = None

    @property
    def says_nothing(self) -> bool:
        return self == Picked()


EVERYTHING: Final = Picked()


class QuarantinedMessages(Protocol):
    """The operators' side of the quarantine."""

    def entries(
        self, *, state: str = "open", limit: int = 1000, picked: Picked = EVERYTHING, after: int = 0
    ) -> Sequence[QuarantineEntry]:
        """The messages in a state that match, after the one of that number, oldest first."""

    def entry(self, number: int) -> QuarantineEntry:
        """One message; UsageError where there is none of that number."""

    def refused_again(self, entry: QuarantineEntry) -> QuarantineEntry | None:
        """The open message that a retry of `entry` has come to."""

    def body(self, entry: QuarantineEntry) -> bytes:
        """The whole message; UsageError where its key was forgotten."""
