"""Fan-out: a customer or a whole tenant is due, and makes its scopes due; and tenants that this worker does not know.

A tenant with a product that no catalogue here has is left to others for a while: which family that product lives in is
not known here, so each decision about the tenant could take something from under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from application.ports.stream_index import CustomerTenants
from application.ports.work_queue import Lease, WorkItem
from application.reconcile import Saga
from application.unit_of_work import UnitOfWork
from domain.scope.dependencies import FOLLOWS_CUSTOMER
from domain.scope.snapshot import due_of
from domain.stream_name import StreamName

log = structlog.get_logger(__name__)

NOT_KNOWN = timedelta(minutes=1)
"""How long the scopes of a tenant are left to others that has a product of which our catalogue knows nothing."""


def fans_out(lease: Lease) -> bool:
    """Whether a customer or a tenant is due, and no scope."""
    return not StreamName.parse(lease.scope).is_of_scope


def fan_out(lease: Lease, saga: Saga, customers: CustomerTenants, *, now: datetime) -> UnitOfWork:
    """A customer changed: every site and product of its tenants is due. Or a tenant, and we did not know all of its
    scopes: all are due. Read after the change was committed."""
    kind, key = StreamName.parse(lease.scope)
    of_customer = kind == "customer"
    snapshots = saga.snapshots(customers.tenants_of(key) if of_customer else [key])
    work_items = [
        WorkItem(name, now)
        for snapshot in snapshots.values()
        for name in due_of(snapshot.tenant, saga.catalog)
        if name != lease.scope and (not of_customer or StreamName.parse(name).kind in FOLLOWS_CUSTOMER)
    ]
    if any(saga.unknown_among(snapshot) for snapshot in snapshots.values()) and not of_customer:
        work_items.append(WorkItem(lease.scope, now + NOT_KNOWN))  # a worker that knows its other scopes makes them due
    return UnitOfWork(work_items=work_items, leases=[lease])


def put_off(lease: Lease, unknown: Sequence[str], *, now: datetime) -> UnitOfWork:
    """Another worker that knows the products may take it, or this one once a catalogue that has them was adopted."""
    log.warning(
        "the tenant has a product that no catalogue here has: `tenantry config adopt` one",
        scope=lease.scope,
        product=unknown[0],
    )
    return UnitOfWork(work_items=[WorkItem(lease.scope, now + NOT_KNOWN)], leases=[lease])
