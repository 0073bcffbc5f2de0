"""Sweep ledger: the progress of the background sweep.

In one row. A session's advisory lock says which process sweeps: who loses the session has lost the lock, and asks
again.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from adapters.postgres.connection import Session
from application.drift_sweep import SweepProgress

SWEEP_LOCK: Final = 7_305_808_868_231_650_681


class PostgresLedger:
    """`domain.sweeping.Ledger` in the control database."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, row_factory=dict_row)
        self._locked_in: int | None = None

    def close(self) -> None:
        self._session.close()

    def hold(self) -> bool:
        if not self._session.is_open or self._locked_in != self._session.number:
            row = self._execute("SELECT pg_try_advisory_lock(%(lock)s) AS locked", {"lock": SWEEP_LOCK})
            self._locked_in = self._session.number if row and row["locked"] else None
        return self._locked_in is not None

    def read(self) -> SweepProgress:
        row = self._execute(
            "SELECT finished_at, started_at, after, tenants, handed_over, looked_at, absent, silent AS unreachable,"
            " stopped_at, reason FROM sweeps"
        )
        assert row is not None
        return SweepProgress(**row)

    def write(self, progress: SweepProgress) -> None:
        self._execute(
            "UPDATE sweeps SET finished_at = %(finished_at)s, started_at = %(started_at)s, after = %(after)s,"
            " tenants = %(tenants)s, handed_over = %(handed_over)s, looked_at = %(looked_at)s, absent = %(absent)s,"
            " silent = %(silent)s, stopped_at = %(stopped_at)s, reason = %(reason)s RETURNING 1",
            {
                "finished_at": progress.finished_at,
                "started_at": progress.started_at,
                "after": progress.after,
                "tenants": progress.tenants,
                "handed_over": progress.handed_over,
                "looked_at": Jsonb(dict(progress.looked_at)),
                "absent": Jsonb(dict(progress.absent)),
                "silent": Jsonb(dict(progress.unreachable)),
                "stopped_at": progress.stopped_at,
                "reason": progress.reason,
            },
        )

    def go_on(self) -> bool:
        """An operator has looked at everything: a sweep that had stopped itself may go on; whether one had."""
        row = self._execute(
            "UPDATE sweeps SET stopped_at = NULL, reason = NULL, started_at = NULL, finished_at = now(), after = ''"
            " WHERE stopped_at IS NOT NULL RETURNING 1 AS went_on"
        )
        return row is not None

    def _execute(self, statement: str, parameters: dict[str, Any] | None = None) -> dict[str, Any] | None:
        with self._session() as connection:
            found: dict[str, Any] | None = connection.execute(statement.encode(), parameters).fetchone()
        return found
