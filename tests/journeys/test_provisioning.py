"""Does one event, end to end, become seven steps and the read models?"""

from __future__ import annotations

import time
from typing import Any

from tests.journeys.events import activated, created, new_tenant
from tests.journeys.running import Running

STEPS = ["commerce", "site", "region", "configuration", "identity", "database", "license"]


def test_a_foreign_client_gets_all_seven_steps_from_two_events(
    tenantry: Running, record_testsuite_property: Any
) -> None:
    tenant = new_tenant()
    began = time.monotonic()
    tenantry.send(created(tenant), activated(tenant, "jira-software", mode="binary"))
    tenantry.until_level(tenant, "jira-software", "open")
    took = time.monotonic() - began
    record_testsuite_property("seconds", took)
    assert took < 30, "five on an idle machine"

    told = tenantry.show(tenant)
    product = told["actual"]["products"]["jira-software"]
    assert product["level"] == "open"
    assert product["state"] == "converged"
    assert [step["number"] for step in product["steps"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [step["name"] for step in product["steps"]] == STEPS
    assert [step["state"] for step in product["steps"]] == ["done"] * 7
    assert told["desired_state"]["products"]["jira-software"]["desired"] == "open"
    assert tenant in [row["tenant_id"] for row in tenantry.json("tenants", "--level", "open")]
