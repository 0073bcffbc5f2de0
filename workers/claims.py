"""Claim of due scopes: as many as a worker has room for, and of one tenant no more than its share."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from application.ports.work_queue import Lease, WorkQueue
from domain.stream_name import StreamName
from workers.bulkheads import ConcurrencyLimits


def claim(
    queue: WorkQueue, leased: Counter[str], limits: ConcurrencyLimits, *, owner: str, now: datetime, lease: timedelta
) -> list[Lease]:
    """Lease as many scopes as the limits allow; `leased` counts those that the worker has, by tenant.

    All scopes of a claim may belong to a tenant that has its share now: the next claim leaves that tenant out.
    """
    capacity = limits.claim - leased.total()
    leases: list[Lease] = []
    full: list[str] = []
    while len(leases) < capacity:
        passed_over, full = full, [tenant_id for tenant_id, count in leased.items() if count >= limits.tenant]
        if leases and full == passed_over:
            break
        claimed = queue.claim(
            owner=owner,
            limit=capacity - len(leases),
            now=now,
            until=now + lease,
            share=limits.tenant,
            but_not_of=full,
        )
        if not claimed:
            break
        leases += claimed
        leased.update(StreamName.parse(each.scope).tenant_id or "" for each in claimed)
    return leases
