"""Approval plan: the changes that await approval, and what each would do.

A plan lists every change that awaits approval with what it would do, in the order of tenants and of their arrival. Its
hash is over exactly that content: an operator who approves a hash approves what was read. Times that only go by are no
part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from domain.catalog import Catalog
from domain.event import Event, Recorded
from domain.policy import Policy
from domain.scope.desired import desired_state
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import Level, Scope
from domain.tenant import state as tenants
from domain.tenant.closings import PendingEvent, product_event_of
from domain.tenant.events import (
    Closing,
    ClosingAwaitsApproval,
    Destructive,
    ProductDeactivated,
    ProductUnsuspended,
    PurgeStarted,
    TenantDestroyed,
    TenantPurgeStarted,
)
from domain.tenant.guarded import PendingApprovals
from domain.tenant.state import PendingChange, Tenant, stands
from domain.times import in_utc


@dataclass(frozen=True, slots=True)
class Change:
    """A change that awaits approval. `levels`: what would change, as (product, level now, level after); `data`: what
    becomes of it; `says`: the license that it brings."""

    tenant_id: str
    version: int
    change: str
    product: str | None
    revision: int | None
    reason: str | None
    asked_by: str
    since: str
    levels: tuple[tuple[str, Level, Level], ...]
    data: str
    says: str | None = None


@dataclass(frozen=True)
class Plan:
    """All changes that await approval now; `events` is what each tenant's changes come to, with what asked for them."""

    changes: tuple[Change, ...]
    snapshots: Mapping[str, TenantSnapshot]
    events: Mapping[str, tuple[tuple[PendingChange, Destructive | Closing], ...]]

    @cached_property
    def as_dicts(self) -> list[dict[str, Any]]:
        names = [field.name for field in fields(Change)]  # asdict would copy each value, at ten times the cost
        return [{name: getattr(change, name) for name in names} for change in self.changes]

    def beginning(self, most: int) -> Plan:
        """The changes of its first `most` tenants."""
        tenants_ = list(self.snapshots)[:most]
        chosen = frozenset(tenants_)
        return Plan(
            tuple(change for change in self.changes if change.tenant_id in chosen),
            {tenant_id: self.snapshots[tenant_id] for tenant_id in tenants_},
            {tenant_id: self.events[tenant_id] for tenant_id in tenants_},
        )

    @cached_property
    def hash(self) -> str:
        content = json.dumps(self.as_dicts, sort_keys=True, ensure_ascii=False).encode()
        return hashlib.sha256(content).hexdigest()[:16]


def pending_approvals_of(tenant: Tenant) -> PendingApprovals | None:
    """The changes of the tenant that await approval, for every reader to find."""
    if not tenant.pending:
        return None
    closings = sum(isinstance(pending.event, ClosingAwaitsApproval) for pending in tenant.pending)
    return PendingApprovals(len(tenant.pending), min(pending.since for pending in tenant.pending), closings)


def plan(snapshots: Iterable[TenantSnapshot], *, catalog: Catalog, policy: Policy, now: datetime) -> Plan:
    """Every change of those tenants that awaits approval, and what each would do after those before it."""
    changes: list[Change] = []
    events: dict[str, tuple[tuple[PendingChange, Destructive | Closing], ...]] = {}
    found = {snapshot.tenant.id: snapshot for snapshot in snapshots if snapshot.tenant.pending}
    for tenant_id, snapshot in sorted(found.items()):
        growing, coming = snapshot, list[tuple[PendingChange, Destructive | Closing]]()
        for pending in snapshot.tenant.pending:
            before = _levels(growing, catalog=catalog, policy=policy, now=now)
            decided = _decided(pending, growing, catalog=catalog, policy=policy, now=now)
            if decided is not None:
                coming.append((pending, decided))
                growing = _after(growing, decided, pending, now=now)
            after = _levels(growing, catalog=catalog, policy=policy, now=now)
            levels = tuple((key, before[key], after[key]) for key in before if before[key] != after[key])
            changes.append(_planned(tenant_id, pending, decided, levels, policy))
        events[tenant_id] = tuple(coming)
    return Plan(tuple(changes), found, events)


def _decided(
    pending: PendingChange, snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime
) -> Destructive | Closing | None:
    """What it comes to, decided as if it arrived now; None where it would do nothing any more."""
    tenant, event = snapshot.tenant, pending.event
    if not stands(tenant, pending):
        return None
    match event.change, event.product:
        case "destroy", _:
            return TenantDestroyed(tenant_id=tenant.id, reason=event.reason or "", revision=event.revision)
        case "deactivate" | "suspend" | "license" | "activate", _:
            closing = product_event_of(event)
            assert not isinstance(closing, ProductUnsuspended)
            return closing
        case "purge", str(key):
            scope = Scope("product", tenant.id, key)
        case _:
            scope = Scope("site", tenant.id)
    freed = replace(snapshot, tenant=tenant.but(pending=()))
    if scope.key and scope.key not in catalog:
        return None
    passed = desired_state(scope, freed, catalog=catalog, policy=policy, now=now).passed
    return passed if isinstance(passed, (PurgeStarted, TenantPurgeStarted)) else None


def _after(snapshot: TenantSnapshot, decided: Event, pending: PendingChange, *, now: datetime) -> TenantSnapshot:
    tenant = snapshot.tenant
    recorded = Recorded(
        stream=tenants.stream_of(tenant.id),
        version=tenant.version + 1,
        id=UUID(int=0),
        time=now,
        cause=pending.cause,
        correlation=pending.correlation,
        event=decided,
    )
    return replace(snapshot, tenant=tenants.evolve(tenant, recorded))


def _levels(snapshot: TenantSnapshot, *, catalog: Catalog, policy: Policy, now: datetime) -> dict[str, Level]:
    tenant_id = snapshot.tenant.id
    return {
        key: desired_state(Scope("product", tenant_id, key), snapshot, catalog=catalog, policy=policy, now=now).level
        for key in sorted(snapshot.tenant.products)
        if key in catalog
    }


def _planned(
    tenant_id: str,
    pending: PendingChange,
    decided: Destructive | Closing | None,
    levels: tuple[tuple[str, Level, Level], ...],
    policy: Policy,
) -> Change:
    event = pending.event
    return Change(
        tenant_id=tenant_id,
        version=pending.version,
        change=event.change,
        product=event.product,
        revision=event.revision,
        reason=event.reason,
        asked_by=f"{pending.cause.source} {pending.cause.id}" if pending.cause.kind == "message" else "time",
        since=in_utc(pending.since).isoformat(),
        levels=levels,
        data=_data(decided, levels, policy),
        says=_says(event),
    )


def _says(event: PendingEvent) -> str | None:
    """The license that a closing brings."""
    if not isinstance(event, ClosingAwaitsApproval) or event.edition is None:
        return None
    ends = f", ends {in_utc(event.expires_at).isoformat()}" if event.expires_at else ""
    return f"license {event.edition}, {event.users} users, {event.status or 'active'}{ends}"


def _data(decided: Destructive | Closing | None, levels: tuple[tuple[str, Level, Level], ...], policy: Policy) -> str:
    """What becomes of the data, and when."""
    match decided:
        case None:
            return "nothing changes: overtaken, or on hold"
        case TenantDestroyed():
            return f"all of it goes {_days(policy.restore_window)} after the approval, unless the tenant is restored"
        case ProductDeactivated() if any(after == "retained" for _, _, after in levels):
            return f"goes {_days(policy.retention)} after the approval, unless the product is activated again"
        case ProductDeactivated():
            return "what was begun is taken away"
        case PurgeStarted(families=families):
            return f"goes at once, with the database of {', '.join(families)}" if families else "goes at once"
        case TenantPurgeStarted():
            return "all of it goes at once"
        case _:
            return "none of it goes"


def _days(time: timedelta) -> str:
    return f"{time.days} days" if time >= timedelta(days=1) else f"{int(time.total_seconds())} s"
