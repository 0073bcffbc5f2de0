"""Export budgets in PostgreSQL: one row a grant, locked while a chunk is taken of it.

A chunk has a row of its own until its rest was given back, so that a rest counts once. What a killed process had taken
stays spent: nobody knows what it has read.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from adapters.postgres.connection import Limits, connect
from adapters.postgres.sessions import Sessions
from application.ports.export_budgets import Amounts, Chunk

KEPT: Final = 2
_LIMITS: Final = Limits(statement=5.0, lock=2.0, idle_in_transaction=5.0)


class PostgresExportBudgets:
    """For many threads."""

    def __init__(self, url: str) -> None:
        self._sessions = Sessions(lambda: connect(url, autocommit=True, limits=_LIMITS), keep=KEPT)

    def close(self) -> None:
        self._sessions.close()

    def take(self, grant_id: str, chunk_id: UUID, *, asked: Amounts, limit: Amounts) -> Chunk | None:
        with self._sessions() as session, session.transaction():
            session.execute(_MAKE, (grant_id,), prepare=True)
            row = session.execute(_LOCK, (grant_id,), prepare=True).fetchone()
            assert row is not None, "it was made above, and is never deleted"
            taken = Amounts(min(asked.rows, limit.rows - row[0]), min(asked.bytes, limit.bytes - row[1]))
            if taken.rows <= 0 or taken.bytes <= 0:
                return None
            session.execute(_SPEND, (*taken, grant_id), prepare=True)
            session.execute(_KEEP, (grant_id, chunk_id, *taken), prepare=True)
        return Chunk(chunk_id, taken)

    def give_back(self, grant_id: str, chunk_id: UUID, rest: Amounts) -> bool:
        if rest.rows < 0 or rest.bytes < 0:
            return False
        with self._sessions() as session, session.transaction():
            session.execute(_LOCK, (grant_id,), prepare=True)
            if session.execute(_END, (grant_id, chunk_id, *rest), prepare=True).rowcount != 1:
                return False
            session.execute(_SPEND, (-rest.rows, -rest.bytes, grant_id), prepare=True)
        return True

    def spent(self, grant_id: str) -> Amounts:
        with self._sessions() as session:
            row = session.execute(_SPENT, (grant_id,)).fetchone()
        return Amounts(0, 0) if row is None else Amounts(int(row[0]), int(row[1]))


_MAKE: Final = "INSERT INTO export_budgets (grant_id) VALUES (%s) ON CONFLICT DO NOTHING"
_SPENT: Final = "SELECT rows_spent, bytes_spent FROM export_budgets WHERE grant_id = %s"
_LOCK: Final = f"{_SPENT} FOR UPDATE"
_SPEND: Final = (
    "UPDATE export_budgets SET rows_spent = rows_spent + %s, bytes_spent = bytes_spent + %s WHERE grant_id = %s"
)
_KEEP: Final = "INSERT INTO export_chunks (grant_id, chunk_id, rows, bytes) VALUES (%s, %s, %s, %s)"
_END: Final = "DELETE FROM export_chunks WHERE grant_id = %s AND chunk_id = %s AND rows >= %s AND bytes >= %s"
