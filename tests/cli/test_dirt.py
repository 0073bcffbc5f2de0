"""What does an operator see of messages that are odd, or that meet an error of ours?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import CapturingLogger

from domain.tenant import decisions as tenant_decisions
from runtime import faults
from tests.cli.conftest import TENANT, Desk

PERSON = "ada@example.com"
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
CONFLUENCE: dict[str, Any] = {"product": "confluence", "edition": "standard", "users": 5}


@contextmanager
def a_fault(product: str = "confluence") -> Iterator[None]:
    honest = tenant_decisions.decide

    def decide(tenant: Any, command: Any, **more: Any) -> Any:
        if getattr(command, "product", None) == product:
            raise ZeroDivisionError(PERSON)
        return honest(tenant, command, **more)

    with patch.object(tenant_decisions, "decide", decide):
        yield


@pytest.mark.parametrize("at", [NEVER, datetime(1, 1, 1, tzinfo=UTC)])
def test_a_tenant_destroyed_at_the_end_of_time_is_closed_and_shown_and_goes(desk: Desk, at: datetime) -> None:
    desk.work()
    desk.comes("product.activated", **CONFLUENCE, expires_at="9999-12-31T23:59:59-12:00")
    desk.work()
    desk.came("product.deactivated", {"product": "jira-software", "reason": "left"}, at=at)
    desk.came("tenant.destroyed", {"reason": "left"}, at=at)
    assert desk.comes("product.activated", product="compass", edition="free", users=1) == {"recorded": 1}
    desk.work()

    told = desk.json("show", TENANT)
    assert told["actual"]["site"]["level"] == "closed"
    assert told["actual"]["products"]["confluence"]["level"] == "closed"
    until = datetime.fromisoformat(told["actual"]["site"]["until"])
    assert timedelta(days=13) < until - datetime.now(UTC) < timedelta(days=15)
    for words in (("show", TENANT), ("timeline", TENANT), ("explain", TENANT), ("tenants",)):
        desk.says(*words)
    desk.says("show", TENANT, "--at", str(desk.parts.log.last_position()))


def test_an_unexpected_error_quarantines_one_message_and_the_log_holds_the_traceback_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = CapturingLogger()
    monkeypatch.setattr(faults, "log", logger)
    faults._logged_at.clear()  # noqa: SLF001 - other tests of this process may have met the same fault
    with a_fault():
        assert desk.came("product.activated", CONFLUENCE, is_revised=False) == {"quarantined": 1}
        assert desk.comes("product.suspended", product="confluence", reason="x") == {"quarantined": 1}
    told = str(logger.calls)
    assert told.count("raise ZeroDivisionError") == 1
    assert PERSON not in told
    first, second = desk.json("quarantine", "list")
    assert first["rule"] == second["rule"] == "internal-error"
    fingerprint = first["reason"].split("fingerprint ")[1][:12]
    assert fingerprint in told
    assert fingerprint in second["reason"]


def test_a_retry_with_a_version_that_is_mended_lets_in_what_waited_behind(desk: Desk) -> None:
    with a_fault("jira-software"):
        desk.came("product.suspended", {"product": "jira-software", "reason": "unpaid"}, is_revised=False)
    assert desk.came("product.activated", CONFLUENCE, is_revised=False) == {"waiting": 1}
    (entry,) = desk.json("quarantine", "list")
    with a_fault("jira-software"):
        assert "refused again" in desk.says("quarantine", "retry", str(entry["number"]), code=1, stderr=False)
    assert len(desk.parts.log.waiting([TENANT])[TENANT]) == 1
    (entry,) = desk.json("quarantine", "list")
    desk.says("quarantine", "retry", str(entry["number"]))
    assert not desk.parts.log.waiting([TENANT])
    assert desk.json("quarantine", "list") == []
    products = desk.json("show", TENANT)["desired_state"]["products"]
    assert (products["jira-software"]["desired"], products["confluence"]["desired"]) == ("closed", "open")


def test_discarding_it_lets_in_what_waited_behind(desk: Desk) -> None:
    with a_fault():
        desk.came("product.activated", CONFLUENCE, is_revised=False)
    compass = {"product": "compass", "edition": "free", "users": 1}
    assert desk.came("product.activated", compass, is_revised=False) == {"waiting": 1}
    (entry,) = desk.json("quarantine", "list")
    desk.says("quarantine", "discard", str(entry["number"]), "--reason", "not needed")
    assert not desk.parts.log.waiting([TENANT])
    assert "compass" in desk.json("show", TENANT)["desired_state"]["products"]


def test_a_retry_of_what_cannot_be_read_yet_is_one_line_and_the_message_stays(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_fault():
        desk.comes("product.activated", **CONFLUENCE)
    (entry,) = desk.json("quarantine", "list")
    monkeypatch.setattr("runtime.compose.intake.fast_reader.read", lambda _: 1 / 0)
    said = desk.says("quarantine", "retry", str(entry["number"]), code=1)
    assert f"error: message {entry['number']} stays in quarantine: an unexpected error in Tenantry" in said
    assert len(desk.json("quarantine", "list")) == 1
