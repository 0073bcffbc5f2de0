"""The work queue: scopes that are due, their leases, and what they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from msgspec import Struct

from domain.times import moved

CLOCKS_APART: Final = timedelta(minutes=5)
"""How far the clocks of two workers may be apart, and each still respects the other's leases."""


def latest_end(now: datetime, until: datetime) -> datetime:
    """A lease that ends later than this was taken by a clock that has gone back since, or that was wrong: it is over.

    Otherwise a scope whose worker died before its machine's clock went back by hours would have no worker for hours.
    `until` is when a lease that is taken now would end. A worker that was wrong is fenced out by the token.
    """
    return moved(until, max(until - now, CLOCKS_APART))


class WorkItem(Struct, frozen=True):
    """A scope is due at a time, by its stream name; `customer:ID` fans out to all its tenants, `tenant:ID` to all its
    scopes."""

    scope: str
    at: datetime


class Lease(Struct, frozen=True, gc=False):
    """A scope claimed by a worker, with the rows of the work queue that it answers."""

    scope: str
    owner: str
    token: int
    work_items: tuple[int, ...]
    until: datetime


@dataclass(frozen=True, slots=True)
class Blocked:
    """A scope waits for a named obstacle."""

    obstacle: str
    scope: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a foreign provisioner to an order; `key` is the order's idempotency key.

    It counts, and makes the scope due, where a reply to that very order is awaited. `signed_at`: seconds since 1970,
    of a reply that had to be signed; of one order only a later one than the last counts.
    """

    scope: str
    step: int
    key: str
    text: str
    signed_at: int | None = None


class WorkQueue(Protocol):
    """The scopes that are due. A unit of work adds to it and ends leases (`UnitOfWork`)."""

    def scheduled(self, names: Iterable[str]) -> dict[str, datetime]:
        """When the work queue has each of those scopes, tenants and customers next; without those that it has not."""

    def claim(
        self,
        *,
        owner: str,
        limit: int,
        now: datetime,
        until: datetime,
        share: int | None = None,
        but_not_of: Sequence[str] = (),
    ) -> list[Lease]:
        """Up to `limit` due scopes that no other worker has leased; each stays ours until `until`.

        Of one tenant no more than `share`, of the tenants `but_not_of` none: theirs stay due. A lease that ends after
        `latest_end` has no owner.
        """
