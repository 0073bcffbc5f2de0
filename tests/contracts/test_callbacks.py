"""Does the callback of a webhook carry its outcome, on a real HTTP server, the real broker and the real database?

The provisioner answers 202, and later puts a signed reply onto the topic of replies. From there on nobody asks it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from adapters.embedded import EmbeddedBroker, EmbeddedPostgres
from adapters.event_log import PostgresEventLog
from adapters.kafka import GroupSession, KafkaPythonConsumer, KafkaPythonProducer, Message, Producer, ensure_topics
from adapters.migrations import migrate
from adapters.signed_requests import SigningSecret
from adapters.steps.foreign import licensed
from adapters.steps.replies import LARGEST_REPLY_BYTES, PostgresReplies, Replied, read
from domain.catalog import Catalog, ForeignExecutor, default_catalog
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable
from domain.ports import Order, Reply
from domain.steps import LicenseFacts, RegionFacts, Scope, Step
from tests.adapters.steps.orders import ADA, customer, license_wish, new_tenant_id, order
from tests.fakes.provisioner import SECRET, SIGNING, Provisioner, serving, webhook
from tests.fakes.provisioner import Reply as Answer
from tests.fakes.sealing import InMemorySealingKeys
from tests.real_parts import make_database
from workers.intake import Intake
from workers.replies import ReplyBox

pytestmark = pytest.mark.slow

PRODUCT = "compass"
STRANGER = SigningSecret.parse("whsec_" + "b" * 40, name="stranger")
ENTRY = default_catalog()[PRODUCT]
THEIRS = ForeignExecutor(webhook="https://compass.example/", secret="test")
CATALOG = Catalog(products={PRODUCT: ENTRY.model_copy(update={"executors": {Step.LICENSE: THEIRS}})})

Headers = tuple[tuple[str, bytes], ...]


def signed(value: bytes, *, key: str, by: SigningSecret = SIGNING, at: int | None = None) -> Headers:
    """The three headers, as a provisioner would make them."""
    timestamp = int(time.time()) if at is None else at
    return (
        ("webhook-id", key.encode()),
        ("webhook-timestamp", str(timestamp).encode()),
        ("webhook-signature", by.sign(key, timestamp, value).encode()),
    )


def reply(key: str, outcome: str, **more: object) -> bytes:
    return json.dumps({"idempotency_key": key, "outcome": outcome, **more}).encode()


@dataclass
class Both:
    """Our executor and our intake of replies; their server, and their way to the topic."""

    executor: Replied
    theirs: Provisioner
    producer: Producer
    topic: str
    intake: Intake[Reply | None]
    url: str

    def accepts(self, asked: Order) -> None:
        """It is asked, and answers 202."""
        self.theirs.script.append(Answer(202))
        assert isinstance(self.look(asked), Obstacle)

    def look(self, asked: Order) -> ExecutorError:
        with pytest.raises(ExecutorError) as caught:
            self.executor.ensure(asked) if asked.direction == "ensure" else self.executor.remove(asked)
        assert str(caught.value).startswith("the provisioner of compass, step 7 (")
        return caught.value

    def calls_back(self, key: str, outcome: str, **more: object) -> None:
        """It says what came of the order, and we hear it."""
        value = reply(key, outcome, **more)
        self.sends(value, signed(value, key=key))

    def sends(self, value: bytes, headers: Headers) -> None:
        self.producer.send(self.topic, key=None, value=value, headers=headers)
        self.producer.flush()
        deadline = time.monotonic() + 20
        while not self.intake.step():
            assert time.monotonic() < deadline, "the reply did not come"

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture(scope="module")
def parts(broker: EmbeddedBroker, postgres: EmbeddedPostgres) -> Iterator[Both]:
    """One for all tests of this file, as joining a group takes its time: each test has a tenant of its own."""
    name = f"test_{uuid4().hex}"
    topic = f"{name}.replies"
    ensure_topics(broker.bootstrap, {topic: 1})
    make_database(postgres, name)
    url = postgres.url(name)
    migrate(url)
    log = PostgresEventLog(url, InMemorySealingKeys())
    session = GroupSession(session_ms=2_000, heartbeat_ms=300)
    consume = partial(KafkaPythonConsumer, broker.bootstrap, session=session)
    intake = Intake[Reply | None](
        lambda on_assign: consume(group=f"{name}-ours", topics=[topic], on_assign=on_assign),
        ReplyBox(log),
        read=partial(read, catalog=CATALOG, secrets={"test": SIGNING}),
        positions=log,
        batch=100,
        poll_seconds=0.05,
    )
    producer = KafkaPythonProducer(broker.bootstrap)
    replies = PostgresReplies(lambda: psycopg.connect(url, autocommit=True))
    with serving() as theirs:
        asked = webhook(theirs, PRODUCT, Step.LICENSE)
        yield Both(Replied(asked, replies, licensed), theirs, producer, topic, intake, url)
    producer.close()
    stop = threading.Event()
    stop.set()
    intake.run(stop)  # leaves the group
    log.close()
    postgres.drop_database(name)


@pytest.fixture
def both(parts: Both) -> Both:
    """Nothing is left of the test before."""
    parts.theirs.script.clear()
    parts.theirs.requests.clear()
    with psycopg.connect(parts.url) as connection:
        connection.execute("TRUNCATE replies, wakes")
    return parts


@pytest.fixture
def asked() -> Order:
    scope = Scope("product", new_tenant_id(), PRODUCT)
    placed = RegionFacts(region="eu", shard="eu-1")
    return order(scope, Step.LICENSE, license_wish(PRODUCT), generation=5, placement=placed, by=customer(ADA))


# -- what it carries -----------------------------------------------------------------------------------------------


def test_a_callback_brings_the_facts_and_wakes_who_waits_and_nobody_asks_again(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked.idempotency_key, "done", result={"location": "licenses/t-1"})
    assert both.rows("SELECT scope FROM wakes WHERE due_at <= now()") == [(str(asked.scope),)]
    facts = both.executor.ensure(asked)
    assert isinstance(facts, LicenseFacts)
    assert (facts.location, facts.users) == ("licenses/t-1", 10)
    assert both.executor.ensure(asked) == facts, "whoever crashed before it was recorded finds it again"
    assert len(both.theirs.requests) == 1


def test_a_removal_is_done_when_its_callback_has_come(both: Both, asked: Order) -> None:
    removal = replace(asked, direction="remove", generation=6)
    both.accepts(removal)
    both.calls_back(removal.idempotency_key, "done")
    both.executor.remove(removal)
    assert len(both.theirs.requests) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"outcome": "retry", "retry_after": 7, "detail": "busy"}, Retryable),
        ({"outcome": "refused", "detail": "no such edition"}, Permanent),
        ({"outcome": "fenced"}, Fenced),
        ({"outcome": "working", "retry_after": 7}, Obstacle),
        ({"outcome": "done", "result": {"colour": "red"}}, Retryable),
    ],
)
def test_what_did_not_come_about_is_told_once_and_then_the_webhook_is_asked_again(
    both: Both, asked: Order, said: dict[str, str], kind: type[ExecutorError]
) -> None:
    both.accepts(asked)
    both.calls_back(asked.idempotency_key, **said)
    error = both.look(asked)
    assert type(error) is kind
    assert str(said.get("detail", "replied")) in str(error)
    if isinstance(error, Retryable | Obstacle):
        assert error.delay == (timedelta(seconds=7) if "retry_after" in said else None)
    assert both.executor.ensure(asked) == licensed(asked)
    assert len(both.theirs.requests) == 2


def test_a_reason_names_no_person(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked.idempotency_key, "refused", detail="unknown to Ada Admin <ada@acme.example>\x1b[31m")
    assert "ada@" not in str(both.rows("SELECT said FROM replies"))
    said = str(both.look(asked))
    assert said.isprintable()
    assert not any(word in said.lower() for word in ("ada", "acme"))


# -- what is passed over -------------------------------------------------------------------------------------------


def test_a_callback_that_comes_twice_wakes_nobody_the_second_time(both: Both, asked: Order) -> None:
    both.accepts(asked)
    for _ in range(2):
        both.calls_back(asked.idempotency_key, "done")
    assert both.rows("SELECT scope FROM wakes") == [(str(asked.scope),)]


def test_a_late_callback_for_an_older_generation_changes_nothing(both: Both, asked: Order) -> None:
    newer = replace(asked, generation=9)
    both.accepts(newer)
    both.calls_back(newer.idempotency_key, "done", result={"location": "new"})
    both.calls_back(asked.idempotency_key, "refused")
    assert both.rows("SELECT scope FROM wakes") == [(str(asked.scope),)]
    facts = both.executor.ensure(newer)
    assert isinstance(facts, LicenseFacts)
    assert facts.location == "new"


def test_the_callback_of_an_older_order_is_none_for_a_newer_one(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked.idempotency_key, "refused")
    both.executor.ensure(replace(asked, generation=9))
    assert [each["generation"] for each in both.theirs.orders] == [5, 9]


def test_the_callback_of_an_ensure_is_none_for_its_removal(both: Both, asked: Order) -> None:
    both.calls_back(asked.idempotency_key, "done")
    both.executor.remove(replace(asked, direction="remove"))
    assert [each["direction"] for each in both.theirs.orders] == ["remove"]


def test_what_is_not_signed_wakes_nobody_and_is_not_believed(both: Both, asked: Order) -> None:
    both.accepts(asked)
    value = reply(asked.idempotency_key, "done", result={"location": "elsewhere"})
    both.sends(value, ())
    both.sends(value, signed(value, key=asked.idempotency_key, by=STRANGER))
    assert both.rows("SELECT 1 FROM replies UNION ALL SELECT 1 FROM wakes") == []
    assert both.executor.ensure(asked) == licensed(asked)


KEY = f"product:t-1:{PRODUCT}/7/ensure/5"
SAYS = reply(KEY, "done")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (SAYS, signed(SAYS, key=KEY.replace("t-1", "t-2"))),
        (SAYS, signed(SAYS + b" ", key=KEY)),
        (SAYS, signed(SAYS, key=KEY)[:2]),
        (SAYS, (*signed(SAYS, key=KEY)[:2], ("webhook-signature", b"v1,\xff"))),
        (SAYS, (*signed(SAYS, key=KEY)[:2], ("webhook-signature", b""))),
        (reply(KEY.replace("/7/", "/4/"), "done"), signed(SAYS, key=KEY)),
        (b"x" * LARGEST_REPLY_BYTES + b"x", signed(SAYS, key=KEY)),
    ],
    ids=["another key", "another body", "no signature", "no text", "empty", "a step of ours", "too large"],
)
def test_what_is_no_callback_of_that_provisioner_is_passed_over(value: bytes, headers: Headers) -> None:
    assert read(Message("replies", "id", 0, 1, None, value, headers, 0), CATALOG, {"test": SIGNING}) is None


def test_a_callback_may_be_old_and_is_believed_while_a_secret_is_changed() -> None:
    both = SigningSecret.parse(f"{SECRET} whsec_{'b' * 40}", name="both")
    for ours, theirs in ((both, SIGNING), (both, STRANGER), (SIGNING, both)):
        message = Message("replies", "id", 0, 1, None, SAYS, signed(SAYS, key=KEY, by=theirs, at=1), 0)
        assert read(message, CATALOG, {"test": ours}) is not None
