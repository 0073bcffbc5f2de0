"""Status of a scope: its state in one word (states.py), computed here for every command, and why it is so.

The read model `provisionings` stores the same words. It sees one event at a time, so what only time, the neighbours or
a pending approval bring about is written here alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.catalog import Catalog
from domain.scope.desired import PURGE_AWAITING_APPROVAL, DesiredState
from domain.scope.next_action import NEXT_ATTEMPT, Nothing, Wait, blockers, next_action
from domain.scope.purges import is_purged
from domain.scope.snapshot import TenantSnapshot
from domain.scope.states import ScopeState
from domain.scope.steps import Level, Scope
from domain.tenant.closings import describe_pending
from domain.tenant.state import Tenant


@dataclass(frozen=True, slots=True)
class ScopeStatus:
    """`level` is the one it last converged to, `desired` the one that it should have. `until` is when time changes it.

    `awaits_approval`: a change of the scope awaits an approval, which `reason` names; only for a purge it waits itself.
    """

    state: ScopeState
    level: Level
    desired: Level
    reason: str | None = None
    until: datetime | None = None
    awaits_approval: bool = False


def status_of(
    scope: Scope, desired: DesiredState, snapshot: TenantSnapshot, *, catalog: Catalog, now: datetime
) -> ScopeStatus:
    """The status of the scope, whose desired state is `desired`."""
    actual = snapshot.actual(scope)
    intent, levels = actual.intent, (actual.level, desired.level)
    if actual.on_hold is not None:
        return ScopeStatus("on_hold", *levels, actual.on_hold.reason, actual.on_hold.until)
    if actual.failure is not None:
        return ScopeStatus("failed", *levels, actual.failure.reason)
    if intent is not None and intent.obstacle is not None:
        return ScopeStatus("waiting", *levels, intent.reason)
    match next_action(desired, actual, blockers(scope, desired, snapshot, catalog=catalog), now):
        case Wait(on=on, until=until) if on == NEXT_ATTEMPT and intent is not None:
            return ScopeStatus("in_progress", *levels, intent.reason, until)
        case Wait(on=on, until=until):
            reason = on if until is not None else f"waits for {on}"
            return ScopeStatus("waiting", *levels, reason, until, awaits_approval=on == PURGE_AWAITING_APPROVAL)
        case _ if _waits_for_purge(scope, snapshot, catalog=catalog):
            return ScopeStatus("waiting", *levels, "waits for the end of a purge, to begin anew")
        case Nothing() if (awaited := _awaited_approval(scope, snapshot.tenant)) is not None:
            return ScopeStatus("waiting", *levels, awaited, awaits_approval=True)
        case Nothing(due_again_at=until):
            return ScopeStatus("converged", *levels, until=until)
        case _:
            return ScopeStatus("in_progress", *levels, intent.reason if intent and intent.failures else None)


def _waits_for_purge(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether it is active again, and what it was before is not gone yet."""
    tenant = snapshot.tenant
    is_active = scope.kind == "product" and tenant.product(scope.key).activated and tenant.purge is None
    return is_active and is_purged(scope.key, snapshot, catalog=catalog)


def _awaited_approval(scope: Scope, tenant: Tenant) -> str | None:
    """Which changes of the scope await an approval, though nothing of it waits for them; a purge is reported apart."""
    if scope.kind == "family":
        return None
    changes = [pending.event for pending in tenant.pending if (pending.event.product or "") == scope.key]
    texts = [describe_pending(event) for event in changes if event.change != "purge"]
    return f"{' and '.join(texts)} {'await' if texts[1:] else 'awaits'} approval" if texts else None
