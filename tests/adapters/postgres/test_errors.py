"""Is each error of PostgreSQL told as what it is, whichever way it comes?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from adapters.postgres.connection import SHORT, Limits, Session, connect
from adapters.postgres.engine import engine
from adapters.postgres.errors import answering, is_worth_keeping, outcome_is_unknown, state_of, translated
from adapters.postgres.event_log import PostgresEventLog
from domain.errors import Conflict, Contended, Fault, TenantryError, Unavailable
from tests.adapters.postgres.appending import event_log

WHY = {
    "08006": "lost",
    "25006": "read-only",
    "25P03": "time-out",
    "28P01": "login",
    "3D000": "no-database",
    "42501": "no-right",
    "42P01": "not-migrated",
    "53000": "resources",
    "53100": "full",
    "53200": "resources",
    "53300": "too-many-connections",
    "57014": "time-out",
    "57P01": "restarting",
    "57P03": "restarting",
    "57P05": "lost",
    "58030": "server-error",
    "XX000": "server-error",
    "XX001": "server-error",
}
"""Some states that may pass, and what is said to be waited for."""


@pytest.fixture
def log(migrated_database: str) -> Iterator[PostgresEventLog]:
    with event_log(migrated_database) as opened:
        yield opened


def raising(state: str) -> str:
    """A statement that ends in this state on a real server."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'as asked for' USING ERRCODE = '{state}', DETAIL = 'a row of a person'; END $$"


Way = Callable[[str, PostgresEventLog, str], None]


def by_session(url: str, _log: PostgresEventLog, statement: str) -> None:
    with Session(url) as session, session() as connection:
        connection.execute(statement.encode())


def by_sqlalchemy(url: str, _log: PostgresEventLog, statement: str) -> None:
    made = engine(url, pool_size=1)
    try:
        with answering(), made.begin() as connection:
            connection.execute(text(statement))
    finally:
        made.dispose()


def by_the_library(_url: str, log: PostgresEventLog, statement: str) -> None:
    with answering(), log.datastore.transaction(commit=True) as curs:
        curs.execute(statement.encode())


def met(way: Way, url: str, log: PostgresEventLog, statement: str) -> TenantryError:
    with pytest.raises(TenantryError) as caught:
        way(url, log, statement)
    assert "a row of a person" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("way", [by_session, by_sqlalchemy, by_the_library])
def test_what_may_pass_is_unavailable_and_says_what_is_waited_for(
    migrated_database: str, log: PostgresEventLog, way: Way
) -> None:
    for state, why in WHY.items():
        error = met(way, migrated_database, log, raising(state))
        assert isinstance(error, Unavailable), state
        assert not isinstance(error, Conflict), state
        assert error.why == why, state
        assert state in str(error)
        assert state_of(error) == state


@pytest.mark.parametrize("way", [by_session, by_sqlalchemy, by_the_library])
def test_who_was_second_and_who_met_another_decides_again(
    migrated_database: str, log: PostgresEventLog, way: Way
) -> None:
    for state in ("23505", "23503", "23P01"):
        error = met(way, migrated_database, log, raising(state))
        assert isinstance(error, Conflict), state
        assert not isinstance(error, Unavailable), state
    for state in ("40001", "40P01", "55P03", "55006"):
        error = met(way, migrated_database, log, raising(state))
        assert isinstance(error, Contended), state
        assert isinstance(error, Conflict)
        assert isinstance(error, Unavailable)


@pytest.mark.parametrize("way", [by_session, by_sqlalchemy, by_the_library])
@pytest.mark.parametrize("state", ["22P02", "23502", "23514", "42601", "0A000", "P0001", "2BP01"])
def test_what_is_wrong_with_a_statement_is_a_fault_of_ours(
    migrated_database: str, log: PostgresEventLog, way: Way, state: str
) -> None:
    assert isinstance(met(way, migrated_database, log, raising(state)), Fault)


def test_every_state_that_psycopg_knows_has_one_meaning() -> None:
    kinds: dict[str, set[str]] = {}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, psycopg.Error) and each.sqlstate:
            kinds.setdefault(each.sqlstate[:2], set()).add(type(translated(each("said"))).__name__)
    assert len(kinds) > 30
    for group in ("08", "28", "53", "57", "58", "XX"):
        assert kinds[group] == {"Unavailable"}, group
    assert kinds["40"] == {"Contended", "Unavailable"}
    assert kinds["22"] == {"Fault"}


def test_a_statement_that_sqlalchemy_had_wrong_stays_sqlalchemys(migrated_database: str) -> None:
    """Whoever projects looks for the row that cannot be written."""
    with pytest.raises(DBAPIError), engine(migrated_database, pool_size=0).begin() as connection:
        connection.execute(text("SELECT 1 / 0"))


# -- connections ---------------------------------------------------------------------------------------------------


def refusal(url: str) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        connect(url)
    return caught.value


@pytest.fixture
def visitor(database: str) -> Iterator[str]:
    """The address of a login role without any rights, by its password."""
    name = str(conninfo_to_dict(database)["dbname"])
    role = sql.Identifier(name)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'visits' CONNECTION LIMIT 0").format(role))
        owner.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(role, role))
        yield make_conninfo(database, user=name, password="visits")
        owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_refused_connection_says_why_it_was_refused(database: str, visitor: str) -> None:
    nobody = refusal("postgresql://me:hidden@127.0.0.1:1/tenantry")
    assert nobody.why == "refused"
    assert str(nobody).startswith("the database tenantry on 127.0.0.1 does not answer (")
    assert refusal(visitor).why == "too-many-connections"
    assert refusal(make_conninfo(visitor, password="wrong")).why == "login"
    assert refusal(make_conninfo(database, dbname="nowhere")).why == "no-database"
    hosts = refusal("postgresql://me:hidden@127.0.0.1:1,127.0.0.1:2/tenantry?target_session_attrs=read-write")
    assert hosts.why == "refused"
    assert "hidden" not in f"{nobody}{hosts}{nobody.__cause__}{hosts.__cause__}"


def test_a_standby_that_is_asked_for_as_a_primary_is_read_only(database: str) -> None:
    with connect(database, autocommit=True) as owner:
        name = sql.Identifier(owner.info.dbname)
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    assert refusal(make_conninfo(database, target_session_attrs="read-write")).why == "read-only"
    with connect(database) as reader:
        assert reader.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(Unavailable) as caught, answering():
            reader.execute("CREATE TABLE none_of_it ()")
    assert caught.value.why == "read-only"


def test_what_was_lost_with_the_connection_may_have_been_done(database: str) -> None:
    with connect(database, autocommit=True) as victim, connect(database, autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [victim.info.backend_pid])
        with pytest.raises(psycopg.Error) as caught:
            victim.execute("SELECT 1")
    assert outcome_is_unknown(caught.value)
    assert isinstance(translated(caught.value), Unavailable)
    assert not is_worth_keeping(caught.value)


def test_the_server_ends_what_goes_beyond_its_limits(database: str) -> None:
    def beyond(limits: Limits, statement: str) -> str:
        with connect(database, limits=limits) as connection:
            connection.execute("SELECT 1")
            time.sleep(0.3)
            with pytest.raises(Unavailable) as caught, answering():
                connection.execute(statement.encode())
            connection.close()
        return caught.value.why

    assert beyond(Limits(statement=0.05), "SELECT pg_sleep(5)") == "time-out"
    assert beyond(Limits(idle_in_transaction=0.05), "SELECT 1") == "time-out"
    with connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(1)")
        assert beyond(Limits(lock=0.05), "SELECT pg_advisory_xact_lock(1)") == "contended"


def test_a_session_that_broke_is_made_anew_with_all_its_settings(database: str) -> None:
    with Session(database) as session, connect(database, autocommit=True) as administrator:
        with session() as connection:
            administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        with pytest.raises(Unavailable), session() as connection:
            connection.execute("SELECT 1")
        assert not session.is_open
        with session() as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == (f"{SHORT.statement / 60:.0f}min",)
        assert session.number == 2


def test_an_event_log_uses_no_session_that_its_server_has_ended(migrated_database: str, log: PostgresEventLog) -> None:
    assert log.last_position() == 0
    with connect(migrated_database, autocommit=True) as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert log.last_position() == 0
