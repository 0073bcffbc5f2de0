"""What may an operator do to a tenant?

An act is decided on the tenant as it is now and recorded in its stream, with the operator as its cause. If somebody
else recorded first, it is decided again.
"""

from __future__ import annotations

from domain import tenant as tenants
from domain.catalog import Catalog
from domain.commands import RestoreTenant
from domain.errors import Conflict
from domain.event import Cause, Recorded
from domain.lifecycle import ATTEMPTS
from domain.policy import Policy
from domain.ports import Clock, EventLog, NewId, Recording, Wake
from domain.streams import Streams
from domain.tenant import Tenant, TenantEvent, TenantRestored
from domain.wanted import scopes_of


class Operator:
    """Acts on tenants that exist."""

    def __init__(self, log: EventLog, *, catalog: Catalog, policy: Policy, clock: Clock, new_id: NewId) -> None:
        self._log = log
        self._catalog = catalog
        self._policy = policy
        self._clock = clock
        self._new_id = new_id
        self._streams = Streams(log)

    def restore(self, tenant_id: str, *, reason: str, by: str) -> TenantRestored:
        """Undo the destruction of a tenant. Raises Refused, and Conflict when others record first again and again."""
        command = RestoreTenant(tenant_id=tenant_id, reason=reason, operator=by)
        for attempt in range(ATTEMPTS):
            tenant = self._tenant(tenant_id)
            event = tenants.restore(tenant, command, now=self._clock(), policy=self._policy)
            try:
                self._log.record(self._recording(tenant, event, by=by))
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return event
        raise AssertionError("unreachable")

    def _tenant(self, tenant_id: str) -> Tenant:
        self._streams.refresh([tenants.stream_of(tenant_id)])
        return self._streams.tenant(tenant_id)

    def _recording(self, tenant: Tenant, event: TenantEvent, *, by: str) -> Recording:
        """The fact, and every scope of the tenant due."""
        now, act = self._clock(), self._new_id()
        fact = Recorded(
            stream=tenants.stream_of(tenant.id),
            version=tenant.version + 1,
            id=act,
            time=now,
            cause=Cause(kind="operator", source=by, id=str(act)),
            correlation=f"{by} {act}",
            event=event,
        )
        return Recording(events=[fact], wakes=[Wake(str(scope), now) for scope in scopes_of(tenant, self._catalog)])
