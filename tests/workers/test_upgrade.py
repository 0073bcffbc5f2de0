"""Does an older worker that meets a newer event wait, say so, and go on after the upgrade?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from adapters.postgres import overview
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.heartbeats import Heartbeat
from application.unit_of_work import UnitOfWork
from domain.errors import NewerEvent
from domain.event import Recorded
from domain.event_registry import REGISTRY, EventRegistry
from projections import sites
from projections.base import Change, Projection
from runtime.reports.waits import waits_of
from runtime.settings import Settings
from tests.history.models import EVERY, expected, found
from tests.history.stories import OpenKeys, Stories, append
from tests.journeys.running import wait_for
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


class OlderParts:
    """What a worker that was started again finds: a configuration that only a later version can read."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir)
        self.is_upgraded = False

    def knock(self) -> None: ...

    @property
    def configuration(self) -> str:
        if not self.is_upgraded:
            raise NewerEvent("event 2 of configuration:adopted has schema version 2: update it")
        return "read"


def test_a_worker_that_cannot_read_the_configuration_waits_and_its_card_says_so(tmp_path: Path) -> None:
    parts, stop = OlderParts(tmp_path), threading.Event()
    thread = threading.Thread(target=roles._await_database, args=("intake", parts, stop))  # noqa: SLF001
    thread.start()
    [waits] = wait_for(lambda: waits_of(parts.settings), "the card to say it")
    assert (waits["who"], waits["why"]) == ("the intake", "upgrade")
    parts.is_upgraded = True
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert waits_of(parts.settings) == []


def test_an_event_of_no_concern_to_any_projection_holds_nobody_up(
    migrated_database: str, log: PostgresEventLog
) -> None:
    with Projectors(migrated_database) as projectors:
        older = projectors(registry=OLDER)
        until_idle(older)
        assert {row["lag"] for row in overview.status(migrated_database)["projections"]} == {0}
        assert older.upgrade.waits is None
