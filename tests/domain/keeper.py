"""What does a driver of the saga see of an event log on real PostgreSQL, and by which clock does it go there?

The log goes by the clock that it is given, with two exceptions: whoever waited for an obstacle is due at the server's
`now()`, and a wake row for a time that the server's clock has not come to yet is not written twice. A virtual clock
that is ahead of the server's, and never says the same time twice, makes no difference of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from adapters.postgres.event_log import PostgresEventLog
from application.ports.work_queue import Lease, WorkItem
from application.unit_of_work import UnitOfWork
from domain.event import Recorded
from tests.domain.given import Clock
from tests.fakes.sealing import InMemorySealingKeys


class ClockAhead(Clock):
    """Runs an hour ahead of the server's, and a microsecond each time that it is looked at."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC) + timedelta(hours=1))

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now


class PostgresKeeper(PostgresEventLog):
    """A log in that database; `before_record` is called ahead of each recording, as `MemoryEventLog` does."""

    def __init__(self, url: str) -> None:
        super().__init__(url, InMemorySealingKeys())
        self.before_record: Callable[[UnitOfWork], None] = lambda recording: None

    def record(self, recording: UnitOfWork) -> None:
        self.before_record(recording)
        super().record(recording)

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """As if the high-water agent had just been here."""
        self.advance_mark()
        return super().read(after, limit)

    @property
    def events(self) -> Sequence[Recorded]:
        return self.read(0, 1_000_000)

    @property
    def work_items(self) -> Mapping[int, WorkItem]:
        rows = self._rows("SELECT number, scope, due_at FROM wakes ORDER BY number", ())
        return {number: WorkItem(scope, at) for number, scope, at in rows}

    @property
    def leases(self) -> Mapping[str, Lease]:
        rows = self._rows("SELECT scope, owner, token, until FROM leases ORDER BY scope", ())
        return {scope: Lease(scope, owner, token, (), until) for scope, owner, token, until in rows}
