"""Is what is shown of a moment what the log up to then leaves, on a real PostgreSQL?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.past import Moment, PastLog
from domain.errors import UsageError
from domain.event import Recorded
from history import as_of
from history.rebuild.past import build
from history.rebuild.schema_comparison import compare
from projections import PROJECTIONS
from tests.history.models import expected, found_in
from tests.history.stories import START, OpenKeys, PlainSources, Stories, append
from tests.workers.projecting import Projectors, until_idle

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Past:
    """A log of a random story, and the ways to look back at it."""

    def __init__(self, url: str, log: PostgresEventLog, past: PastLog, engine: Engine) -> None:
        self.url, self.log, self.past, self.engine = url, log, past, engine

    def append(self, facts: list[Recorded]) -> list[Recorded]:
        append(self.log, facts)
        return list(self.log.read(0, 1_000_000))

    def build(self, position: int, into: str = "past", *, workers: int = 1) -> None:
        moment = self.past.at(str(position), now=NOW)
        built = build(PlainSources(self.url), moment, into=into, workers=workers)
        assert built.moment.position == position

    def read_models(self, tenant_id: str, position: int) -> Mapping[str, object]:
        with self.engine.connect() as connection:
            facts = self.past.events_of(tenant_id, position)
            return as_of.read_models(connection, tenant_id, facts, PROJECTIONS)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def schemas(self) -> set[object]:
        return {name for (name,) in self.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}


@pytest.fixture
def given(migrated_database: str) -> Iterator[Past]:
    log, past = PostgresEventLog(migrated_database, OpenKeys()), PastLog(migrated_database, OpenKeys())
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(migrated_database), poolclass=NullPool
    )
    yield Past(migrated_database, log, past, engine)
    past.close()
    log.close()


@pytest.mark.parametrize("seed", range(2))
def test_a_schema_as_of_a_position_is_the_fold_of_the_log_up_to_it(given: Past, seed: int) -> None:
    facts = given.append(Stories(seed, tenants=6).take(400))
    for position in [*sorted(random.Random(seed).sample(range(1, 400), 2)), 400]:  # noqa: S311
        given.build(position)
        prefix = [fact for fact in facts if fact.position <= position]
        assert found_in(given.url, "past", PROJECTIONS) == expected(prefix, PROJECTIONS)


@pytest.mark.parametrize("seed", range(2))
def test_a_tenant_as_of_a_position_is_what_a_live_projection_of_the_log_up_to_it_shows(given: Past, seed: int) -> None:
    """The store is cut off there: it has nothing else, and a projector reads it."""
    story = Stories(seed, tenants=2).take(240)
    kept: dict[int, Mapping[str, Mapping[str, object]]] = {}
    with Projectors(given.url) as projectors:
        projector = projectors(PROJECTIONS)
        for start in range(0, len(story), 120):
            given.append(story[start : start + 120])
            until_idle(projector)
            position = start + 120
            live = {f"t{number}": _live(given, f"t{number}") for number in range(2)}
            kept[position] = live
            assert {tenant: given.read_models(tenant, position) for tenant in live} == live
    for position, shown in kept.items():
        assert given.read_models("t1", position) == shown["t1"], "what came later changed it"


def _live(given: Past, tenant_id: str) -> Mapping[str, object]:
    with given.engine.connect() as connection:
        return {each.name: each.query(connection, tenant_id) for each in PROJECTIONS}


def test_looking_at_a_tenant_leaves_nothing_behind(given: Past) -> None:
    given.append(Stories(1, tenants=1).take(30))
    before = given.schemas()
    assert given.read_models("t0", 30)["sites"] is not None
    assert given.schemas() == before
    assert given.execute("SELECT count(*) FROM sites_base") == [(0,)], "no read model was written"


def test_two_workers_build_what_one_builds_and_a_comparison_finds_a_row_that_is_not_the_same(given: Past) -> None:
    given.append(Stories(7, tenants=20).take(600))
    given.build(500, "one")
    given.build(500, "two", workers=2)
    assert all(each.same for each in compare(given.engine, "one", "two", PROJECTIONS))
    given.execute("UPDATE two.licenses SET edition = 'spoilt' WHERE tenant_id = 't1'; DELETE FROM one.sites_base")
    differ = {each.table: each for each in compare(given.engine, "one", "two", PROJECTIONS) if not each.same}
    assert set(differ) == {"licenses", "sites_base"}
    assert differ["licenses"].different >= 1
    assert differ["licenses"].examples[0].startswith("t1/")
    assert differ["sites_base"].only_in_second == 20


def test_a_comparison_with_the_live_read_models_is_by_name_of_the_columns(given: Past) -> None:
    given.append(Stories(8, tenants=5).take(200))
    with Projectors(given.url) as projectors:
        until_idle(projectors(PROJECTIONS))
    given.build(200)
    assert all(each.same for each in compare(given.engine, "public", "past", PROJECTIONS))
    given.build(150)
    assert not all(each.same for each in compare(given.engine, "public", "past", PROJECTIONS))


def test_a_schema_that_is_not_ours_is_refused_and_left_as_it_is(given: Past) -> None:
    given.append(Stories(2, tenants=2).take(20))
    given.execute("CREATE SCHEMA theirs; CREATE TABLE theirs.licenses (x int); CREATE SCHEMA empty")
    for name, why in (
        ("theirs", "exists and is not ours"),
        ("empty", "exists and is not ours"),
        ("public", "is not for this"),
        ("pg_temp", "is not for this"),
        ("rebuild_sites_00000000", "is not for this"),
        ('a"b', "is no name for a schema"),
    ):
        with pytest.raises(UsageError, match=why):
            given.build(10, name)
    assert given.execute("SELECT count(*) FROM theirs.licenses") == [(0,)]
    assert given.schemas() == {"information_schema", "public", "theirs", "empty"}


def test_what_others_put_into_our_schema_or_built_on_it_is_never_dropped(given: Past) -> None:
    given.append(Stories(2, tenants=2).take(20))
    given.build(10)
    for theirs, gone in (
        ("CREATE TABLE past.notes (x int)", "DROP TABLE past.notes"),
        ("CREATE VIEW public.mine AS SELECT * FROM past.licenses", "DROP VIEW public.mine"),
    ):
        given.execute(theirs)
        with pytest.raises(UsageError, match="what is not ours"):
            given.build(20)
        assert found_in(given.url, "past", PROJECTIONS) == expected(given.log.read(0, 10), PROJECTIONS)
        given.execute(gone)
    given.build(20)


def test_what_a_killed_run_left_is_dropped_by_the_next_one_into_the_same_schema(given: Past) -> None:
    given.append(Stories(2, tenants=2).take(20))
    left = (
        "CREATE SCHEMA {0}; CREATE TABLE {0}.licenses (x int); COMMENT ON SCHEMA {0} IS 'tenantry: being built for {1}'"
    )
    given.execute(left.format("as_of_00000000", "past"))
    given.execute(left.format("as_of_11111111", "another"))
    given.build(20)
    assert given.schemas() == {"information_schema", "public", "past", "as_of_11111111"}


# -- moments -------------------------------------------------------------------------------------------------------


def test_a_time_is_the_position_of_the_last_fact_recorded_up_to_it(given: Past) -> None:
    facts = given.append(Stories(3, tenants=4).take(200))
    for number in (1, 2, 77, 199, 200):
        fact = facts[number - 1]
        for late in (timedelta(0), timedelta(milliseconds=900)):
            at = given.past.at((fact.time + late).isoformat(), now=NOW)
            assert at == Moment(fact.position, fact.time + late)
    zoned = given.past.at("2026-01-01T01:01:17+01:00", now=NOW)
    assert (zoned.position, zoned.time) == (77, START + timedelta(seconds=77))
    assert given.past.at("2029-01-01T00:00:00Z", now=NOW).position == 200, "nothing has happened since"
    assert given.past.at("77", now=NOW) == Moment(77, facts[76].time)


def test_facts_whose_clocks_were_not_quite_the_same_are_all_there(given: Past) -> None:
    """Two processes: positions 50 to 59 were recorded by one whose clock is 5 seconds ahead."""
    story = Stories(3, tenants=4).take(100)
    skewed = [
        Recorded(f.stream, f.version, f.id, f.time + timedelta(seconds=5 * (50 <= n <= 59)), f.cause, "c", f.event)
        for n, f in enumerate(story, start=1)
    ]
    facts = given.append(skewed)
    for second in range(45, 70):
        time = START + timedelta(seconds=second)
        last = max(fact.position for fact in facts if fact.time <= time)
        assert given.past.at(time.isoformat(), now=NOW).position == last


def test_what_is_no_moment_of_the_log_is_refused_with_what_would_be(given: Past) -> None:
    with pytest.raises(UsageError, match="the log is empty"):
        given.past.at("1", now=NOW)
    given.append(Stories(3, tenants=4).take(20))
    for said, why in (
        ("0", "the log begins at position 1 .2026-01-01T00:00:01Z.: 0 is before it"),
        ("21", "the log ends at position 20: 21 is beyond it"),
        ("2025-12-31T00:00:00Z", "the log begins at 2026-01-01T00:00:01Z"),
        ("2031-01-01T00:00:00Z", "is in the future"),
        ("2026-01-01T00:00:00", "is no moment: .* with its zone"),
        ("yesterday", "is no moment"),
        ("0001-01-01T00:00:00+14:00", "the log begins at 2026-01-01T00:00:01Z"),
    ):
        with pytest.raises(UsageError, match=why):
            given.past.at(said, now=NOW)
