"""Orphan plans: the plans that were shown to an operator.

They only show what differs from a plan that was read. An event marks an orphan for removal, not a row of this table.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from adapters.postgres.connection import connect
from adapters.resources.topology import reaching
from domain.drift import CONTROL, Thing


class OrphanPlans:
    """`domain.orphans.Plans` in the control database; a plan is remembered for 30 days."""

    def __init__(self, url: str) -> None:
        self._url = url

    def keep(self, plan_hash: str, things: Sequence[Thing]) -> None:
        with reaching(CONTROL), connect(self._url) as connection:
            connection.execute(
                "INSERT INTO orphan_plans (plan, things) VALUES (%s, %s)"
                " ON CONFLICT (plan) DO UPDATE SET listed_at = now()",
                [plan_hash, Jsonb([list(thing) for thing in things])],
            )
            connection.execute("DELETE FROM orphan_plans WHERE listed_at < now() - interval '30 days'")

    def find(self, plan_hash: str) -> Sequence[Thing] | None:
        with reaching(CONTROL), connect(self._url) as connection:
            row = connection.execute("SELECT things FROM orphan_plans WHERE plan = %s", [plan_hash]).fetchone()
        return [Thing(*thing) for thing in row[0]] if row else None
