"""Export budgets: how much of each grant is used up, in rows and bytes, across processes and kills.

    take a chunk ahead ─▶ export from it ─▶ give the rest back, once        killed in between: the chunk stays spent

A budget only knows what was spent. What may be spent at most stands in the grant, in the log, and is passed in with
each chunk: a grant that was revoked gives none.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID


class Amounts(NamedTuple):
    """Rows and bytes of data."""

    rows: int
    bytes: int


class Chunk(NamedTuple):
    """A part of a budget, taken ahead by one process."""

    id: UUID
    amounts: Amounts


class ExportBudgets(Protocol):
    """What was spent, by grant."""

    def take(self, grant_id: str, chunk_id: UUID, *, asked: Amounts, limit: Amounts) -> Chunk | None:
        """A chunk of at most `asked`; None where rows or bytes of the limit are used up. Raises Unavailable."""

    def give_back(self, grant_id: str, chunk_id: UUID, rest: Amounts) -> bool:
        """What was not used of a chunk; False where it was given back before, or is more than was taken."""

    def spent(self, grant_id: str) -> Amounts:
        """What was taken, less what was given back."""
