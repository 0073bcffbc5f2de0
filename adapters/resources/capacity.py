"""On which shard does the family live? (step 3)

The room is reserved in the control database: `shards.used` counts the rows of `placements_reserved`. Both
change in one transaction, so room is taken once and given back once, however often a worker dies and its
order is repeated.
"""

from __future__ import annotations

import psycopg

from adapters.resources.fences import Connect, control_transaction, spec_of
from adapters.resources.topology import Topology
from application.ports import Order
from domain.errors import Obstacle, Permanent
from domain.scope.steps import RegionResult, RegionSpec
from domain.stream_name import ObstacleName


class Regions:
    """Chooses the open shard of the region with the most free room, and stays with it."""

    def __init__(self, control: Connect, topology: Topology) -> None:
        self._control = control
        self._topology = topology

    def ensure(self, order: Order) -> RegionResult:
        spec = spec_of(order, RegionSpec)
        with control_transaction(self._control, order, self._topology.patience) as connection:
            placed = _placement(connection, order)
            if placed is None:
                return self._place(connection, order, spec)
        if spec.residency == "pinned" and spec.region not in (None, placed.region):
            raise Permanent(
                f"family {order.scope.key} is pinned to region {spec.region} but lives in {placed.region}:"
                " send an activation without that pin, or move the family first"
            )
        return placed

    def remove(self, order: Order) -> None:
        with control_transaction(self._control, order, self._topology.patience) as connection:
            connection.execute(
                "WITH gone AS (DELETE FROM placements_reserved WHERE scope = %s RETURNING shard)"
                " UPDATE shards SET used = used - 1 FROM gone WHERE name = gone.shard",
                [str(order.scope)],
            )

    def _place(self, connection: psycopg.Connection, order: Order, spec: RegionSpec) -> RegionResult:
        if order.placement is not None and order.database is not None:  # only its reservation was lost
            return _take_back(connection, order, order.placement)
        region = spec.region or self._topology.default_region
        if region not in self._topology.regions:
            known = ", ".join(self._topology.regions)
            raise Permanent(f"region {region} has no shard (regions: {known}): name one, or add a shard there")
        shard = _take_room(connection, region)
        connection.execute(
            "INSERT INTO placements_reserved (scope, shard, generation) VALUES (%s, %s, %s)",
            [str(order.scope), shard, order.generation],
        )
        return RegionResult(region=region, shard=shard)


def _placement(connection: psycopg.Connection, order: Order) -> RegionResult | None:
    row = connection.execute(
        "SELECT region, name FROM placements_reserved JOIN shards ON name = shard WHERE scope = %s",
        [str(order.scope)],
    ).fetchone()
    return RegionResult(region=row[0], shard=row[1]) if row else None


def _take_back(connection: psycopg.Connection, order: Order, placed: RegionResult) -> RegionResult:
    """The room that the family fills already, whatever the shard's capacity and state are now."""
    connection.execute("UPDATE shards SET used = used + 1 WHERE name = %s", [placed.shard])
    connection.execute(
        "INSERT INTO placements_reserved (scope, shard, generation) VALUES (%s, %s, %s)",
        [str(order.scope), placed.shard, order.generation],
    )
    return placed


def _take_room(connection: psycopg.Connection, region: str) -> str:
    """One more family on a shard of the region. Raises Obstacle when all are full.

    Another worker may fill the shard between our look and our update, which then finds no row: look again.
    Somebody's family is placed each time, so this comes to an end.
    """
    while True:
        best = connection.execute(
            "SELECT name FROM shards WHERE region = %s AND state = 'open' AND used < capacity"
            " ORDER BY capacity - used DESC, name LIMIT 1",
            [region],
        ).fetchone()
        if best is None:
            break
        taken = connection.execute(
            "UPDATE shards SET used = used + 1 WHERE name = %s AND state = 'open' AND used < capacity RETURNING name",
            [best[0]],
        ).fetchone()
        if taken is not None:
            return str(taken[0])
    used, capacity = connection.execute(
        "SELECT coalesce(sum(used), 0), coalesce(sum(capacity), 0) FROM shards WHERE region = %s AND state = 'open'",
        [region],
    ).fetchone() or (0, 0)
    raise Obstacle(
        str(ObstacleName("capacity", region)),
        f"no room in region {region}: {used} of {capacity} used; add a shard or raise its capacity",
    )
