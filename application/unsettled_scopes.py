"""Unsettled scopes: not as they should be, and with no entry in the work queue.

The saga looks at a scope when it is due. So every scope must be one of three: as it should be, due, or waiting for
something with a name that will make it due. What is none of them is a fault, of ours or of a person who wrote to the
work queue, and would stay as it is for ever.

    as it should be     its desired state is the one that it converged to, and a timer is set for when that changes
    due                 the work queue has it, or all of its tenant or customer
    waiting             for a neighbour, an approval, an operator, an obstacle: each of them makes it due
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain import customer as customers
from domain.catalog import Catalog
from domain.policy import Policy
from domain.scope.desired import desired_state
from domain.scope.next_action import Nothing, Wait, blockers, next_action
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import Scope
from domain.tenant import state as tenants
from domain.times import moved

SOON: Final = timedelta(hours=1)
"""A scope with something to do may be put off for so long: by a concurrency limit, an obstacle, a pause before the next
attempt."""

SLACK: Final = timedelta(seconds=5)
"""By so much a timer may be late: it was set by another clock."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A scope that is neither as it should be, nor due, nor waiting. `is_known`: the saga can decide for it."""

    scope: Scope
    text: str
    is_known: bool = True


def names_in_queue(snapshot: TenantSnapshot) -> Iterator[str]:
    """Under which names the work queue may have a scope of the tenant."""
    yield tenants.stream_of(snapshot.tenant.id)
    if snapshot.customer.id:
        yield customers.stream_of(snapshot.customer.id)
    yield from map(str, snapshot.scopes)


def unsettled(
    snapshot: TenantSnapshot, scheduled: Mapping[str, datetime], *, catalog: Catalog, policy: Policy, now: datetime
) -> Iterator[Unsettled]:
    """Those of a tenant. `scheduled`: when the work queue has each name next, of those that it has.

    It must have been read while the snapshot was as it is: read the snapshot before and after it, and compare.
    """
    for key in catalog.unknown_among(snapshot.tenant.products):
        text = "no catalogue that was adopted has this product, so it cannot be closed: adopt one that has it"
        yield Unsettled(Scope("product", snapshot.tenant.id, key), text, is_known=False)
    all_of_it = (tenants.stream_of(snapshot.tenant.id), customers.stream_of(snapshot.customer.id))
    if any(name in scheduled and scheduled[name] <= now for name in all_of_it):
        return
    for scope in snapshot.scopes:
        due = scheduled.get(str(scope))
        if (why := _why(scope, snapshot, due, catalog=catalog, policy=policy, now=now)) is not None:
            yield Unsettled(scope, why)


def _why(
    scope: Scope, snapshot: TenantSnapshot, due: datetime | None, *, catalog: Catalog, policy: Policy, now: datetime
) -> str | None:
    if due is not None and due <= now:
        return None
    spec, actual = desired_state(scope, snapshot, catalog=catalog, policy=policy, now=now), snapshot.actual(scope)
    match next_action(spec, actual, blockers(scope, spec, snapshot, catalog=catalog), now):
        case Nothing(due_again_at=until) | Wait(until=until):
            if until is None or (due is not None and due <= moved(until, SLACK)):
                return None
            return f"it changes at {until:%Y-%m-%d %H:%M:%S} UTC, and nothing is due then"
        case _ if actual.intent is not None and actual.intent.obstacle is not None:
            return None
        case _ if due is not None and due <= now + SOON:
            return None
        case _ if actual.level != spec.level:
            return f"it is {actual.level} and should be {spec.level}, and it is not due"
        case _:
            return f"it is {actual.level}, but not as it should be by now, and it is not due"


def still(found: Iterable[Unsettled], before: TenantSnapshot, after: TenantSnapshot) -> Iterator[Unsettled]:
    """Those of `found` that are so for certain: nothing of the tenant has moved while the work queue was read."""
    has_moved = (before.tenant.version, before.customer.version) != (after.tenant.version, after.customer.version)
    if not has_moved:
        yield from (each for each in found if before.actual(each.scope).version == after.actual(each.scope).version)
