"""Purges: which purge a scope goes with, and whether it has gone through it.

A purge is named by the version of the event that began it. A scope has gone through it once it has converged to absent
for that very purge (`Provisioning.purged`); until then the scope is absent, whatever commerce has said since.
"""

from __future__ import annotations

from domain.catalog import Catalog
from domain.event import Event
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import Scope
from domain.tenant.events import PurgeStarted, TenantPurgeStarted


def purge_of(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> int | None:
    """The last purge that the scope is, or was, removed by; None where there was none.

    A family is left out by a purge where a product came to live in it while that was decided: the purge of another
    product names no data of it.
    """
    tenant = snapshot.tenant
    if tenant.purge is not None:
        return tenant.purge.started
    if scope.kind == "product":
        purge = tenant.product(scope.key).purge
        return purge.started if purge is not None else None
    purges = [registers.purge for registers in tenant.products.values()]
    last = max((purge.started for purge in purges if purge is not None and scope.key in purge.families), default=None)
    if last is None:
        return None
    members = (
        Scope("product", tenant.id, key)
        for key in tenant.products
        if key in catalog and catalog[key].family == scope.key
    )
    is_kept = any(
        snapshot.actual(each).has_converged and (purge_of(each, snapshot, catalog=catalog) or 0) < last
        for each in members
    )
    return None if is_kept else last


def is_past_return(scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether a purge of the scope has begun and is not through yet: no hold brings it back."""
    if snapshot.tenant.purge is not None:
        return not snapshot.tenant.purge.over
    if scope.kind == "product":
        return scope.key in catalog and is_purged(scope.key, snapshot, catalog=catalog)
    return _is_going(scope, snapshot, catalog)


def is_purged(key: str, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether a purge of the product, its family or its tenant has begun and is not through yet."""
    tenant = snapshot.tenant
    if tenant.purge is not None:
        return True
    if all(registers.purge is None for registers in tenant.products.values()):
        return False
    scopes = Scope("product", tenant.id, key), Scope("family", tenant.id, catalog.family_of(key))
    return any(_is_going(scope, snapshot, catalog) for scope in scopes)


def _is_going(scope: Scope, snapshot: TenantSnapshot, catalog: Catalog) -> bool:
    return snapshot.actual(scope).purged < (purge_of(scope, snapshot, catalog=catalog) or 0)


def data_lost(key: str, snapshot: TenantSnapshot, *, catalog: Catalog) -> bool:
    """Whether the product is active without the data it once held: after a purge, or after its database was lost."""
    registers = snapshot.tenant.product(key)
    was_abandoned = key in catalog and key in snapshot.family(catalog.family_of(key)).data_lost
    return registers.data_lost or (registers.activated and was_abandoned)


def purged_by(passed: Event, snapshot: TenantSnapshot) -> list[Scope]:
    """The scopes that are past their point of no return once the event is recorded; of any other event, none."""
    match passed:
        case PurgeStarted():
            return [
                *(Scope("product", passed.tenant_id, key) for key in (passed.product, *passed.apps)),
                *(Scope("family", passed.tenant_id, key) for key in passed.families),
            ]
        case TenantPurgeStarted():
            return sorted(snapshot.scopes)
        case _:
            return []
