"""Approval budget: the rows of the destroy guard, which count the destructive and closing changes in a time.

destroy_guard     one row: the time of the guard, and how many tenants were destroyed; locked until the commit
guarded_facts     what passed in the window, by budget
live_products     by how many the live products grew, a row a transaction, so that no activation waits for another
held_by_guard     of which tenants something awaits an approval
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.postgres.arrays import bigints, texts, timestamps
from domain.errors import GuardTripped
from domain.policy import Guard
from domain.tenant.guarded import Guarded, PendingApprovals
from domain.times import moved


def pass_the_guard(curs: Cursor[DictRow], guarded: Guarded, live_products: int) -> None:
    """Count what is destroyed or closed; everybody who does either waits here for everybody else, until the commit.

    Time never goes back for the guard, whatever the clocks of several processes say. What lives is counted only where
    `at_least` is not enough; `live_products`: by how many those grow in this very transaction.
    """
    curs.execute(
        "UPDATE destroy_guard SET destroyed = destroyed + %s,"
        " at = CASE WHEN %s > 0 THEN greatest(at, %s) ELSE at END RETURNING at, destroyed",
        (guarded.destroyed, guarded.destroys + guarded.closings, guarded.at),
    )
    row = curs.fetchone()
    assert row is not None

    def live_tenants() -> int:
        created = _one(curs, "SELECT count(*) AS n FROM customer_tenants")
        return created - int(row["destroyed"]) + guarded.destroyed

    def products() -> int:
        return _one(curs, "SELECT coalesce(sum(products), 0)::bigint AS n FROM live_products") + live_products

    left = closings_left = None
    if guarded.destroys:
        left = _left(curs, "destroys", guarded.rule, row["at"], guarded.destroys, live_tenants)
    if guarded.closings:
        assert guarded.closing_rule is not None
        closings_left = _left(curs, "closings", guarded.closing_rule, row["at"], guarded.closings, products)
    if guarded.destroys > (left or 0) or guarded.closings > (closings_left or 0):
        raise GuardTripped(left, closings_left)
    for budget, destroys in (("destroys", guarded.destroys), ("closings", guarded.closings)):
        if destroys:
            curs.execute(
                "INSERT INTO guarded_facts (at, facts, budget) VALUES (%s, %s, %s)", (row["at"], destroys, budget)
            )
    if guarded.closings:
        _add_up_live_products(curs)


def _left(curs: Cursor[DictRow], budget: str, rule: Guard, at: datetime, destroys: int, live: Callable[[], int]) -> int:
    """What of the budget is left in the window that ends now; what lives is counted where that may be too little."""
    curs.execute("DELETE FROM guarded_facts WHERE budget = %s AND at <= %s", (budget, moved(at, -rule.window)))
    passed = _one(curs, "SELECT coalesce(sum(facts), 0)::bigint AS n FROM guarded_facts WHERE budget = %s", (budget,))
    limit = rule.limit(0)
    if passed + destroys > limit and rule.share:
        limit = rule.limit(live())
    return max(0, limit - passed)


_ADDED_UP: Final = 1_000
"""How many rows of `live_products` become one at a time: each activation adds one, and waits for no other."""


def _add_up_live_products(curs: Cursor[DictRow]) -> None:
    """Some rows become one; no other transaction does so meanwhile, for the guard's row is locked."""
    curs.execute(
        "WITH gone AS (DELETE FROM live_products WHERE ctid = ANY(ARRAY("
        " SELECT ctid FROM live_products LIMIT %s)) RETURNING products)"
        " INSERT INTO live_products (products) SELECT sum(products) FROM gone HAVING count(*) > 0",
        (_ADDED_UP,),
    )


def _one(curs: Cursor[DictRow], query: str, parameters: tuple[object, ...] = ()) -> int:
    curs.execute(query.encode(), parameters)
    row = curs.fetchone()
    assert row is not None
    return int(row["n"])


def hold(curs: Cursor[DictRow], pending: Mapping[str, PendingApprovals | None]) -> None:
    """What the destroy guard holds of those tenants from here on."""
    curs.execute("DELETE FROM held_by_guard WHERE tenant_id = ANY(%b)", (texts(list(pending)),))
    rows = {tenant_id: each for tenant_id, each in pending.items() if each is not None}
    curs.execute(
        "INSERT INTO held_by_guard (tenant_id, changes, since, closings)"
        " SELECT * FROM unnest(%b::text[], %b::bigint[], %b::timestamptz[], %b::bigint[])",
        (
            texts(list(rows)),
            bigints([each.changes for each in rows.values()]),
            timestamps([each.since for each in rows.values()]),
            bigints([each.closings for each in rows.values()]),
        ),
    )
