"""Export budgets in memory: the fake of the port."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from application.ports.export_budgets import Amounts, Chunk


@dataclass
class FakeExportBudgets:
    """For one thread."""

    used: dict[str, Amounts] = field(default_factory=dict)
    open: dict[tuple[str, UUID], Amounts] = field(default_factory=dict)

    def take(self, grant_id: str, chunk_id: UUID, *, asked: Amounts, limit: Amounts) -> Chunk | None:
        used = self.spent(grant_id)
        taken = Amounts(min(asked.rows, limit.rows - used.rows), min(asked.bytes, limit.bytes - used.bytes))
        if taken.rows <= 0 or taken.bytes <= 0:
            return None
        self.used[grant_id] = Amounts(used.rows + taken.rows, used.bytes + taken.bytes)
        self.open[grant_id, chunk_id] = taken
        return Chunk(chunk_id, taken)

    def give_back(self, grant_id: str, chunk_id: UUID, rest: Amounts) -> bool:
        taken = self.open.get((grant_id, chunk_id), Amounts(-1, -1))
        if min(rest) < 0 or rest.rows > taken.rows or rest.bytes > taken.bytes:
            return False
        del self.open[grant_id, chunk_id]
        used = self.used[grant_id]
        self.used[grant_id] = Amounts(used.rows - rest.rows, used.bytes - rest.bytes)
        return True

    def spent(self, grant_id: str) -> Amounts:
        return self.used.get(grant_id, Amounts(0, 0))
