"""Does whatever lies on the topic of replies leave their thread alive, and the next reply heard?"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from adapters.kafka.clients import Message, OnAssign
from adapters.outage import Outage
from adapters.postgres.event_log import PostgresEventLog
from adapters.provisioners import replies
from application.ports.work_queue import Reply
from domain.catalog import CommandedExecutor
from tests.contracts.replying import catalog_of
from tests.fakes.kafka import InMemoryBroker, MemoryConsumer, MemoryProducer
from tests.fakes.sealing import InMemorySealingKeys
from workers import roles

TOPIC = "tenantry.replies"
CATALOG = catalog_of(CommandedExecutor(kafka="compass.commands"))
SCOPE = "product:t-1:compass"
KEY = f"{SCOPE}/7/ensure/3"


class Parts(SimpleNamespace):
    """The parts of a provisioner that its thread of replies works with."""

    def __init__(self, url: str, broker: InMemoryBroker) -> None:
        super().__init__(
            log=PostgresEventLog(url, InMemorySealingKeys()),
            settings=SimpleNamespace(intake_batch=100, poll_seconds=0.05),
            catalog=CATALOG,
            broker=broker,
        )

    def reply_consumer(self, on_assign: OnAssign) -> MemoryConsumer:
        return MemoryConsumer(self.broker, group="replies", topics=[TOPIC], on_assign=on_assign)

    def reply(self, message: Message) -> Reply | None:
        return replies.read(message, CATALOG, {})

    def pass_reply(self, _: Message, error: Exception) -> Iterator[Reply | None]:
        yield None


@contextmanager
def hearing(parts: Parts) -> Iterator[tuple[threading.Thread, dict[str, int]]]:
    stop, counts = threading.Event(), dict[str, int]()
    thread = threading.Thread(target=roles._take_replies, args=(parts, counts, Outage("replies"), stop))  # noqa: SLF001
    thread.start()
    yield thread, counts
    stop.set()
    thread.join(10)
    parts.log.close()


def publish(broker: InMemoryBroker, *values: bytes) -> None:
    producer = MemoryProducer(broker)
    for value in values:
        producer.send(TOPIC, key=None, value=value)
    producer.flush()


def said(key: str) -> bytes:
    return json.dumps({"idempotency_key": key, "outcome": "done", "result": {}}).encode()


def await_reply(url: str) -> Callable[[], bool]:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO replies (scope, step, key, generation) VALUES (%s, 7, %s, 3)", (SCOPE, KEY))

    def is_heard() -> bool:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT said FROM replies").fetchone()
        return row is not None and row[0] is not None

    return is_heard


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def broker() -> InMemoryBroker:
    broker = InMemoryBroker()
    broker.ensure_topics({TOPIC: 1})
    return broker


NOISE = [
    said(f"{SCOPE}\0/7/ensure/3"),
    said("product:t-1:compass\0x/7/ensure/3"),
    said("product:t\0-1:compass/7/ensure/3"),
    said("\0"),
    said(f"{SCOPE}/7/ensure/\u0663"),
    said(f"{SCOPE}/\u0667/ensure/3"),
    said(f"{SCOPE}/7/ensure/{10**60}"),
    said(f"{SCOPE}/{'9' * 400}/ensure/3"),
    said("product:t-1:compass:more/7/ensure/3"),
    said("///"),
    b'{"idempotency_key": "\\ud800/7/ensure/3", "outcome": "done"}',
    json.dumps({"idempotency_key": KEY, "outcome": "retry", "detail": "\0" * 10}).encode(),
    json.dumps({"idempotency_key": KEY + "9", "outcome": "done", "result": {"a\0": "\0"}}).encode(),
    b'{"idempotency_key":' * 20_000,
    b"[" * 60_000,
    b"\xff\xfe",
    b"",
]


def test_no_text_on_the_topic_of_replies_ends_their_thread(migrated_database: str, broker: InMemoryBroker) -> None:
    is_heard = await_reply(migrated_database)
    parts = Parts(migrated_database, broker)
    with hearing(parts) as (thread, counts):
        publish(broker, *(noise for noise in NOISE if b"retry" not in noise), said(KEY))
        until(lambda: is_heard() or not thread.is_alive())
        assert thread.is_alive()
        assert counts["replied"] + counts["ignored"] == len(NOISE)


def test_a_reply_that_the_database_cannot_keep_is_passed_and_counted(
    migrated_database: str, broker: InMemoryBroker
) -> None:
    is_heard = await_reply(migrated_database)
    parts = Parts(migrated_database, broker)
    readable = parts.reply

    def let_pass(message: Message) -> Any:
        return Reply(SCOPE, 7, "a\0b", "{}") if message.value == b"bad" else readable(message)

    parts.reply = let_pass  # type: ignore[method-assign]
    with hearing(parts) as (thread, counts):
        publish(broker, b"bad", said(KEY), b"bad")
        until(lambda: (is_heard() and counts.get("internal-error") == 2) or not thread.is_alive())
        assert thread.is_alive()


def test_an_error_of_the_thread_itself_is_told_and_it_begins_again(
    migrated_database: str, broker: InMemoryBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_heard = await_reply(migrated_database)
    parts = Parts(migrated_database, broker)
    connect, failures = parts.reply_consumer, [ZeroDivisionError(), ZeroDivisionError()]

    def fails_first(on_assign: OnAssign) -> MemoryConsumer:
        if failures:
            raise failures.pop()
        return connect(on_assign)

    parts.reply_consumer = fails_first  # type: ignore[method-assign]
    monkeypatch.setattr(roles, "REPLIES_PAUSE_SECONDS", 0.05)
    with hearing(parts) as (thread, _):
        publish(broker, said(KEY))
        until(lambda: is_heard() or not thread.is_alive())
        assert thread.is_alive()
