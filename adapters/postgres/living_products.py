"""What lives, whatever any catalogue or settings say: asked before a configuration is adopted.

Products are found in the log, shards that hold families in the control database. Two of the queries read whole kinds of
streams: an adoption is rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg

from adapters.postgres.connection import LONG, connect
from adapters.resources.topology import reaching
from domain.catalog import Catalog
from domain.configuration import AdoptedShard, Living
from domain.drift import CONTROL
from domain.event import Recorded
from domain.retired_products import product_from

_TENANTS: Final = 20
"""So many tenants tell of a product that no catalogue has."""

EventsOf = Callable[[str], list[Recorded]]


def living(url: str, *, known: Catalog | None, proposed: Catalog, events_of: EventsOf) -> Living:
    """`known`: the catalogue that was adopted before (None: there was none); `events_of`: all events of a tenant.

    Raises Retryable where the control database does not answer.
    """
    with reaching(CONTROL), connect(url, limits=LONG) as connection:
        keys = {str(key) for (key,) in connection.execute(_PROVISIONED).fetchall()}
        if known is None:
            keys |= {str(key) for (key,) in connection.execute(_REGISTERED).fetchall()}
        lost = {key for key in keys if key not in proposed and (known is None or key not in known)}
        holders = {key: _tenants_with(connection, key) for key in sorted(lost)}
        shards = {shard.name: shard for shard in _shards(connection)}
    last_known = {
        key: product_from(key, (recorded for each in holders[key] for recorded in events_of(each))) for key in lost
    }
    return Living(products={key: last_known.get(key) for key in keys}, shards=shards)


def families_on(url: str) -> dict[str, int]:
    """How many families each shard holds."""
    with reaching(CONTROL), connect(url) as connection:
        return {str(name): int(used) for name, used in connection.execute(_USED).fetchall()}


def _tenants_with(connection: psycopg.Connection[Any], key: str) -> list[str]:
    rows = connection.execute(_HOLDERS, {"key": key, "most": _TENANTS}).fetchall()
    return [str(tenant_id) for (tenant_id,) in rows]


def _shards(connection: psycopg.Connection[Any]) -> Iterator[AdoptedShard]:
    """Those that hold families. Only its settings name where each lies; a database of this server shows itself."""
    for name, region, capacity, database in connection.execute(_SHARDS).fetchall():
        is_here = database is not None
        yield AdoptedShard(
            name=name, region=region, capacity=capacity, state="closed", address=None if is_here else "unknown"
        )


_PROVISIONED: Final = """
SELECT DISTINCT split_part(originator_id, ':', 3) FROM stored_events
WHERE originator_version = 1 AND originator_id >= 'product:' AND originator_id < 'product;'
"""
_REGISTERED: Final = """
SELECT DISTINCT product FROM (
    SELECT convert_from(state, 'UTF8')::json -> 'data' ->> 'product' AS product FROM stored_events
    WHERE originator_id >= 'tenant:' AND originator_id < 'tenant;'
      AND topic IN ('tenantry.product-activated', 'tenantry.product-deactivated', 'tenantry.product-suspended',
                    'tenantry.product-unsuspended', 'tenantry.license-updated')
) AS written WHERE product IS NOT NULL
"""
_HOLDERS: Final = """
SELECT tenant_id FROM (
    SELECT split_part(originator_id, ':', 2) AS tenant_id FROM stored_events
    WHERE originator_version = 1 AND originator_id >= 'product:' AND originator_id < 'product;'
      AND split_part(originator_id, ':', 3) = %(key)s LIMIT %(most)s
) AS provisioned
UNION
SELECT tenant_id FROM (
    SELECT split_part(originator_id, ':', 2) AS tenant_id FROM stored_events
    WHERE originator_id >= 'tenant:' AND originator_id < 'tenant;' AND topic = 'tenantry.product-activated'
      AND convert_from(state, 'UTF8')::json -> 'data' ->> 'product' = %(key)s LIMIT %(most)s
) AS registered
"""
_SHARDS: Final = """
SELECT name, region, capacity, datname FROM shards
LEFT JOIN pg_database ON datname = 'shard_' || replace(name, '-', '_') WHERE used > 0 ORDER BY name
"""
_USED: Final = "SELECT name, used FROM shards WHERE used > 0"
