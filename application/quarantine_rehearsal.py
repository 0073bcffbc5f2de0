"""Rehearsal of the retry of a quarantined message: today's reader, today's decision, and nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from application.inbound import Inbound
from application.ingest import Lifecycle
from application.ingest_parts import IntakeLog
from application.ports.quarantine import QuarantinedMessages
from application.unrecorded import Unrecorded
from domain.errors import TenantryError
from domain.event_registry import REGISTRY
from domain.faults import INTERNAL_ERROR


@dataclass(frozen=True, slots=True)
class RehearsedRetry:
    """`outcome` as of a retry; `events`, the titles of what would be recorded; `rule` and `reason` of a refusal."""

    outcome: str
    events: tuple[str, ...] = ()
    rule: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class QuarantineRehearsal:
    """`lifecycle_on` is the intake's lifecycle on another log; `tell` names an unexpected error."""

    quarantine: QuarantinedMessages
    log: IntakeLog
    lifecycle_on: Callable[[IntakeLog], Lifecycle]
    restored: Callable[[bytes, str, int, int], Inbound]
    tell: Callable[[Exception], str]

    def of_retry(self, number: int) -> RehearsedRetry:
        """Raises UsageError where there is no such message, or its key was forgotten."""
        entry = self.quarantine.entry(number)
        body = self.quarantine.body(entry)
        log = Unrecorded(self.log)
        try:
            message = self.restored(body, entry.topic, entry.partition, entry.offset)
            outcome = self.lifecycle_on(log).intake([message], released=number)
        except TenantryError:
            raise
        except Exception as error:  # noqa: BLE001 - a retry would meet it as well: that is what is asked for
            return RehearsedRetry("quarantined", rule=INTERNAL_ERROR, reason=self.tell(error))
        refused = [each for unit in log.units for each in unit.quarantined]
        events = tuple(REGISTRY[type(each.event)].title for unit in log.units for each in unit.events)
        became = next(iter(outcome.counts), "nothing")
        if refused:
            return RehearsedRetry(became, events, refused[0].rule, refused[0].reason)
        return RehearsedRetry(became, events)
