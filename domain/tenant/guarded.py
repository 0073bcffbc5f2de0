"""What the destroy guard counts in a transaction, and what of a tenant awaits approval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from domain.policy import Guard


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the destroy guard counts: `destroys` recorded at a time without an approval, and by how many the number of
    destroyed tenants grows. `closings`, the changes that close a product, have `closing_rule` for their budget."""

    rule: Guard
    at: datetime
    destroys: int = 0
    destroyed: int = 0
    closing_rule: Guard | None = None
    closings: int = 0

    def and_also(self, other: Guarded | None) -> Guarded:
        """Both, in one transaction."""
        if other is None:
            return self
        return replace(
            self,
            at=max(self.at, other.at),
            destroys=self.destroys + other.destroys,
            destroyed=self.destroyed + other.destroyed,
            closing_rule=self.closing_rule or other.closing_rule,
            closings=self.closings + other.closings,
        )


@dataclass(frozen=True, slots=True)
class PendingApprovals:
    """How many changes of a tenant the destroy guard holds, since when the oldest, and how many of them would close a
    product."""

    changes: int
    since: datetime
    closings: int = 0
