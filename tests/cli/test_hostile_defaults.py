"""Does Tenantry depend on any default of a server, a database or a role?

All defaults of a session that Tenantry could lean on are set to what hurts most, on each of the three levels in turn;
then a tenant goes its way, and the commands are asked about it.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.connection import LONG, Limits, connect
from adapters.postgres.engine import engine
from adapters.postgres.migrations import current, downgrade, head, migrate
from projections import PROJECTIONS
from runtime.compose import Parts
from runtime.compose.projector import log_reader_of, mark_listener_of, projector_engine_of
from runtime.instance import endpoints
from runtime.settings_layers import load_settings
from tests.cli.cloud import Cloud
from workers.projector import Projector

pytestmark = [pytest.mark.slow, pytest.mark.endurance]

Level = Literal["server", "database", "role"]
LEVELS: Final[Sequence[Level]] = ("server", "database", "role")

HOSTILE: Final = {
    "timezone": "Pacific/Kiritimati",  # 14 hours east: what ends in the year 9999 ends in the year 10000 there
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_deferrable": "on",
    "search_path": "elsewhere",
    "max_parallel_workers_per_gather": "8",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "escape_string_warning": "on",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_min_messages": "debug1",
    "password_encryption": "md5",
    "createrole_self_grant": "",
    "statement_timeout": "300ms",
    "transaction_timeout": "400ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "20ms",
    "idle_session_timeout": "100ms",
    "synchronous_commit": "off",
}
DECOYS: Final = ("stored_events", "workers", "shards", "waiting", "alembic_version")
"""Tables of the same names in the schema that the hostile search path leads to."""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with (
        tempfile.TemporaryDirectory(prefix="tenantry-tests-") as directory,
        EmbeddedPostgres(Path(directory) / "postgres") as running,
    ):
        yield running


@pytest.fixture(params=LEVELS)
def hostile(request: pytest.FixtureRequest, server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database in which every session begins with the hostile defaults."""
    level: Level = request.param
    name = f"hostile_{uuid4().hex[:8]}"
    server.create_database(name)
    url = server.url(name)
    role = sql.Identifier(name)
    with connect(url, limits=LONG, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA elsewhere")
        for table in DECOYS:
            owner.execute(sql.SQL("CREATE TABLE {} (nothing int)").format(sql.Identifier("elsewhere", table)))
        if level == "role":
            owner.execute(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD 'secret'").format(role))
            url = make_conninfo(url, user=name, password="secret")
        for setting, value in HOSTILE.items():
            where = {"server": sql.SQL("SYSTEM"), "database": sql.SQL("DATABASE {}"), "role": sql.SQL("ROLE {}")}[level]
            owner.execute(
                sql.SQL("ALTER {} SET {} = {}").format(
                    where.format(role) if level != "server" else where,
                    sql.Identifier(setting),
                    sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
                    if setting == "search_path"
                    else sql.Literal(value),
                )
            )
        owner.execute("SELECT pg_reload_conf()")
    yield url
    with connect(server.url(), limits=LONG, autocommit=True) as owner:
        owner.execute("ALTER SYSTEM RESET ALL")
        owner.execute("SELECT pg_reload_conf()")
    server.drop_database(name)


def test_the_defaults_are_hostile_to_whoever_does_not_set_them(hostile: str) -> None:
    with psycopg.connect(hostile, autocommit=True) as plain:
        shown = {name: plain.execute(f"SHOW {name}".encode()).fetchone() for name in HOSTILE}
    assert {name: row[0] for name, row in shown.items() if row} == {**HOSTILE, "transaction_timeout": "400ms"}


@pytest.mark.parametrize("made_by", ["connect", "engine"])
def test_each_setting_is_set_on_each_connection(hostile: str, made_by: str) -> None:
    limits = Limits(statement=1.5, lock=0, idle_in_transaction=2, idle=3)
    if made_by == "connect":
        with connect(hostile, limits=limits) as connection:
            shown = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in HOSTILE}
    else:
        made = engine(hostile, pool_size=0, limits=limits)
        with made.connect() as through:
            shown = {name: through.exec_driver_sql(f"SHOW {name}").one() for name in HOSTILE}
    said = {name: row[0] for name, row in shown.items() if row}
    assert said == {
        **HOSTILE,  # createrole_self_grant is set where roles are made, the warning means nothing
        "timezone": "UTC",
        "datestyle": "ISO, YMD",
        "intervalstyle": "postgres",
        "default_transaction_isolation": "read committed",
        "default_transaction_deferrable": "off",
        "search_path": "public, pg_temp",
        "max_parallel_workers_per_gather": "0",
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "client_min_messages": "warning",
        "password_encryption": "scram-sha-256",
        "statement_timeout": "1500ms",
        "transaction_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "2s",
        "idle_session_timeout": "3s",
        "synchronous_commit": "on",
    }


def test_migrations_go_up_down_and_up_again(hostile: str) -> None:
    migrate(hostile)
    downgrade(hostile, "base")
    migrate(hostile)
    assert current(hostile) == head()


@pytest.fixture
def cloud(
    hostile: str, server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Cloud, Projector]]:
    """Everything on the hostile server: control database, shards, read models."""
    migrate(hostile)
    run = uuid4().hex[:8]
    shards = {shard: make_conninfo(hostile, dbname=f"{shard[:2]}_{run}") for shard in ("eu-1", "us-1")}
    for shard in shards:
        server.create_database(f"{shard[:2]}_{run}")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TENANTRY_DATABASE_URL", _as_url(hostile))
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_MASTER_KEY", b64encode(secrets.token_bytes(32)).decode())
    isolation = {"eu-1": "schema", "us-1": "database"}
    told = [
        {"name": name, "region": name[:2], "url": _as_url(url), "isolation": isolation[name]}
        for name, url in shards.items()
    ]
    monkeypatch.setenv("TENANTRY_SHARDS", json.dumps(told))
    settings = load_settings()
    with Parts(settings, endpoints(settings)) as parts:
        parts.topology.prepare()
        with connect(hostile) as connection:
            parts.topology.sync(connection)
        projector = Projector(
            log_reader_of(parts),
            projector_engine_of(parts),
            PROJECTIONS,
            batch=500,
            poll_seconds=0.01,
            listener=mark_listener_of(parts),
            name="test",
            peers=lambda: ["test"],
        )
        made = Cloud(parts, shards)
        yield made, projector
        made.close()


def test_a_tenant_goes_its_way_and_every_command_tells_of_it(cloud: tuple[Cloud, Projector]) -> None:
    made, projector = cloud
    tenants = [made.tenant(region=region) for region in ("eu", "us")]
    for tenant_id in tenants:
        forever = {"edition": "standard", "users": 5, "status": "active", "expires_at": "9999-12-31T23:59:59Z"}
        made.hears("license.updated", {"tenant_id": tenant_id, "product": "jira-software", **forever}, revision=2)
        made.hears("product.activated", _activation(tenant_id, "confluence"), revision=3)
    made.parts.log.advance_mark()
    while projector.step():
        pass
    for tenant_id in tenants:
        shown = _json(made, "show", tenant_id)
        products = shown["actual"]["products"]
        assert products["jira-software"]["level"] == products["confluence"]["level"] == "open"
        assert "9999-12-31" in made.says("show", tenant_id)
        assert made.says("timeline", tenant_id)
        assert "usable" in made.says("explain", tenant_id, "--product", "jira-software")
        assert made.says("show", tenant_id, "--at", str(made.parts.log.last_position()))
        assert _json(made, "credentials", tenant_id, "confluence")["may_log_in"] is True
    assert made.says("status")
    assert made.says("tenants")
    assert made.says("runs", "list")
    assert made.says("acts")
    assert made.says("audit", "seal")
    assert made.says("audit", "verify")
    assert made.says("audit", "log")
    assert made.says("audit", "views")
    assert made.says("replay", "rebuild", "--all")
    assert made.says("audit", "views")
    made.finds_nothing()
    assert made.says("orphans", "--json")
    made.hears("tenant.destroyed", {"tenant_id": tenants[0], "reason": "left"}, revision=9)
    assert made.parts.saga.snapshots(tenants)[tenants[0]].tenant is not None


def _activation(tenant_id: str, product: str) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "product": product, "edition": "premium", "users": 7}


def _json(made: Cloud, *arguments: str) -> Any:
    return json.loads(made.says(*arguments, "--json"))


def _as_url(conninfo: str) -> str:
    """The settings want an address as a URL."""
    if conninfo.startswith("postgresql://"):
        return conninfo
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    account = f"{parts['user']}:{parts['password']}@" if parts.get("password") else f"{parts['user']}@"
    return f"postgresql://{account}/{parts['dbname']}?host={parts['host']}&port={parts['port']}"


def test_times_come_back_as_they_went(hostile: str) -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    with connect(hostile, autocommit=True) as connection:
        for binary in (False, True):
            row = connection.execute(
                "SELECT %s::timestamptz, interval '1 day 2 hours', 0.1::float8, convert_to('ü', 'UTF8')",
                [never],
                binary=binary,
            ).fetchone()
            assert row is not None
            assert (row[0], row[1].total_seconds(), row[2]) == (never, 93_600, 0.1)
            assert bytes(row[3]) == "ü".encode()
