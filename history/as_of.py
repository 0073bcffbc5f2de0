"""State of one tenant as of a moment in the past.

The snapshot and the read models are computed from the events of the log up to that moment, by the same folds that
decide and project. The read models are built from the tenant's events in temporary tables of a transaction that is
rolled back. So their own queries answer, and no other session sees these tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from application.description import describe
from application.stream_cache import State, evolve, initial
from domain import customer as customers
from domain.catalog import Catalog
from domain.customer import Customer
from domain.errors import Unavailable, problem
from domain.event import Recorded
from domain.policy import Policy
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.state import Provisioning
from domain.tenant import state as tenants
from domain.tenant.state import Tenant
from history.rebuild.parallel_load import first_line
from projections.base import METADATA, Fold, Projection
from projections.writing import apply

Json = dict[str, Any]

_TEMPORARY = "pg_temp"


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


def read_models(
    connection: Connection, tenant_id: str, events: Iterable[Recorded], projections: Sequence[Projection]
) -> Json:
    """The rows of each read model for the tenant. Raises HandlerFailed, Unavailable."""
    fold = Fold(change for recorded in events for each in projections for change in each.changes_of(recorded))
    transaction = connection.begin()
    try:
        connection.execution_options(schema_translate_map={None: _TEMPORARY})
        METADATA.create_all(connection, tables=_tables(projections), checkfirst=False)
        apply(connection, fold, schema=_TEMPORARY)
        return {each.name: each.query(connection, tenant_id) for each in projections}
    except DBAPIError as error:
        raise Unavailable(problem("past-not-computable", reason=first_line(error))) from error
    finally:
        transaction.rollback()
        connection.execution_options(schema_translate_map={})


def _tables(projections: Sequence[Projection]) -> list[Table]:
    """The tables of the read models, and the views on them."""
    views = [table for table in METADATA.tables.values() if table.is_view]
    return [*(table for each in projections for table in each.tables), *views]


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
