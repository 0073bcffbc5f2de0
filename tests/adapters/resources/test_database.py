"""Does a family's database keep strangers out, its data in, and leave nothing behind?

Every promise is tested under both isolations: `eu` keeps families in schemas, `us` in databases of their own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg import errors, sql

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.resources import login_role as login_roles
from adapters.resources.database import Databases
from adapters.resources.login_role import Names, role_password
from adapters.resources.topology import Patience, Shard, Topology
from application.ports.resources import Order
from demo.findings import observe
from domain.errors import Fenced, Permanent, Retryable
from domain.scope.steps import DatabaseResult, RegionResult, RoleResult, Step
from tests.adapters.provisioners.orders import Executors, Family
from tests.adapters.resources.real_shards import MASTER_KEY, RealWorld, real_world


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(postgres) as running:
        yield running


@pytest.fixture(params=["eu", "us"], ids=["schema", "database"])
def family(request: pytest.FixtureRequest, world: RealWorld) -> Family:
    return Family(world.executors, region=request.param)


def role_of(family: Family, product: str) -> RoleResult:
    assert family.result is not None
    role = family.result.role_of(product)
    assert role is not None
    return role


def log_in(
    world: RealWorld,
    family: Family,
    product: str = "jira-software",
    *,
    password: str | None = None,
    database: str | None = None,
) -> psycopg.Connection:
    """A session of the product, over TCP with its password, as the product itself would open it."""
    assert family.result is not None
    role = role_of(family, product)
    return psycopg.connect(
        host=world.postgres.host,
        port=world.postgres.port,
        dbname=database or family.result.database,
        user=role.role,
        password=password or role_password(MASTER_KEY, family.scope, product, role.generation),
        autocommit=True,
        connect_timeout=5,
    )


def ours(world: RealWorld, family: Family) -> set[str]:
    """Everything on the family's shard that bears the names of its born parts."""
    assert family.placement is not None
    seen = observe(world.topology, family.placement.shard)
    names = Names.of(family.removal())
    expected = {names.place, names.group, *names.logins.values()}
    return expected & {*seen.schemas, *seen.databases, *seen.roles}


# -- who comes in --------------------------------------------------------------------------------------------


def test_a_product_works_in_its_place_with_its_password(world: RealWorld, family: Family) -> None:
    facts = family.have(jira_software=True)
    with log_in(world, family) as session:
        session.execute("CREATE TABLE issues (id bigserial PRIMARY KEY, title text)")
        session.execute("INSERT INTO issues (title) VALUES ('first')")
        found = session.execute("SELECT current_schema(), count(*) FROM issues").fetchone()
    assert found == (facts.schema_name, 1)


def test_a_wrong_password_and_none_are_refused(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(world, family, password="wrong")
    role = role_of(family, "jira-software")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(
            host=world.postgres.host,
            port=world.postgres.port,
            dbname=family.result.database if family.result else "",
            user=role.role,
            passfile=os.devnull,
        )


def test_the_password_of_another_product_tenant_or_generation_is_refused(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    generation = role_of(family, "jira-software").generation
    for password in (
        role_password(MASTER_KEY, family.scope, "jira-product-discovery", generation),
        role_password(MASTER_KEY, "family:somebody-else:jira", "jira-software", generation),
        role_password(MASTER_KEY, family.scope, "jira-software", generation + 1),
        role_password(b"x" * 32, family.scope, "jira-software", generation),
    ):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            log_in(world, family, password=password)


def test_a_password_that_the_product_has_changed_is_set_right_again(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    with log_in(world, family) as session:
        session.execute(
            sql.SQL("ALTER ROLE {} PASSWORD 'mine'").format(sql.Identifier(role_of(family, "jira-software").role))
        )
    family.have(jira_software=True)
    log_in(world, family).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(world, family, password="mine")


def test_every_other_database_of_the_server_is_refused(world: RealWorld, family: Family) -> None:
    facts = family.have(jira_software=True)
    neighbours = [Family(world.executors, region="us") for _ in range(2)]
    for neighbour in neighbours:
        neighbour.have(jira_software=True)
    with psycopg.connect(world.postgres.url()) as owner:
        rows = owner.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    others = {name for (name,) in rows} - {facts.database}
    assert {"postgres", "template1", world.control_database} < others
    assert {neighbour.result.database for neighbour in neighbours if neighbour.result} < others
    for database in others:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            log_in(world, family, database=database)


def test_two_neighbours_on_one_shard_cannot_see_into_each_other(world: RealWorld) -> None:
    family, neighbour = Family(world.executors), Family(world.executors)
    family.have(jira_software=True)
    there = neighbour.have(jira_software=True)
    neighbour.license("jira-software")
    with log_in(world, neighbour) as session:
        session.execute("CREATE TABLE secrets AS SELECT 42 AS answer")
    with log_in(world, family) as session:
        for statement in ("SELECT * FROM {}.secrets", "CREATE TABLE {}.mine ()", "DROP TABLE {}.secrets"):
            with pytest.raises(errors.InsufficientPrivilege):
                session.execute(sql.SQL(statement).format(sql.Identifier(there.schema_name)))
        with pytest.raises(errors.InsufficientPrivilege):
            session.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(there.schema_name)))


def test_a_product_cannot_become_anybody_else(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    neighbour = Family(world.executors, region=family.region)
    neighbour.have(jira_software=True)
    names = Names.of(family.removal())
    others = [
        "postgres",
        names.group,
        names.logins["jira-product-discovery"],
        role_of(neighbour, "jira-software").role,
        Names.of(neighbour.removal()).group,
    ]
    with log_in(world, family) as session:
        for other in others:
            for statement in ("SET ROLE {}", "SET SESSION AUTHORIZATION {}"):
                with pytest.raises(errors.InsufficientPrivilege):
                    session.execute(sql.SQL(statement).format(sql.Identifier(other)))


def test_a_product_has_no_power_outside_its_place(world: RealWorld, family: Family) -> None:
    facts = family.have(jira_software=True)
    role = sql.Identifier(role_of(family, "jira-software").role)
    forbidden = [
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine ()",
        "SELECT * FROM tenantry.fences",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER ROLE {role} SUPERUSER",
        "ALTER ROLE {role} BYPASSRLS",
        "ALTER ROLE {role} CONNECTION LIMIT -1",
        "GRANT postgres TO {role}",
        "DROP SCHEMA {schema} CASCADE",
    ]
    if facts.isolation == "schema":
        forbidden.append("CREATE TABLE public.mine ()")
    with log_in(world, family) as session:
        for statement in forbidden:
            with pytest.raises((errors.InsufficientPrivilege, errors.InvalidGrantOperation)):
                session.execute(sql.SQL(statement).format(role=role, schema=sql.Identifier(facts.schema_name)))


def test_the_number_of_sessions_is_bounded(world: RealWorld) -> None:
    family = Family(world.executors)
    order = family.start({"jira-software": True})
    Databases(world.topology, master_key=MASTER_KEY, sessions_per_role=1).ensure(order)
    family.carry_out(order)
    Databases(world.topology, master_key=MASTER_KEY, sessions_per_role=1).ensure(order)
    with log_in(world, family), pytest.raises(psycopg.OperationalError, match="too many connections"):
        log_in(world, family)


def test_no_password_reaches_the_server_or_the_error(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    role = role_of(family, "jira-software")
    with psycopg.connect(world.postgres.url()) as owner:
        stored = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role.role]).fetchone()
    assert stored is not None
    assert stored[0].startswith("SCRAM-SHA-256$")
    nowhere = Topology([Shard("eu-1", "eu", "postgresql://admin:hidden@127.0.0.1:1/shard")], default_region="eu")
    with pytest.raises(Retryable, match="shard eu-1 does not answer") as caught:
        Databases(nowhere, master_key=MASTER_KEY).ensure(
            Family(world.executors, region="eu").start({"jira-software": True})
        )
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


# -- a family ------------------------------------------------------------------------------------------------


def test_siblings_use_each_others_tables(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    with log_in(world, family, "jira-software") as session:
        session.execute("CREATE TABLE issues (id bigserial PRIMARY KEY)")
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute("INSERT INTO issues DEFAULT VALUES")
        assert session.execute("SELECT count(*) FROM issues").fetchone() == (1,)


def test_what_a_leaving_product_made_stays_with_its_siblings(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    leaver = role_of(family, "jira-product-discovery").role
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute("CREATE TABLE ideas AS SELECT 'keep me' AS idea")
    open_session = log_in(world, family, "jira-product-discovery")
    family.have(jira_software=True)
    with pytest.raises(psycopg.OperationalError):
        open_session.execute("SELECT 1")
    with log_in(world, family, "jira-software") as session:
        session.execute("INSERT INTO ideas VALUES ('mine as well')")
        assert session.execute("SELECT count(*) FROM ideas").fetchone() == (2,)
    assert family.placement is not None
    assert leaver not in observe(world.topology, family.placement.shard).roles


def test_a_product_that_comes_back_has_a_new_role_and_the_old_data(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    old = role_of(family, "jira-product-discovery")
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute("CREATE TABLE ideas AS SELECT 'keep me' AS idea")
    family.have(jira_software=True)
    family.have(jira_software=True, jira_product_discovery=True)
    assert role_of(family, "jira-product-discovery").role != old.role
    with log_in(world, family, "jira-product-discovery") as session:
        assert session.execute("SELECT idea FROM ideas").fetchone() == ("keep me",)


# -- closing and opening -------------------------------------------------------------------------------------


def test_closing_ends_an_open_session_and_refuses_a_login_within_two_seconds(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    sessions = [log_in(world, family) for _ in range(3)]
    sessions[0].execute("BEGIN")
    sibling = log_in(world, family, "jira-product-discovery")
    began = time.monotonic()
    family.have(jira_software=False, jira_product_discovery=True)
    assert time.monotonic() - began < 2
    for session in sessions:
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        log_in(world, family)
    sibling.execute("SELECT 1")
    sibling.close()


def test_no_session_survives_a_storm_of_logins(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    survivors: list[psycopg.Connection] = []
    closed = threading.Event()

    def knock() -> None:
        while not closed.is_set():
            try:
                survivors.append(log_in(world, family))
            except psycopg.OperationalError:
                continue

    knockers = [threading.Thread(target=knock) for _ in range(4)]
    for knocker in knockers:
        knocker.start()
    time.sleep(0.2)
    family.have(jira_software=False)
    closed.set()
    for knocker in knockers:
        knocker.join()
    assert survivors
    for session in survivors:
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_opening_again_finds_the_data_as_it_was(world: RealWorld, family: Family) -> None:
    before = family.have(jira_software=True)
    with log_in(world, family) as session:
        session.execute("CREATE TABLE issues AS SELECT 7 AS id")
    family.have(jira_software=False)
    assert family.have(jira_software=True) == before
    with log_in(world, family) as session:
        assert session.execute("SELECT id FROM issues").fetchone() == (7,)


# -- going ---------------------------------------------------------------------------------------------------


def test_a_removal_leaves_nothing_and_ends_sessions_that_hold_locks(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True, jira_product_discovery=True)
    family.license("jira-software")
    session = log_in(world, family)
    session.execute("CREATE TABLE issues AS SELECT 7 AS id")
    session.execute("SELECT lo_create(0)")
    session.execute("BEGIN")
    session.execute("LOCK TABLE issues")
    assert len(ours(world, family)) == 4
    family.executors["family", Step.DATABASE].remove(family.removal())
    assert ours(world, family) == set()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_a_fenced_removal_changes_nothing(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    late = family.removal()
    family.have(jira_software=True)
    session = log_in(world, family)
    with pytest.raises(Fenced):
        family.executors["family", Step.DATABASE].remove(late)
    session.execute("SELECT 1")
    session.close()
    assert len(ours(world, family)) == 3


def test_a_removal_of_the_predecessor_leaves_the_successor_alone(world: RealWorld, family: Family) -> None:
    family.have(jira_software=True)
    late = family.removal()
    family.executors["family", Step.DATABASE].remove(late)
    family.created_generations, family.result = {}, None
    family.have(jira_software=True)
    with pytest.raises(Fenced):
        family.executors["family", Step.DATABASE].remove(late)
    log_in(world, family).close()


# -- dying in between ----------------------------------------------------------------------------------------


class Killed(Exception):
    """A worker died."""


STATEMENTS = {
    "ensure": ("ensuring_group", "ensuring_login", "end_sessions", "granting_rights", "hand_over", "drop_roles"),
    "remove": ("forbid_login", "end_sessions", "drop_owned", "drop_roles"),
}


@pytest.mark.parametrize("place", STATEMENTS["ensure"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_ensure_that_was_cut_short_anywhere_is_completed_by_the_next(
    world: RealWorld, family: Family, monkeypatch: pytest.MonkeyPatch, place: str, when: str
) -> None:
    order = family.start({"jira-software": True, "jira-product-discovery": True})
    cut_short(monkeypatch, world, order, place=place, when=when)
    family.carry_out(order)
    # Once more with a leaver: that is when things are handed over and dropped.
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute("CREATE TABLE ideas AS SELECT 'keep me' AS idea")
    order = family.start({"jira-software": True})
    everything = Names.of(order)
    cut_short(monkeypatch, world, order, place=place, when=when)
    family.carry_out(order)
    with log_in(world, family) as session:
        assert session.execute("SELECT idea FROM ideas").fetchone() == ("keep me",)
    assert family.placement is not None
    roles = observe(world.topology, family.placement.shard).roles
    assert everything.logins["jira-product-discovery"] not in roles


@pytest.mark.parametrize("place", STATEMENTS["remove"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_removal_that_was_cut_short_anywhere_is_completed_by_the_next(
    world: RealWorld, family: Family, monkeypatch: pytest.MonkeyPatch, place: str, when: str
) -> None:
    family.have(jira_software=True)
    order = family.removal()
    cut_short(monkeypatch, world, order, place=place, when=when)
    family.executors["family", Step.DATABASE].remove(order)
    assert ours(world, family) == set()


@pytest.mark.parametrize("place", STATEMENTS["remove"])
def test_a_removal_that_was_cut_short_can_be_turned_round(
    world: RealWorld, family: Family, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    family.have(jira_software=True)
    cut_short(monkeypatch, world, family.removal(), place=place, when="after")
    family.have(jira_software=True)
    log_in(world, family).close()


def cut_short(monkeypatch: pytest.MonkeyPatch, world: RealWorld, order: Order, *, place: str, when: str) -> None:
    """Carry the order out until the worker dies at a place, its session with it.

    An order that does not come to that place is carried out whole.
    """
    with monkeypatch.context() as patch:
        original = getattr(login_roles, place)

        def die(connection: psycopg.Connection, *arguments: object, **named: object) -> object:
            if when == "after":
                original(connection, *arguments, **named)
            with psycopg.connect(world.postgres.url(), autocommit=True) as owner:
                owner.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
            raise Killed

        patch.setattr(login_roles, place, die)
        with suppress(Killed, Retryable):
            getattr(world.executors["family", Step.DATABASE], order.direction)(order)


def test_a_database_without_roles_or_rights_is_completed(world: RealWorld) -> None:
    family = Family(world.executors, region="us")
    order = family.start({"jira-software": True})
    name = Names.of(order).place
    with world.topology.connect("us-1") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false").format(sql.Identifier(name))
        )
    family.carry_out(order)
    log_in(world, family).close()


def test_a_database_whose_drop_was_cut_short_is_made_anew(world: RealWorld) -> None:
    family = Family(world.executors, region="us")
    family.have(jira_software=True)
    order = family.removal()
    with world.topology.connect("us-1") as connection:
        connection.execute("UPDATE tenantry.fences SET made = false WHERE scope = %s", [str(family.scope)])
        connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [Names.of(order).place])
    family.have(jira_software=True)
    log_in(world, family).close()


@pytest.mark.parametrize("know", ["the shard knows it", "only the log knows it"])
def test_a_database_that_somebody_dropped_is_not_made_again_empty(world: RealWorld, family: Family, know: str) -> None:
    facts = family.have(jira_software=True)
    kind, name = ("SCHEMA", facts.schema_name) if facts.isolation == "schema" else ("DATABASE", facts.database)
    with world.topology.connect(facts.shard) as connection:
        connection.execute(sql.SQL("DROP {} {}").format(sql.SQL(kind), sql.Identifier(name)))
        if know == "only the log knows it":
            connection.execute("DELETE FROM tenantry.fences WHERE scope = %s", [str(family.scope)])
    for _ in range(2):
        with pytest.raises(Permanent, match=r"is missing on shard .*: restore it"):
            family.have(jira_software=True)
    with world.topology.connect(facts.shard) as connection:
        query = "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s"
        assert connection.execute(query, [facts.roles[0].role]).fetchall() == [(False,)], "nobody may log in to it"


# -- many at once --------------------------------------------------------------------------------------------


def test_many_threads_work_side_by_side(world: RealWorld) -> None:
    families = [Family(world.executors, region=region) for region in ("eu", "us", "eu", "eu") * 4]
    outcomes = in_threads(lambda family: family.have(jira_software=True), families)
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for family in families:
        log_in(world, family).close()


def test_two_workers_on_one_order_make_one_database(world: RealWorld, family: Family) -> None:
    order = family.start({"jira-software": True})
    executor = family.executors["family", Step.DATABASE]
    outcomes = in_threads(lambda _: executor.ensure(order), [family] * 3)
    assert all(isinstance(outcome, (DatabaseResult, Retryable)) for outcome in outcomes), outcomes
    assert any(isinstance(outcome, DatabaseResult) for outcome in outcomes)
    family.carry_out(order)
    assert len(ours(world, family)) == 3


def in_threads(act: Callable[[Family], object], families: list[Family]) -> list[object]:
    outcomes: list[object] = []

    def run(family: Family) -> None:
        try:
            outcomes.append(act(family))
        except Exception as error:  # noqa: BLE001 - told by the caller
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(family,)) for family in families]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# -- an administrator that is no superuser -------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["schema", "database"])
def test_an_administrator_without_superuser_can_do_all_of_it(world: RealWorld, isolation: str) -> None:
    owner = f"admin_{isolation}"
    database = f"{world.control_database}_{isolation}"
    with psycopg.connect(world.postgres.url(), autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE CREATEDB PASSWORD 'open sesame'")
        superuser.execute(f"CREATE DATABASE {database} OWNER {owner} TEMPLATE template0")
    url = f"postgresql://{owner}:open%20sesame@{world.postgres.host}:{world.postgres.port}/{database}"
    shard = Shard("own-1", "eu", url, isolation="schema" if isolation == "schema" else "database")
    topology = Topology([shard], default_region="eu", patience=Patience())
    topology.prepare()
    topology.prepare()
    executors: Executors = {
        **world.executors,
        ("family", Step.DATABASE): Databases(topology, master_key=MASTER_KEY),
    }
    family = Family(executors)
    family.placement = RegionResult(region="eu", shard="own-1")
    family.have(jira_software=True, jira_product_discovery=True)
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute("CREATE TABLE ideas AS SELECT 'keep me' AS idea")
    open_session = log_in(world, family, "jira-product-discovery")
    family.have(jira_software=True)
    with pytest.raises(psycopg.OperationalError):
        open_session.execute("SELECT 1")
    with log_in(world, family) as session:
        assert session.execute("SELECT idea FROM ideas").fetchone() == ("keep me",)
        for other in (owner, Names.of(family.removal()).group):
            with pytest.raises(errors.InsufficientPrivilege):
                session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(other)))
    executors["family", Step.DATABASE].remove(family.removal())
    seen = observe(topology, "own-1")
    names = Names.of(family.removal())
    assert not {names.place, names.group, *names.logins.values()} & {
        *seen.schemas,
        *seen.databases,
        *seen.roles,
    }
