"""Does `wait` go on through an outage of the database, within its time, and say so?"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tests.cli.conftest import TENANT, Desk


def lets_in(desk: Desk, allowed: str) -> None:
    """Whether the database takes new sessions; those that there are go on."""
    with psycopg.connect(desk.parts.endpoints.database_url, dbname="postgres", autocommit=True) as connection:
        name = psycopg.conninfo.conninfo_to_dict(desk.parts.endpoints.database_url)["dbname"]
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(statement.format(sql.Identifier(str(name)), sql.SQL(allowed)))


@pytest.fixture
def between_looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens after the first look, the second, and so on; then the last again and again."""
    acts: list[Callable[[], object]] = [lambda: None]
    monkeypatch.setattr("cli.wait.time.sleep", lambda _: (acts.pop(0) if len(acts) > 1 else acts[0])())
    return acts


def test_an_outage_within_the_time_is_waited_through_and_said_once(
    desk: Desk, between_looks: list[Callable[[], object]]
) -> None:
    def back() -> None:
        lets_in(desk, "true")
        desk.work()

    between_looks[:] = [lambda: lets_in(desk, "false"), lambda: None, back, lambda: None]
    said = desk.says("wait", TENANT, "--for", "60", stderr=True)
    assert said.count("does not answer") == 1
    assert "waiting on" in said


def test_an_outage_that_outlasts_the_time_is_an_error(desk: Desk, between_looks: list[Callable[[], object]]) -> None:
    between_looks[:] = [lambda: lets_in(desk, "false"), lambda: None]
    assert "error: the database" in desk.says("wait", TENANT, "--for", "0.5", code=1)
    lets_in(desk, "true")


def test_a_database_that_does_not_answer_at_the_start_is_not_waited_for(
    desk: Desk, between_looks: list[Callable[[], object]]
) -> None:
    lets_in(desk, "false")
    between_looks[:] = [pytest.fail]
    assert "error: the database" in desk.says("wait", TENANT, "--for", "60", code=1)
    lets_in(desk, "true")
