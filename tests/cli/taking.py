"""What does a command see of an intake on a real broker, which a test turns by hand?"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka.clients import GroupSession, KafkaPythonConsumer, KafkaPythonProducer, ensure_topics
from application.inbound import Inbound
from cli.main import app
from runtime.compose import Parts
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.instance import endpoints
from runtime.settings_layers import load_settings
from tests.contracts import raw_batches
from tests.journeys.events import Event, created
from workers.intake import Intake

SOON = 30.0


class Taking:
    """An intake, the partition 0 of its topic of lifecycles, and the commands beside it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.bootstrap = parts.endpoints.kafka_bootstrap
        self.topic = parts.settings.lifecycle_topic
        self.home = f"{self.topic}/0"
        partitions = parts.settings.topic_partitions
        ensure_topics(self.bootstrap, {self.topic: partitions, parts.settings.commerce_topic: partitions})
        self._producer = KafkaPythonProducer(self.bootstrap)
        self.intake = self.another()

    def another(self) -> Intake[Inbound]:
        settings = self.parts.settings
        return Intake(
            lambda on_assign: KafkaPythonConsumer(
                self.bootstrap,
                group=settings.consumer_group,
                topics=[settings.commerce_topic, self.topic],
                on_assign=on_assign,
                session=GroupSession(session_ms=2_000, heartbeat_ms=300),
            ),
            lifecycle_of(self.parts),
            read=messages_of(self.parts).read,
            refused=messages_of(self.parts).refused,
            positions=self.parts.log,
            batch=100,
            poll_seconds=0.05,
        )

    def send(self, *events: Event) -> None:
        for event in events:
            raw = event.raw()
            self._producer.send(self.topic, key=None, value=raw.value, headers=raw.headers)
        self._producer.flush()

    def put(self, batch: bytearray, partition: int = 0) -> None:
        raw_batches.produce(self.bootstrap, self.topic, partition, batch)

    def tenants(self, count: int) -> list[Event]:
        return [created(str(uuid4()), "atlas", revision=1) for _ in range(count)]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            self.intake.round()

    def turn_until_at(self, position: int) -> None:
        self.turn_until(lambda: self.position() == position)

    def position(self) -> int | None:
        rows = self.rows("SELECT next_offset FROM kafka_positions WHERE topic = %s", self.topic)
        return int(rows[0][0]) if rows else None

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.parts.endpoints.database_url, autocommit=True) as connection:
            curs = connection.execute(query.encode(), parameters)
            return curs.fetchall() if curs.description else []

    def beats(self) -> None:
        """The intake gives a sign of life, as its worker does."""
        self.rows(
            "INSERT INTO workers (name, kind, host, pid, state, details, started_at, seen_at)"
            " VALUES ('intake-test', 'intake', 'here', 1, 'ready', %s, now(), now())",
            Jsonb(self.intake.reading),
        )

    def says(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stderr if code and not result.stdout else result.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.says(*arguments, "--json", code=code))

    def close(self) -> None:
        self.intake.close()
        self._producer.close()


@pytest.fixture
def taking(
    request: pytest.FixtureRequest,
    migrated_database: str,
    broker: EmbeddedBroker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Taking]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENANTRY_DATABASE_URL", migrated_database)
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAP", broker.bootstrap)
    monkeypatch.setenv("TENANTRY_MASTER_KEY", b64encode(secrets.token_bytes(32)).decode())
    monkeypatch.setenv("TENANTRY_TOPIC_PARTITIONS", str(getattr(request, "param", 1)))
    for name in ("LIFECYCLE_TOPIC", "COMMERCE_TOPIC", "CONSUMER_GROUP"):
        monkeypatch.setenv(f"TENANTRY_{name}", f"{topic_prefix}{name.lower()}")
    settings = load_settings()
    with Parts(settings, endpoints(settings)) as parts:
        made = Taking(parts)
        yield made
        made.close()
