"""Does an index answer each statement of the pages, so that a million tenants cost what a hundred do?

A small table is read whole whatever indexes it has; so reading one whole is forbidden here, and a plan that does it all
the same has no index to use.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from adapters.encryption import NoKeys
from adapters.postgres.console_reads import ConsoleReader
from adapters.postgres.past import PastLog
from domain.scope.steps import Scope

GROWING = {
    *("stored_events", "incoming", "provisionings", "provisioning_steps", "sites_base", "site_products"),
    *("contexts", "context_hosts", "site_names", "quarantine", "outbox", "wakes", "waiting", "held_by_guard"),
}
"""Tables whose rows grow with tenants, or with time."""


class Explaining(ConsoleReader):
    """Looks at the plan of each statement before it is run."""

    plans: dict[str, str]

    def ask(self, query: str) -> None:
        self._rows(query)

    def _rows(self, query: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        with self._session() as connection:
            connection.execute("SET enable_seqscan = off")
            rows = connection.execute(f"EXPLAIN {query}".encode(), values or {}).fetchall()
            self.plans[query] = "\n".join(row["QUERY PLAN"] for row in rows)
        return super()._rows(query, values)


class ExplainingPast(PastLog):
    plans: dict[str, str]

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._session() as connection:
            connection.execute("SET enable_seqscan = off")
            rows = connection.execute(f"EXPLAIN {statement}".encode(), parameters).fetchall()
            self.plans[statement] = "\n".join(row[0] for row in rows)
        return super()._rows(statement, parameters)


def read_whole(plans: dict[str, str]) -> list[str]:
    """The statements that read a table whole that grows."""
    return [
        query for query, plan in plans.items() if GROWING & set(re.findall(r"Seq Scan on (?:public\.)?(\w+)", plan))
    ]


@pytest.fixture
def filled(migrated_database: str) -> str:
    with psycopg.connect(migrated_database) as connection:
        each = "FROM generate_series(1, 50) AS n"
        connection.execute(f"INSERT INTO sites_base (tenant_id, state) SELECT 't-' || n, 'open' {each}".encode())
        connection.execute(
            "INSERT INTO provisionings (tenant_id, kind, key, outcome) SELECT 't-' || n, 'product', 'jira', 'converged'"
            " FROM generate_series(1, 50) n"
        )
    return migrated_database


IDS = ("6f1c2c1e-0000-4000-8000-000000000000", "6f1c2c1e-0000-7000-8000-000000000000")
"""One that tells no time, one that does."""


def test_every_statement_of_the_pages_has_an_index(filled: str) -> None:
    reader = Explaining(filled)
    reader.plans = {}
    reader.position()
    reader.troubles()
    reader.pending()
    reader.quarantine_groups()
    picked: dict[str, str | None] = {"rule": None, "source": "/s", "type": None, "tenant_id": None}
    for closed in ("open", "retried", "discarded"):
        for more in ({}, {"rule": "unknown-product"}, {"tenant_id": "t-1"}):
            reader.quarantined(state=closed, picked={**picked, **more}, after=7, limit=10)
    reader.trouble_counts()
    reader.sealed()
    reader.standings([Scope("product", "t-1", "jira")])
    reader.standings_of_tenants(["t-1"])
    reader.versions(["tenant:t-1"])
    for level in (None, "open", "absent"):
        for state in (None, "on_hold", "converged"):
            reader.tenants(level=level, state=state, after="t-2", limit=10)
    reader.health()
    for text in ("7", "t-1", "topic/0/7", "product:t-1:jira/3/ensure/2", *IDS):
        reader.search(text)
    reader.close()
    assert len(reader.plans) > 30
    assert read_whole(reader.plans) == []


def test_acts_and_settlements_are_found_by_the_index_of_acts(filled: str) -> None:
    past = ExplainingPast(filled, NoKeys())
    past.plans = {}
    past.latest_acts(100, 10)
    past.settlement("0123456789abcdef")
    past.positions_of("t-1")
    past.latest_acts_of("t-1", 100, 10)
    past.last_events_of("t-1", 100, 10)
    past.close()
    assert read_whole(past.plans) == []
    acts = [
        plan
        for query, plan in past.plans.items()
        if '"kind":"operator"' in query and "originator_id = ANY" not in query
    ]
    assert len(acts) == 2
    assert all("stored_events_acts_idx" in plan for plan in acts)


def test_messages_that_are_closed_are_found_by_their_state(filled: str) -> None:
    reader = Explaining(filled)
    reader.plans = {}
    picked = {"rule": None, "source": None, "type": None, "tenant_id": None}
    reader.quarantined(state="discarded", picked=picked, after=0, limit=10)
    reader.close()
    assert all("quarantine_closed_idx" in plan for plan in reader.plans.values())


def test_a_scope_that_begins_and_converges_writes_no_index(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        for outcome in ("NULL", "'converged'"):
            connection.execute(f"UPDATE provisionings SET outcome = {outcome} WHERE tenant_id = 't-1'".encode())
        connection.execute("UPDATE provisionings SET outcome = 'on_hold' WHERE tenant_id = 't-2'")
        row = connection.execute(
            "SELECT pg_stat_get_xact_tuples_updated(c), pg_stat_get_xact_tuples_hot_updated(c)"
            " FROM (SELECT 'provisionings'::regclass AS c) AS c"
        ).fetchone()
    assert row == (3, 2), "an index on what changes with each step is written again and again"


def test_a_statement_without_an_index_is_found(filled: str) -> None:
    reader = Explaining(filled)
    reader.plans = {}
    reader.ask("SELECT count(*) FROM provisionings WHERE reason = 'x'")
    reader.close()
    assert len(read_whole(reader.plans)) == 1
