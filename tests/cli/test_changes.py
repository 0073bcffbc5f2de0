"""Does `changes` list what an operator did, what was adopted, and which workers started?"""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from domain.operator import Operator
from runtime.compose import utc_now
from tests.cli.conftest import FAMILY, Desk, failure


def worker(desk: Desk, name: str, version: str, started: str) -> None:
    with psycopg.connect(desk.parts.endpoints.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO workers (name, kind, host, pid, state, version, details, started_at, seen_at)"
            " VALUES (%s, 'relay', 'here', 1, 'ready', %s, '{}', now() - %s::interval, now())",
            (name, version, started),
        )


def test_acts_and_workers_that_started_are_listed_in_the_order_of_time(desk: Desk) -> None:
    failure(desk)
    assert desk.json("changes") == []
    assert "nothing has changed since 2" in desk.says("changes", "--since", "2h")
    worker(desk, "relay-1", "0.1.0", "3 days")
    worker(desk, "relay-2", "0.2.0", "1 hour")
    desk.says("runs", "retry", FAMILY, "--reason", "the disk is in", "--as", "Ada")
    desk.work()
    [started, retried] = desk.json("changes", "--since", "2h")
    assert (started["kind"], started["who"]) == ("worker", "relay-2")
    assert started["what"] == "started, version 0.2.0; others are 0.1.0"
    assert (retried["kind"], retried["what"], retried["why"]) == ("act", f"scope resumed: {FAMILY}", "the disk is in")
    assert retried["who"].startswith("Ada (")
    assert retried["position"] > 0
    said = desk.says("changes", "--since", "2h")
    assert "scope resumed" in said
    assert "(Ada (" in said
    assert [each["who"] for each in desk.json("changes", "--since", "10m")] == [retried["who"]]


def test_each_value_that_was_adopted_is_listed_with_what_it_was_before(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.parts.adopting.adopt_first(desk.parts.at_hand, reason="the first start", by=Operator.parse("ada@host"))
    text = files("domain").joinpath("policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(text.replace('retention = "P60D"', 'retention = "P30D"'))
    assert "P30D" in (tmp_path / "policy.toml").read_text()
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))
    desk.says("config", "adopt", "--reason", "lawyers", "--as", "Bob")
    desk.parts.log.advance_mark()
    [first, changed] = desk.json("changes")
    assert (first["kind"], first["what"]) == ("catalogue", "configuration 1 is the first")
    assert changed["kind"] == "policy"
    assert changed["what"].startswith("configuration 2: policy.retention ")
    assert changed["why"] == "lawyers"


def test_a_time_that_is_none_is_refused(desk: Desk) -> None:
    assert "yesterday" in desk.says("changes", "--since", "yesterday", code=2)
    assert desk.json("changes", "--since", (utc_now() + timedelta(hours=1)).isoformat()) == []
