"""Does an older worker that meets a newer event wait, say so, and go on after the upgrade?"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
import pytest
from pydantic import SecretStr

from adapters.postgres import overview
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.heartbeats import Heartbeat
from adapters.postgres.migrations import migrate
from adapters.postgres.schema_revision import expect_schema, known_revisions
from application.unit_of_work import UnitOfWork
from domain.configuration import Configuration
from domain.errors import NewerEvent, Unavailable
from domain.event import Recorded
from domain.event_registry import REGISTRY, EventRegistry
from projections import sites
from projections.base import Change, Projection
from runtime.compose import Parts
from runtime.instance import Endpoints
from runtime.reports.waits import waits_of
from runtime.settings import Settings
from tests.history.models import EVERY, expected, found
from tests.history.stories import OpenKeys, Stories, append
from tests.journeys.running import wait_for
from tests.journeys.test_metrics import free_ports, get
from tests.scratch_events import NEWER, OLDER, ColouredScratchRecorded, recorded
from tests.workers.projecting import Projectors, until_idle
from workers import roles

RED = ColouredScratchRecorded(tenant_id="t-1", colour="red")


def caring(registry: EventRegistry) -> list[Projection]:
    """The projections, one of which handles the scratch event as that version knows it."""
    scratch = registry.events - REGISTRY.events

    def handle(fact: Recorded) -> list[Change]:
        return [] if type(fact.event) in scratch else list(sites.PROJECTION.handle(fact))

    handles = sites.PROJECTION.handles | scratch
    return [replace(each, handles=handles, handle=handle) if each is sites.PROJECTION else each for each in EVERY]


@pytest.fixture
def log(migrated_database: str) -> Iterator[PostgresEventLog]:
    """With 60 events, of which the 31st is newer than the older version reads."""
    log = PostgresEventLog(migrated_database, OpenKeys(), registry=NEWER)
    stories = Stories(3, tenants=8)
    append(log, stories.take(30))
    log.record(UnitOfWork(events=[msgspec.structs.replace(recorded(RED), stream="tenant:scratch")]))
    log.advance_mark()
    append(log, stories.take(29))
    yield log
    log.close()


def test_a_projection_that_meets_a_newer_event_waits_and_goes_on_after_the_upgrade(
    migrated_database: str, log: PostgresEventLog, tmp_path: Path
) -> None:
    url = migrated_database
    with Projectors(url) as projectors:
        older = projectors(caring(OLDER), registry=OLDER)
        until_idle(older)
        older.step()
        state = {row["name"]: row for row in overview.status(url)["projections"]}
        assert not any(row["halted"] for row in state.values())
        assert {name: row["position"] for name, row in state.items() if row["lag"]} == {"sites": 30}

        heart = Heartbeat(url, name="older", kind="projector", details=dict, outages=[older.outage, older.upgrade])
        heart.start()
        wait_for(lambda: overview.status(url)["workers"], "the older projector to beat")
        [waits] = waits_of(Settings(data_dir=tmp_path), overview.status(url)["workers"])
        heart.stop()
        assert (waits["who"], waits["why"]) == ("the projector of an older version", "upgrade")
        assert "has schema version 2, this Tenantry reads up to 1: update it" in waits["text"]

        newer = projectors(caring(NEWER), registry=NEWER)
        until_idle(newer)
        assert {row["lag"] for row in overview.status(url)["projections"]} == {0}
        facts = [fact for fact in log.read(0, 1_000) if fact.stream != "tenant:scratch"]
        assert found(url) == expected(facts)


def test_what_another_projector_has_got_over_waits_no_more(
    migrated_database: str, log: PostgresEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.projector.WAITING_SECONDS", 0.05)
    with Projectors(migrated_database) as projectors:
        older = projectors(caring(OLDER), registry=OLDER)
        until_idle(older)
        older.step()
        assert older.upgrade.waits is not None
        until_idle(projectors(caring(NEWER), registry=NEWER))
        for _ in range(4):
            time.sleep(0.3)
            until_idle(older)
        older.step()
        assert older.upgrade.waits is None


class OlderParts(Parts):
    """What a worker that was started again finds: a configuration that only a later version can read."""

    is_upgraded = False

    @property
    def configuration(self) -> Configuration:
        if not self.is_upgraded:
            raise NewerEvent("event 2 of configuration:adopted has schema version 2: update it")
        return super().configuration


@contextmanager
def starting(parts: Parts) -> Iterator[threading.Thread]:
    """A worker at its start, until what it needs is there."""
    stop = threading.Event()
    thread = threading.Thread(target=roles._await_prepared, args=("intake", parts, stop))  # noqa: SLF001
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_worker_that_cannot_read_the_configuration_waits_and_its_card_says_so(
    migrated_database: str, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, master_key=SecretStr(base64.b64encode(b"m" * 32).decode()))
    with OlderParts(settings, Endpoints(migrated_database, "127.0.0.1:1")) as parts, starting(parts) as thread:
        [waits] = wait_for(lambda: waits_of(settings), "the card to say it")
        assert (waits["who"], waits["why"]) == ("the intake", "upgrade")
        parts.is_upgraded = True
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert waits_of(settings) == []


def test_a_worker_that_is_newer_than_the_tables_waits_for_the_migration_and_says_so(
    database: str, tmp_path: Path
) -> None:
    before, needed = known_revisions()[-2:]
    migrate(database, revision=before)
    port = free_ports(1)
    settings = Settings(
        data_dir=tmp_path, metrics_port=port, master_key=SecretStr(base64.b64encode(b"m" * 32).decode())
    )
    with Parts(settings, Endpoints(database, "127.0.0.1:1")) as parts, starting(parts) as thread:
        [row] = wait_for(lambda: overview.status(database)["workers"], "the worker to beat")
        assert (row["kind"], row["state"]) == ("waiting intake", "starting")
        [waits] = wait_for(lambda: waits_of(settings, overview.status(database)["workers"]), "status to say it")
        assert waits["why"] == "not-migrated"
        assert f"the database is at schema revision {before}, and this version needs {needed}" in waits["text"]
        assert get(f"http://127.0.0.1:{port}/livez") == (200, "the loop moves\n")
        assert get(f"http://127.0.0.1:{port}/readyz") == (503, "not ready: the intake waits: not-migrated\n")
        migrate(database)
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert overview.status(database)["workers"] == []


def test_an_older_worker_does_not_wait_for_tables_that_are_newer(migrated_database: str) -> None:
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    expect_schema(migrated_database)


def test_a_worker_waits_for_a_database_that_was_never_migrated(database: str) -> None:
    with pytest.raises(Unavailable) as caught:
        expect_schema(database)
    assert caught.value.why == "not-migrated"


def test_an_event_of_no_concern_to_any_projection_holds_nobody_up(
    migrated_database: str, log: PostgresEventLog
) -> None:
    with Projectors(migrated_database) as projectors:
        older = projectors(registry=OLDER)
        until_idle(older)
        assert {row["lag"] for row in overview.status(migrated_database)["projections"]} == {0}
        assert older.upgrade.waits is None
