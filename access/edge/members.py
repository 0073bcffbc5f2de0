"""Members of tenants: may an account use a product of a tenant? Asked of the read model, remembered for a while.

An answer is counted from before it was asked for, so that no removal of a member is older than `max_age` where it is
still passed over. That somebody is no member is remembered for a moment only: a new member does not wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final, NamedTuple, Protocol

MISSING_AGE: Final = 1.0
REMEMBERED: Final = 200_000


class Memberships(Protocol):
    """The read model `identities`, or what stands for it."""

    def is_member(self, tenant_id: str, product: str, account_id: str) -> bool:
        """Whether the account has a permission in the product, as of now. Raises Unavailable."""


class _Answer(NamedTuple):
    is_member: bool
    until: float


class Members:
    """Answers of `memberships`, each for `max_age` seconds. Safe for threads."""

    def __init__(
        self,
        memberships: Memberships,
        *,
        max_age: float,
        missing_age: float = MISSING_AGE,
        remembered: int = REMEMBERED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memberships = memberships
        self._max_age = max_age
        self._missing_age = min(missing_age, max_age)
        self._limit = remembered
        self._monotonic = monotonic
        self._lock = Lock()
        self._answers: dict[tuple[str, str, str], _Answer] = {}

    def remembered(self, tenant_id: str, product: str, account_id: str) -> bool | None:
        """The answer where it is not too old; without any I/O."""
        known = self._answers.get((tenant_id, product, account_id))
        return known.is_member if known is not None and self._monotonic() < known.until else None

    def find(self, tenant_id: str, product: str, account_id: str) -> bool:
        """The answer, asked anew. Raises Unavailable."""
        asked = self._monotonic()
        found = self._memberships.is_member(tenant_id, product, account_id)
        answer = _Answer(found, asked + (self._max_age if found else self._missing_age))
        with self._lock:
            if len(self._answers) >= self._limit:
                del self._answers[next(iter(self._answers))]
            self._answers[tenant_id, product, account_id] = answer
        return found
