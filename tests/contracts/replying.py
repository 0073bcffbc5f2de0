"""What do the suites of replies stand on? Our executor and our intake of replies, on the real broker and database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.clients import GroupSession, KafkaPythonConsumer, KafkaPythonProducer, Producer, ensure_topics
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.migrations import migrate
from adapters.provisioners.replies import PostgresReplies, Replied, read
from adapters.provisioners.signed_requests import SigningSecret
from adapters.resources.entitlement import licensed
from application.ports.resources import Executor, Order
from application.ports.work_queue import Reply
from domain.catalog import AnyExecutor, Catalog, default_catalog
from domain.errors import ExecutorError, Obstacle
from domain.scope.steps import RegionResult, Scope, Step
from tests.adapters.provisioners.orders import ADA, customer, license_spec, order
from tests.fakes.sealing import InMemorySealingKeys
from tests.real_parts import make_database
from workers.intake import Intake
from workers.replies import ReplyBox

PRODUCT = "compass"
SESSION = GroupSession(session_ms=2_000, heartbeat_ms=300)

Headers = tuple[tuple[str, bytes], ...]


def catalog_of(theirs: AnyExecutor) -> Catalog:
    """In which they bring the license of one product about."""
    return Catalog(
        products={PRODUCT: default_catalog()[PRODUCT].model_copy(update={"executors": {Step.LICENSE: theirs}})}
    )


def license_of(tenant_id: str, *, generation: int = 5) -> Order:
    scope = Scope("product", tenant_id, PRODUCT)
    placed = RegionResult(region="eu", shard="eu-1")
    spec = license_spec(PRODUCT)
    return order(scope, Step.LICENSE, spec, generation=generation, placement=placed, by=customer(ADA))


def said(key: str, outcome: str, **more: object) -> bytes:
    return json.dumps({"idempotency_key": key, "outcome": outcome, **more}).encode()


@dataclass
class Ours:
    """Our side; `name` is what its topics and groups begin with."""

    name: str
    executor: Replied
    intake: Intake[Reply | None]
    producer: Producer
    log: PostgresEventLog
    url: str

    @property
    def topic(self) -> str:
        return f"{self.name}.replies"

    def look(self, asked: Order) -> ExecutorError:
        """What stands in the way of the order, without waiting for anybody."""
        with pytest.raises(ExecutorError) as caught:
            self.executor.ensure(asked) if asked.direction == "ensure" else self.executor.remove(asked)
        assert str(caught.value).startswith("the provisioner of compass, step 7 (")
        return caught.value

    def waits_for(self, asked: Order) -> None:
        assert isinstance(self.look(asked), Obstacle)

    def takes_in(self, value: bytes, headers: Headers = ()) -> None:
        """Somebody puts that onto the topic of replies, and we hear it."""
        self.producer.send(self.topic, key=None, value=value, headers=headers)
        self.producer.flush()
        self.hear()

    def hear(self, replies: int = 1) -> None:
        """Take in so many messages."""
        deadline = time.monotonic() + 20
        while replies > 0:
            replies -= self.intake.step()
            assert time.monotonic() < deadline, f"{replies} replies did not come"
        assert replies == 0

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def due(self) -> list[object]:
        return [scope for (scope,) in self.rows("SELECT scope FROM wakes WHERE due_at <= now()")]

    def forget(self) -> None:
        """Nothing is left of the test before."""
        with psycopg.connect(self.url) as connection:
            connection.execute("TRUNCATE replies, wakes")

    def forget_work_items(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute("TRUNCATE wakes")


@contextmanager
def replying(
    broker: EmbeddedBroker,
    postgres: EmbeddedPostgres,
    *,
    theirs: AnyExecutor,
    asking: Callable[[str, Producer], Executor],
    secrets: Mapping[str, SigningSecret],
) -> Iterator[Ours]:
    """For all tests of a file, as joining a group takes its time: each test has a tenant of its own. `asking` is who
    asks them, given the name and our producer."""
    name = f"test_{uuid4().hex}"
    ensure_topics(broker.bootstrap, {f"{name}.replies": 1})
    make_database(postgres, name)
    url = postgres.url(name)
    migrate(url)
    log = PostgresEventLog(url, InMemorySealingKeys())
    consume = partial(KafkaPythonConsumer, broker.bootstrap, session=SESSION)
    intake = Intake[Reply | None](
        lambda on_assign: consume(group=f"{name}-ours", topics=[f"{name}.replies"], on_assign=on_assign),
        ReplyBox(log),
        read=partial(read, catalog=catalog_of(theirs), secrets=secrets),
        refused=lambda _, __: [None],
        positions=log,
        batch=100,
        poll_seconds=0.05,
    )
    producer = KafkaPythonProducer(broker.bootstrap)
    replies = PostgresReplies(lambda: psycopg.connect(url, autocommit=True))
    yield Ours(name, Replied(asking(name, producer), replies, licensed), intake, producer, log, url)
    producer.close()
    stop = threading.Event()
    stop.set()
    intake.run(stop)  # leaves the group
    log.close()
    postgres.drop_database(name)
