"""What do all workers together do while the database takes no writes, as after a failover?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.connection import connect
from tests.journeys.events import created, new_tenant
from tests.journeys.running import ROOT, Running, environment, wait_for
from workers.roles import KINDS

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.endurance]


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("read-only") / "data") as started:
        yield started


def take_writes(url: str, *, name: str, whether: str) -> None:
    """Set it for the database, and end the sessions that are under way, as a failover does."""
    with connect(url, autocommit=True) as owner:
        owner.execute("SET default_transaction_read_only = off")
        setting = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        owner.execute(setting.format(sql.Identifier(name), sql.Literal(whether)))
        owner.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_every_worker_lives_through_a_read_only_database_and_says_so_once(running: Running) -> None:
    url = running.said["database_url"]
    before = {kind: running.pid_of(kind) for kind in KINDS}
    running._let_go()  # noqa: SLF001 - the session of the test would be ended as well
    take_writes(url, name="tenantry", whether="on")
    event = created(new_tenant())
    running.send(event)

    def waiting() -> set[str]:
        return {each["who"] for each in running.json("status")["waits"] if each["why"] == "read-only"}

    everybody = {f"the {kind}'s heartbeat" for kind in before} | {"the intake"}
    wait_for(lambda: everybody <= waiting(), "every worker to say that it waits")
    told = running.json("status")
    assert any("the database is read-only" in note for note in told["notes"])
    assert told["logs"]
    refused = running.cli("migrate")
    assert (refused.exit_code, "is read-only" in refused.error) == (1, True), refused
    time.sleep(5)
    take_writes(url, name="tenantry", whether="off")
    began = time.monotonic()
    running.until_taken_in(event)
    assert time.monotonic() - began < 10
    wait_for(lambda: not running.json("status")["waits"], "nobody to wait any more")
    assert {kind: running.pid_of(kind) for kind in before} == before, "none has died"
    for log in (running.data_dir / "logs").iterdir():
        lines = log.read_text().splitlines()
        assert not [line for line in lines if "Traceback" in line], log
        for loop in {line.split("waits")[0].split("]")[-1].strip() for line in lines if " waits " in line}:
            said = [line for line in lines if f"{loop} waits" in line]
            assert len(said) <= 3, said  # that the session was ended, that the database is read-only, and why else


def test_up_on_a_read_only_database_ends_in_one_line(running: Running, tmp_path: Path) -> None:
    url = running.said["database_url"]
    take_writes(url, name="tenantry", whether="on")
    settings = {"TENANTRY_DATABASE_URL": url, "TENANTRY_KAFKA_BOOTSTRAP": running.said["kafka_bootstrap"]}
    key = running.data_dir / "master.key"
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "up", "--data-dir", str(tmp_path)],
        env=environment({**settings, "TENANTRY_MASTER_KEY_FILE": str(key)}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "is read-only" in errors[0]
    assert "Traceback" not in ended.stderr
    take_writes(url, name="tenantry", whether="off")


def test_status_tells_of_the_workers_while_the_database_is_away(running: Running) -> None:
    url = running.said["database_url"]
    with psycopg.connect(url, dbname="postgres", autocommit=True) as owner:
        owner.execute("ALTER DATABASE tenantry ALLOW_CONNECTIONS false")
        owner.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'tenantry'")
        wait_for(lambda: "the intake's heartbeat" in running.cli("status").stdout, "the intake to say it")
        told = running.cli("status", "--json")
        assert told.exit_code == 1
        assert "the database tenantry on" in told.error
        assert told.value["database"]["why"] == "restarting"
        assert {each["kind"] for each in told.value["workers"]} == set(KINDS)
        assert str(running.data_dir / "logs") in told.value["logs"]
        owner.execute("ALTER DATABASE tenantry ALLOW_CONNECTIONS true")
    wait_for(lambda: running.cli("status").exit_code == 0, "the database to be back")
    wait_for(lambda: not running.json("status")["waits"], "nobody to wait any more")
