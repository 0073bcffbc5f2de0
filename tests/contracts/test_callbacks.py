"""Does the callback of a webhook carry its outcome, on a real HTTP server, the real broker and the real database?

The provisioner answers 202, and later puts a signed reply onto the topic of replies. From there on nobody asks it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.embedded.broker import EmbeddedBroker
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.clients import Message
from adapters.provisioners.replies import LARGEST_REPLY_BYTES, read
from adapters.provisioners.signed_requests import SigningSecret
from adapters.resources.entitlement import licensed
from application.ports.resources import Order
from domain.catalog import ForeignExecutor
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unreachable
from domain.scope.steps import LicenseResult, Step
from tests.adapters.provisioners.orders import new_tenant_id
from tests.contracts.replying import PRODUCT, Headers, Ours, catalog_of, license_of, replying, said
from tests.fakes.provisioner import SECRET, SIGNING, Provisioner, serving, webhook
from tests.fakes.provisioner import Reply as Answer

pytestmark = pytest.mark.slow

STRANGER = SigningSecret.parse("whsec_" + "b" * 40, name="stranger")
THEIRS = ForeignExecutor(webhook="https://compass.example/", secret="test")
CATALOG = catalog_of(THEIRS)


def signed(value: bytes, *, key: str, by: SigningSecret = SIGNING, at: int | None = None) -> Headers:
    """The three headers, as a provisioner would make them."""
    timestamp = int(time.time()) if at is None else at
    return (
        ("webhook-id", key.encode()),
        ("webhook-timestamp", str(timestamp).encode()),
        ("webhook-signature", by.sign(key, timestamp, value).encode()),
    )


@dataclass
class Both:
    """Our side, and their server, which calls back."""

    ours: Ours
    theirs: Provisioner

    def accepts(self, asked: Order) -> None:
        """It is asked, and answers 202."""
        self.theirs.script.append(Answer(202))
        self.ours.waits_for(asked)

    def calls_back(self, asked: Order, outcome: str, *, at: int | None = None, **more: object) -> None:
        """It says what came of the order, and we hear it."""
        key = asked.idempotency_key
        value = said(key, outcome, **more)
        self.ours.takes_in(value, signed(value, key=key, at=at))


@pytest.fixture(scope="module")
def parts(broker: EmbeddedBroker, postgres: EmbeddedPostgres) -> Iterator[Both]:
    with (
        serving() as theirs,
        replying(
            broker,
            postgres,
            theirs=THEIRS,
            asking=lambda name, producer: webhook(theirs, PRODUCT, Step.LICENSE),
            secrets={"test": SIGNING},
        ) as ours,
    ):
        yield Both(ours, theirs)


@pytest.fixture
def both(parts: Both) -> Both:
    parts.theirs.script.clear()
    parts.theirs.requests.clear()
    parts.ours.forget()
    return parts


@pytest.fixture
def asked() -> Order:
    return license_of(new_tenant_id())


# -- what it carries -----------------------------------------------------------------------------------------------


def test_a_callback_brings_the_facts_and_wakes_who_waits_and_nobody_asks_again(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked, "done", result={"location": "licenses/t-1"})
    assert both.ours.rows("SELECT scope FROM wakes WHERE due_at <= now()") == [(str(asked.scope),)]
    facts = both.ours.executor.ensure(asked)
    assert isinstance(facts, LicenseResult)
    assert (facts.location, facts.users) == ("licenses/t-1", 10)
    assert both.ours.executor.ensure(asked) == facts, "whoever crashed before it was recorded finds it again"
    assert len(both.theirs.requests) == 1


def test_a_removal_is_done_when_its_callback_has_come(both: Both, asked: Order) -> None:
    removal = replace(asked, direction="remove", generation=6)
    both.accepts(removal)
    both.calls_back(removal, "done")
    both.ours.executor.remove(removal)
    assert len(both.theirs.requests) == 1


@pytest.mark.parametrize(
    ("it", "kind"),
    [
        ({"outcome": "retry", "retry_after": 7, "detail": "busy"}, Unreachable),
        ({"outcome": "refused", "detail": "no such edition"}, Permanent),
        ({"outcome": "fenced"}, Fenced),
        ({"outcome": "working", "retry_after": 7}, Obstacle),
        ({"outcome": "done", "result": {"colour": "red"}}, Retryable),
    ],
)
def test_what_did_not_come_about_is_told_once_and_then_the_webhook_is_asked_again(
    both: Both, asked: Order, it: dict[str, Any], kind: type[ExecutorError]
) -> None:
    both.accepts(asked)
    both.calls_back(asked, **it)
    error = both.ours.look(asked)
    assert type(error) is kind
    assert str(it.get("detail", "replied")) in str(error)
    if isinstance(error, Retryable | Obstacle):
        assert error.delay == (timedelta(seconds=7) if "retry_after" in it else None)
    assert both.ours.executor.ensure(asked) == licensed(asked)
    assert len(both.theirs.requests) == 2


def test_a_reason_names_no_person(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked, "refused", detail="unknown to Ada Admin <ada@acme.example>\x1b[31m")
    assert "ada@" not in str(both.ours.rows("SELECT said FROM replies"))
    told = str(both.ours.look(asked))
    assert told.isprintable()
    assert not any(word in told.lower() for word in ("ada", "acme"))


# -- what is passed over -------------------------------------------------------------------------------------------


def test_a_callback_that_comes_twice_wakes_nobody_the_second_time(both: Both, asked: Order) -> None:
    both.accepts(asked)
    for _ in range(2):
        both.calls_back(asked, "done")
    assert both.ours.rows("SELECT scope FROM wakes") == [(str(asked.scope),)]


def test_a_late_callback_for_an_older_generation_changes_nothing(both: Both, asked: Order) -> None:
    newer = replace(asked, generation=9)
    both.accepts(newer)
    both.calls_back(newer, "done", result={"location": "new"})
    both.calls_back(asked, "refused")
    assert both.ours.rows("SELECT scope FROM wakes") == [(str(asked.scope),)]
    facts = both.ours.executor.ensure(newer)
    assert isinstance(facts, LicenseResult)
    assert facts.location == "new"


def test_the_callback_of_an_older_order_is_none_for_a_newer_one(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked, "refused")
    both.ours.executor.ensure(replace(asked, generation=9))
    assert [each["generation"] for each in both.theirs.orders] == [5, 9]


def test_the_callback_of_an_ensure_is_none_for_its_removal(both: Both, asked: Order) -> None:
    both.calls_back(asked, "done")
    both.ours.executor.remove(replace(asked, direction="remove"))
    assert [each["direction"] for each in both.theirs.orders] == ["remove"]


def test_what_is_not_signed_wakes_nobody_and_is_not_believed(both: Both, asked: Order) -> None:
    both.accepts(asked)
    value = said(asked.idempotency_key, "done", result={"location": "elsewhere"})
    both.ours.takes_in(value, ())
    both.ours.takes_in(value, signed(value, key=asked.idempotency_key, by=STRANGER))
    assert both.ours.rows("SELECT said FROM replies UNION ALL SELECT scope FROM wakes") == [(None,)]
    assert both.ours.executor.ensure(asked) == licensed(asked)


KEY = f"product:t-1:{PRODUCT}/7/ensure/5"
SAYS = said(KEY, "done")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (SAYS, signed(SAYS, key=KEY.replace("t-1", "t-2"))),
        (SAYS, signed(SAYS + b" ", key=KEY)),
        (SAYS, signed(SAYS, key=KEY)[:2]),
        (SAYS, (*signed(SAYS, key=KEY)[:2], ("webhook-signature", b"v1,\xff"))),
        (SAYS, (*signed(SAYS, key=KEY)[:2], ("webhook-signature", b""))),
        (said(KEY.replace("/7/", "/4/"), "done"), signed(SAYS, key=KEY)),
        (b"x" * LARGEST_REPLY_BYTES + b"x", signed(SAYS, key=KEY)),
    ],
    ids=["another key", "another body", "no signature", "no text", "empty", "a step of ours", "too large"],
)
def test_what_is_no_callback_of_that_provisioner_is_passed_over(value: bytes, headers: Headers) -> None:
    assert read(Message("replies", "id", 0, 1, None, value, headers, 0), CATALOG, {"test": SIGNING}) is None


@pytest.mark.parametrize("at", ["1e9", "-1", "", "\N{SUPERSCRIPT TWO}", "9" * 13])
def test_a_time_that_is_none_is_passed_over_though_it_is_signed(at: str) -> None:
    signature = SIGNING.sign(KEY, at, SAYS)  # type: ignore[arg-type]
    headers = (*signed(SAYS, key=KEY)[:1], ("webhook-timestamp", at.encode("latin-1", "replace")))
    message = Message("replies", "id", 0, 1, None, SAYS, (*headers, ("webhook-signature", signature.encode())), 0)
    assert read(message, CATALOG, {"test": SIGNING}) is None


def test_a_callback_is_believed_while_a_secret_is_changed() -> None:
    both = SigningSecret.parse(f"{SECRET} whsec_{'b' * 40}", name="both")
    for ours, theirs in ((both, SIGNING), (both, STRANGER), (SIGNING, both)):
        message = Message("replies", "id", 0, 1, None, SAYS, signed(SAYS, key=KEY, by=theirs, at=1), 0)
        assert read(message, CATALOG, {"test": ours}) is not None


# -- what was overheard --------------------------------------------------------------------------------------------


def test_a_callback_may_be_old_when_it_comes_for_their_clock_is_compared_with_itself(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked, "done", at=1)
    assert both.ours.executor.ensure(asked) == licensed(asked)
    assert len(both.theirs.requests) == 1


@pytest.mark.parametrize("outcome", ["retry", "working", "refused", "fenced"])
def test_what_was_overheard_and_is_sent_again_within_the_generation_is_worth_nothing(
    both: Both, asked: Order, outcome: str
) -> None:
    both.accepts(asked)
    both.calls_back(asked, outcome, at=1000)
    assert not isinstance(both.ours.look(asked), Retryable) or outcome == "retry"
    both.calls_back(asked, outcome, at=1000)
    both.accepts(asked)
    both.ours.forget_work_items()
    both.calls_back(asked, outcome, at=1000)
    assert both.ours.due() == []
    both.accepts(asked)
    assert len(both.theirs.requests) == 3, "each look has asked: none took what was heard before"
    both.calls_back(asked, "done", at=1001)
    assert both.ours.due() == [str(asked.scope)]
    assert both.ours.executor.ensure(asked) == licensed(asked)


def test_the_first_of_two_callbacks_cannot_be_sent_again_after_the_second(both: Both, asked: Order) -> None:
    both.accepts(asked)
    both.calls_back(asked, "working", at=1000)
    both.calls_back(asked, "done", at=1001)
    both.calls_back(asked, "working", at=1000)
    assert both.ours.executor.ensure(asked) == licensed(asked)
