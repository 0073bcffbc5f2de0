"""Commands of operators on quarantined messages: show, retry and discard, each recorded as an act.

    show       the whole message in the clear: it may hold personal data, so that it was shown is recorded first
    retry      the act is recorded, then the message goes through the front door again, with an outcome of its own
    discard    the message is closed in the transaction of the act, without being applied; it is kept

A message that is closed already is refused. What waited behind a message is taken in after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from application.inbound import Inbound
from application.ingest import Lifecycle
from application.operator_acts import Acts
from application.ports.quarantine import QuarantinedMessages, QuarantineEntry
from domain.errors import TenantryError, UsageError, problem
from domain.faults import INTERNAL_ERROR
from domain.names import is_tenant_id
from domain.operator import Operator
from domain.operator_events import MessageDiscarded, MessageRetried, PersonalDataShown


@dataclass(frozen=True, slots=True)
class MessageRetry:
    """What became of a retried message; `refused_as` is the message that it was quarantined as again."""

    outcome: str
    refused_as: QuarantineEntry | None = None


@dataclass(frozen=True, slots=True)
class QuarantineCommands:
    """`restored` makes a stored body at its place on Kafka a message again; `tell` names an unexpected error."""

    quarantine: QuarantinedMessages
    acts: Acts
    lifecycle: Lifecycle
    restored: Callable[[bytes, str, int, int], Inbound]
    tell: Callable[[Exception], str]

    def show(self, number: int, *, reason: str | None, by: Operator) -> tuple[QuarantineEntry, bytes]:
        """The message and its body. Raises UsageError."""
        entry = self.quarantine.entry(number)
        body = self.quarantine.body(entry)
        act = PersonalDataShown(
            tenant_id=_tenant_of(entry), what="message", number=number, operator=str(by), reason=reason
        )
        self.acts.record(act, by=by)
        return entry, body

    def retry(self, number: int, *, by: Operator) -> MessageRetry:
        """Take the message in again. Raises UsageError, and TenantryError where it stays for a fault of ours."""
        entry = self.quarantine.entry(number)
        self._must_be_open(number, "retried")
        body = self.quarantine.body(entry)
        act = MessageRetried(**_named(entry), operator=str(by))
        self.acts.record(act, by=by, still_right=lambda: self._must_be_open(number, "retried"))
        outcome = self._taken_in(entry, body)
        self._let_in(entry)
        return MessageRetry(outcome, self.quarantine.refused_again(entry) if outcome == "quarantined" else None)

    def discard(self, number: int, *, reason: str, by: Operator) -> None:
        """Close the message. Raises UsageError."""
        entry = self.quarantine.entry(number)
        act = MessageDiscarded(**_named(entry), operator=str(by), reason=reason)
        self.acts.record(act, by=by, still_right=lambda: self._must_be_open(number, "discarded"))
        self._let_in(entry)

    def _taken_in(self, entry: QuarantineEntry, body: bytes) -> str:
        try:
            message = self.restored(body, entry.topic, entry.partition, entry.offset)
            outcome = self.lifecycle.intake([message], released=entry.number)
        except TenantryError:
            raise
        except Exception as error:
            raise TenantryError(problem("message-stays", number=entry.number, reason=self.tell(error))) from error
        return next(iter(outcome.counts), "nothing")

    def _let_in(self, entry: QuarantineEntry) -> None:
        """Take in what waited behind the message; after a kill before this, the tenant's next message does it."""
        if entry.rule == INTERNAL_ERROR and entry.tenant_id is not None:
            self.lifecycle.let_in(entry.tenant_id)

    def _must_be_open(self, number: int, becomes: str) -> None:
        state = self.quarantine.entry(number).state
        if state != "open":
            raise UsageError(problem("message-settled", number=number, state=state, becomes=becomes))


def _named(entry: QuarantineEntry) -> dict[str, Any]:
    """The message as an act records it: without its content."""
    return {
        "tenant_id": _tenant_of(entry),
        "number": entry.number,
        "rule": entry.rule,
        "topic": entry.topic,
        "partition": entry.partition,
        "offset": entry.offset,
    }


def _tenant_of(entry: QuarantineEntry) -> str | None:
    """The tenant of the message, only where the id can be valid: what a broken message holds may be about a person."""
    return entry.tenant_id if is_tenant_id(entry.tenant_id) else None
