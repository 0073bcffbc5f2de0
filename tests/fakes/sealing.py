"""What do the tests use where sealing is not their subject?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from domain.errors import TenantryError


class InMemorySealingKeys:
    """SealingKeys without cryptography: a sealed text is a ticket for what lies here. Counts its calls."""

    def __init__(self) -> None:
        self.seals = 0
        self.unseals = 0
        self.forgotten: list[str] = []
        self._kept: dict[str, tuple[str, str, bytes | None]] = {}

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        self.seals += 1
        digest = hashlib.sha256(f"{self.seals}".encode()).hexdigest()
        ticket = f"v1.{digest[:22]}.{digest[22:]}"
        self._kept[ticket] = (subject, bound_to, plain)
        return ticket

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        self.unseals += 1
        _, place, plain = self._kept.get(encrypted, (None, None, None))
        if place != bound_to:
            raise TenantryError(f"{bound_to} was changed or moved since it was sealed")
        return plain

    def forget(self, subject: str) -> None:
        self.forgotten.append(subject)
        self._kept = {
            ticket: (owner, place, None if owner == subject else plain)
            for ticket, (owner, place, plain) in self._kept.items()
        }

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        """Nothing to fetch."""
