"""A Tenantry whose workers a test turns by hand."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner

from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.ports import Message
from application.ports.resources import Order
from cli.main import app
from domain.errors import ExecutorError, Permanent
from domain.scope.steps import Step
from projections import PROJECTIONS
from runtime.compose import Parts, utc_now
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.projector import log_reader_of, mark_listener_of, projector_engine_of
from runtime.instance import endpoints
from runtime.settings_layers import load_settings
from tests.cli.cloud import cloud
from tests.fakes.executors import FakeWorld
from workers.bulkheads import ConcurrencyLimits
from workers.projector import Projector
from workers.provisioner import Provisioner

__all__ = ["cloud"]

TENANT = "t-1"
JIRA = f"product:{TENANT}:jira-software"
FAMILY = f"family:{TENANT}:jira"


class Desk:
    """A Tenantry whose workers a test turns by hand, whose executors are a world in memory, and its commands."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.world = FakeWorld(catalog=parts.catalog)
        self._offset = 0
        self._provisioner = Provisioner(
            parts.log,
            parts.saga,
            self.world.executors(),
            clock=utc_now,
            owner="test",
            limits=ConcurrencyLimits(threads=2, claim=16),
            lease=timedelta(seconds=30),
            poll_seconds=0.01,
            drain_seconds=5,
        )
        self._projector = Projector(
            log_reader_of(parts),
            projector_engine_of(parts),
            PROJECTIONS,
            batch=500,
            poll_seconds=0.01,
            listener=mark_listener_of(parts),
            name="test",
            peers=lambda: ["test"],
        )

    def comes(self, type_: str, **data: Any) -> dict[str, int]:
        """An event from commerce; what became of it."""
        return self.came(type_, data)

    def came(
        self, type_: str, data: dict[str, Any], *, at: datetime | None = None, is_revised: bool = True
    ) -> dict[str, int]:
        """The same, which says that it happened `at`, or comes without a revision."""
        self._offset += 1
        data = {"tenant_id": TENANT, **data}
        revision = self._offset if is_revised else None
        headers, value = to_structured(
            type_, data, source="/commerce", id=f"m-{self._offset}", time=at or utc_now(), revision=revision
        )
        message = Message(
            topic="tenantry.lifecycle",
            partition=0,
            offset=self._offset,
            key=TENANT.encode(),
            value=value,
            headers=headers,
            timestamp_ms=0,
            topic_id="t",
        )
        return dict(lifecycle_of(self.parts).intake([messages_of(self.parts).read(message)]).counts)

    def work(self) -> None:
        """Until nothing is due, and the read models have it."""
        while self._provisioner.round():
            pass
        self.parts.log.advance_mark()
        while self._projector.step():
            pass

    def close(self) -> None:
        self._provisioner.drain()

    def says(self, *arguments: str, code: int = 0, stderr: bool | None = None, stdin: str | None = None) -> str:
        """What it said: on stdout, or where it failed, on stderr."""
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stderr if (bool(code) if stderr is None else stderr) else result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.says(*arguments, "--json"))


@pytest.fixture
def desk(migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("TENANTRY_MASTER_KEY", b64encode(secrets.token_bytes(32)).decode())
    settings = load_settings()
    with Parts(settings, endpoints(settings)) as parts:
        made = Desk(parts)
        made.comes(
            "tenant.created",
            customer_id="c-1",
            site_name="acme",
            residency="global",
            administrator={"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
            products=[{"product": "jira-software", "edition": "standard", "users": 5}],
        )
        yield made
        made.close()


def raises(error: ExecutorError) -> Callable[[Order, Literal["before", "after"]], None]:
    """A fault of the family's database."""

    def fault(order: Order, when: Literal["before", "after"]) -> None:
        is_there = str(order.scope) == FAMILY and order.step is Step.DATABASE
        if is_there and order.direction == "ensure" and when == "before":
            raise error

    return fault


def failure(desk: Desk) -> None:
    desk.world.faults = raises(Permanent("no such disk"))
    desk.work()
    desk.world.faults = lambda order, when: None
