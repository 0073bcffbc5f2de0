"""What do we make of each reply on Kafka, and of none, on the real broker and the real database?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.clients import KafkaPythonConsumer, KafkaPythonProducer, Message, ensure_topics
from adapters.provisioners.commands import Commanded
from adapters.provisioners.foreign import Routed
from adapters.provisioners.replies import LARGEST_REPLY_BYTES, read
from adapters.resources.entitlement import licensed
from application.ingest import Lifecycle
from application.ports.resources import Order
from application.reconcile import Saga
from domain.catalog import CommandedExecutor
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unreachable
from domain.scope.steps import LicenseResult, Scope, Step
from domain.stored_form import as_json
from tests.adapters.provisioners.orders import new_tenant_id
from tests.contracts.replying import PRODUCT, SESSION, Ours, catalog_of, license_of, replying, said
from tests.domain.given import POLICY, message
from tests.fakes.executors import FakeWorld
from tests.fakes.replier import Replier, from_the_start
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

pytestmark = pytest.mark.slow

THEIRS = CommandedExecutor(kafka="compass.commands")
CATALOG = catalog_of(THEIRS)


@dataclass
class Kafka:
    """Our side, and their provisioner."""

    ours: Ours
    theirs: Replier

    def ask(self, asked: Order) -> None:
        """One command, one reply."""
        self.ours.waits_for(asked)
        self.theirs.work(1)
        self.ours.hear()

    def reply(self, asked: Order, outcome: str, **more: object) -> None:
        """They say something by themselves."""
        self.ours.takes_in(said(asked.idempotency_key, outcome, **more))


@pytest.fixture(scope="module")
def both(broker: EmbeddedBroker, postgres: EmbeddedPostgres) -> Iterator[Kafka]:
    with replying(
        broker,
        postgres,
        theirs=THEIRS,
        asking=lambda name, producer: Commanded(lambda: producer, f"{name}.commands", PRODUCT, licensed),
        secrets={},
    ) as ours:
        commands, group = f"{ours.name}.commands", f"{ours.name}-theirs"
        ensure_topics(broker.bootstrap, {commands: 1})
        with closing(
            KafkaPythonConsumer(
                broker.bootstrap, group=group, topics=[commands], on_assign=from_the_start, session=SESSION
            )
        ) as theirs:
            yield Kafka(ours, Replier(theirs, ours.producer, ours.topic))


@pytest.fixture
def kafka(both: Kafka) -> Kafka:
    both.theirs.script.clear()
    both.theirs.commands.clear()
    both.ours.forget()
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
    assert command["wish"] == as_json(asked.spec)
    assert kafka.theirs.keys[-1] == str(asked.scope).encode()


def test_who_has_asked_waits_for_a_named_obstacle_and_the_reply_makes_the_scope_due(kafka: Kafka, asked: Order) -> None:
    error = kafka.ours.look(asked)
    assert isinstance(error, Obstacle)
    assert (error.obstacle, error.delay) == ("provisioner:compass/7", None)
    assert kafka.ours.due() == []
    kafka.theirs.work(1)
    kafka.ours.hear()
    assert kafka.ours.due() == [str(asked.scope)]
    facts = kafka.ours.executor.ensure(asked)
    assert facts == licensed(asked)
    assert kafka.ours.executor.ensure(asked) == facts, "whoever crashed before it was recorded finds it again"
    assert len(kafka.theirs.commands) == 1


def test_a_reply_says_where_the_entitlement_lies(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "done", "result": {"location": "licenses/t-1"}})
    kafka.ask(asked)
    facts = kafka.ours.executor.ensure(asked)
    assert isinstance(facts, LicenseResult)
    assert facts.location == "licenses/t-1"


def test_a_removal_is_done_when_its_reply_has_come(kafka: Kafka, asked: Order) -> None:
    removal = replace(asked, direction="remove", generation=6)
    kafka.ask(removal)
    kafka.ours.executor.remove(removal)
    assert kafka.theirs.commands[-1]["facts"] is None


# -- again ---------------------------------------------------------------------------------------------------------


def test_a_reply_that_was_lost_is_asked_for_again_under_the_same_key_and_is_one_effect(
    kafka: Kafka, asked: Order
) -> None:
    before = kafka.theirs.effects
    kafka.ours.look(asked)
    kafka.theirs.keeps_silent = 1
    kafka.theirs.work(1)
    kafka.ask(asked)
    kafka.ours.executor.ensure(asked)
    assert [each["idempotency_key"] for each in kafka.theirs.commands] == [asked.idempotency_key] * 2
    assert kafka.theirs.effects - before == 1


def test_a_reply_that_comes_twice_wakes_nobody_the_second_time(kafka: Kafka, asked: Order) -> None:
    kafka.ask(asked)
    kafka.reply(asked, "done")
    assert kafka.ours.due() == [str(asked.scope)]


def test_a_failure_that_is_told_twice_is_one_attempt(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "retry"})
    kafka.ask(asked)
    assert isinstance(kafka.ours.look(asked), Retryable)
    kafka.ours.forget_work_items()
    for detail in ({}, {"detail": "in other words"}):
        kafka.reply(asked, "retry", **detail)
    assert kafka.ours.due() == []
    kafka.ask(asked)
    kafka.ours.executor.ensure(asked)
    assert len(kafka.theirs.commands) == 2


def test_a_reply_to_an_order_that_was_never_given_stands_in_nobodys_way_and_is_named(
    kafka: Kafka, asked: Order, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    kafka.reply(replace(asked, generation=10**18), "done")
    kafka.ours.waits_for(asked)
    kafka.reply(replace(asked, generation=10**30), "refused")
    kafka.reply(replace(asked, scope=Scope("product", "t-nobody", PRODUCT)), "done")
    assert kafka.ours.due() == []
    assert f"passed over a reply to 'product:t-nobody:{PRODUCT}/7/ensure/5'" in caplog.text
    assert kafka.ours.rows("SELECT scope, said FROM replies") == [(str(asked.scope), None)]
    kafka.theirs.work(1)
    kafka.ours.hear()
    assert kafka.ours.executor.ensure(asked) == licensed(asked)


def test_who_sleeps_past_its_lease_does_not_stop_the_reply_to_a_newer_order(kafka: Kafka, asked: Order) -> None:
    newer = replace(asked, generation=9)
    kafka.ours.waits_for(newer)
    kafka.ours.waits_for(asked)
    kafka.theirs.work(2)
    kafka.ours.hear(2)
    assert kafka.ours.executor.ensure(newer) == licensed(newer)


def test_a_late_reply_to_an_older_order_changes_nothing(kafka: Kafka, asked: Order) -> None:
    newer = replace(asked, generation=9)
    kafka.ask(newer)
    kafka.reply(asked, "refused")
    assert kafka.ours.due() == [str(asked.scope)]
    assert kafka.ours.executor.ensure(newer) == licensed(newer)


def test_the_reply_to_an_older_order_is_none_to_a_newer_one(kafka: Kafka, asked: Order) -> None:
    kafka.ask(asked)
    kafka.ask(replace(asked, generation=9))
    assert [each["generation"] for each in kafka.theirs.commands] == [5, 9]


def test_somebody_still_at_work_is_asked_again_after_the_pause_it_names(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "working", "retry_after": 30})
    kafka.ask(asked)
    error = kafka.ours.look(asked)
    assert isinstance(error, Obstacle)
    assert error.delay == timedelta(seconds=30)
    kafka.ask(asked)
    kafka.ours.executor.ensure(asked)


def test_who_said_that_it_is_at_work_says_done_when_it_is_and_is_not_asked_again(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "working", "retry_after": 3600})
    kafka.ask(asked)
    kafka.ours.waits_for(asked)
    kafka.ours.forget_work_items()
    kafka.reply(asked, "done")
    assert kafka.ours.due() == [str(asked.scope)]
    assert kafka.ours.executor.ensure(asked) == licensed(asked)
    assert len(kafka.theirs.commands) == 1


def test_a_tenant_converges_with_a_step_that_is_replied_to_while_nobody_waits_for_it(kafka: Kafka) -> None:
    tenant_id = new_tenant_id()
    rules = {"catalog": CATALOG, "policy": POLICY, "clock": lambda: datetime.now(UTC), "new_id": uuid4}
    saga = Saga(kafka.ours.log, dice=lambda: 0.0, **rules)  # type: ignore[arg-type]
    executors = FakeWorld(catalog=CATALOG).executors()
    executors["product", Step.LICENSE] = Routed(executors["product", Step.LICENSE], {PRODUCT: kafka.ours.executor})
    worker = Provisioner(
        kafka.ours.log,
        saga,
        executors,
        clock=lambda: datetime.now(UTC),
        owner="worker",
        limits=ConcurrencyLimits(threads=2, claim=8),
        lease=timedelta(seconds=30),
        poll_seconds=0.01,
        drain_seconds=5,
    )
    desired_state = [{"product": PRODUCT, "edition": "free", "users": 5, "revision": 1}]
    created = message("tenant.created", 1, tenant_id=tenant_id, site_name=tenant_id, products=desired_state)
    Lifecycle(kafka.ours.log, reread=lambda _: created, **rules).intake([created])  # type: ignore[arg-type]
    converged = f"SELECT 1 FROM stored_events WHERE originator_id = 'product:{tenant_id}:{PRODUCT}' "
    while not kafka.ours.rows(f"{converged} AND topic = 'tenantry.step-blocked'"):
        worker.round()
    assert kafka.ours.rows("SELECT 1 FROM leases") == [], "nobody holds what waits for its reply"
    kafka.theirs.work(1)
    kafka.ours.hear()
    while not kafka.ours.rows(f"{converged} AND topic = 'tenantry.scope-converged'"):
        worker.round()
    worker.drain()
    assert len(kafka.theirs.commands) == 1


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("it", "kind"),
    [
        ({"outcome": "retry", "retry_after": 7, "detail": "busy"}, Unreachable),
        ({"outcome": "refused", "detail": "no such edition"}, Permanent),
        ({"outcome": "fenced"}, Fenced),
        ({"outcome": "done", "result": {"colour": "red"}}, Retryable),
        ({"outcome": "done", "result": {"location": "a\x00b"}}, Retryable),
    ],
)
def test_what_does_not_come_about_is_told_once_and_then_asked_for_anew(
    kafka: Kafka, asked: Order, it: dict[str, object], kind: type[ExecutorError]
) -> None:
    kafka.theirs.script.append(it)
    kafka.ask(asked)
    error = kafka.ours.look(asked)
    assert type(error) is kind
    assert str(it.get("detail", "replied")) in str(error)
    if isinstance(error, Retryable):
        assert error.delay == (timedelta(seconds=7) if "retry_after" in it else None)
    kafka.ask(asked)
    kafka.ours.executor.ensure(asked)


def test_a_lower_generation_is_fenced(kafka: Kafka, asked: Order) -> None:
    kafka.ask(replace(asked, direction="remove", generation=6))
    kafka.ours.look(asked)
    kafka.theirs.work(1)
    kafka.ours.hear()
    assert kafka.theirs.there[asked.scope.tenant_id, PRODUCT, 7] is None
    assert kafka.ours.rows("SELECT generation FROM replies") == [(6,)]


def test_a_reason_names_no_person(kafka: Kafka, asked: Order) -> None:
    kafka.theirs.script.append({"outcome": "refused", "detail": "unknown to Ada Admin <ada@acme.example>\x1b[31m"})
    kafka.ask(asked)
    assert "ada@" not in str(kafka.ours.rows("SELECT said FROM replies"))
    told = str(kafka.ours.look(asked))
    assert told.isprintable()
    assert not any(word in told.lower() for word in ("ada", "acme"))


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


def test_the_log_says_what_of_a_reply_does_not_fit_and_quotes_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    value = said(KEY, "ada@acme.example")
    assert read(Message("replies", "id", 0, 1, None, value, (), 0), CATALOG, {}) is None
    assert "replies/0 at 1: it does not fit: outcome: Input should be 'done'" in caplog.text
    assert "acme" not in caplog.text


def test_what_is_no_reply_moves_the_position_and_nothing_else(kafka: Kafka, asked: Order) -> None:
    kafka.ours.takes_in(b"noise")
    assert kafka.ours.rows("SELECT 1 FROM replies") == []
    kafka.ask(asked)
    kafka.ours.executor.ensure(asked)
