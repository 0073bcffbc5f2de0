"""Region and capacity: the shard on which a family lives (step 3).

The capacity is reserved in the control database: `shards.used` counts the rows of `placements_reserved`. Both
change in one transaction, so capacity is taken once and given back once, however often a worker dies and its
order is repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import psycopg

from adapters.resources.fences import Connect, control_session, control_transaction, spec_of, unclaimed
from adapters.resources.topology import Topology, reaching
from application.ports.resources import IsClaimed, Order, Resource, StepExecutor
from domain.drift import CONTROL, Expected, Finding, Look, Seen, Thing, by_place, completed
from domain.errors import Obstacle, Permanent
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import RegionResult, RegionSpec, Step
from domain.stream_name import ObstacleName

_GIVE_BACK: Final = (
    "WITH gone AS (DELETE FROM placements_reserved WHERE scope = %s RETURNING shard)"
    " UPDATE shards SET used = used - 1 FROM gone WHERE name = gone.shard RETURNING region"
)


class Regions(StepExecutor, Resource):
    """Chooses the open shard of the region with the most free capacity, and stays with it."""

    serves = (("family", Step.REGION),)
    kinds = ("room",)
    lies_on = "control"

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
            connection.execute(_GIVE_BACK, [str(order.scope)])

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        placed = completed(snapshots, Step.REGION, RegionResult)
        return by_place((Expected(actual, CONTROL, result) for _, actual, result in placed), self.look)

    def look(self, where: str, families: Sequence[Expected[RegionResult]]) -> Iterator[Seen]:
        scopes = [str(family.actual.scope) for family in families]
        with reaching(where), self._control() as connection:
            query = "SELECT scope FROM placements_reserved WHERE scope = ANY (%s)"
            reserved = {scope for (scope,) in connection.execute(query, [scopes]).fetchall()}
        for family in families:
            yield family.seen(findings(family, reserved))

    def things(self, where: str) -> Iterable[Thing]:
        with reaching(where), self._control() as connection:
            rows = connection.execute("SELECT scope FROM placements_reserved").fetchall()
        return [Thing(where, "room", scope) for (scope,) in rows]

    def owned(self, actual: Provisioning) -> Iterable[Thing]:
        return [Thing(CONTROL, "room", str(actual.scope))] if Step.REGION in actual.steps else []

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        with (
            control_session(self._control, self._topology.patience) as connection,
            unclaimed(connection, is_claimed, schema="public") as free,
        ):
            regions = connection.execute(_GIVE_BACK, [thing.name]).fetchall() if free else ()
        return [str(ObstacleName("capacity", region)) for (region,) in regions] if free else None

    def used(self) -> Iterable[str]:
        """The shards that hold families, also those that have left the topology."""
        with reaching(CONTROL), self._control() as connection:
            return [name for (name,) in connection.execute("SELECT name FROM shards WHERE used > 0").fetchall()]

    def _place(self, connection: psycopg.Connection, order: Order, spec: RegionSpec) -> RegionResult:
        if order.placement is not None and order.database is not None:  # only its reservation was lost
            return _take_back(connection, order, order.placement)
        region = spec.region or self._topology.default_region
        if region not in self._topology.regions:
            known = ", ".join(self._topology.regions)
            raise Permanent(f"region {region} has no shard (regions: {known}): name one, or add a shard there")
        shard = _take_capacity(connection, region)
        connection.execute(
            "INSERT INTO placements_reserved (scope, shard, generation) VALUES (%s, %s, %s)",
            [str(order.scope), shard, order.generation],
        )
        return RegionResult(region=region, shard=shard)


def findings(family: Expected[RegionResult], reserved: Collection[str]) -> Iterator[Finding]:
    """What differs, where the capacity of these scopes is reserved."""
    if str(family.actual.scope) not in reserved:
        yield Finding(Step.REGION, "missing", f"its room on shard {family.result.shard} is not reserved")


def _placement(connection: psycopg.Connection, order: Order) -> RegionResult | None:
    row = connection.execute(
        "SELECT region, name FROM placements_reserved JOIN shards ON name = shard WHERE scope = %s",
        [str(order.scope)],
    ).fetchone()
    return RegionResult(region=row[0], shard=row[1]) if row else None


def _take_back(connection: psycopg.Connection, order: Order, placed: RegionResult) -> RegionResult:
    """The capacity that the family fills already, whatever the shard's capacity and state are now."""
    connection.execute("UPDATE shards SET used = used + 1 WHERE name = %s", [placed.shard])
    connection.execute(
        "INSERT INTO placements_reserved (scope, shard, generation) VALUES (%s, %s, %s)",
        [str(order.scope), placed.shard, order.generation],
    )
    return placed


def _take_capacity(connection: psycopg.Connection, region: str) -> str:
    """One more family on a shard of the region. Raises Obstacle when all are full.

    Another worker may fill the shard while our update waits for it, which then finds no row: look again.
    One family is placed each time, so the loop ends.
    """
    while True:
        taken = connection.execute(
            "UPDATE shards SET used = used + 1 WHERE state = 'open' AND used < capacity AND name ="
            " (SELECT name FROM shards WHERE region = %s AND state = 'open' AND used < capacity"
            " ORDER BY capacity - used DESC, name LIMIT 1) RETURNING name",
            [region],
        ).fetchone()
        if taken is not None:
            return str(taken[0])
        if connection.execute(_HAS_CAPACITY, [region]).fetchone() is None:
            break
    used, capacity = connection.execute(
        "SELECT coalesce(sum(used), 0), coalesce(sum(capacity), 0) FROM shards WHERE region = %s AND state = 'open'",
        [region],
    ).fetchone() or (0, 0)
    raise Obstacle(
        str(ObstacleName("capacity", region)),
        f"no room in region {region}: {used} of {capacity} used; add a shard or raise its capacity",
    )


_HAS_CAPACITY: Final = "SELECT 1 FROM shards WHERE region = %s AND state = 'open' AND used < capacity LIMIT 1"
