"""Memberships in memory: the fake of the edge's port, which counts, and can be away."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.errors import Unavailable


@dataclass
class FakeMemberships:
    """`members`: (tenant, product, account). `asked` counts the questions."""

    members: set[tuple[str, str, str]] = field(default_factory=set)
    is_away: bool = False
    asked: int = 0

    def is_member(self, tenant_id: str, product: str, account_id: str) -> bool:
        self.asked += 1
        if self.is_away:
            raise Unavailable("the database does not answer (a test): start it")
        return (tenant_id, product, account_id) in self.members
