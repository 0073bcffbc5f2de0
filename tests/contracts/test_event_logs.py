"""Do the event log in memory and the one on PostgreSQL keep the same promises?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import msgspec
import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.kafka.cloudevents_reader import MAX_ID_BYTES, MAX_SOURCE_BYTES
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.event_store import Recorder
from adapters.postgres.migrations import migrate
from application.ports.inbox import Discarded, Incoming, KafkaPosition, QuarantinedMessage, WaitingMessage
from application.ports.log_store import LogStore
from application.ports.work_queue import Blocked, Lease, Reply, WorkItem
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, GuardTripped, PositionLost
from domain.event import Cause, Event, Recorded
from domain.faults import INTERNAL_ERROR
from domain.policy import Guard
from domain.scope.state import StepStarted
from domain.scope.steps import SiteSpec, Step
from domain.tenant.events import Founder, ProductSuspended, TenantCreated
from domain.tenant.guarded import Guarded, PendingApprovals
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.sealing import InMemorySealingKeys

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
ADA = Founder(account_id="ada", name="Ada", email="ada@example.com")


class Keeper(LogStore, Protocol):
    """The port, and what the intake asks besides."""

    def positions(self, topic_ids: Sequence[str]) -> dict[tuple[str, int], int]: ...
    def last_position(self) -> int: ...


class Inside(Protocol):
    """What a test looks up behind the port."""

    log: Keeper

    def incoming(self) -> dict[str, tuple[str, int]]:
        """Id -> outcome and number of duplicates."""

    def quarantine(self) -> list[tuple[int, str, int]]:
        """Number, state and number of repeats, in the order of arrival."""

    def rows(self) -> int:
        """How many rows there are of everything that a recording may add."""

    def await_reply(self, reply: Reply) -> None:
        """As if its order had been asked for."""


class MemoryInside:
    def __init__(self) -> None:
        self.memory = MemoryEventLog(clock=lambda: NOW)
        self.log: Keeper = self.memory

    def incoming(self) -> dict[str, tuple[str, int]]:
        return {id_: (seen.incoming.outcome, seen.duplicates) for (_, id_), seen in self.memory.incoming.items()}

    def quarantine(self) -> list[tuple[int, str, int]]:
        return [(number, row.state, row.repeats) for number, row in sorted(self.memory.quarantine.items())]

    def rows(self) -> int:
        memory = self.memory
        kept = (memory.events, memory.incoming, memory.quarantine, memory.work_items, memory.leases, memory.obstacles)
        return sum(len(each) for each in kept) + len(memory.positions(["topic"])) + self._waiting()

    def await_reply(self, reply: Reply) -> None:
        self.memory.replies[reply.scope, reply.step] = replace(reply, text="", signed_at=None)

    def _waiting(self) -> int:
        return sum(len(waiting) for waiting in self.memory.waiting(["t-1", "t-2", "t-never"]).values())


class CurrentEventLog(PostgresEventLog):
    """As if the high-water agent had just been here."""

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        self.advance_mark()
        return super().read(after, limit)

    def last_position(self) -> int:
        return self.advance_mark()


class PostgresInside:
    def __init__(self, url: str) -> None:
        self.keys = InMemorySealingKeys()
        self.postgres = CurrentEventLog(url, self.keys, pool_size=8)
        self.log: Keeper = self.postgres
        self._connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._connection.close()
        self.postgres.close()

    def incoming(self) -> dict[str, tuple[str, int]]:
        rows = self._connection.execute("SELECT id, outcome, duplicates FROM incoming").fetchall()
        return {id_: (outcome, duplicates) for id_, outcome, duplicates in rows}

    def quarantine(self) -> list[tuple[int, str, int]]:
        query = "SELECT number, state, repeats FROM quarantine ORDER BY number"
        return [(number, state, repeats) for number, state, repeats in self._connection.execute(query)]

    def rows(self) -> int:
        tables = (
            "stored_events", "incoming", "quarantine", "wakes", "leases", "blocked", "kafka_positions", "waiting"
        )  # fmt: skip
        counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        row = self._connection.execute(f"SELECT {counts}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    def await_reply(self, reply: Reply) -> None:
        self._connection.execute(
            "INSERT INTO replies (scope, step, key, generation) VALUES (%s, %s, %s, 1)",
            (reply.scope, reply.step, reply.key),
        )


@pytest.fixture(params=["memory", "postgres"])
def inside(request: pytest.FixtureRequest) -> Iterator[Inside]:
    if request.param == "memory":
        yield MemoryInside()
        return
    real = PostgresInside(request.getfixturevalue("migrated_database"))
    yield real
    real.close()


@pytest.fixture
def log(inside: Inside) -> Keeper:
    return inside.log


def suspended(reason: str = "unpaid") -> Event:
    return ProductSuspended(tenant_id="t-1", product="confluence", reason=reason)


def fact(stream: str, version: int, event: Event | None = None) -> Recorded:
    cause = Cause(kind="message", source="commerce", id="1", time=NOW)
    return Recorded(stream, version, uuid4(), NOW, cause, "commerce 1", event or suspended())


def started(tenant_id: str) -> Event:
    spec = SiteSpec(site_name="acme", access="open")
    return StepStarted(tenant_id=tenant_id, kind="site", step=Step.SITE, direction="ensure", generation=1, spec=spec)


def incoming(id_: str = "1", *, digest: bytes = b"d", outcome: str = "recorded") -> Incoming:
    return Incoming("commerce", id_, digest, "tenantry.lifecycle", 0, 7, outcome)


def waiting(id_: str, *, tenant_id: str = "t-1", body: bytes = b"body") -> WaitingMessage:
    return WaitingMessage(
        tenant_id=tenant_id,
        source="commerce",
        id=id_,
        type="product.suspended",
        digest=id_.encode(),
        topic="tenantry.lifecycle",
        partition=2,
        offset=9,
        body=body,
        received_at=NOW,
    )


def quarantined(digest: bytes = b"q") -> QuarantinedMessage:
    return QuarantinedMessage(
        digest=digest,
        rule="not-json",
        reason="not JSON",
        subject="unattributed",
        source=None,
        id=None,
        type=None,
        tenant_id=None,
        topic="tenantry.lifecycle",
        partition=0,
        offset=3,
        body=b"noise",
        received_at=NOW,
    )


def position(expected: int | None, next_offset: int, *, partition: int = 0) -> KafkaPosition:
    return KafkaPosition("tenantry.lifecycle", "topic", partition, expected, next_offset)


def work_item(log: Keeper, *scopes: str, at: datetime = NOW) -> None:
    log.record(UnitOfWork(work_items=[WorkItem(scope, at) for scope in scopes]))


def claim(log: Keeper, owner: str = "a", *, now: datetime = NOW, limit: int = 10) -> list[Lease]:
    return log.claim(owner=owner, limit=limit, now=now, until=now + LEASE)


def scopes(leases: Sequence[Lease]) -> list[str]:
    return sorted(lease.scope for lease in leases)


# -- the index of streams ------------------------------------------------------------------------------------------


def test_streams_of_a_kind_are_paged_through_in_the_order_of_their_keys(log: Keeper) -> None:
    streams = ("tenant:t-3", "tenant:t-1", "tenant:t-2", "site:t-0", "tenants:t-0", "customer:t-9")
    log.record(UnitOfWork(events=[fact(stream, 1) for stream in streams] + [fact("tenant:t-1", 2)]))
    assert list(log.streams_after("tenant", "", 2)) == ["t-1", "t-2"]
    assert list(log.streams_after("tenant", "t-2", 2)) == ["t-3"]
    assert list(log.streams_after("tenant", "t-3", 2)) == []
    assert list(log.streams_after("family", "", 2)) == []


def test_intents_are_found_beyond_a_position(log: Keeper) -> None:
    assert log.advance_mark() == 0
    log.record(UnitOfWork(events=[fact("site:t-1", 1, started("t-1"))]))
    mark = log.advance_mark()
    assert list(log.started_after(mark)) == []
    log.record(UnitOfWork(events=[fact("site:t-2", 1, started("t-2")), fact("tenant:t-2", 1)]))
    log.record(UnitOfWork(events=[fact("site:t-2", 2, started("t-2"))]))
    assert list(log.started_after(mark)) == ["site:t-2"]
    assert sorted(log.started_after(0)) == ["site:t-1", "site:t-2"]


def test_the_mark_moves_to_what_is_committed_and_never_back(log: Keeper) -> None:
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1)]))
    mark = log.advance_mark()
    assert [recorded.position for recorded in log.read(0, 10)] == [mark]
    assert log.advance_mark() == mark
    log.record(UnitOfWork(events=[fact("tenant:t-1", 2)]))
    assert log.advance_mark() > mark


# -- facts ---------------------------------------------------------------------------------------------------------


def test_what_was_recorded_is_loaded_as_it_was_stream_by_stream(log: Keeper) -> None:
    created = TenantCreated(tenant_id="t-1", customer_id="c-1", site_name="acme", residency="global", administrator=ADA)
    facts = [fact("tenant:t-1", 1, created), fact("tenant:t-1", 2), fact("tenant:t-2", 1)]
    log.record(UnitOfWork(events=facts))
    loaded = log.load({"tenant:t-1": 0, "tenant:t-2": 0, "tenant:t-3": 0})
    assert {
        stream: [msgspec.structs.replace(each, position=0) for each in found] for stream, found in loaded.items()
    } == {
        "tenant:t-1": facts[:2],
        "tenant:t-2": facts[2:],
    }
    assert [each.version for each in log.load({"tenant:t-1": 1})["tenant:t-1"]] == [2]
    assert log.load({"tenant:t-1": 2}) == {}
    assert log.load({}) == {}


def test_what_is_personal_is_not_unsealed_where_nobody_asks_for_it(log: Keeper) -> None:
    created = TenantCreated(tenant_id="t-1", customer_id="c-1", site_name="acme", residency="global", administrator=ADA)
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1, created), fact("tenant:t-1", 2)]))
    [first, second] = log.load({"tenant:t-1": 0}, personal=False)["tenant:t-1"]
    assert isinstance(first.event, TenantCreated)
    assert first.event.administrator.account_id == "ada"
    assert not {first.event.administrator.name, first.event.administrator.email} & {ADA.name, ADA.email}
    assert second == log.load({"tenant:t-1": 1})["tenant:t-1"][0]


def test_facts_are_read_in_the_order_in_which_they_were_recorded(log: Keeper) -> None:
    assert log.last_position() == 0
    assert list(log.read(0, 10)) == []
    log.record(UnitOfWork(events=[fact("b", 1), fact("a", 1)]))
    log.record(UnitOfWork(events=[fact("b", 2)]))
    places = [(each.stream, each.version) for each in log.read(0, 10)]
    assert places == [("b", 1), ("a", 1), ("b", 2)]
    first, second = log.read(0, 2)
    assert first.position < second.position
    assert [each.version for each in log.read(second.position, 10)] == [2]
    assert log.last_position() == log.read(second.position, 10)[0].position


def everything(event: Recorded) -> UnitOfWork:
    """A recording with something of everything."""
    return UnitOfWork(
        events=[event],
        positions=[position(None, 5, partition=1)],
        incoming=[incoming("new")],
        waiting=[waiting("w-new", tenant_id="t-never")],
        quarantined=[quarantined()],
        customer_tenants=[("c-new", "t-new")],
        work_items=[WorkItem("site:t-1", NOW)],
        blocked=[Blocked("room:eu", "site:t-1")],
    )


def test_a_version_that_is_taken_is_a_conflict_and_nothing_at_all_is_recorded(inside: Inside) -> None:
    log = inside.log
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1)]))
    with pytest.raises(Conflict):
        log.record(everything(fact("tenant:t-1", 1)))
    assert inside.rows() == 1
    assert log.tenants_of("c-new") == []
    log.record(everything(fact("tenant:t-1", 2)))
    assert inside.rows() == 8
    assert list(log.tenants_of("c-new")) == ["t-new"]


def test_nobody_is_sent_to_wait_for_a_tenant_that_is_there(log: Keeper) -> None:
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1)], customer_tenants=[("c-1", "t-1")]))
    with pytest.raises(Conflict):
        log.record(UnitOfWork(waiting=[waiting("w-1", tenant_id="t-1")]))
    assert log.waiting(["t-1"]) == {}


def test_a_tenant_is_not_created_past_a_message_that_waits_for_it(log: Keeper) -> None:
    log.record(UnitOfWork(waiting=[waiting("w-1", tenant_id="t-1")]))
    created = UnitOfWork(events=[fact("tenant:t-1", 1)], customer_tenants=[("c-1", "t-1")])
    with pytest.raises(Conflict):
        log.record(created)
    created.waited.append(("commerce", "w-1"))
    log.record(created)
    assert log.waiting(["t-1"]) == {}


def test_a_version_that_comes_twice_in_one_recording_is_a_conflict(inside: Inside) -> None:
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(events=[fact("tenant:t-1", 1), fact("tenant:t-1", 1)]))
    assert inside.rows() == 0


def test_of_two_who_record_the_same_version_at_once_one_is_told_so(log: Keeper) -> None:
    barrier = threading.Barrier(8)

    def record(number: int) -> str:
        barrier.wait()
        try:
            log.record(UnitOfWork(events=[fact("tenant:t-1", 1, suspended(str(number)))]))
        except Conflict:
            return "conflict"
        return "recorded"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(record, range(8)))
    assert answers == ["conflict"] * 7 + ["recorded"]
    assert len(log.read(0, 10)) == 1


def test_a_reader_beside_many_writers_sees_every_fact_once_and_in_order(log: Keeper) -> None:
    writers, each = 6, 40
    stop = threading.Event()

    def write(writer: int) -> None:
        for version in range(1, each + 1, 2):
            stream = f"tenant:{writer}"
            log.record(UnitOfWork(events=[fact(stream, version), fact(stream, version + 1)]))

    def follow() -> list[Recorded]:
        seen: list[Recorded] = []
        while True:
            last = stop.is_set()
            page = log.read(seen[-1].position if seen else 0, 7)
            seen.extend(page)
            if last and not page:
                return seen

    with ThreadPoolExecutor(writers + 1) as pool:
        reading = pool.submit(follow)
        for written in [pool.submit(write, writer) for writer in range(writers)]:
            written.result()
        stop.set()
        seen = reading.result()
    assert len(seen) == len({(fact_.stream, fact_.version) for fact_ in seen}) == writers * each
    assert [fact_.position for fact_ in seen] == sorted(fact_.position for fact_ in seen)
    for writer in range(writers):
        versions = [fact_.version for fact_ in seen if fact_.stream == f"tenant:{writer}"]
        assert versions == list(range(1, each + 1))


# -- Kafka positions -----------------------------------------------------------------------------------------------


def test_positions_move_from_where_they_were(log: Keeper) -> None:
    log.record(UnitOfWork(positions=[position(None, 5), position(None, 1, partition=1)]))
    log.record(UnitOfWork(positions=[position(5, 9)]))
    assert log.positions(["topic", "other"]) == {("topic", 0): 9, ("topic", 1): 1}
    assert log.positions(["other"]) == {}


@pytest.mark.parametrize("expected", [None, 4, 6])
def test_a_position_that_somebody_else_moved_is_lost_and_nothing_is_recorded(
    inside: Inside, expected: int | None
) -> None:
    inside.log.record(UnitOfWork(positions=[position(None, 5)]))
    recording = UnitOfWork(events=[fact("tenant:t-1", 1)], positions=[position(expected, 9)])
    with pytest.raises(PositionLost):
        inside.log.record(recording)
    assert inside.log.positions(["topic"]) == {("topic", 0): 5}
    assert inside.rows() == 1


def test_a_position_that_should_be_there_and_is_not_is_lost(log: Keeper) -> None:
    with pytest.raises(PositionLost):
        log.record(UnitOfWork(positions=[position(5, 9)]))


# -- incoming ------------------------------------------------------------------------------------------------------


def test_messages_that_were_seen_are_known_by_source_and_id(log: Keeper) -> None:
    log.record(UnitOfWork(incoming=[incoming("1", digest=b"one"), incoming("2", digest=b"two")]))
    asked = [("commerce", "1"), ("trial", "1"), ("commerce", "3")]
    assert log.known(asked) == {("commerce", "1"): b"one"}
    assert log.known([]) == {}


@pytest.mark.parametrize("outcome", ["recorded", "stale"])
def test_a_message_that_was_dealt_with_for_good_is_a_conflict(inside: Inside, outcome: str) -> None:
    inside.log.record(UnitOfWork(incoming=[incoming(outcome=outcome)]))
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(events=[fact("tenant:t-1", 1)], incoming=[incoming()]))
    assert inside.rows() == 1


@pytest.mark.parametrize("outcome", ["waiting", "quarantined"])
def test_a_message_that_waited_or_was_quarantined_may_still_be_recorded(inside: Inside, outcome: str) -> None:
    inside.log.record(UnitOfWork(incoming=[incoming(outcome=outcome)]))
    inside.log.record(UnitOfWork(incoming=[incoming()]))
    assert inside.incoming() == {"1": ("recorded", 0)}


def test_it_may_not_with_another_body(inside: Inside) -> None:
    inside.log.record(UnitOfWork(incoming=[incoming(outcome="waiting")]))
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(incoming=[incoming(digest=b"other")]))
    assert inside.incoming() == {"1": ("waiting", 0)}


def test_of_two_outcomes_in_one_recording_the_last_counts(inside: Inside) -> None:
    inside.log.record(UnitOfWork(incoming=[incoming(outcome="waiting"), incoming()]))
    assert inside.incoming() == {"1": ("recorded", 0)}


def test_duplicates_are_counted_also_with_the_message_itself(inside: Inside) -> None:
    key = ("commerce", "1")
    inside.log.record(UnitOfWork(incoming=[incoming()], duplicates={key: 2}))
    inside.log.record(UnitOfWork(duplicates={key: 3, ("commerce", "never seen"): 1}))
    assert inside.incoming() == {"1": ("recorded", 5)}


# -- waiting and quarantine ----------------------------------------------------------------------------------------


def test_messages_wait_for_their_tenant_in_the_order_of_arrival_and_come_back_whole(log: Keeper) -> None:
    first, second, other = waiting("b"), waiting("a", body=b"\x00\xff"), waiting("c", tenant_id="t-2")
    log.record(UnitOfWork(waiting=[first, other]))
    log.record(UnitOfWork(waiting=[second]))
    assert log.waiting(["t-1", "t-3"]) == {"t-1": [first, second]}
    log.record(UnitOfWork(waited=[("commerce", "b")]))
    assert log.waiting(["t-1", "t-2", "t-never"]) == {"t-1": [second], "t-2": [other]}
    assert log.waiting([]) == {}


def test_who_does_not_wait_any_more_cannot_be_let_in(inside: Inside) -> None:
    inside.log.record(UnitOfWork(waiting=[waiting("a")]))
    inside.log.record(UnitOfWork(waited=[("commerce", "a")]))
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(events=[fact("tenant:t-1", 1)], waited=[("commerce", "a")]))
    assert inside.rows() == 0


def test_nobody_waits_twice(inside: Inside) -> None:
    inside.log.record(UnitOfWork(waiting=[waiting("a")]))
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(waiting=[waiting("a", tenant_id="t-2")]))
    assert inside.rows() == 1


def test_what_lies_open_in_quarantine_and_comes_again_is_counted_there(inside: Inside) -> None:
    inside.log.record(UnitOfWork(quarantined=[quarantined(b"a"), quarantined(b"b"), quarantined(b"a")]))
    inside.log.record(UnitOfWork(quarantined=[quarantined(b"a")]))
    assert [(state, repeats) for _, state, repeats in inside.quarantine()] == [("open", 2), ("open", 0)]


def test_what_was_released_may_be_quarantined_anew(inside: Inside) -> None:
    inside.log.record(UnitOfWork(quarantined=[quarantined()]))
    [(number, _, _)] = inside.quarantine()
    inside.log.record(UnitOfWork(released=[number], quarantined=[quarantined()]))
    assert [(state, repeats) for _, state, repeats in inside.quarantine()] == [("retried", 0), ("open", 0)]


def fault(digest: bytes = b"f", *, tenant_id: str = "t-1", at: datetime = NOW) -> QuarantinedMessage:
    return replace(quarantined(digest), rule=INTERNAL_ERROR, tenant_id=tenant_id, received_at=at)


def test_the_messages_in_quarantine_for_an_error_of_ours_are_found_by_their_tenants(inside: Inside) -> None:
    refused = replace(quarantined(b"r"), tenant_id="t-1")
    inside.log.record(UnitOfWork(quarantined=[fault(), refused, fault(b"g", tenant_id="t-2"), fault(b"h")]))
    first, _, second, third = [number for number, _, _ in inside.quarantine()]
    assert inside.log.faulty(["t-1", "t-3"]) == {"t-1": [first, third]}
    inside.log.record(UnitOfWork(released=[first], discarded=[Discarded(third, "ada", "no")]))
    assert inside.log.faulty(["t-1", "t-2"]) == {"t-2": [second]}
    assert inside.log.faulty([]) == {}


def test_the_errors_of_ours_are_counted_from_a_moment_on(inside: Inside) -> None:
    minutes = [NOW - timedelta(minutes=each) for each in (0, 1, 5)]
    inside.log.record(UnitOfWork(quarantined=[quarantined(), *[fault(str(at).encode(), at=at) for at in minutes]]))
    assert inside.log.faults_since(NOW - timedelta(minutes=2)) == 2


def test_a_message_waits_behind_an_error_of_ours_though_its_tenant_is_there(inside: Inside) -> None:
    inside.log.record(UnitOfWork(events=[fact("tenant:t-1", 1)], quarantined=[fault()]))
    inside.log.record(UnitOfWork(waiting=[waiting("a")]))
    [(number, _, _)] = inside.quarantine()
    inside.log.record(UnitOfWork(released=[number]))
    with pytest.raises(Conflict):
        inside.log.record(UnitOfWork(waiting=[waiting("b")]))
    inside.log.record(UnitOfWork(waiting=[waiting("b")], quarantined=[fault()]))
    assert [each.id for each in inside.log.waiting(["t-1"])["t-1"]] == ["a", "b"]


def test_a_tenant_is_created_past_messages_that_wait_behind_an_error_of_ours(inside: Inside) -> None:
    inside.log.record(UnitOfWork(waiting=[waiting("a")]))
    created = UnitOfWork(events=[fact("tenant:t-1", 1)], customer_tenants=[("c-1", "t-1")])
    with pytest.raises(Conflict):
        inside.log.record(created)
    created.quarantined.append(fault())
    inside.log.record(created)
    assert [each.id for each in inside.log.waiting(["t-1"])["t-1"]] == ["a"]


def test_what_is_not_open_cannot_be_released(inside: Inside) -> None:
    inside.log.record(UnitOfWork(quarantined=[quarantined()]))
    [(number, _, _)] = inside.quarantine()
    inside.log.record(UnitOfWork(released=[number]))
    for again in (number, number + 1000):
        with pytest.raises(Conflict):
            inside.log.record(UnitOfWork(released=[again], events=[fact("tenant:t-1", 1)]))
    assert log_is_empty(inside)


def test_a_message_is_discarded_once_and_with_the_act_that_says_so(inside: Inside) -> None:
    inside.log.record(UnitOfWork(quarantined=[quarantined()]))
    [(number, _, _)] = inside.quarantine()
    discarded = Discarded(number, "Ada (ada@host)", "noise")
    inside.log.record(UnitOfWork(discarded=[discarded], events=[fact("operator:t-1", 1)]))
    assert [state for _, state, _ in inside.quarantine()] == ["discarded"]
    for again in (discarded, Discarded(number + 1000, "ada", "noise")):
        with pytest.raises(Conflict):
            inside.log.record(UnitOfWork(discarded=[again], events=[fact("operator:t-1", 2)]))
    assert len(inside.log.read(0, 9)) == 1


def log_is_empty(inside: Inside) -> bool:
    return not inside.log.read(0, 1)


def test_the_tenants_of_a_customer_are_known_once_each(log: Keeper) -> None:
    log.record(UnitOfWork(customer_tenants=[("c-1", "t-2"), ("c-1", "t-1"), ("c-2", "t-3")]))
    log.record(UnitOfWork(customer_tenants=[("c-1", "t-1")]))
    assert list(log.tenants_of("c-1")) == ["t-1", "t-2"]
    assert list(log.tenants_of("c-9")) == []


# -- leases --------------------------------------------------------------------------------------------------------


def test_a_scope_that_is_due_is_claimed_once_with_all_its_wakes(log: Keeper) -> None:
    work_item(log, "site:t-1", "site:t-2", "site:t-1")
    leases = claim(log)
    assert scopes(leases) == ["site:t-1", "site:t-2"]
    assert sorted(len(lease.work_items) for lease in leases) == [1, 2]
    assert {lease.owner for lease in leases} == {"a"}
    assert claim(log, "b") == []


def test_the_longest_source_and_id_of_a_message_fit_into_the_index_that_knows_them(log: Keeper) -> None:
    """An entry of an index holds 2,704 bytes after compression: these do not compress."""
    dice = random.Random(7)  # noqa: S311
    source, id_ = (
        "".join(chr(dice.randrange(0x21, 0x7F)) for _ in range(most)) for most in (MAX_SOURCE_BYTES, MAX_ID_BYTES)
    )
    seen = msgspec.structs.replace(incoming(id_), source=source)
    message = replace(waiting(id_), source=source)
    log.record(UnitOfWork(incoming=[seen], waiting=[message]))
    assert log.known([(source, id_)]) == {(source, id_): b"d"}


def test_a_claim_takes_the_longest_due_first_and_no_more_than_asked(log: Keeper) -> None:
    for number, scope in enumerate(("site:c", "site:a", "site:b")):
        work_item(log, scope, at=NOW - number * SECOND)
    assert scopes(claim(log, limit=2)) == ["site:a", "site:b"]
    assert scopes(claim(log, "b", limit=2)) == ["site:c"]


def test_a_wake_in_the_future_is_not_claimed_before_its_time(log: Keeper) -> None:
    work_item(log, "site:t-1", at=NOW + SECOND)
    assert claim(log) == []
    assert scopes(claim(log, now=NOW + SECOND)) == ["site:t-1"]


def test_a_wake_in_the_future_outlives_the_lease_of_an_earlier_one(log: Keeper) -> None:
    work_item(log, "site:t-1")
    work_item(log, "site:t-1", at=NOW + SECOND)
    log.record(UnitOfWork(leases=claim(log)))
    assert claim(log) == []
    assert scopes(claim(log, now=NOW + SECOND)) == ["site:t-1"]


def test_the_work_queue_says_when_it_has_each_next_though_it_is_leased(log: Keeper) -> None:
    work_item(log, "site:t-1", at=NOW + 2 * SECOND)
    work_item(log, "site:t-1", "tenant:t-2")
    claim(log)
    assert log.scheduled(["site:t-1", "tenant:t-2", "site:t-9"]) == {"site:t-1": NOW, "tenant:t-2": NOW}
    assert log.scheduled([]) == {}


def test_who_finishes_ends_the_lease_and_its_wakes(inside: Inside) -> None:
    work_item(inside.log, "site:t-1", "site:t-1")
    inside.log.record(UnitOfWork(leases=claim(inside.log)))
    assert inside.rows() == 0
    assert claim(inside.log, now=NOW + 2 * LEASE) == []


def test_a_wake_during_the_work_makes_the_scope_due_again_after_it(log: Keeper) -> None:
    work_item(log, "site:t-1")
    leases = claim(log)
    work_item(log, "site:t-1")
    assert claim(log, "b") == []
    log.record(UnitOfWork(leases=leases))
    assert scopes(claim(log, "b")) == ["site:t-1"]


def test_a_lease_that_ran_out_is_taken_over_and_its_first_holder_finishes_nothing(inside: Inside) -> None:
    log = inside.log
    work_item(log, "site:t-1")
    slow = claim(log, "slow")
    assert claim(log, "quick", now=NOW + LEASE - SECOND) == []
    quick = claim(log, "quick", now=NOW + LEASE)
    assert scopes(quick) == ["site:t-1"]
    assert quick[0].work_items == slow[0].work_items
    assert quick[0].token != slow[0].token
    with pytest.raises(Conflict):
        log.record(UnitOfWork(events=[fact("site:t-1", 1)], leases=slow))
    assert log_is_empty(inside)
    log.record(UnitOfWork(events=[fact("site:t-1", 1)], leases=quick))


def test_a_lease_of_a_clock_that_has_gone_back_by_hours_since_is_taken_over(log: Keeper) -> None:
    """A machine that was resumed, or set right; its worker died before, and the lease would last for hours."""
    work_item(log, "site:t-1")
    (before,) = claim(log, "before", now=NOW + timedelta(hours=3))
    (after,) = claim(log, "after", now=NOW)
    assert (after.scope, after.until) == ("site:t-1", NOW + LEASE)
    with pytest.raises(Conflict):
        log.record(UnitOfWork(leases=[before]))
    log.record(UnitOfWork(leases=[after]))


def test_a_lease_of_a_clock_that_is_a_little_ahead_is_respected(log: Keeper) -> None:
    work_item(log, "site:t-1")
    claim(log, "ahead", now=NOW + timedelta(minutes=4))
    assert claim(log, "behind", now=NOW) == []


def test_who_goes_on_under_a_lease_must_still_have_it(inside: Inside) -> None:
    log = inside.log
    work_item(log, "site:t-1")
    slow = claim(log, "slow")
    log.record(UnitOfWork(events=[fact("site:t-1", 1)], kept=slow))
    quick = claim(log, "quick", now=NOW + LEASE)
    with pytest.raises(Conflict):
        log.record(UnitOfWork(events=[fact("site:t-1", 2)], kept=slow))
    with pytest.raises(Conflict):
        log.record(UnitOfWork(kept=slow))
    log.record(UnitOfWork(leases=quick))
    with pytest.raises(Conflict):
        log.record(UnitOfWork(events=[fact("site:t-1", 2)], kept=quick))
    assert len(log.read(0, 10)) == 1


def test_a_lease_that_ended_cannot_end_again(log: Keeper) -> None:
    work_item(log, "site:t-1")
    leases = claim(log)
    log.record(UnitOfWork(leases=leases))
    with pytest.raises(Conflict):
        log.record(UnitOfWork(leases=leases))


def test_a_lease_that_ran_out_and_was_not_taken_over_still_counts(log: Keeper) -> None:
    work_item(log, "site:t-1")
    log.record(UnitOfWork(leases=claim(log), events=[fact("site:t-1", 1)]))
    assert len(log.read(0, 10)) == 1


def test_a_lease_can_be_made_longer_by_its_holder_only(log: Keeper) -> None:
    work_item(log, "site:t-1")
    (lease,) = claim(log)
    log.record(UnitOfWork(renewals=[(lease, NOW + 3 * LEASE)]))
    assert claim(log, "b", now=NOW + 2 * LEASE) == []
    assert scopes(claim(log, "b", now=NOW + 3 * LEASE)) == ["site:t-1"]
    with pytest.raises(Conflict):
        log.record(UnitOfWork(renewals=[(lease, NOW + 9 * LEASE)]))


def test_many_claimers_at_once_never_hold_one_scope_together(log: Keeper) -> None:
    names = [f"site:{number}" for number in range(60)]
    work_item(log, *names, *names)
    barrier = threading.Barrier(6)

    def work(owner: str) -> list[str]:
        barrier.wait()
        held: list[str] = []
        empty = 0
        while empty < 3:
            leases = claim(log, owner, limit=5)
            empty = 0 if leases else empty + 1
            held.extend(lease.scope for lease in leases)
        return held

    with ThreadPoolExecutor(6) as pool:
        held = [scope for scopes_ in pool.map(work, "abcdef") for scope in scopes_]
    assert sorted(held) == sorted(names)


# -- obstacles -----------------------------------------------------------------------------------------------------


def test_the_release_of_an_obstacle_wakes_each_scope_that_waits_for_it_once(log: Keeper) -> None:
    blocked = [Blocked("room:eu", "family:a:f"), Blocked("room:eu", "family:b:f"), Blocked("room:us", "family:c:f")]
    log.record(UnitOfWork(blocked=[*blocked, blocked[0]]))
    assert claim(log, now=_soon()) == []
    log.record(UnitOfWork(unblocked=["room:eu", "site-name:acme"]))
    leases = claim(log, now=_soon())
    assert scopes(leases) == ["family:a:f", "family:b:f"]
    assert [len(lease.work_items) for lease in leases] == [1, 1]
    log.record(UnitOfWork(leases=leases, unblocked=["room:eu"]))
    assert claim(log, now=_soon()) == []


# -- tenants that have moved on ------------------------------------------------------------------------------------


def test_who_wakes_the_scopes_of_a_tenant_that_has_moved_on_makes_the_whole_tenant_due(log: Keeper) -> None:
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1), fact("tenant:t-1", 2), fact("tenant:t-2", 1)]))
    log.record(UnitOfWork(rescheduled={"t-1": 1, "t-2": 1}))
    assert scopes(claim(log, now=_soon())) == ["tenant:t-1"]


def test_who_wakes_the_scopes_of_a_tenant_waits_for_whoever_gives_it_another_one(database: str) -> None:
    migrate(database)
    log = PostgresEventLog(database, InMemorySealingKeys())
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1)]))
    inside, recorded = threading.Event(), threading.Event()

    class Slow(Recorder):
        def _append(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent]) -> None:
            inside.set()
            assert not recorded.wait(0.3), "the other one did not wait"
            super()._append(curs, stored_events)

    slow = PostgresEventLog(database, InMemorySealingKeys())
    slow.recorder = Slow(slow.datastore)
    with ThreadPoolExecutor(2) as pool:
        grows = pool.submit(slow.record, UnitOfWork(events=[fact("tenant:t-1", 2)], grown=["t-1"]))
        assert inside.wait(10)
        log.record(UnitOfWork(rescheduled={"t-1": 1}))
        recorded.set()
        grows.result(10)
    assert scopes(claim(log, now=_soon())) == ["tenant:t-1"]
    slow.close()
    log.close()


# -- streams that must not have moved ------------------------------------------------------------------------------


def test_a_recording_that_rests_on_a_stream_conflicts_when_somebody_has_recorded_there(log: Keeper) -> None:
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1), fact("site:t-1", 1)]))
    log.record(UnitOfWork(events=[fact("tenant:t-1", 2)], unmoved={"site:t-1": 1, "product:t-1:confluence": 0}))
    log.record(UnitOfWork(events=[fact("site:t-1", 2)]))
    with pytest.raises(Conflict, match="somebody recorded in site:t-1 meanwhile"):
        log.record(UnitOfWork(events=[fact("tenant:t-1", 3)], unmoved={"site:t-1": 1}))
    assert len(log.load({"tenant:t-1": 0})["tenant:t-1"]) == 2


def test_a_recording_may_rest_on_a_stream_that_it_adds_to(log: Keeper) -> None:
    log.record(
        UnitOfWork(events=[fact("site:t-1", 1), fact("tenant:t-1", 1)], unmoved={"site:t-1": 0, "tenant:t-1": 0})
    )


def test_of_two_that_rest_on_each_others_streams_one_conflicts_however_they_cross(database: str) -> None:
    migrate(database)
    log = PostgresEventLog(database, InMemorySealingKeys())
    log.record(UnitOfWork(events=[fact("tenant:t-1", 1), fact("site:t-1", 1)]))
    inside = threading.Event()

    class Slow(Recorder):
        def _append(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent]) -> None:
            inside.set()
            time.sleep(0.3)
            super()._append(curs, stored_events)

    slow = PostgresEventLog(database, InMemorySealingKeys())
    slow.recorder = Slow(slow.datastore)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(slow.record, UnitOfWork(events=[fact("site:t-1", 2)], unmoved={"tenant:t-1": 1}))
        assert inside.wait(10)
        with pytest.raises(Conflict, match="somebody recorded in site:t-1 meanwhile"):
            log.record(UnitOfWork(events=[fact("tenant:t-1", 2)], unmoved={"site:t-1": 1}))
        held.result(10)
    assert "tenant:t-1" not in log.load({"tenant:t-1": 1})
    slow.close()
    log.close()


def _soon() -> datetime:
    """A time that is not before the database's own clock."""
    return max(NOW, datetime.now(UTC)) + timedelta(minutes=1)


# -- what lies on the disk -----------------------------------------------------------------------------------------


def test_nothing_of_a_person_or_a_body_is_stored_in_the_clear(database: str) -> None:
    migrate(database)
    real = PostgresInside(database)
    created = TenantCreated(tenant_id="t-1", customer_id="c-1", site_name="acme", residency="global", administrator=ADA)
    body = b'{"email":"ada@example.com"}'
    real.log.record(
        UnitOfWork(
            events=[fact("tenant:t-1", 1, created)],
            waiting=[waiting("a", body=body)],
            quarantined=[replace(quarantined(), body=body)],
        )
    )
    with psycopg.connect(database) as connection:
        stored = "".join(
            str(row)
            for query in ("SELECT convert_from(state, 'utf8') FROM stored_events", "TABLE waiting", "TABLE quarantine")
            for row in connection.execute(query.encode()).fetchall()
        )  # fmt: skip
    real.close()
    assert "ada@example.com" not in stored
    assert body.hex() not in stored


# -- the destroy guard ---------------------------------------------------------------------------------------------

RULE = Guard(at_least=3, share=0.5, window=timedelta(minutes=10))


def guarded(destroys: int, *, at: datetime = NOW, destroyed: int = 0) -> UnitOfWork:
    return UnitOfWork(guarded=Guarded(RULE, at, destroys, destroyed))


def tripped(log: Keeper, recording: UnitOfWork) -> int | None:
    with pytest.raises(GuardTripped) as caught:
        log.record(recording)
    return caught.value.left


def test_the_guard_lets_so_many_pass_in_a_window(log: Keeper) -> None:
    log.record(guarded(2))
    assert tripped(log, guarded(2)) == 1
    log.record(guarded(1))
    assert tripped(log, guarded(1)) == 0
    assert tripped(log, guarded(1, at=NOW + RULE.window - SECOND)) == 0
    log.record(guarded(3, at=NOW + RULE.window))


def test_what_the_guard_stops_leaves_nothing_behind(log: Keeper, inside: Inside) -> None:
    log.record(guarded(3))
    before = inside.rows()
    recording = guarded(1)
    recording.events.append(fact("tenant:t-1", 1))
    recording.work_items.append(WorkItem("site:t-1", NOW))
    assert tripped(log, recording) == 0
    assert inside.rows() == before


def test_time_never_goes_back_for_the_guard(log: Keeper) -> None:
    log.record(guarded(3))
    assert tripped(log, guarded(1, at=NOW - timedelta(hours=1))) == 0


def test_the_limit_is_a_share_of_the_tenants_that_are_not_destroyed(log: Keeper) -> None:
    log.record(UnitOfWork(customer_tenants=[("c-1", f"t-{number}") for number in range(10)]))
    log.record(guarded(4, destroyed=2))
    assert tripped(log, guarded(1)) == 0
    log.record(guarded(0, destroyed=-2))
    log.record(guarded(1))


def test_what_was_approved_uses_up_nothing(log: Keeper) -> None:
    log.record(guarded(0, destroyed=100))
    log.record(guarded(3))


def test_writers_side_by_side_are_counted_together(log: Keeper) -> None:
    def destroy(_: int) -> bool:
        try:
            log.record(guarded(1))
        except GuardTripped:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(destroy, range(12))) == 3


CLOSING_RULE = Guard(at_least=3, share=0.5, window=timedelta(minutes=20))


def closing(closings: int, *, destroys: int = 0, at: datetime = NOW, live: int = 0) -> UnitOfWork:
    guarded = Guarded(RULE, at, destroys, closing_rule=CLOSING_RULE, closings=closings)
    return UnitOfWork(guarded=guarded, live_products=live)


def left(log: Keeper, recording: UnitOfWork) -> tuple[int | None, int | None]:
    """What of both budgets is left, of a recording that is more than that."""
    with pytest.raises(GuardTripped) as caught:
        log.record(recording)
    return caught.value.left, caught.value.closings_left


def test_closings_have_a_budget_and_a_window_of_their_own(log: Keeper) -> None:
    log.record(closing(2, destroys=3))
    assert left(log, closing(2)) == (None, 1)
    assert left(log, closing(1, destroys=1)) == (0, 1)
    log.record(closing(1))
    assert left(log, closing(1, at=NOW + RULE.window)) == (None, 0)
    log.record(closing(0, destroys=3, at=NOW + RULE.window))
    assert left(log, closing(1, destroys=1, at=NOW + RULE.window)) == (0, 0)
    log.record(closing(3, at=NOW + CLOSING_RULE.window))


def test_a_closing_that_is_too_much_leaves_nothing_behind(log: Keeper, inside: Inside) -> None:
    log.record(closing(3))
    before = inside.rows()
    recording = closing(1, live=-1)
    recording.events.append(fact("tenant:t-1", 1))
    assert left(log, recording) == (None, 0)
    assert inside.rows() == before


def test_the_budget_of_closings_is_a_share_of_the_live_products_those_of_the_same_recording_among_them(
    log: Keeper,
) -> None:
    log.record(UnitOfWork(live_products=6))
    log.record(UnitOfWork(live_products=4))
    assert left(log, closing(6)) == (None, 5)
    log.record(closing(5))
    log.record(closing(1, live=2))
    log.record(UnitOfWork(live_products=-4))
    assert left(log, closing(1, at=NOW + RULE.window)) == (None, 0)
    assert left(log, closing(5, at=NOW + CLOSING_RULE.window)) == (None, 4)
    log.record(closing(4, at=NOW + CLOSING_RULE.window))


def test_closers_side_by_side_are_counted_together(log: Keeper) -> None:
    def close(number: int) -> bool:
        try:
            log.record(closing(1, live=number % 2))
        except GuardTripped:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(close, range(12))) == 3


def test_tenants_with_held_changes_are_known_until_nothing_of_them_is_held(log: Keeper) -> None:
    held = PendingApprovals(2, NOW)
    log.record(UnitOfWork(pending_approvals={"t-2": held, "t-1": held}))
    log.record(UnitOfWork(pending_approvals={"t-2": PendingApprovals(3, NOW)}))
    assert log.awaiting_approval() == ["t-1", "t-2"]
    log.record(UnitOfWork(pending_approvals={"t-1": None}))
    assert log.awaiting_approval() == ["t-2"]


def test_a_claim_takes_of_one_tenant_no_more_than_its_share_and_the_rest_stays_due(log: Keeper) -> None:
    large = [f"product:t-1:p-{number}" for number in range(5)]
    work_item(log, *large)
    work_item(log, "site:t-2", "family:t-3:jira")
    leases = log.claim(owner="a", limit=10, now=NOW, until=NOW + LEASE, share=2)
    assert scopes(leases) == ["family:t-3:jira", *large[:2], "site:t-2"]
    assert scopes(claim(log)) == large[2:]


def test_a_claim_passes_over_tenants_that_have_their_share_already_however_much_of_theirs_is_due(log: Keeper) -> None:
    work_item(log, *(f"product:t-1:p-{number}" for number in range(20)))
    work_item(log, "site:t-2", "customer:c-1")
    leases = log.claim(owner="a", limit=2, now=NOW, until=NOW + LEASE, share=2, but_not_of=["t-1"])
    assert scopes(leases) == ["customer:c-1", "site:t-2"]


def test_a_reply_makes_its_scope_due_where_one_is_awaited_and_it_is_news(inside: Inside) -> None:
    log, scope = inside.log, "product:t-1:compass"

    def is_due_after(*replies: Reply) -> bool:
        log.record(UnitOfWork(replies=list(replies)))
        leases = claim(log, now=datetime.now(UTC) + SECOND)
        log.record(UnitOfWork(leases=leases))
        return bool(leases)

    asked, older = Reply(scope, 7, f"{scope}/7/ensure/5", "working"), Reply(scope, 7, f"{scope}/7/ensure/4", "done")
    beyond = Reply(scope, 7, f"{scope}/7/ensure/999999999999999999999", "done")
    assert not is_due_after(asked, older, beyond), "nobody had asked"
    inside.await_reply(asked)
    assert not is_due_after(older, beyond)
    assert is_due_after(beyond, asked, older)
    assert not is_due_after(asked)
    assert is_due_after(replace(asked, text="done"))
    assert not is_due_after(replace(asked, step=4), replace(asked, scope="product:t-2:compass"))


def test_a_signed_reply_counts_if_it_was_signed_later_than_the_last_one(inside: Inside) -> None:
    log, scope = inside.log, "product:t-1:compass"
    first = Reply(scope, 7, f"{scope}/7/ensure/5", "retry", signed_at=100)
    inside.await_reply(first)

    def counts(reply: Reply) -> bool:
        log.record(UnitOfWork(replies=[reply]))
        leases = claim(log, now=datetime.now(UTC) + SECOND)
        log.record(UnitOfWork(leases=leases))
        return bool(leases)

    assert counts(first)
    assert counts(replace(first, text="working", signed_at=101))
    assert not counts(first), "it was overheard"
    assert not counts(replace(first, text="refused", signed_at=101))
    assert counts(replace(first, text="done", signed_at=102))
