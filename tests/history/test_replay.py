"""Is a rebuilt read model what it should be, and does nobody notice that it was rebuilt?"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.event_log import PostgresEventLog
from application.progress import Progress
from domain.errors import Unavailable, UsageError
from domain.event import Recorded
from history.rebuild import generations
from history.rebuild.replay import Replay
from projections import INTEGRATION, PROJECTIONS, licenses
from tests.history.models import EVERY, expected, found, schemas
from tests.history.rebuilding import FailingSources
from tests.history.stories import OpenKeys, PlainSources, Stories, append
from tests.workers.projecting import Projectors, until_idle


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


def spoil(url: str) -> None:
    """What is live is wrong: only a rebuild can put it right."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE licenses SET edition = 'spoilt'; DELETE FROM sites_base; DELETE FROM outbox")


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


# -- what is rebuilt ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "workers", "flush"), [(1, 1, 60_000), (2, 1, 40), (3, 2, 60_000)])
def test_rebuilt_tables_are_what_the_facts_one_by_one_would_leave(
    url: str,
    log: PostgresEventLog,
    projector: Projectors,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    workers: int,
    flush: int,
) -> None:
    monkeypatch.setattr("history.rebuild.loading.FLUSH_CHANGES", flush)
    monkeypatch.setattr("history.rebuild.loading.READ_EVENTS", 50)
    append(log, Stories(seed, tenants=30).take(700))
    until_idle(projector())
    spoil(url)
    rebuilt = Replay(PlainSources(url)).rebuild([], workers=workers)
    assert (rebuilt.failures, rebuilt.position) == ({}, 700)
    assert found(url, PROJECTIONS) == expected(events_of(log), PROJECTIONS)
    assert query(url, "SELECT count(*) FROM outbox") == [(0,)]
    assert schemas(url) == {f"previous_{each.name}" for each in PROJECTIONS}


def test_facts_that_come_while_it_is_rebuilt_are_in_it(
    url: str, log: PostgresEventLog, projector: Projectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("history.rebuild.loading.READ_EVENTS", 60)
    monkeypatch.setattr("history.rebuild.replay.SMALL", 5)
    stories = Stories(4, tenants=30)
    append(log, stories.take(300))
    until_idle(projector())
    spoil(url)
    more = {"loading": 6, "analyzing": 0, "catching": 4, "swapping": 0}

    def say(told: Progress) -> None:
        doing = told.doing.split(" ")[0]
        if more[doing]:
            more[doing] -= 1
            append(log, stories.take(30))

    live = projector()
    stop = threading.Event()
    thread = threading.Thread(target=live.run, args=(stop,))
    thread.start()
    try:
        rebuilt = Replay(PlainSources(url), say=say).rebuild([])
        append(log, stories.take(50))
        until = time.monotonic() + 30
        while query(url, "SELECT min(position) FROM projection_positions") != [(log.last_position(),)]:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        stop.set()
        thread.join()
    assert rebuilt.failures == {}
    assert rebuilt.position >= 300 + 10 * 30
    assert found(url, PROJECTIONS) == expected(events_of(log), PROJECTIONS)


def test_a_rebuild_says_at_which_read_model_it_is_and_its_events_never_become_fewer(
    url: str, log: PostgresEventLog
) -> None:
    append(log, Stories(1, tenants=10).take(200))
    told: list[Progress] = []
    rebuilt = Replay(PlainSources(url), say=told.append).rebuild(["licenses", "sites"])
    said = [each.doing for each in told if each.doing != "loading"]
    assert said == ["analyzing licenses", "swapping licenses", "analyzing sites", "swapping sites"]
    assert told[0].doing == "loading"
    assert [each.events for each in told] == sorted(each.events for each in told)
    assert told[-1].events == rebuilt.events > 0


def test_what_was_halted_goes_on_after_a_rebuild(url: str, log: PostgresEventLog, projector: Projectors) -> None:
    append(log, Stories(1, tenants=30).take(200))
    until_idle(projector(FailingSources(url).read_models()))
    halted = "SELECT count(*) FROM projection_positions WHERE halted_at IS NOT NULL"
    assert query(url, halted) != [(0,)]
    Replay(PlainSources(url)).rebuild(["licenses"])
    assert query(url, halted) == [(0,)]


def test_a_rebuild_of_an_empty_log_is_empty(url: str) -> None:
    assert Replay(PlainSources(url)).rebuild([]).position == 0
    assert found(url) == {}


def test_the_tables_stay_as_the_migrations_made_them(url: str, log: PostgresEventLog) -> None:
    described = (
        "SELECT c.relname, c.relkind, pg_get_indexdef(c.oid), CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END,"
        " (SELECT array_agg((attname, format_type(atttypid, 0), attnotnull, attgenerated)::text ORDER BY attnum)"
        " FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) FROM pg_class c"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'i') ORDER BY 1"
    )
    before = query(url, described)
    append(log, Stories(1, tenants=3).take(20))
    for _ in range(2):
        Replay(PlainSources(url)).rebuild([])
    assert query(url, described) == before


def test_who_could_read_the_old_tables_can_read_the_new_ones(url: str) -> None:
    granted = "GRANT SELECT ON licenses, sites TO pg_monitor; GRANT SELECT ON licenses TO PUBLIC"
    with psycopg.connect(url) as connection:
        connection.execute(granted)
    Replay(PlainSources(url)).rebuild(["licenses", "sites"])
    assert query(
        url, "SELECT has_table_privilege('pg_monitor', t, 'SELECT') FROM unnest(ARRAY['licenses', 'sites']) t"
    ) == [
        (True,),
        (True,),
    ]


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "why"), [("integration", "sent again"), ("lisences", "name one of .*licenses")])
def test_what_is_no_read_model_is_refused(url: str, name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Replay(PlainSources(url)).rebuild([name])


def test_the_second_rebuild_of_a_projection_at_once_is_refused(url: str, log: PostgresEventLog) -> None:
    append(log, Stories(1, tenants=3).take(20))
    refused: list[str] = []

    def say(told: Progress) -> None:
        if told.doing == "loading":
            with pytest.raises(UsageError, match="licenses is being rebuilt by another process"):
                Replay(PlainSources(url)).rebuild(["sites", "licenses"])
            refused.append(Replay(PlainSources(url)).rebuild(["sites"]).names[0])

    Replay(PlainSources(url), say=say).rebuild(["licenses"])
    assert set(refused) == {"sites"}


def test_a_view_of_somebody_else_is_not_left_behind(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE VIEW report AS SELECT count(*) FROM licenses")
    with pytest.raises(UsageError, match=r"the view public\.report is built on licenses"):
        Replay(PlainSources(url)).rebuild(["licenses"])
    assert schemas(url) == set()


CHANGES = {
    "column": ("ALTER TABLE licenses ADD COLUMN colour text NOT NULL DEFAULT 'red'", "column colour text NOT NULL"),
    "type": ("ALTER TABLE licenses ALTER COLUMN users TYPE numeric", "column users numeric"),
    "index": ("CREATE INDEX by_edition ON licenses (edition)", "index CREATE INDEX by_edition ON licenses"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("when", ["before", "loading", "swapping"])
def test_a_rebuild_that_a_migration_overtakes_does_not_take_its_change_away(
    url: str, log: PostgresEventLog, projector: Projectors, when: str, change: str
) -> None:
    append(log, Stories(1, tenants=3).take(50))
    until_idle(projector())
    Replay(PlainSources(url)).rebuild(["licenses"])
    statement, shown = CHANGES[change]
    done = list[str]()

    def migrates(moment: str) -> None:
        if moment.startswith(when) and not done:
            done.append(moment)
            with psycopg.connect(url) as connection:
                connection.execute(statement.encode())

    migrates("before")
    before = query(url, "SELECT * FROM licenses ORDER BY 1, 2")
    with pytest.raises(UsageError, match="only the live one has") as refused:
        Replay(PlainSources(url), say=lambda told: migrates(told.doing)).rebuild(["licenses", "sites"])
    assert done
    assert refused.value.problem is not None
    assert refused.value.problem.code == "read-model-changed"
    assert shown in str(refused.value.problem.data["differs"])
    if when == "before":
        assert query(url, "SELECT * FROM licenses ORDER BY 1, 2") == before
    assert schemas(url) == {"previous_licenses"}


def test_a_rebuild_of_a_version_that_the_database_awaits_is_refused(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE licenses DROP COLUMN expires_at")
    with pytest.raises(UsageError, match="only the new one has column expires_at"):
        Replay(PlainSources(url)).rebuild(["licenses"])
    assert schemas(url) == set()


# -- what goes wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_handler_that_fails_leaves_the_live_generation(
    url: str, log: PostgresEventLog, projector: Projectors, workers: int
) -> None:
    append(log, Stories(1, tenants=30).take(300))
    until_idle(projector())
    spoil(url)
    before = found(url, [licenses.PROJECTION])
    rebuilt = Replay(FailingSources(url)).rebuild([], workers=workers)
    assert set(rebuilt.failures) == {"licenses"}
    assert "cannot handle event" in rebuilt.failures["licenses"]
    assert found(url, [licenses.PROJECTION]) == before
    others = [each for each in PROJECTIONS if each is not licenses.PROJECTION]
    assert found(url, others) == expected(events_of(log), others)
    assert schemas(url) == {f"previous_{each.name}" for each in others}


def test_a_rebuild_that_is_interrupted_leaves_nothing_behind(url: str, log: PostgresEventLog) -> None:
    append(log, Stories(1, tenants=3).take(20))

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Replay(PlainSources(url), say=interrupt).rebuild([])
    assert schemas(url) == set()


@pytest.mark.slow
def test_a_rebuild_that_is_killed_can_be_started_again(url: str, log: PostgresEventLog, projector: Projectors) -> None:
    append(log, Stories(1, tenants=40).take(2000))
    until_idle(projector())
    before = found(url)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.history.rebuilding", url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line.startswith("loading"):
                break
        process.send_signal(signal.SIGKILL)
    assert len(schemas(url)) == len(PROJECTIONS)
    assert found(url) == before
    spoil(url)
    Replay(PlainSources(url)).rebuild([])
    assert found(url, PROJECTIONS) == expected(events_of(log), PROJECTIONS)
    assert schemas(url) == {f"previous_{each.name}" for each in PROJECTIONS}
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%rebuild_%'"
    assert query(url, f"{left} AND pid <> pg_backend_pid() AND state = 'active'") == [(0,)]


# -- readers --------------------------------------------------------------------------------------------------

DIGESTS = [
    f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t"
    for name in ("sites", "identities", "licenses", "provisionings")
]
BY_TENANT = "SELECT * FROM sites s JOIN licenses l USING (tenant_id) JOIN site_products p USING (tenant_id)"


@contextmanager
def reading(url: str, seen: list[set[object]], rounds: list[int]) -> Iterator[None]:
    """Readers in a loop: statements, prepared ones, and transactions that take the tables in another order."""
    stop, errors = threading.Event(), list[Exception]()

    def read(autocommit: bool) -> None:
        try:
            with psycopg.connect(url, autocommit=autocommit, prepare_threshold=2) as connection:
                while not stop.is_set():
                    order = DIGESTS if autocommit else list(reversed(DIGESTS))
                    for statement in order:
                        seen[DIGESTS.index(statement)].add(connection.execute(statement.encode()).fetchone())
                    seen[-1].add(len(connection.execute(BY_TENANT).fetchall()))
                    connection.commit()
                    rounds[0] += 1
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=read, args=(autocommit,)) for autocommit in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


@pytest.mark.slow
def test_readers_in_a_loop_notice_nothing_of_several_rebuilds(
    url: str, log: PostgresEventLog, projector: Projectors
) -> None:
    append(log, Stories(9, tenants=60).take(1500))
    until_idle(projector())
    seen: list[set[object]] = [set() for _ in range(len(DIGESTS) + 1)]
    rounds = [0]
    with reading(url, seen, rounds):
        for _ in range(4):
            Replay(PlainSources(url)).rebuild([])
    assert [len(each) for each in seen] == [1] * len(seen)
    assert rounds[0] > 10
    assert found(url) == expected(events_of(log))


def test_a_swap_gives_way_to_a_reader_that_holds_a_table(
    url: str, log: PostgresEventLog, projector: Projectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, Stories(1, tenants=3).take(50))
    until_idle(projector())
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM licenses")
        monkeypatch.setattr("history.rebuild.replay.SWAP_SECONDS", 0.4)
        with pytest.raises(Unavailable, match="licenses cannot be swapped, another session has its tables locked"):
            Replay(PlainSources(url)).rebuild(["licenses"])
        monkeypatch.setattr("history.rebuild.replay.SWAP_SECONDS", 30.0)
        letting_go = threading.Timer(0.5, reader.rollback)
        letting_go.start()
        assert Replay(PlainSources(url)).rebuild(["licenses"]).failures == {}
        letting_go.join()
    assert found(url) == expected(events_of(log))


# -- the generation before ------------------------------------------------------------------------------------


def test_the_old_generation_is_kept_until_it_is_dropped(url: str, log: PostgresEventLog, projector: Projectors) -> None:
    append(log, Stories(1, tenants=30).take(100))
    until_idle(projector())
    spoil(url)
    replay = Replay(PlainSources(url))
    replay.rebuild(["licenses", "sites"])
    assert query(url, "SELECT DISTINCT edition FROM previous_licenses.licenses") == [("spoilt",)]
    assert query(url, "SELECT count(*) FROM previous_sites.sites") == [(0,)]
    assert replay.drop_previous([]) == ["sites", "licenses"]
    assert replay.drop_previous(["licenses"]) == []
    assert schemas(url) == set()
    assert found(url, PROJECTIONS) == expected(events_of(log), PROJECTIONS)


def test_what_others_have_built_on_the_old_generation_is_not_dropped_with_it(url: str) -> None:
    replay = Replay(PlainSources(url))
    replay.rebuild(["licenses"])
    with psycopg.connect(url) as connection:
        connection.execute("CREATE VIEW report AS SELECT * FROM previous_licenses.licenses")
    with pytest.raises(UsageError, match="the previous generation of licenses is in use"):
        replay.drop_previous(["licenses"])
    assert generations.previous_of("licenses") in schemas(url)


def test_the_outbox_is_not_among_what_can_be_rebuilt() -> None:
    assert INTEGRATION not in PlainSources("").read_models()
    assert len(EVERY) == len(PROJECTIONS) + 1
