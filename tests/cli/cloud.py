"""What does a command see of real executors and real shards?"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.ports import Message
from application.reconcile import Saga
from cli.main import app
from domain.event import Event
from domain.scope.next_action import database_of
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import DatabaseResult, Scope
from runtime.compose import Parts, utc_now
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.provisioner import executors_of, executors_of_configuration
from runtime.instance import endpoints
from runtime.settings_layers import load_settings
from tests.real_parts import make_database
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

ISOLATION = {"eu-1": "schema", "us-1": "database"}


class Cloud:
    """A Tenantry with real executors and two real shards, whose provisioner a test turns by hand."""

    def __init__(self, parts: Parts, shards: dict[str, str]) -> None:
        self.parts = parts
        self.shards = shards
        self._offset = 0
        self._provisioner = self._a_provisioner()

    def _a_provisioner(self) -> Provisioner:
        parts = self.parts
        return Provisioner(
            parts.log,
            parts.saga,
            executors_of(parts),
            clock=utc_now,
            owner="test",
            limits=ConcurrencyLimits(threads=2, claim=16),
            lease=timedelta(seconds=30),
            poll_seconds=0.01,
            drain_seconds=5,
            learn=partial(executors_of_configuration, parts),
            configured=parts.adopted.version,
        )

    def tenant(self, *, region: str = "eu") -> str:
        """A tenant with one product, provisioned."""
        tenant_id = f"t-{uuid4().hex[:12]}"
        self.hears(
            "tenant.created",
            {
                "tenant_id": tenant_id,
                "customer_id": "c-1",
                "site_name": tenant_id,
                "residency": "pinned",
                "region": region,
                "administrator": {"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
                "products": [{"product": "jira-software", "edition": "standard", "users": 5}],
            },
        )
        return tenant_id

    def purge(self, tenant_id: str) -> None:
        """Commerce destroys it, and its restore window is over."""
        self.hears("tenant.destroyed", {"tenant_id": tenant_id, "reason": "left"}, revision=2)
        policy = self.parts.policy.model_copy(update={"restore_window": timedelta(0)})
        saga = self.parts.saga
        self.parts.saga = Saga(
            self.parts.log,
            catalog=self.parts.catalog,
            policy=policy,
            clock=utc_now,
            new_id=uuid4,
            dice=lambda: 0.0,
        )
        try:
            self._provisioner.drain()
            self._provisioner = self._a_provisioner()
            self.control("UPDATE wakes SET due_at = now() WHERE scope = %s", f"site:{tenant_id}")
            self.work()
        finally:
            self.parts.saga = saga

    def hears(self, type_: str, data: dict[str, Any], *, revision: int = 1) -> None:
        """A message of commerce, and all that follows from it."""
        self.hears_only(type_, data, revision=revision)
        self.work()

    def hears_only(self, type_: str, data: dict[str, Any], *, revision: int = 1) -> None:
        """A message of commerce, while no provisioner works."""
        self._offset += 1
        headers, value = to_structured(
            type_, data, source="/commerce", id=f"m-{self._offset}", time=utc_now(), revision=revision
        )
        message = Message(
            topic="tenantry.lifecycle",
            partition=0,
            offset=self._offset,
            key=data["tenant_id"].encode(),
            value=value,
            headers=headers,
            timestamp_ms=0,
            topic_id="t",
        )
        lifecycle_of(self.parts).intake([messages_of(self.parts).read(message)])

    def work(self) -> None:
        while self._provisioner.round():
            pass

    def close(self) -> None:
        self._provisioner.drain()

    def snapshot(self, tenant_id: str) -> TenantSnapshot:
        return self.parts.saga.snapshots([tenant_id])[tenant_id]

    def database(self, tenant_id: str) -> DatabaseResult:
        facts = database_of(self.snapshot(tenant_id), "jira")
        assert facts is not None
        return facts

    def facts(self, scope: Scope) -> list[Event]:
        return [fact.event for fact in self.parts.log.load({str(scope): 0})[str(scope)]]

    def on(self, shard: str, statement: str, *names: str, database: str | None = None) -> list[Any]:
        """Somebody's statement, behind our back."""
        with psycopg.connect(make_conninfo(self.shards[shard], dbname=database), autocommit=True) as connection:
            composed = sql.SQL(statement).format(*map(sql.Identifier, names))
            done = connection.execute(composed)
            return done.fetchall() if done.description else []

    def control(self, statement: str, *values: str) -> list[Any]:
        with psycopg.connect(self.parts.endpoints.database_url, autocommit=True) as connection:
            done = connection.execute(statement.encode(), values)
            return done.fetchall() if done.description else []

    def says(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    def refuses(self, *arguments: str) -> str:
        """What is said on stderr by a command that is used wrongly."""
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 2, result.output
        return result.stderr

    def finds_nothing(self) -> None:
        assert "all is there" in self.says("reconcile")


@pytest.fixture
def cloud(
    postgres: EmbeddedPostgres, migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    run = uuid4().hex[:8]
    names = {"eu-1": f"shard_eu_{run}", "us-1": f"shard_us_{run}"}
    before = _roles(postgres)
    for name in names.values():
        make_database(postgres, name)
    shards = {shard: postgres.url(name) for shard, name in names.items()}
    (tmp_path / "tenantry.toml").write_text(
        'default_region = "eu"\n'
        + "".join(
            f'[[shards]]\nname = "{shard}"\nregion = "{shard[:2]}"\nurl = "{url}"\nisolation = "{ISOLATION[shard]}"\n'
            for shard, url in shards.items()
        )
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_MASTER_KEY", b64encode(secrets.token_bytes(32)).decode())
    settings = load_settings()
    try:
        with Parts(settings, endpoints(settings)) as parts:
            parts.topology.prepare()
            with psycopg.connect(migrated_database) as connection:
                parts.topology.sync(connection)
            made = Cloud(parts, shards)
            yield made
            made.close()
    finally:
        for name in (*names.values(), *_databases(postgres)):
            postgres.drop_database(name)
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            for role in _roles(postgres) - before:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def _databases(postgres: EmbeddedPostgres) -> set[str]:
    """Those of families."""
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^t_'").fetchall()
    return {name for (name,) in rows}


def _roles(postgres: EmbeddedPostgres) -> set[str]:
    with psycopg.connect(postgres.url()) as connection:
        return {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
