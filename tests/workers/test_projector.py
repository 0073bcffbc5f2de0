"""Do facts become read models, whoever projects, and whatever goes wrong?"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg
import pytest

from adapters.postgres import overview
from adapters.postgres.event_log import PostgresEventLog
from domain.event import Recorded
from projections import INTEGRATION, PROJECTIONS, licenses, sites
from projections.base import BUCKETS, Change, Projection
from tests.history.models import EVERY, expected, found
from tests.history.stories import OpenKeys, Stories, append
from tests.workers.projecting import Projectors, run, until_idle


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


@pytest.fixture
def log(url: str) -> Iterator[PostgresEventLog]:
    log = PostgresEventLog(url, OpenKeys())
    yield log
    log.close()


@pytest.fixture
def projector(url: str) -> Iterator[Projectors]:
    with Projectors(url) as projectors:
        yield projectors


def events_of(log: PostgresEventLog) -> Sequence[Recorded]:
    return log.read(0, 1_000_000)


def told(url: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in overview.status(url)["projections"]}


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


# -- one projector --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [7, 1000])
def test_the_read_models_are_what_the_facts_one_by_one_would_leave(
    url: str, log: PostgresEventLog, projector: Projectors, batch: int
) -> None:
    stories = Stories(batch, tenants=20)
    one = projector(batch=batch)
    for count in (1, 400, 99):
        append(log, stories.take(count))
        until_idle(one)
    assert found(url) == expected(events_of(log))
    assert {(row["position"], row["lag"], row["halted"]) for row in told(url).values()} == {(500, 0, False)}


def test_facts_that_nobody_handles_still_move_the_positions(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    append(log, Stories(1, tenants=300).take(300))
    only = projector([sites.PROJECTION], batch=10)
    until_idle(only)
    assert query(url, "SELECT DISTINCT position FROM projection_positions") == [(300,)]


def test_an_idle_projector_does_nothing(url: str, log: PostgresEventLog, projector: Projectors) -> None:
    append(log, Stories(1, tenants=3).take(30))
    one = projector()
    until_idle(one)
    before = query(url, "SELECT max(updated_at), sum(position) FROM projection_positions")
    assert [one.step() for _ in range(3)] == [0, 0, 0]
    assert query(url, "SELECT max(updated_at), sum(position) FROM projection_positions") == before


# -- what cannot be handled -----------------------------------------------------------------------------------


def allergic(projection: Projection, to: Recorded) -> Projection:
    def handle(recorded: Recorded) -> list[Change]:
        if recorded.id == to.id:
            raise KeyError("what the handler did not expect")
        return list(projection.handle(recorded))

    return replace(projection, handle=handle)


def test_a_handler_that_fails_halts_its_bucket_and_the_event_is_named(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    append(log, Stories(1, tenants=20).take(300))
    facts = events_of(log)
    culprit = next(fact for fact in facts[100:] if type(fact.event) in licenses.PROJECTION.handles)
    broken = [allergic(licenses.PROJECTION, culprit) if each is licenses.PROJECTION else each for each in EVERY]
    until_idle(projector(broken, batch=50))

    state = told(url)
    assert [name for name, row in state.items() if row["halted"]] == ["licenses"]
    assert state["licenses"]["event"] == str(culprit.id)
    assert f"position {culprit.position}: KeyError" in str(state["licenses"]["reason"])
    assert state["licenses"]["position"] == culprit.position - 1
    assert {row["position"] for name, row in state.items() if name != "licenses"} == {300}
    behind = query(url, "SELECT count(*) FROM projection_positions WHERE position < 300")
    assert behind == [(1,)]
    others = [each for each in EVERY if each is not licenses.PROJECTION]
    assert found(url, others) == expected(facts, others)

    until_idle(projector())  # a version that can
    assert found(url) == expected(facts)
    assert not told(url)["licenses"]["halted"]


def test_what_is_halted_is_tried_again_by_itself(
    url: str, log: PostgresEventLog, projector: Projectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.projector.HALTED_SECONDS", (0.05,))
    append(log, Stories(1, tenants=5).take(50))
    failures = 2

    def handle(recorded: Recorded) -> list[Change]:
        nonlocal failures
        if recorded.position == 1 and failures:
            failures -= 1
            raise KeyError("not yet")
        return list(sites.PROJECTION.handle(recorded))

    one = projector([replace(sites.PROJECTION, handle=handle)])
    until_idle(one)
    assert told(url)["sites"]["halted"]
    for _ in range(2):
        time.sleep(0.06)
        until_idle(one)
    assert not told(url)["sites"]["halted"]
    assert found(url, [sites.PROJECTION]) == expected(events_of(log), [sites.PROJECTION])


@pytest.mark.parametrize(
    ("topic", "schema"),
    [("tenantry.from-the-future", 1), ("tenantry.step-completed", 99), ("tenantry.step-completed", 1)],
    ids=["unknown", "newer", "damaged"],
)
def test_a_fact_that_cannot_be_read_is_never_skipped(
    url: str, log: PostgresEventLog, projector: Projectors, topic: str, schema: int
) -> None:
    append(log, Stories(1, tenants=5).take(50))
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE stored_events SET topic = %s, state = %s WHERE notification_id = 20",
            (topic, f'{{"v":{schema}}}'.encode()),
        )
    one = projector()
    until_idle(one)
    state = told(url)
    concerned = {each.name for each in EVERY if each.name != "customers" or topic.endswith("future")}
    is_damaged = topic == "tenantry.step-completed" and schema == 1
    assert {name for name, row in state.items() if row["halted"]} == (concerned if is_damaged else set())
    assert {row["position"] for name, row in state.items() if name in concerned} == {19}
    one.step()
    waits = one.upgrade.waits
    if is_damaged:
        assert waits is None
        assert all(topic in str(state[name]["reason"]) for name in concerned)
    else:
        assert waits is not None
        assert (waits["why"], topic in waits["text"]) == ("upgrade", True)
    assert query(url, "SELECT count(*) FROM projection_positions WHERE position = 50")[0][0] == (
        len(PROJECTIONS) * (BUCKETS - 1) + (topic != "tenantry.from-the-future")
    )


def test_rows_that_the_database_refuses_name_their_event(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    append(log, Stories(1, tenants=40).licenses(40))
    facts = events_of(log)
    culprit = facts[17]
    limit = culprit.event.result.users  # type: ignore[attr-defined]
    with psycopg.connect(url) as connection:
        connection.execute(f"ALTER TABLE licenses ADD CONSTRAINT planted CHECK (users <> {limit})".encode())
    until_idle(projector())
    state = told(url)
    assert [name for name, row in state.items() if row["halted"]] == ["licenses"]
    assert state["licenses"]["event"] == str(culprit.id)
    assert "CheckViolation" in str(state["licenses"]["reason"])
    assert state["licenses"]["position"] == 17
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE licenses DROP CONSTRAINT planted")
    until_idle(projector())
    assert found(url) == expected(facts)


# -- several projectors ---------------------------------------------------------------------------------------


def test_projectors_share_the_buckets_and_their_number_may_change(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    stories = Stories(5, tenants=40)
    for names in (["a"], ["a", "b"], ["a", "b", "c"], ["b", "c"]):
        append(log, stories.take(150))
        until_idle(*(projector(batch=20, name=name, peers=names) for name in names))
        assert found(url) == expected(events_of(log))


def test_projectors_that_each_believe_to_be_alone_double_nothing(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    audit(url)
    append(log, Stories(6, tenants=40).take(300))
    until_idle(projector(batch=20, name="a"), projector(batch=20, name="b"))
    assert found(url) == expected(events_of(log))
    assert_each_position_was_passed_once(url, 300)


def test_a_projector_takes_only_its_share(url: str, log: PostgresEventLog, projector: Projectors) -> None:
    append(log, Stories(7, tenants=40).take(100))
    until_idle(projector(name="b", peers=["a", "b"]))
    moved = query(url, "SELECT DISTINCT bucket FROM projection_positions WHERE position > 0 ORDER BY bucket")
    assert moved == [(bucket,) for bucket in range(1, BUCKETS, 2)]
    assert query(url, "SELECT count(*) FROM outbox") == [(0,)]


def audit(url: str) -> None:
    """Let the database write down every move of a position, in the transaction of the move."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE moves (number bigserial, name text, bucket int, was bigint, is_now bigint);"
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO moves (name, bucket, was, is_now) VALUES (NEW.name, NEW.bucket, OLD.position, NEW.position);"
            " RETURN NEW; END $$;"
            "CREATE TRIGGER note AFTER UPDATE ON projection_positions FOR EACH ROW EXECUTE FUNCTION note()"
        )


def assert_each_position_was_passed_once(url: str, upto: int) -> None:
    """The moves of each bucket are a chain from 0 to the end: its facts were applied once each, in order."""
    chains: dict[tuple[object, object], list[tuple[object, ...]]] = {}
    for name, bucket, was, is_now in query(url, "SELECT name, bucket, was, is_now FROM moves ORDER BY number"):
        chains.setdefault((name, bucket), []).append((was, is_now))
    assert len(chains) == len(PROJECTIONS) * BUCKETS + 1
    for chain in chains.values():
        assert [was for was, _ in chain] == [0, *(is_now for _, is_now in chain[:-1])]
        assert chain[-1][1] == upto


@pytest.mark.endurance
def test_processes_come_are_killed_and_go_while_facts_flow_and_nothing_is_lost(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    audit(url)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    stories = Stories(8, tenants=200)

    def start(name: str, kill_after: int | None = None) -> multiprocessing.context.ForkServerProcess:
        process = context.Process(target=run, args=(url, name, 40, kill_after), daemon=True)
        process.start()
        return process

    def flow(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            append(log, stories.take(40))
            time.sleep(0.02)

    first, killed = start("a"), start("b", 60)
    third = None
    try:
        while killed.is_alive():
            flow(0.5)
        assert killed.exitcode == -9
        third = start("c")
        flow(3.0)
        first.kill()
        first.join()
        flow(1.0)
        mark = log.advance_mark()
        until = time.monotonic() + 60
        while query(url, "SELECT min(position) FROM projection_positions") != [(mark,)]:
            assert time.monotonic() < until, query(url, "SELECT * FROM projection_positions ORDER BY position LIMIT 3")
            time.sleep(0.1)
    finally:
        for process in (first, killed, third):
            if process is not None:
                process.kill()
                process.join()
    assert found(url) == expected(events_of(log))
    assert_each_position_was_passed_once(url, mark)
    assert {row["halted"] for row in told(url).values()} == {False}
    assert INTEGRATION.name in told(url)
