"""What can a product do on its shard, and what can it not?

A product logs in as its own software would: with the address and the password that `tenantry credentials` names.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.journeys.events import activated, created, deactivated, destroyed, new_tenant, suspended, unsuspended
from tests.journeys.running import Running, wait_for

CLOSED_WITHIN = 10.0
"""Seconds; two on an idle machine."""


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant with Jira, and how its product logs in."""

    tenant: str
    account: Mapping[str, Any]

    def log_in(self, **other: object) -> psycopg.Connection[tuple[Any, ...]]:
        names = {"host": "host", "port": "port", "dbname": "database", "user": "role", "password": "password"}
        place = {name: self.account[ours] for name, ours in names.items()}
        return psycopg.connect("", autocommit=True, connect_timeout=5, **{**place, **other})

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with self.log_in() as connection:
            yield connection


def home(tenantry: Running, *products: str) -> Home:
    """A new tenant with these products (Jira, if none is named); we are the first of them."""
    products = products or ("jira-software",)
    tenant = new_tenant()
    tenantry.send(created(tenant, *products))
    for product in products:
        tenantry.until_level(tenant, product, "open")
    return Home(tenant, tenantry.json("credentials", tenant, products[0]))


@pytest.fixture(scope="module")
def jira(tenantry: Running) -> Home:
    return home(tenantry)


def test_the_schema_is_on_the_shard_that_the_placement_names(tenantry: Running, jira: Home) -> None:
    place = tenantry.placement(jira.tenant, "jira")
    assert place["database"] == f"shard_{place['shard'].replace('-', '_')}"
    assert (place["database"], place["schema_name"]) == (jira.account["database"], jira.account["schema"])
    with psycopg.connect(tenantry.shard_url(place["database"])) as owner:
        found = owner.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (place["schema_name"],))
        assert found.fetchone() == (1,)


def test_a_product_works_in_its_own_schema(jira: Home) -> None:
    with jira.session() as session:
        session.execute("CREATE TABLE issues (title text)")
        session.execute("INSERT INTO issues VALUES ('first')")
        assert session.execute("SELECT current_schema()").fetchone() == (jira.account["schema"],)
        assert session.execute(f"SELECT * FROM {jira.account['schema']}.issues").fetchall() == [("first",)]


def test_a_wrong_password_is_refused(jira: Home) -> None:
    for password in ("wrong", "", jira.account["password"][:-1]):
        with pytest.raises(psycopg.OperationalError, match="password"):
            jira.log_in(password=password)


def test_no_other_database_lets_a_product_in(tenantry: Running, jira: Home) -> None:
    others = [
        row["datname"]
        for row in tenantry.rows("SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname")
        if row["datname"] != jira.account["database"]
    ]
    assert {"postgres", "template1", "tenantry"} < set(others)
    assert len([name for name in others if name.startswith("shard_")]) == 3
    for database in others:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            jira.log_in(dbname=database)


def test_a_neighbours_schema_is_closed(tenantry: Running, jira: Home) -> None:
    neighbours = [home(tenantry) for _ in range(2)]  # two shards in the region: one of the two is beside us
    beside = [each for each in neighbours if each.account["database"] == jira.account["database"]]
    beside = beside or [home(tenantry)]
    for neighbour in beside:
        with neighbour.session() as session:
            session.execute("CREATE TABLE secrets (secret text)")
        theirs = neighbour.account["schema"]
        with jira.session() as session:
            for attempt in (
                f"SELECT * FROM {theirs}.secrets",
                f"SELECT * FROM {theirs}.entitlement_jira_software",
                f"CREATE TABLE {theirs}.ours ()",
                f"DROP SCHEMA {theirs} CASCADE",
            ):
                with pytest.raises(psycopg.Error, match=r"permission denied|must be owner"):
                    session.execute(attempt)


def test_a_product_cannot_become_another_role(tenantry: Running, jira: Home) -> None:
    with psycopg.connect(tenantry.shard_url(jira.account["database"])) as owner:
        roles = [
            name
            for (name,) in owner.execute(
                "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> %s", (jira.account["role"],)
            )
        ]
    assert any(role.startswith("g_") for role in roles)
    with jira.session() as session:
        for role in roles:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f'SET ROLE "{role}"')
        for attempt in (
            "CREATE ROLE mine",
            "CREATE DATABASE mine",
            "CREATE SCHEMA mine",
            "CREATE TABLE public.mine ()",
            f"ALTER ROLE {jira.account['role']} CREATEROLE",
            "SELECT rolpassword FROM pg_authid",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(attempt)


def test_a_product_reads_its_entitlement_and_nothing_else_of_ours(tenantry: Running) -> None:
    two = home(tenantry, "jira-software", "jira-service-management")
    with two.session() as session:
        told = session.execute("SELECT subject, edition, users, active FROM entitlement_jira_software")
        assert told.fetchall() == [("jira-software", "free", 5, True)]
        for attempt in (
            "SELECT * FROM entitlement_jira_service_management",
            "UPDATE entitlement_jira_software SET users = 1000000",
            "DELETE FROM entitlement_jira_software",
            "DROP TABLE entitlement_jira_software",
            "ALTER TABLE entitlement_jira_software ADD COLUMN more text",
            "SELECT * FROM tenantry.fences",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(attempt)
        readable = session.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog',"
            " 'information_schema') AND has_schema_privilege(schemaname, 'USAGE')"
            " AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')"
        )
        assert readable.fetchall() == [(two.account["schema"], "entitlement_jira_software")]


def test_a_suspended_product_loses_its_session_and_gets_it_back_with_its_data(
    tenantry: Running, record_testsuite_property: Any
) -> None:
    ours = home(tenantry, "jira-software", "jira-service-management")
    sibling = Home(ours.tenant, tenantry.json("credentials", ours.tenant, "jira-service-management"))
    session, siblings_session = ours.log_in(), sibling.log_in()
    session.execute("CREATE TABLE issues AS SELECT generate_series(1, 3) AS number")

    began = time.monotonic()
    tenantry.send(suspended(ours.tenant, "jira-software"))
    wait_for(lambda: _is_ended(session), "the open session to end")
    wait_for(lambda: _is_refused(ours), "a login to be refused")
    took = time.monotonic() - began
    record_testsuite_property("closed_after_seconds", round(took, 2))
    assert took < CLOSED_WITHIN
    assert siblings_session.execute("SELECT count(*) FROM issues").fetchone() == (3,)
    tenantry.until_level(ours.tenant, "jira-software", "closed")
    assert tenantry.json("credentials", ours.tenant, "jira-software")["may_log_in"] is False
    (site,) = tenantry.rows("SELECT access FROM sites WHERE tenant_id = %s", ours.tenant)
    assert site["access"] == "partial"

    began = time.monotonic()
    tenantry.send(unsuspended(ours.tenant, "jira-software"))
    wait_for(lambda: not _is_refused(ours), "a login to work again")
    record_testsuite_property("opened_after_seconds", round(time.monotonic() - began, 2))
    with ours.session() as again:
        assert again.execute("SELECT number FROM issues ORDER BY 1").fetchall() == [(1,), (2,), (3,)]
    session.close()
    siblings_session.close()


def test_a_destroyed_tenant_is_closed_at_once_and_keeps_its_data(tenantry: Running) -> None:
    ours = home(tenantry, "jira-software", "confluence")
    with ours.session() as session:
        session.execute("CREATE TABLE issues ()")
    tenantry.send(destroyed(ours.tenant))
    wait_for(lambda: _is_refused(ours), "a login to be refused")
    for product in ("jira-software", "confluence"):
        tenantry.until_level(ours.tenant, product, "closed")
    with psycopg.connect(tenantry.shard_url(ours.account["database"])) as owner:
        assert owner.execute(f"SELECT count(*) FROM {ours.account['schema']}.issues").fetchone() == (0,)


def test_a_deactivated_product_is_retained_and_comes_back_with_its_data(tenantry: Running) -> None:
    ours = home(tenantry)
    with ours.session() as session:
        session.execute("CREATE TABLE issues AS SELECT 7 AS number")
    tenantry.send(deactivated(ours.tenant, "jira-software"))
    tenantry.until_level(ours.tenant, "jira-software", "retained")
    assert _is_refused(ours)
    tenantry.send(activated(ours.tenant, "jira-software"))
    tenantry.until_level(ours.tenant, "jira-software", "open")
    again = Home(ours.tenant, tenantry.json("credentials", ours.tenant, "jira-software"))
    with again.session() as session:
        assert session.execute("SELECT number FROM issues").fetchall() == [(7,)]


def _is_ended(session: psycopg.Connection[Any]) -> bool:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def _is_refused(who: Home) -> bool:
    try:
        who.log_in().close()
    except psycopg.OperationalError as error:
        if "not permitted to log in" not in str(error):
            raise
        return True
    return False
