"""The helpers for psycopg and SQLAlchemy, on a real PostgreSQL: each tenant in its own schema, with its own role."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from psycopg import sql

from adapters.embedded.postgres import EmbeddedPostgres
from tenantry_client.context.databases import TenantConnections
from tenantry_client.context.document import Placement, Product, TenantContext, encode
from tenantry_client.context.lease import now_ns
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.sqlalchemy import TenantEngines
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.targets import Target
from tenantry_client.context.tenancy import Tenancy
from tenantry_client.context.wire import Changes, TenantChange

TENANTS = ("t-0", "t-1", "t-2")


class Shard:
    """A database with a schema and a login role for each tenant."""

    def __init__(self, postgres: EmbeddedPostgres, url: str) -> None:
        self.owner = psycopg.connect(url, autocommit=True)
        self.address = f"127.0.0.1:{postgres.port}"
        self.database = self.owner.info.dbname
        self.passwords = {f"role_{name}_{uuid4().hex[:8]}": uuid4().hex for name in TENANTS}
        for name, role in zip(TENANTS, self.passwords, strict=True):
            schema = f'sc "{name}'
            for statement in (
                "CREATE ROLE {role} LOGIN PASSWORD {password}",
                "GRANT CONNECT ON DATABASE {database} TO {role}",
                "CREATE SCHEMA {schema} AUTHORIZATION {role}",
                "CREATE TABLE {schema}.notes AS SELECT {name} AS owner",
                "ALTER TABLE {schema}.notes OWNER TO {role}",
            ):
                self.run(statement, role=role, schema=schema, name=name)

    def run(self, statement: str, *, role: str, schema: str = "", name: str = "") -> None:
        self.owner.execute(
            sql.SQL(statement).format(
                role=sql.Identifier(role),
                password=sql.Literal(self.passwords[role]),
                database=sql.Identifier(self.database),
                schema=sql.Identifier(schema),
                name=sql.Literal(name),
            )
        )

    def document(self, number: int, version: int, level: str = "open") -> TenantContext:
        name, role = TENANTS[number], list(self.passwords)[number]
        return TenantContext(
            name, "c", name, f"{name}.example", "active", "open", version,
            {"crm": Product(level, "crm", role=role)},  # type: ignore[arg-type]
            {"crm": Placement("eu", "eu-1", self.address, self.database, f'sc "{name}')},
        )  # fmt: skip

    def password(self, target: Target) -> str:
        return self.passwords[target.role]


@pytest.fixture
def shard(postgres: EmbeddedPostgres, database: str) -> Iterator[Shard]:
    found = Shard(postgres, database)
    yield found
    for role in found.passwords:
        found.run("DROP OWNED BY {role}", role=role)
        found.run("DROP ROLE {role}", role=role)
    found.owner.close()


@pytest.fixture
def tenancy(writer: StoreWriter, shard: Shard) -> Tenancy:
    writer.lease.renew(now_ns() + 10**11)
    tell(writer, *(shard.document(number, 11) for number in range(3)))
    return Tenancy.open(writer.directory)


def use_often(connections: TenantConnections, tenant_id: str) -> None:
    for _ in range(100):
        time.sleep(0.02)
        with connections.connection(tenant_id):
            pass


def fail_inside(connections: TenantConnections, tenant_id: str) -> None:
    with connections.connection(tenant_id) as connection:
        connection.execute("INSERT INTO notes VALUES ('lost')")
        raise ZeroDivisionError


def tell(writer: StoreWriter, *documents: TenantContext) -> None:
    changes = [TenantChange(each.tenant_id, each.version, encode(each)) for each in documents]
    writer.apply(Changes(writer.position, max(each.version for each in documents), changes, []))


def test_each_tenant_is_in_its_own_schema_as_its_own_role(tenancy: Tenancy, shard: Shard) -> None:
    connections = TenantConnections(tenancy, "crm", shard.password)
    for number, name in enumerate(TENANTS):
        with connections.connection(name) as connection:
            found = connection.execute("SELECT owner, current_user FROM notes").fetchone()
            assert found == (name, list(shard.passwords)[number])
    connections.close()


def test_a_suspended_tenant_gets_no_connection_though_one_is_idle(
    tenancy: Tenancy, shard: Shard, writer: StoreWriter
) -> None:
    connections = TenantConnections(tenancy, "crm", shard.password)
    with connections.connection("t-1") as connection:
        connection.execute("SELECT 1")
    assert connections.kept == 1
    tell(writer, shard.document(1, 12, "closed"))
    with pytest.raises(ContextRefused) as refused, connections.connection("t-1"):
        pass
    assert refused.value.code == "product-closed"
    connections.close()


def test_the_database_refuses_a_closed_role_though_the_context_is_stale(tenancy: Tenancy, shard: Shard) -> None:
    role = list(shard.passwords)[1]
    connections = TenantConnections(tenancy, "crm", shard.password)
    with connections.connection("t-1") as connection:
        connection.execute("SELECT 1")
    shard.run("ALTER ROLE {role} NOLOGIN", role=role)
    shard.owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
    with pytest.raises(ContextRefused) as refused:
        use_often(connections, "t-1")  # the idle session is noticed as soon as its end has arrived
    assert refused.value.code == "database-refused"
    connections.close()


def test_idle_connections_are_bounded_and_the_longest_unused_tenant_goes_first(tenancy: Tenancy, shard: Shard) -> None:
    connections = TenantConnections(tenancy, "crm", shard.password, idle=2)
    for name in ("t-0", "t-1", "t-0", "t-2"):
        with connections.connection(name):
            pass
    assert connections.kept == 2
    assert {target.schema for target in connections._idle} == {'sc "t-0', 'sc "t-2'}  # noqa: SLF001
    connections.close()


def test_an_error_rolls_back_and_a_child_of_a_fork_leaves_the_parents_connections_alone(
    tenancy: Tenancy, shard: Shard
) -> None:
    connections = TenantConnections(tenancy, "crm", shard.password)
    with pytest.raises(ZeroDivisionError):
        fail_inside(connections, "t-1")
    child = os.fork()
    if not child:
        with connections.connection("t-1") as connection:
            good = connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    with connections.connection("t-1") as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)
    connections.close()


def test_an_engine_of_sqlalchemy_is_fenced_at_each_checkout(
    tenancy: Tenancy, shard: Shard, writer: StoreWriter
) -> None:
    engines = TenantEngines(tenancy, "crm", shard.password, engines=2)
    engine = engines.engine("t-1")
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT owner FROM notes")).scalar() == "t-1"
    tell(writer, shard.document(1, 12, "closed"))
    with pytest.raises(ContextRefused), engine.connect():
        pass
    with pytest.raises(ContextRefused):
        engines.engine("t-1")
    tell(writer, shard.document(1, 13))
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT owner FROM notes")).scalar() == "t-1"
    for name in TENANTS:
        engines.engine(name)
    assert engines.kept == 2
    engines.close()
    engine.dispose()
