"""Does each product learn what it is licensed for, and nobody else?"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.resources.entitlement import table_of
from adapters.resources.login_role import role_password
from domain.errors import Fenced, Permanent, Retryable
from domain.scope.steps import LicenseResult, Step
from tests.adapters.provisioners.orders import Family
from tests.adapters.resources.real_shards import MASTER_KEY, RealWorld, real_world

TABLE = "entitlement_jira_software"


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    with real_world(postgres) as running:
        yield running


@pytest.fixture(params=["eu", "us"], ids=["schema", "database"])
def family(request: pytest.FixtureRequest, world: RealWorld) -> Family:
    family = Family(world.executors, region=request.param)
    family.have(jira_software=True, jira_product_discovery=True)
    return family


def log_in(world: RealWorld, family: Family, product: str = "jira-software") -> psycopg.Connection:
    assert family.result is not None
    role = family.result.role_of(product)
    assert role is not None
    return psycopg.connect(
        host=world.postgres.host,
        port=world.postgres.port,
        dbname=family.result.database,
        user=role.role,
        password=role_password(MASTER_KEY, family.scope, product, role.generation),
        autocommit=True,
    )


def subjects(world: RealWorld, family: Family) -> list[str] | None:
    """Whose rows are in the table of jira-software; None where there is no table."""
    assert family.result is not None
    with world.topology.connect(family.result.shard, database=family.result.database) as connection:
        table = sql.Identifier(family.result.schema_name, TABLE)
        try:
            rows = connection.execute(sql.SQL("SELECT subject FROM {} ORDER BY 1").format(table)).fetchall()
        except errors.UndefinedTable:
            return None
    return [subject for (subject,) in rows]


def test_a_product_reads_its_own_entitlement(world: RealWorld, family: Family) -> None:
    facts = family.license("jira-software")
    assert isinstance(facts, LicenseResult)
    assert family.result is not None
    assert facts.location == f"{family.result.schema_name}.{TABLE}"
    with log_in(world, family) as session:
        row = session.execute(
            f"SELECT subject, edition, users, active, expires_at, features, generation FROM {TABLE}"
        ).fetchone()
    assert row == (
        "jira-software",
        facts.edition,
        facts.users,
        True,
        facts.expires_at,
        list(facts.features),
        1,
    )


def test_a_later_license_replaces_the_earlier(world: RealWorld, family: Family) -> None:
    family.license("jira-software")
    family.license("jira-software", generation=2, active=False)
    with log_in(world, family) as session:
        assert session.execute(f"SELECT active, generation FROM {TABLE}").fetchall() == [(False, 2)]


def test_a_sibling_cannot_read_it(world: RealWorld, family: Family) -> None:
    family.license("jira-software")
    with (
        log_in(world, family, "jira-product-discovery") as session,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        session.execute(f"SELECT * FROM {TABLE}")


def test_a_product_cannot_write_drop_or_replace_it(world: RealWorld, family: Family) -> None:
    family.license("jira-software")
    forbidden = (
        f"UPDATE {TABLE} SET users = 1000000",
        f"INSERT INTO {TABLE} SELECT 'mine', edition, users, active, NULL, features, 9 FROM {TABLE}",
        f"DELETE FROM {TABLE}",
        f"TRUNCATE {TABLE}",
        f"DROP TABLE {TABLE}",
        f"ALTER TABLE {TABLE} RENAME TO mine",
        (
            f"CREATE TRIGGER mine BEFORE UPDATE ON {TABLE} FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE",
    )
    with log_in(world, family) as session:
        for statement in forbidden:
            with pytest.raises(errors.InsufficientPrivilege), session.transaction():
                session.execute(statement)


def test_an_app_writes_into_the_table_of_its_host(world: RealWorld, family: Family) -> None:
    family.license("jira-software")
    facts = family.license("timesheets")
    assert isinstance(facts, LicenseResult)
    assert facts.location.endswith(TABLE)
    assert subjects(world, family) == ["jira-software", "timesheets"]
    licenses = family.executors["product", Step.LICENSE]
    licenses.remove(family.license_order("jira-software", generation=2, direction="remove"))
    assert subjects(world, family) == ["timesheets"]
    licenses.remove(family.license_order("timesheets", generation=2, direction="remove"))
    assert subjects(world, family) is None


def test_a_product_that_reads_in_an_open_transaction_does_not_hold_the_removal_up(
    world: RealWorld, family: Family
) -> None:
    family.license("jira-software")
    with log_in(world, family) as session:
        session.execute("BEGIN")
        session.execute(f"SELECT * FROM {TABLE}")
        family.executors["product", Step.LICENSE].remove(
            family.license_order("jira-software", generation=2, direction="remove")
        )
    assert subjects(world, family) == []


def test_a_table_that_a_product_put_in_its_place_is_never_written_to(world: RealWorld, family: Family) -> None:
    with log_in(world, family, "jira-product-discovery") as session:
        session.execute(f"CREATE TABLE {TABLE} (subject text PRIMARY KEY)")
        session.execute(
            "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$"
        )
        session.execute(f"CREATE TRIGGER trap BEFORE INSERT OR DELETE ON {TABLE} EXECUTE FUNCTION trap()")
    with pytest.raises(Permanent, match="was made by a product: rename it"):
        family.license("jira-software")
    family.executors["product", Step.LICENSE].remove(family.license_order("jira-software", direction="remove"))
    assert subjects(world, family) == []


def test_it_is_fenced_by_the_scope_of_the_product(world: RealWorld, family: Family) -> None:
    family.license("jira-software", generation=5)
    family.license("timesheets", generation=1)
    with pytest.raises(Fenced):
        family.license("jira-software", generation=4)


def test_where_the_database_has_gone_there_is_nothing_to_remove(world: RealWorld, family: Family) -> None:
    family.license("jira-software")
    late = family.license_order("jira-software", generation=2, direction="remove")
    anew = family.license_order("jira-software", generation=2)
    family.leave()
    family.executors["product", Step.LICENSE].remove(late)
    with pytest.raises(Retryable, match=r"shard (eu|us)-1(:| does not answer)"):
        family.executors["product", Step.LICENSE].ensure(anew)


def test_without_a_role_to_read_it_the_license_waits(world: RealWorld) -> None:
    family = Family(world.executors)
    with pytest.raises(Retryable, match="step 6 comes first"):
        family.license("jira-software")
    family.executors["product", Step.LICENSE].remove(family.license_order("jira-software", direction="remove"))


def test_names_of_tables_fit_and_stay_apart() -> None:
    long, longer = f"a{'-b' * 30}", f"a{'-b' * 31}"
    names = {table_of(key) for key in (long, longer, "a-b", "ab")}
    assert len(names) == 4
    assert all(len(name) <= 63 for name in names)
