"""Is an event, or a field, written only when every live worker can read it, and in the oldest schema that holds it?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.heartbeats import VERSION, Heartbeat
from adapters.postgres.live_workers import alive
from adapters.postgres.upgrade_gate import LOOK_SECONDS, Reading, UpgradeGate, schemas_of
from application.unit_of_work import UnitOfWork
from domain.errors import NewerEvent, Unavailable, UnreadableEvent
from domain.event import schema_of
from domain.event_registry import REGISTRY, EventRegistry
from domain.tenant.events import TenantPurged
from tests.adapters.postgres.test_event_mapper import changed
from tests.history.stories import OpenKeys
from tests.journeys.running import wait_for
from tests.scratch_events import (
    NEWER,
    OLDER,
    ColouredScratchRecorded,
    ScratchPart,
    ScratchRecorded,
    WiderScratchPart,
    recorded,
)

PLAIN = ColouredScratchRecorded(tenant_id="t-1", parts=(WiderScratchPart(size=2),))
RED = ColouredScratchRecorded(tenant_id="t-1", colour="red")
HEAVY = ColouredScratchRecorded(tenant_id="t-1", parts=(WiderScratchPart(), WiderScratchPart(weight=7)))


def read_by(registry: EventRegistry, name: str = "projector-1") -> Reading:
    return Reading(name, "0.1.0", schemas_of(registry))


# -- schemas -------------------------------------------------------------------------------------------------------


def test_an_event_is_written_in_the_oldest_schema_that_holds_what_it_says() -> None:
    assert [schema_of(event) for event in (PLAIN, RED, HEAVY)] == [1, 2, 3]
    assert NEWER.schemas["tenantry.scratch-recorded"] == 3
    newer, older = EventMapper(OpenKeys(), NEWER), EventMapper(OpenKeys(), OLDER)
    stored = newer.to_stored_event(recorded(PLAIN))
    assert json.loads(stored.state)["v"] == 1
    assert older.to_domain_event(stored).event == ScratchRecorded(tenant_id="t-1", parts=(ScratchPart(size=2),))
    for event in (PLAIN, RED, HEAVY):
        assert newer.to_domain_event(newer.to_stored_event(recorded(event))).event == event


@pytest.mark.parametrize(("event", "schema"), [(RED, 2), (HEAVY, 3)])
def test_an_older_version_knows_a_newer_event_from_a_damaged_one(event: ColouredScratchRecorded, schema: int) -> None:
    stored = EventMapper(OpenKeys(), NEWER).to_stored_event(recorded(event))
    older = EventMapper(OpenKeys(), OLDER)
    with pytest.raises(NewerEvent, match=f"schema version {schema}, this Tenantry reads up to 1: update it") as error:
        older.to_domain_event(stored)
    assert error.value.why == "upgrade"
    with pytest.raises(NewerEvent, match=r"has the unknown topic tenantry\.scratch-recorded"):
        EventMapper(OpenKeys(), REGISTRY).to_domain_event(stored)
    with pytest.raises(UnreadableEvent) as damaged:
        older.to_domain_event(changed(stored, v=1, data={"tenant_id": 7}))
    assert not isinstance(damaged.value, NewerEvent)


def test_a_field_of_the_cause_that_this_version_does_not_know_is_of_a_newer_one() -> None:
    mapper = EventMapper(OpenKeys())
    stored = mapper.to_stored_event(recorded(TenantPurged(tenant_id="t-1")))
    cause = json.loads(stored.state)["cause"]
    with pytest.raises(NewerEvent, match=r"says in cause\.shift what this Tenantry does not know: update it"):
        mapper.to_domain_event(changed(stored, cause=cause | {"shift": "night"}))


# -- the gate ------------------------------------------------------------------------------------------------------


def test_what_a_live_worker_cannot_read_is_not_written_and_the_worker_is_named() -> None:
    gate = UpgradeGate(NEWER, lambda: [read_by(NEWER), read_by(OLDER, "projector-2")])
    gate.check([recorded(PLAIN), recorded(TenantPurged(tenant_id="t-1"))])
    with pytest.raises(Unavailable, match=r"in schema version 2 .* worker projector-2 .* up to schema") as it:
        gate.check([recorded(PLAIN), recorded(RED)])
    assert it.value.why == "upgrade"
    gate = UpgradeGate(NEWER, lambda: [read_by(REGISTRY)])
    with pytest.raises(Unavailable, match="reads no such event"):
        gate.check([recorded(PLAIN)])


def test_the_gate_looks_at_the_start_and_with_the_heartbeats_and_not_at_each_append() -> None:
    now, looks, workers = 0.0, 0, [read_by(NEWER)]

    def look() -> list[Reading]:
        nonlocal looks
        looks += 1
        return list(workers)

    gate = UpgradeGate(NEWER, look, clock=lambda: now)
    for _ in range(1_000):
        gate.check([recorded(RED)])
    assert looks == 1
    workers.append(read_by(OLDER))
    now += LOOK_SECONDS
    with pytest.raises(Unavailable):
        gate.check([recorded(RED)])
    workers.pop()
    now += LOOK_SECONDS
    gate.check([recorded(RED)])
    assert looks == 3


@contextmanager
def beating(url: str, name: str, registry: EventRegistry) -> Iterator[None]:
    heart = Heartbeat(url, name=name, kind="projector", details=dict, registry=registry)
    heart.start()
    heart.ready()
    wait_for(lambda: name in {worker["name"] for worker in alive(url)}, f"{name} to beat")
    yield
    heart.stop()


def test_an_upgrade_needs_no_stop(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.postgres.upgrade_gate.LOOK_SECONDS", 0.0)
    url = migrated_database
    log = PostgresEventLog(url, OpenKeys(), registry=NEWER)
    with ExitStack() as older, beating(url, "newer", NEWER):
        older.enter_context(beating(url, "older", OLDER))
        assert [(worker["name"], worker["version"]) for worker in alive(url)] == [
            ("newer", VERSION),
            ("older", VERSION),
        ]
        log.record(UnitOfWork(events=[recorded(PLAIN)]))
        with pytest.raises(Unavailable, match="worker older"):
            log.record(UnitOfWork(events=[recorded(RED, 2)]))
        older.close()
        log.record(UnitOfWork(events=[recorded(RED, 2)]))
    assert [fact.event for fact in log.load({"tenant:t-1": 0})["tenant:t-1"]] == [PLAIN, RED]
    log.close()
