"""Does a script that destroys thirty tenants, or suspends sixty products, get further than the guard lets it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.events import created, destroyed, new_tenant, offer, suspended, unsuspended
from tests.journeys.running import Running, wait_for

pytestmark = [pytest.mark.saga, pytest.mark.slow, pytest.mark.timeout(300)]


def test_of_thirty_destroys_five_pass_and_the_rest_wait_for_an_operator(data_dir: Path) -> None:
    tenants = sorted(new_tenant() for _ in range(30))
    with Running(data_dir) as tenantry:
        tenantry.send(*(created(tenant, revision=1) for tenant in tenants))
        tenantry.until_settled()
        ends = [destroyed(tenant, revision=2) for tenant in tenants]
        tenantry.send(*ends)
        tenantry.until_taken_in(*ends)
        tenantry.until_settled()
        guard = tenantry.json("status")["guard"]
        assert (guard["awaiting_approval"], guard["tenants"]) == (25, 25)
        assert tenantry.one("SELECT count(*) FROM sites WHERE access = 'closed'") == 5

        plan = tenantry.json("runs", "approve")
        assert len(plan["changes"]) == 25
        wrong = tenantry.cli("runs", "approve", "0000000000000000", "--reason", "they left")
        assert (wrong.exit_code, plan["plan"] in wrong.error) == (2, True)
        tenantry.json("runs", "approve", plan["plan"], "--reason", "they left", "--as", "Ada")
        wait_for(lambda: tenantry.one("SELECT count(*) FROM sites WHERE access = 'closed'") == 30, "all to be closed")
        again = tenantry.json("runs", "approve", plan["plan"], "--reason", "they left")
        assert again["outcome"] == "approved before"


def test_of_sixty_suspensions_fifty_pass_and_the_rest_await_approval_unless_an_unsuspension_overtakes_them(
    data_dir: Path,
) -> None:
    tenants = sorted(new_tenant() for _ in range(60))
    with Running(data_dir) as tenantry:
        begins = [created(tenant, {**offer("compass"), "revision": 1}, revision=1) for tenant in tenants]
        tenantry.send(*begins)
        tenantry.until_taken_in(*begins)  # what one batch opens and closes is not counted
        tenantry.until_settled()
        ends = [suspended(tenant, "compass", revision=2) for tenant in tenants]
        tenantry.send(*ends)
        tenantry.until_taken_in(*ends)
        tenantry.until_settled()
        guard = tenantry.json("status")["guard"]
        assert (guard["awaiting_approval"], guard["closings"], guard["tenants"]) == (10, 10, 10)
        closed = "SELECT count(*) FROM sites WHERE access <> 'open'"
        assert tenantry.one(closed) == 50
        waiting = [row for row in tenantry.json("runs", "list", "--state", "waiting") if row["kind"] == "product"]
        assert len(waiting) == 10
        assert all("a suspension awaits approval" in row["reason"] for row in waiting)

        back = unsuspended(waiting[0]["tenant_id"], "compass", revision=3)
        tenantry.send(back)
        tenantry.until_taken_in(back)
        plan = tenantry.json("runs", "approve")
        assert len(plan["changes"]) == 9
        tenantry.json("runs", "approve", plan["plan"], "--reason", "they do not pay", "--as", "Ada")
        wait_for(lambda: tenantry.one(closed) == 59, "all but one to be closed")
