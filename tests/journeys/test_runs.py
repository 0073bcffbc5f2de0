"""Does an operator bring back what has failed, and can the story of it be told afterwards?"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.journeys.events import activated, created, new_tenant, suspended
from tests.journeys.running import Running, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_product_fails_is_compensated_retried_and_converges(tenantry: Running) -> None:
    """A sibling has made a table where the entitlement should lie: permanent, until somebody takes it away."""
    tenant = new_tenant()
    scope = f"product:{tenant}:jira-service-management"
    tenantry.send(created(tenant, "jira-software"))
    tenantry.until_level(tenant, "jira-software", "open")
    with _log_in(tenantry.json("credentials", tenant, "jira-software")) as session:
        session.execute("CREATE TABLE entitlement_jira_service_management ()")
        ask = activated(tenant, "jira-service-management")
        tenantry.send(ask)
        (row,) = wait_for(lambda: tenantry.json("runs", "list", "--tenant", tenant, "--state", "failed"), "it to fail")
        tenantry.until_settled(tenant)
        assert (row["scope"], row["step"]) == (scope, {"number": 7, "name": "license"})
        assert "was made by a product: rename it" in row["reason"]
        assert tenantry.show(tenant)["actual"]["products"]["jira-software"]["state"] == "converged"

        session.execute("DROP TABLE entitlement_jira_service_management")
    tenantry.json("runs", "retry", scope, "--reason", "the table is gone", "--as", "Ada")
    tenantry.until_level(tenant, "jira-service-management", "open")
    again = tenantry.cli("runs", "retry", scope, "--reason", "once more")
    assert (again.exit_code, again.stdout) == (2, "")
    assert f"nothing of {scope} has failed or is on hold" in again.error

    first, second = tenantry.json("runs", "show", scope)["runs"]
    assert _words(first) == [
        "wished",
        *(f"{step} {what}" for step in (2, 4, 5) for what in ("started", "completed")),
        *("7 started", "7 attempt failed", "7 failed"),
        *(f"{step} {what}" for step in (7, 5, 4, 2) for what in ("compensating", "compensated")),
    ]
    assert first["events"][0]["cause"]["id"] == ask.id
    assert first["events"][0]["cause"]["topic"] == "tenantry.lifecycle"
    assert _words(second) == [
        "resumed",
        *(f"{step} {what}" for step in (2, 4, 5, 7) for what in ("started", "completed")),
        "converged",
    ]
    assert second["events"][0]["cause"]["source"].startswith("Ada (")
    told = tenantry.cli("runs", "show", scope).stdout
    assert "the table is gone" in told
    assert tenantry.disagreements() == []


def test_what_is_held_stays_as_it_is_until_it_is_released(tenantry: Running) -> None:
    tenant = new_tenant()
    scope = f"product:{tenant}:confluence"
    tenantry.send(created(tenant, "confluence"))
    tenantry.until_level(tenant, "confluence", "open")
    tenantry.json("runs", "hold", scope, "--reason", "moving house")
    stop = suspended(tenant, "confluence")
    tenantry.send(stop)
    tenantry.until_taken_in(stop)
    tenantry.until_settled(tenant)
    shown = tenantry.show(tenant)["actual"]["products"]["confluence"]
    assert (shown["level"], shown["state"], shown["reason"]) == ("open", "on_hold", "moving house")
    tenantry.json("runs", "release", scope, "--reason", "moved")
    tenantry.until_level(tenant, "confluence", "closed")
    assert tenantry.disagreements() == []


def _words(run: dict[str, Any]) -> list[str]:
    return [f"{fact['step']['number']} {fact['what']}" if fact["step"] else fact["what"] for fact in run["events"]]


def _log_in(account: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=account["host"],
        port=account["port"],
        dbname=account["database"],
        user=account["role"],
        password=account["password"],
        autocommit=True,
    )
