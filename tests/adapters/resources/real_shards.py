"""Which shards do the tests of the executors work on?

Databases of the embedded server, each test run's own; all that was made on the server goes at the end,
roles as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import psycopg
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations
from psycopg import sql

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.resources.executors import Outside, executors, resources
from adapters.resources.fences import Connect
from adapters.resources.topology import Patience, Shard, Topology
from application.resources import Resources
from domain.catalog import default_catalog
from tests.adapters.provisioners.orders import Executors
from tests.real_parts import make_database

MASTER_KEY = b"k" * 32
VERSIONS = Path(__file__).parents[3] / "alembic" / "versions"
MIGRATIONS = ("0002_executors",)
"""Those that make the tables of the resources in the control database."""

SHARDS = (
    Shard("eu-1", "eu", "", isolation="schema"),
    Shard("us-1", "us", "", isolation="database"),
    Shard("xs-1", "xs", "", capacity=1),
)
"""Their databases are made at the start of a run. The last has room for one."""


@dataclass(frozen=True)
class RealWorld:
    """The server, a control database and three shards on it, and the executors."""

    postgres: EmbeddedPostgres
    control: Connect
    control_database: str
    topology: Topology
    executors: Executors
    resources: Resources

    def database_of(self, shard: str) -> str:
        with self.topology.connect(shard) as connection:
            return connection.info.dbname


@contextmanager
def real_world(postgres: EmbeddedPostgres) -> Iterator[RealWorld]:
    run = uuid4().hex[:8]
    databases = {shard.name: f"shard_{shard.name.replace('-', '_')}_{run}" for shard in SHARDS}
    control_database = f"control_{run}"
    before = _everything(postgres)
    for name in (control_database, *databases.values()):
        make_database(postgres, name)
    try:
        shards = [replace(shard, url=postgres.url(databases[shard.name])) for shard in SHARDS]
        topology = Topology(shards, default_region="eu", patience=Patience(lock=1.0))
        topology.prepare()
        migrate(postgres.url(control_database), "upgrade")
        with psycopg.connect(postgres.url(control_database)) as connection:
            topology.sync(connection)

        def control() -> psycopg.Connection:
            return psycopg.connect(postgres.url(control_database))

        there = Outside(control, topology, default_catalog(), "tenantry.example", MASTER_KEY)
        yield RealWorld(postgres, control, control_database, topology, executors(there), resources(there))
    finally:
        made_databases, made_roles = (
            after - earlier for earlier, after in zip(before, _everything(postgres), strict=True)
        )
        for name in made_databases:
            postgres.drop_database(name)
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            for name in made_roles:
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _everything(postgres: EmbeddedPostgres) -> tuple[set[str], set[str]]:
    with psycopg.connect(postgres.url()) as connection:
        databases = connection.execute("SELECT datname FROM pg_database").fetchall()
        roles = connection.execute("SELECT rolname FROM pg_roles").fetchall()
    return {name for (name,) in databases}, {name for (name,) in roles}


def migrate(url: str, direction: str) -> None:
    """Run this room's migrations by themselves, `upgrade` or `downgrade`."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        for name in MIGRATIONS if direction == "upgrade" else MIGRATIONS[::-1]:
            getattr(_migration(name), direction)()


def _migration(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"migration_{name}", VERSIONS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
