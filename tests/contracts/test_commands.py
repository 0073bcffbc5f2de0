"""What do we make of each reply on Kafka, and of none, on the real broker and the real database?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import psycopg
import pytest

from adapters.embedded import EmbeddedBroker, EmbeddedPostgres
from adapters.event_log import PostgresEventLog
from adapters.kafka import GroupSession, KafkaPythonConsumer, KafkaPythonProducer, Message, ensure_topics
from adapters.migrations import migrate
from adapters.steps.commands import Commanded
from adapters.steps.foreign import Routed, licensed
from adapters.steps.replies import LARGEST_REPLY_BYTES, PostgresReplies, Replied, read
from domain.catalog import Catalog, CommandedExecutor, default_catalog
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable
from domain.lifecycle import Lifecycle
from domain.ports import Order, Reply
from domain.saga import Saga
from domain.steps import LicenseFacts, RegionFacts, Scope, Step
from tests.adapters.steps.orders import ADA, customer, license_wish, new_tenant_id, order
from tests.domain.given import POLICY, message
from tests.fakes.executors import FakeWorld
from tests.fakes.replier import Replier, from_the_start
from tests.fakes.sealing import InMemorySealingKeys
from tests.real_parts import make_database
from workers.intake import Intake
from workers.lanes import Limits
from workers.provisioner import Provisioner
from workers.replies import ReplyBox

pytestmark = pytest.mark.slow

PRODUCT = "compass"
SESSION = GroupSession(session_ms=2_000, heartbeat_ms=300)
THEIRS = CommandedExecutor(kafka="compass.commands")
ENTRY = default_catalog()[PRODUCT].model_copy(update={"executors": {Step.LICENSE: THEIRS}})
CATALOG = Catalog(products={PRODUCT: ENTRY})


def license_of(tenant_id: str, *, generation: int = 5) -> Order:
    scope = Scope("product", tenant_id, PRODUCT)
    placed = RegionFacts(region="eu", shard="eu-1")
    wish = license_wish(PRODUCT)
    return order(scope, Step.LICENSE, wish, generation=generation, placement=placed, by=customer(ADA))


@dataclass
class Kafka:
    """Both sides: our executor and intake of replies, their provisioner."""

    executor: Replied
    theirs: Replier
    intake: Intake[Reply | None]
    log: PostgresEventLog
    url: str

    def look(self, asked: Order) -> ExecutorError:
        """What stands in the way of the order, without waiting for anybody."""
        with pytest.raises(ExecutorError) as caught:
            self.executor.ensure(asked) if asked.direction == "ensure" else self.executor.remove(asked)
        assert str(caught.value).startswith("the provisioner of compass, step 7 (")
        return caught.value

    def hear(self, replies: int = 1) -> None:
        """Take in so many messages."""
        deadline = time.monotonic() + 20
        while replies > 0 and time.monotonic() < deadline:
            replies -= self.intake.step()
        assert replies == 0

    def ask(self, asked: Order) -> None:
        """One command, one reply."""
        assert isinstance(self.look(asked), Obstacle)
        self.theirs.work(1)
        self.hear()

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def due(self) -> list[object]:
        return [scope for (scope,) in self.rows("SELECT scope FROM wakes WHERE due_at <= now()")]


@pytest.fixture(scope="module")
def both(broker: EmbeddedBroker, postgres: EmbeddedPostgres) -> Iterator[Kafka]:
    """One for all tests of this file, as joining a group takes its time: each test has a tenant of its own."""
    name = f"test_{uuid4().hex}"
    commands, replies = f"{name}.commands", f"{name}.replies"
    ensure_topics(broker.bootstrap, {commands: 1, replies: 1})
    make_database(postgres, name)
    url = postgres.url(name)
    migrate(url)
    log = PostgresEventLog(url, InMemorySealingKeys())
    consume = partial(KafkaPythonConsumer, broker.bootstrap, session=SESSION)
    intake = Intake[Reply | None](
        lambda on_assign: consume(group=f"{name}-ours", topics=[replies], on_assign=on_assign),
        ReplyBox(log),
        read=partial(read, catalog=CATALOG, secrets={}),
        positions=log,
        batch=100,
        poll_seconds=0.05,
    )
    with closing(consume(group=f"{name}-theirs", topics=[commands], on_assign=from_the_start)) as theirs:
        producer = KafkaPythonProducer(broker.bootstrap)
        box = PostgresReplies(lambda: psycopg.connect(url, autocommit=True))
        yield Kafka(
            Replied(Commanded(lambda: producer, commands, PRODUCT, licensed), box, licensed),
            Replier(theirs, producer, replies),
            intake,
            log,
            url,
        )
        producer.close()
    stop = threading.Event()
    stop.set()
    intake.run(stop)  # leaves the group
    log.close()
    postgres.drop_database(name)


@pytest.fixture
def kafka(both: Kafka) -> Kafka:
    """Nothing is left of the test before."""
    both.theirs.script.clear()
    both.theirs.commands.clear()
    with psycopg.connect(both.url) as connection:
        connection.execute("TRUNCATE replies, wakes")
    return both


@pytest.fixture
def asked() -> Order:
    return license_of(new_tenant_id())


# -- done ----------------------------------------------------------------------------------------------------------


def test_a_command_says_all_that_its_provisioner_needs_and_is_keyed_by_its_scope(kafka: Kafka, asked: Order) -> None:
    kafka.ask(asked)
    (command,) = kafka.theirs.commands
    assert command["idempotency_key"] == asked.idempotency_key
    assert command["scope"] == {"kind": "product", "tenant_id": asked.scope.tenant_id, "key": PRODUCT}
    assert (command["step"], command["direction"], command["generation"]) == (7, "ensure", 5)
    assert command["wish"] == asked.wish.model_dump(mode="json")
    assert kafka.theirs.keys[-1] == str(asked.scope).encode()


def test_who_has_asked_waits_for_a_named_obstacle_and_the_reply_makes_the_scope_due(kafka: Kafka, asked: Order) -> None:
    error = kafka.look(asked)
    assert isinstance(error, Obstacle)
    assert (error.obstacle, error.delay) == ("provisioner:compass/7", None)
    assert kafka.due() == []
    kafka.theirs.work(1)
    kafka.hear()
    assert kafka.due() == [str(asked.scope)]
    facts = kafka.executor.ensure(asked)
    assert facts == licensed(asked)
    assert kafka.executor.ensure(asked) == facts, "whoever crashed before it was recorded finds it again"
    assert len(kafka.theirs.commands) == 1


def test_a_reply_says_where_the_entitlement_lies(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "done", "result": {"location": "licenses/t-1"}})
    kafka.ask(asked)
    facts = kafka.executor.ensure(asked)
    assert isinstance(facts, LicenseFacts)
    assert facts.location == "licenses/t-1"


def test_a_removal_is_done_when_its_reply_has_come(kafka: Kafka, asked: Order) -> None:
    removal = replace(asked, direction="remove", generation=6)
    kafka.ask(removal)
    kafka.executor.remove(removal)
    assert kafka.theirs.commands[-1]["facts"] is None


# -- again ---------------------------------------------------------------------------------------------------------


def test_a_reply_that_was_lost_is_asked_for_again_under_the_same_key_and_is_one_effect(
    kafka: Kafka, asked: Order
) -> None:
    before = kafka.theirs.effects
    kafka.look(asked)
    kafka.theirs.keeps_silent = 1
    kafka.theirs.work(1)
    kafka.ask(asked)
    kafka.executor.ensure(asked)
    assert [each["idempotency_key"] for each in kafka.theirs.commands] == [asked.idempotency_key] * 2
    assert kafka.theirs.effects - before == 1


def test_a_reply_that_comes_twice_wakes_nobody_the_second_time(kafka: Kafka, asked: Order) -> None:
    kafka.ask(asked)
    kafka.theirs.reply(asked.idempotency_key, "done")
    kafka.hear()
    assert kafka.due() == [str(asked.scope)]


def test_a_late_reply_to_an_older_order_changes_nothing(kafka: Kafka, asked: Order) -> None:
    newer = replace(asked, generation=9)
    kafka.ask(newer)
    kafka.theirs.reply(asked.idempotency_key, "refused")
    kafka.hear()
    assert kafka.due() == [str(asked.scope)]
    assert kafka.executor.ensure(newer) == licensed(newer)


def test_the_reply_to_an_older_order_is_none_to_a_newer_one(kafka: Kafka, asked: Order) -> None:
    kafka.ask(asked)
    kafka.ask(replace(asked, generation=9))
    assert [each["generation"] for each in kafka.theirs.commands] == [5, 9]


def test_somebody_still_at_work_is_asked_again_after_the_pause_it_names(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "working", "retry_after": 30})
    kafka.ask(asked)
    error = kafka.look(asked)
    assert isinstance(error, Obstacle)
    assert error.delay == timedelta(seconds=30)
    kafka.ask(asked)
    kafka.executor.ensure(asked)


def test_a_tenant_converges_with_a_step_that_is_replied_to_while_nobody_waits_for_it(kafka: Kafka) -> None:
    tenant_id = new_tenant_id()
    rules = {"catalog": CATALOG, "policy": POLICY, "clock": lambda: datetime.now(UTC), "new_id": uuid4}
    saga = Saga(kafka.log, dice=lambda: 0.0, **rules)  # type: ignore[arg-type]
    executors = FakeWorld(catalog=CATALOG).executors()
    executors["product", Step.LICENSE] = Routed(executors["product", Step.LICENSE], {PRODUCT: kafka.executor})
    worker = Provisioner(
        kafka.log,
        saga,
        executors,
        catalog=CATALOG,
        clock=lambda: datetime.now(UTC),
        owner="worker",
        limits=Limits(threads=2, claim=8),
        lease=timedelta(seconds=30),
        poll_seconds=0.01,
        drain_seconds=5,
    )
    wanted = [{"product": PRODUCT, "edition": "free", "users": 5, "revision": 1}]
    created = message("tenant.created", 1, tenant_id=tenant_id, site_name=tenant_id, products=wanted)
    Lifecycle(kafka.log, reread=lambda _: created, **rules).intake([created])  # type: ignore[arg-type]
    converged = f"SELECT 1 FROM stored_events WHERE originator_id = 'product:{tenant_id}:{PRODUCT}' "
    while not kafka.rows(f"{converged} AND topic = 'tenantry.step-blocked'"):
        worker.round()
    assert kafka.rows("SELECT 1 FROM leases") == [], "nobody holds what waits for its reply"
    kafka.theirs.work(1)
    kafka.hear()
    while not kafka.rows(f"{converged} AND topic = 'tenantry.scope-converged'"):
        worker.round()
    worker.drain()
    assert len(kafka.theirs.commands) == 1


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"outcome": "retry", "retry_after": 7, "detail": "busy"}, Retryable),
        ({"outcome": "refused", "detail": "no such edition"}, Permanent),
        ({"outcome": "fenced"}, Fenced),
        ({"outcome": "done", "result": {"colour": "red"}}, Retryable),
        ({"outcome": "done", "result": {"location": "a\x00b"}}, Retryable),
    ],
)
def test_what_does_not_come_about_is_told_once_and_then_asked_for_anew(
    kafka: Kafka, asked: Order, said: dict[str, object], kind: type[ExecutorError]
) -> None:
    kafka.theirs.script.append(said)
    kafka.ask(asked)
    error = kafka.look(asked)
    assert type(error) is kind
    assert str(said.get("detail", "replied")) in str(error)
    if isinstance(error, Retryable):
        assert error.delay == (timedelta(seconds=7) if "retry_after" in said else None)
    kafka.ask(asked)
    kafka.executor.ensure(asked)


def test_a_lower_generation_is_fenced(kafka: Kafka, asked: Order) -> None:
    kafka.ask(replace(asked, direction="remove", generation=6))
    kafka.look(asked)
    kafka.theirs.work(1)
    kafka.hear()
    assert kafka.theirs.there[asked.scope.tenant_id, PRODUCT, 7] is None
    assert kafka.rows("SELECT generation FROM replies") == [(6,)]


def test_a_reason_names_no_person(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "refused", "detail": "unknown to Ada Admin <ada@acme.example>\x1b[31m"})
    kafka.ask(asked)
    assert "ada@" not in str(kafka.rows("SELECT said FROM replies"))
    said = str(kafka.look(asked))
    assert said.isprintable()
    assert not any(word in said.lower() for word in ("ada", "acme"))


def test_a_broker_that_is_away_is_asked_again_later(kafka: Kafka, asked: Order) -> None:
    nowhere = Commanded(lambda: KafkaPythonProducer("127.0.0.1:1", connect_seconds=0.1), "topic", PRODUCT, licensed)
    with pytest.raises(Retryable, match="cannot be asked"):
        nowhere.ensure(asked)


# -- what is no reply ----------------------------------------------------------------------------------------------

KEY = f"product:t-1:{PRODUCT}/7/ensure/5"


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"not json",
        b"[]",
        b'{"outcome": "done"}',
        f'{{"idempotency_key": "{KEY}", "outcome": "maybe"}}'.encode(),
        b'{"idempotency_key": "product:t-1:compass/7/ensure/x", "outcome": "done"}',
        b'{"idempotency_key": "product:t-1:compass/9/ensure/1", "outcome": "done"}',
        b'{"idempotency_key": "product:t-1:compass/4/ensure/1", "outcome": "done"}',
        b'{"idempotency_key": "product:t-1:atlas/7/ensure/1", "outcome": "done"}',
        b'{"idempotency_key": "site:t-1/2/ensure/1", "outcome": "done"}',
        f'{{"idempotency_key": "{KEY}", "outcome": "done", "detail": "{"x" * LARGEST_REPLY_BYTES}"}}'.encode(),
    ],
)
def test_what_is_no_reply_to_an_order_of_ours_is_passed_over(value: bytes | None) -> None:
    assert read(Message("replies", "id", 0, 1, None, value, (), 0), CATALOG, {}) is None


def test_what_is_no_reply_moves_the_position_and_nothing_else(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.producer.send(kafka.theirs.replies_topic, key=None, value=b"noise")
    kafka.theirs.producer.flush()
    kafka.hear()
    assert kafka.rows("SELECT 1 FROM replies") == []
    kafka.ask(asked)
    kafka.executor.ensure(asked)
