"""Export grants as operators give and revoke them, and the chunks of budget that exporting programs take of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from application.operator_event import recorded_next
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.export_budgets import Amounts, Chunk, ExportBudgets
from domain.errors import UsageError, problem
from domain.event import Recorded
from domain.export_grants import (
    STREAM,
    ExportGrant,
    ExportGranted,
    ExportGrantRevoked,
    ExportRequest,
    granted,
    grants_of,
)
from domain.operator import Operator

Decide = Callable[[Mapping[str, ExportGrant]], ExportGranted | ExportGrantRevoked]


@dataclass(frozen=True, slots=True)
class ExportGrants:
    """Reads and records grants, and gives chunks of their budgets."""

    log: EventLog
    budgets: ExportBudgets
    clock: Clock
    new_id: NewId

    def all(self) -> Mapping[str, ExportGrant]:
        """Every grant that ever was, by its id."""
        return grants_of(self._recorded())

    def record(self, decide: Decide, *, by: Operator) -> Recorded:
        """What `decide` answers on the grants as they are, as it was recorded. Raises what it raises, and Conflict."""
        return recorded_next(
            self.log, STREAM, lambda before: decide(grants_of(before)), by=by, clock=self.clock, new_id=self.new_id
        )

    def take(self, request: ExportRequest, asked: Amounts) -> Chunk:
        """The next chunk for that export. Raises UsageError where the grant gives none, and Unavailable."""
        event = granted(self.all(), request, now=self.clock())
        limit = Amounts(event.rows, event.bytes)
        chunk = self.budgets.take(request.grant_id, self.new_id(), asked=asked, limit=limit)
        if chunk is None:
            raise UsageError(
                problem("export-budget-used-up", grant=request.grant_id, rows=event.rows, bytes=event.bytes)
            )
        return chunk

    def _recorded(self) -> list[Recorded]:
        return self.log.load({STREAM: 0}).get(STREAM, [])
