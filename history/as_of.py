"""State of one tenant as of a moment in the past.

The snapshot and the read models are computed from the events of the log up to that moment, by the same folds that
decide and project. The queries of the read models answer from the rows that the tenant's events fold to: no table is
made, and none is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from application.description import describe
from application.stream_cache import State, evolve, initial
from domain import customer as customers
from domain.catalog import Catalog
from domain.customer import Customer
from domain.errors import Unavailable, problem
from domain.event import Event, Recorded
from domain.policy import Policy
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.state import Provisioning
from domain.stream_name import StreamName
from domain.tenant import state as tenants
from domain.tenant.state import Tenant
from history.rebuild.parallel_load import first_line
from projections.base import Fold, Projection
from projections.shadowing import shadowed

Json = dict[str, Any]


def snapshot_of(tenant_id: str, events: Iterable[Recorded], *, catalog: Catalog) -> TenantSnapshot:
    """The snapshot of the tenant after these events: all events of its streams and of its customer, in order."""
    streams: dict[str, list[Recorded]] = {}
    for recorded in events:
        streams.setdefault(recorded.stream, []).append(recorded)

    def folded(stream: str) -> State:
        return reduce(evolve, streams.get(stream, ()), initial(stream))

    tenant = folded(tenants.stream_of(tenant_id))
    assert isinstance(tenant, Tenant)
    customer: State = Customer("")
    if tenant.attributes is not None:
        customer = folded(customers.stream_of(tenant.attributes.value.customer_id))
    assert isinstance(customer, Customer)
    scopes = {}
    for scope in scopes_of(tenant, catalog):
        actual = folded(str(scope))
        assert isinstance(actual, Provisioning)
        scopes[scope] = actual
    return TenantSnapshot(tenant, customer, scopes)


def snapshots_of(
    tenant_ids: Iterable[str], read: Callable[[Iterable[str]], Iterable[Recorded]], *, catalog: Catalog
) -> list[TenantSnapshot]:
    """The snapshots of tenants by what `read` finds in their streams: asked for twice, however many they are."""
    asked = sorted(tenant_ids)
    found: dict[str, list[Recorded]] = {tenant_id: [] for tenant_id in asked}
    for recorded in read(map(tenants.stream_of, asked)):
        found[StreamName.parse(recorded.stream).key].append(recorded)
    holders: dict[str, list[str]] = {}
    for tenant_id, events in found.items():
        tenant = snapshot_of(tenant_id, events, catalog=catalog).tenant
        for scope in scopes_of(tenant, catalog):
            holders.setdefault(str(scope), []).append(tenant_id)
        if tenant.attributes is not None:
            holders.setdefault(customers.stream_of(tenant.attributes.value.customer_id), []).append(tenant_id)
    for recorded in read(holders):
        for tenant_id in holders[recorded.stream]:
            found[tenant_id].append(recorded)
    return [snapshot_of(tenant_id, events, catalog=catalog) for tenant_id, events in found.items()]


def read_models(
    connection: Connection, tenant_id: str, events: Iterable[Recorded], projections: Sequence[Projection]
) -> Json:
    """The rows of each read model for the tenant. Raises HandlerFailed, Unavailable."""
    handling: dict[type[Event], list[Projection]] = {}
    for projection in projections:
        for kind in projection.handles:
            handling.setdefault(kind, []).append(projection)
    fold = Fold(
        change
        for recorded in events
        for each in handling.get(type(recorded.event), ())
        for change in each.changes_of(recorded)
    )
    try:
        with shadowed(connection, fold):
            return {each.name: each.query(connection, tenant_id) for each in projections}
    except DBAPIError as error:
        raise Unavailable(problem("past-not-computable", reason=first_line(error))) from error


def tell(
    connection: Connection,
    tenant_id: str,
    events: Sequence[Recorded],
    *,
    projections: Sequence[Projection],
    catalog: Catalog,
    policy: Policy,
    now: datetime,
) -> Json:
    """The report on the tenant as of the moment, in the shape of `tenantry show`."""
    snapshot = snapshot_of(tenant_id, events, catalog=catalog)
    described = describe(snapshot, catalog=catalog, policy=policy, now=now)
    return described | read_models(connection, tenant_id, events, projections)


# -- what differs --------------------------------------------------------------------------------------------------


def differences(before: Json, after: Json) -> list[tuple[str, Any, Any]]:
    """(path, before, after) of each value that differs; None where a value is missing."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    paths = dict.fromkeys([*old, *new])
    return [(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path)]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values with their paths, as in `licenses.confluence.edition`; the time of the last write is left out."""
    match value:
        case dict():
            for name, inner in value.items():
                if name not in _NO_CONTENT:
                    yield from _leaves(f"{path}.{name}" if path else name, inner)
        case [dict(), *_]:
            met: Counter[str] = Counter()
            for row in value:
                name = _name_of(row)
                met[name] += 1
                named = f"{path}.{name}" if name else path
                named = named if met[name] == 1 else f"{named}#{met[name]}"
                content = {column: inner for column, inner in row.items() if not name or column not in _NAMING}
                yield from _leaves(named, content) if content.keys() - _NO_CONTENT else [(named, "there")]
        case [] | None:
            pass
        case _:
            yield path, value


def _name_of(row: Json) -> str:
    """The name of the row in its list; empty where the list can have one row only."""
    if "number" in row:
        return str(row["name"])
    return "/".join(str(row[column]) for column in _NAMING if row.get(column))


_NO_CONTENT = {"updated_at", "retry_at", "generation", "number", "tenant_id"}
_NAMING = ("kind", "key", "product", "family", "group_name", "account_id", "permission", "change")
