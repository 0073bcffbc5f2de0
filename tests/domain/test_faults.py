"""What becomes of a message that meets an unexpected error of ours?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from application.inbound import Readable
from domain.errors import NewerEvent, UnreadableEvent
from domain.faults import INTERNAL_ERROR, IntakeHalted, fingerprint, trace
from domain.tenant import decisions as tenant_decisions
from tests.domain.given import CONFLUENCE, JIRA, SERVICE, Intake, message
from tests.refusals import refused


@contextmanager
def broken(concerns: Callable[[Any], bool], error: Exception | None = None) -> Iterator[None]:
    """Deciding fails for the commands concerned, as it would by a fault in the code."""
    honest = tenant_decisions.decide

    def decide(tenant: Any, command: Any, **more: Any) -> Any:
        if concerns(command):
            raise error or ZeroDivisionError("Ada's secret")
        return honest(tenant, command, **more)

    with patch.object(tenant_decisions, "decide", decide):
        yield


def of_confluence(command: Any) -> bool:
    return getattr(command, "product", None) == CONFLUENCE


def of_tenant(tenant_id: str) -> Callable[[Any], bool]:
    return lambda command: command.tenant_id == tenant_id


def numbered(*messages: Readable) -> list[Readable]:
    """Each at a place of its own, as on Kafka."""
    return [msgspec.structs.replace(each, offset=number) for number, each in enumerate(messages)]


def a_batch(revision: int | None = None) -> list[Readable]:
    """A tenant, and what is activated for it: a good one, a bad one, a good one."""
    return numbered(
        message("tenant.created", revision),
        message("product.activated", revision, product=JIRA),
        message("product.activated", revision, product=CONFLUENCE),
        message("product.activated", revision, product=SERVICE),
    )


def open_faults(intake: Intake) -> list[int]:
    return [
        number
        for number, row in intake.log.quarantine.items()
        if row.state == "open" and row.message.rule == INTERNAL_ERROR
    ]


def active(intake: Intake, tenant_id: str = "t-1") -> set[str]:
    return {key for key, product in intake.tenant(tenant_id).products.items() if product.activated}


def test_the_message_is_quarantined_alone_and_the_others_of_its_batch_go_on() -> None:
    intake = Intake()
    with broken(of_confluence):
        counts = intake.takes(*a_batch(1))
    assert counts == {"recorded": 3, "quarantined": 1}
    assert (intake.rules(), active(intake)) == ([INTERNAL_ERROR], {JIRA, SERVICE})


def test_the_quarantine_names_the_fingerprint_and_repeats_nothing_of_the_error() -> None:
    intake, told = Intake(), list[Exception]()

    def tell(error: Exception) -> str:
        told.append(error)
        return f"fingerprint {fingerprint(error)}"

    intake.lifecycle.on_fault = tell
    with broken(of_confluence):
        intake.takes(*a_batch(1))
    (error,) = told
    (row,) = intake.log.quarantine.values()
    assert row.message.reason == f"fingerprint {fingerprint(error)}"
    assert "raise error or ZeroDivisionError" in trace(error)
    assert "\nbuiltins.ZeroDivisionError" in trace(error)


def test_the_same_fault_has_the_same_fingerprint_whatever_the_message() -> None:
    intake, told = Intake(), set[str]()

    def tell(error: Exception) -> str:
        told.add(fingerprint(error))
        return "told"

    intake.lifecycle.on_fault = tell
    with broken(lambda command: hasattr(command, "product")):
        intake.takes(*a_batch(1))
    assert len(told) == 1
    with broken(of_confluence, KeyError("another")):
        intake.takes(message("product.activated", 2, product=CONFLUENCE))
    assert len(told) == 2


def test_later_messages_without_a_revision_wait_behind_it_and_the_retry_lets_them_in_after_it() -> None:
    intake = Intake()
    bad = message("product.activated", product=CONFLUENCE, offset=2)
    with broken(of_confluence):
        intake.takes(message("tenant.created"), bad)
    later = numbered(message("product.suspended", product=CONFLUENCE), message("product.activated", product=JIRA))
    assert intake.takes(*later) == {"waiting": 2}
    (number,) = open_faults(intake)

    assert intake.takes(bad, released=number) == {"recorded": 1}
    assert intake.lifecycle.let_in("t-1").counts == {"recorded": 2}

    assert (active(intake), intake.rules()) == ({CONFLUENCE, JIRA}, [])
    assert intake.tenant().product(CONFLUENCE).suspended
    assert not intake.log.waiting(["t-1"])


def test_the_next_message_lets_in_what_waited_where_nobody_else_has() -> None:
    """An operator's command may end between the retry and the letting in."""
    intake = Intake()
    bad = message("product.activated", product=CONFLUENCE, offset=2)
    with broken(of_confluence):
        intake.takes(message("tenant.created"), bad)
    intake.takes(message("product.suspended", product=CONFLUENCE, offset=3))
    intake.takes(bad, released=open_faults(intake)[0])
    intake.takes(message("product.unsuspended", product=CONFLUENCE, offset=4))
    assert not intake.rules()
    assert not intake.tenant().product(CONFLUENCE).suspended


def test_messages_with_a_revision_and_those_of_other_tenants_do_not_wait() -> None:
    intake = Intake()
    with broken(of_confluence):
        intake.takes(*a_batch(1))
    others = numbered(
        message("product.suspended", 2, product=JIRA),
        message("tenant.created", tenant_id="t-2", site_name="two"),
        message("product.activated", tenant_id="t-2", product=JIRA),
    )
    assert intake.takes(*others) == {"recorded": 3}


def test_a_retry_that_meets_an_error_again_lies_in_quarantine_again_and_the_others_wait_on() -> None:
    intake = Intake()
    bad = message("product.activated", product=CONFLUENCE, offset=2)
    with broken(of_confluence):
        intake.takes(message("tenant.created"), bad)
        intake.takes(message("product.activated", product=JIRA, offset=3))
        assert intake.takes(bad, released=open_faults(intake)[0]) == {"quarantined": 1}
        assert intake.lifecycle.let_in("t-1").counts == {}
    assert [row.state for row in intake.log.quarantine.values()] == ["retried", "open"]
    assert len(intake.log.waiting(["t-1"])["t-1"]) == 1


def test_a_message_that_waited_is_quarantined_itself_and_its_tenant_is_created() -> None:
    intake = Intake()
    waited = numbered(
        message("product.activated", product=JIRA),
        message("product.activated", product=CONFLUENCE),
        message("product.activated", product=SERVICE),
    )
    intake.takes(*waited)
    created = message("tenant.created", offset=9)
    with broken(of_confluence):
        assert intake.takes(created) == {"recorded": 2, "quarantined": 1}
    assert active(intake) == {JIRA}
    assert [each.id for each in intake.log.waiting(["t-1"])["t-1"]] == [waited[2].id]

    intake.takes(waited[1], released=open_faults(intake)[0])
    intake.lifecycle.let_in("t-1")
    assert active(intake) == {JIRA, CONFLUENCE, SERVICE}


def test_a_waiting_message_that_cannot_be_read_again_is_quarantined() -> None:
    intake = Intake()
    intake.takes(*numbered(message("product.activated", product=JIRA)))
    intake.lifecycle.reread = lambda _: 1 / 0  # type: ignore[assignment, return-value]
    assert intake.takes(message("tenant.created", offset=9)) == {"recorded": 1, "quarantined": 1}
    assert intake.rules() == [INTERNAL_ERROR]


def test_a_creation_that_met_an_error_lets_everything_in_when_it_is_retried() -> None:
    intake = Intake()
    created = message("tenant.created", offset=1)
    with broken(lambda command: not hasattr(command, "product")):
        intake.takes(created)
    assert intake.takes(message("product.activated", offset=2)) == {"waiting": 1}
    assert intake.takes(created, released=open_faults(intake)[0]) == {"recorded": 2}
    assert active(intake) == {JIRA}


def test_more_than_a_few_in_a_minute_halt_the_intake_with_nothing_of_the_batch_recorded() -> None:
    intake = Intake()
    tenants = [message("tenant.created", 1, tenant_id=f"t-{n}", site_name=f"s-{n}", offset=n) for n in range(9)]
    with broken(lambda _: True):
        assert intake.takes(*tenants[:3]) == {"quarantined": 3}
        intake.clock.advance(timedelta(seconds=30))
        with refused(IntakeHalted, match=r"6 messages .* the fault is in Tenantry, not in the messages; nothing"):
            intake.takes(*tenants[3:])
        intake.clock.advance(timedelta(seconds=31))
        assert intake.takes(*tenants[3:6]) == {"quarantined": 3}
    assert len(open_faults(intake)) == 6
    assert intake.takes(*tenants[6:]) == {"recorded": 3}


def test_a_stored_event_that_this_version_cannot_read_is_an_error_of_ours_too() -> None:
    intake = Intake()
    with broken(of_confluence, UnreadableEvent("of a newer version")):
        intake.takes(*a_batch(1))
    assert intake.rules() == [INTERNAL_ERROR]


def test_an_intake_that_meets_an_event_of_a_later_version_waits_and_quarantines_nothing() -> None:
    intake = Intake()
    with broken(of_confluence, NewerEvent("of a newer version")), pytest.raises(NewerEvent):
        intake.takes(*a_batch(1))
    assert intake.rules() == []
