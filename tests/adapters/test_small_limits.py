"""Does the work go on where a limit of the server is reached that somebody else uses up, or that one tenant fills?

On a server of its own, with limits as small as PostgreSQL lets them be: of notifications, locks and connections.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import structlog
from psycopg import sql

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.high_water import HighWaterAgent
from adapters.postgres.migrations import migrate
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, Retryable, Unreachable
from domain.scope.steps import Step
from tests.adapters.postgres.appending import event_log, fact, stored
from tests.adapters.provisioners.orders import Family
from tests.adapters.resources.real_shards import RealWorld, real_world

SMALL = {
    "max_notify_queue_pages": "64",
    "max_locks_per_transaction": "10",
    "max_connections": "25",
    "max_prepared_transactions": "2",
    "max_worker_processes": "2",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "fsync": "off",
}
TABLES = 2500
"""More than the server has locks for."""


@pytest.fixture(scope="module")
def small() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        with server, psycopg.connect(server.url(), autocommit=True) as owner:
            for name, value in SMALL.items():
                owner.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        with server:
            yield server


@pytest.fixture(scope="module")
def world(small: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(small) as running:
        yield running


# -- notifications -------------------------------------------------------------------------------------------------


def fill_the_queue(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection, suppress(psycopg.errors.ProgramLimitExceeded):
        for number in range(1_000):
            connection.execute("SELECT pg_notify('anything', repeat('x', 7900) || %s::text)", [number])
        pytest.fail("the queue takes all of them")


def test_a_full_queue_of_notifications_stops_no_reader(small: EmbeddedPostgres) -> None:
    """Somebody listens, of any program on the server, and stays in a transaction: each NOTIFY is refused."""
    small.create_database("notified")
    url = small.url("notified")
    migrate(url)
    agent = HighWaterAgent(url)
    with event_log(url) as log, psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN anything")
        listener.execute("BEGIN")
        listener.execute("SELECT 1")
        fill_the_queue(url)
        with structlog.testing.capture_logs() as lines:
            agent.start()
            for number in range(3):
                (position,) = log.recorder.insert_events(stored(log)) or ()
                until(lambda at=position: log.last_position() >= at)
                assert agent.outage.waits is not None, number
            listener.execute("ROLLBACK")
            listener.execute("UNLISTEN *")
            until(lambda: log.recorder.insert_events(stored(log)) and not agent.outage.waits)
        agent.stop()
        assert log.advance_mark() == log.last_position()
    assert [line["log_level"] for line in lines] == ["warning", "info"]


def until(holds: object, seconds: float = 10.0) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- locks ---------------------------------------------------------------------------------------------------------


def test_a_schema_with_more_tables_than_the_server_has_locks_is_removed(world: RealWorld) -> None:
    """One statement would lock each of them at once; the server refuses that, and no pause helps."""
    family = Family(world.executors, region="eu")
    facts = family.have(jira_software=True)
    fill_with_tables(world, facts.database, facts.schema_name, facts.roles[0].role)
    family.leave()
    assert left_of(world, facts.database, facts.schema_name, facts.roles[0].role) == (0, 0)


def test_a_login_role_that_made_more_tables_than_the_server_has_locks_leaves_a_family_that_stays(
    world: RealWorld,
) -> None:
    """What it made is handed over to the family, in portions as well."""
    family = Family(world.executors, region="eu")
    facts = family.have(jira_software=True, jira_product_discovery=True)
    leaver = facts.role_of("jira-product-discovery")
    assert leaver is not None
    fill_with_tables(world, facts.database, facts.schema_name, leaver.role)
    family.have(jira_software=True)
    assert left_of(world, facts.database, facts.schema_name, leaver.role) == (TABLES, 0)


def test_everything_that_a_schema_may_hold_goes_in_portions(world: RealWorld) -> None:
    """Partitions, views, functions, types, sequences, and names that must be quoted."""
    family = Family(world.executors, region="eu")
    facts = family.have(jira_software=True)
    role = facts.roles[0].role
    with psycopg.connect(world.postgres.url(facts.database), autocommit=True) as session:
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        session.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(facts.schema_name)))
        for statement in EVERYTHING:
            session.execute(statement.encode())
    family.leave()
    assert left_of(world, facts.database, facts.schema_name, role) == (0, 0)


EVERYTHING = (
    'CREATE TABLE "odd ""name" (id bigserial PRIMARY KEY, "Größe" int GENERATED ALWAYS AS IDENTITY)',
    "CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day)",
    "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    'CREATE TABLE plain (id int REFERENCES "odd ""name")',
    "CREATE TABLE heir () INHERITS (plain)",
    "CREATE VIEW seen AS SELECT id FROM plain",
    "CREATE MATERIALIZED VIEW kept AS SELECT id FROM seen",
    "CREATE SEQUENCE alone",
    "CREATE TYPE mood AS ENUM ('good', 'bad')",
    "CREATE TYPE pair AS (a int, b mood)",
    "CREATE DOMAIN small AS int CHECK (VALUE < 10)",
    "CREATE TYPE span AS RANGE (subtype = int)",
    "CREATE FUNCTION twice(small, OUT made int) LANGUAGE sql AS 'SELECT $1 * 2'",
    "CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int)",
    "CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER notice BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION noticed()",
)


def fill_with_tables(world: RealWorld, database: str, schema: str, role: str) -> None:
    with psycopg.connect(world.postgres.url(database), autocommit=True) as session:
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for first in range(0, TABLES, 100):
            statements = [f'CREATE TABLE "{schema}".made_{first + each} (id int)' for each in range(100)]
            session.execute("; ".join(statements).encode())


def left_of(world: RealWorld, database: str, schema: str, role: str) -> tuple[int, int]:
    with psycopg.connect(world.postgres.url(database)) as session:
        row = session.execute(
            "SELECT (SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s"
            " AND relkind = 'r'), (SELECT count(*) FROM pg_roles WHERE rolname = %s)",
            [schema, role],
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def test_an_act_on_more_tenants_than_the_server_has_locks_is_recorded(small: EmbeddedPostgres) -> None:
    """As `runs approve` of a plan for thousands; what others record about one of them waits for it, or it for them."""
    small.create_database("crowded")
    url = small.url("crowded")
    migrate(url)
    tenants = {f"tenant:t-{number}": 0 for number in range(TABLES)}
    with event_log(url) as log, psycopg.connect(url) as other:
        other.execute(b"SELECT pg_advisory_xact_lock_shared(hashtextextended('*', 3))")  # as one of a few tenants does
        recorded = Thread(target=lambda: log.record(UnitOfWork(unmoved=tenants)))
        recorded.start()
        recorded.join(0.5)
        assert recorded.is_alive()
        other.rollback()
        recorded.join(10)
        assert not recorded.is_alive()
        log.record(UnitOfWork(events=[fact("tenant:t-7")]))
        with pytest.raises(Conflict):
            log.record(UnitOfWork(unmoved=tenants))


# -- prepared transactions -----------------------------------------------------------------------------------------


def test_a_database_that_a_prepared_transaction_holds_is_named_with_what_holds_it(world: RealWorld) -> None:
    """No FORCE ends one; it outlives its session and each restart."""
    family = Family(world.executors, region="us")
    facts = family.have(jira_software=True)
    with psycopg.connect(world.postgres.url(facts.database), autocommit=True) as session:
        session.execute("BEGIN")
        session.execute("CREATE TABLE somebodys (id int)")
        session.execute("PREPARE TRANSACTION 'forgotten'")
    with pytest.raises(Retryable, match="prepared transactions") as raised:
        family.executors["family", Step.DATABASE].remove(family.removal())
    assert not isinstance(raised.value, Unreachable)
    with psycopg.connect(world.postgres.url(facts.database), autocommit=True) as session:
        session.execute("ROLLBACK PREPARED 'forgotten'")
    family.leave()
