"""Report on one tenant, as it is or as it was: desired state, actual state and read models, as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.postgres.past import Moment
from application.description import describe
from domain.errors import UsageError, problem
from domain.event import Recorded
from domain.scope.snapshot import TenantSnapshot
from domain.tenant.events import TenantCreated
from domain.times import clock
from history import as_of
from runtime.compose.parts import Parts
from runtime.compose.process import utc_now
from runtime.compose.read_models import READ_MODELS, Projection


def tell(parts: Parts, tenant_id: str, *, projections: Sequence[Projection] = READ_MODELS) -> dict[str, Any]:
    """The report on a tenant, with these read models; UsageError where there is none of that id."""
    data = describe(snapshot_of(parts, tenant_id), catalog=parts.catalog, policy=parts.policy, now=utc_now())
    with parts.engine.connect() as connection:
        for projection in projections:
            data[projection.name] = projection.query(connection, tenant_id)
    return data


def tell_at(
    parts: Parts,
    tenant_id: str,
    moment: Moment,
    *,
    projections: Sequence[Projection] = READ_MODELS,
    among: Sequence[Recorded] | None = None,
) -> dict[str, Any]:
    """The report on a tenant as of the moment; UsageError where there was no tenant of that id.

    `among`: events of the tenant up to that moment or a later one, where they were read already.
    """
    events = events_until(parts, tenant_id, moment, among=among)
    then = parts.configuration_at(moment.position)
    with parts.engine.connect() as connection:
        return as_of.tell(
            connection,
            tenant_id,
            events,
            projections=projections,
            catalog=then.catalog,
            policy=then.policy,
            now=moment.time,
        )


def events_until(
    parts: Parts, tenant_id: str, moment: Moment, *, among: Sequence[Recorded] | None = None
) -> list[Recorded]:
    """All events of a tenant up to the moment; UsageError where it did not exist then."""
    if among is None:
        events = parts.past.events_of(tenant_id, moment.position)
    else:
        events = [recorded for recorded in among if recorded.position <= moment.position]
    if any(isinstance(recorded.event, TenantCreated) for recorded in events):
        return events
    later = parts.past.events_of(tenant_id, parts.past.mark())
    created = next((recorded for recorded in later if isinstance(recorded.event, TenantCreated)), None)
    if created is None:
        raise _no_tenant(parts, tenant_id)
    raise UsageError(
        problem("tenant-not-yet", tenant_id=tenant_id, time=clock(created.time), position=created.position)
    )


def snapshot_of(parts: Parts, tenant_id: str) -> TenantSnapshot:
    """The tenant as committed now; UsageError where there is none of that id."""
    snapshot = parts.saga.snapshots([tenant_id])[tenant_id]
    if not snapshot.tenant.exists:
        raise _no_tenant(parts, tenant_id)
    return snapshot


def _no_tenant(parts: Parts, tenant_id: str) -> UsageError:
    waiting = len(parts.log.waiting([tenant_id]).get(tenant_id, []))
    known = f"{waiting} messages wait for it to be created" if waiting else "see `tenantry tenants`"
    return UsageError(problem("tenant-unknown", tenant_id=tenant_id, known=known))
