"""What do status and the fleet's metrics say of tenant contexts that are behind, or halted?"""

from __future__ import annotations

from contextlib import closing

import psycopg

from adapters.postgres.fleet import Fleet
from tests.cli.conftest import TENANT, Desk


def test_contexts_that_are_behind_and_documents_that_are_halted_are_named(desk: Desk) -> None:
    desk.work()
    url = desk.parts.endpoints.database_url
    behind = desk.json("status")["contexts"]
    assert behind["lag"] == desk.json("status")["log"]["position"] > 0
    assert behind["halted"] == 0
    assert "halted" not in desk.says("status")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE context_log SET position = (SELECT position FROM high_water_mark)")
        connection.execute("INSERT INTO contexts (tenant_id, version, halted) VALUES (%s, 1, 'newer')", (TENANT,))
    assert desk.json("status")["contexts"]["lag"] == 0
    assert f"1 documents are halted: {TENANT}" in desk.says("status")
    with closing(Fleet(url)) as fleet:
        found = {name: value for name, _, value in fleet.samples()}
    assert (found["contexts_lag_events"], found["contexts_halted"]) == (0, 1)
