"""Does `up` tell other services who a tenant is, and close it as soon as its suspension is in the log?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import urllib3

from tests.journeys.events import created, new_tenant, suspended
from tests.journeys.running import Running, wait_for

JIRA = "jira-software"


def asked(tenantry: Running, path: str, *, at_least: int = 0) -> dict[str, Any]:
    answer = urllib3.request(
        "GET",
        tenantry.said["context_url"] + path,
        headers={"Tenancy-At-Least": str(at_least)},
        timeout=10,
        retries=False,
    )
    return {"status": answer.status, **json.loads(answer.data)}


def published(tenantry: Running, folder: Path, *events: Any) -> int:
    """The freshness token of `publish --wait`."""
    file = folder / "events.jsonl"
    file.write_text("".join(f"{event.raw().value.decode()}\n" for event in events))
    return int(tenantry.json("publish", file, "--wait", "60")["token"])


def test_a_tenant_is_known_by_its_host_and_closed_by_the_token_of_its_suspension(
    tenantry: Running, tmp_path: Path
) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant, JIRA))
    tenantry.until_level(tenant, JIRA, "open")
    found = wait_for(
        lambda: (
            (seen := asked(tenantry, f"/v1/tenants/{tenant}"))["status"] == 200 and seen["access"] == "open" and seen
        ),
        "an open context",
    )
    assert found["products"][JIRA]["level"] == "open"
    assert asked(tenantry, f"/v1/hosts/{found['host'].upper()}:443")["tenant_id"] == tenant
    placement = found["placements"][found["products"][JIRA]["family"]]
    assert placement["schema"] == tenantry.placement(tenant, found["products"][JIRA]["family"])["schema_name"]

    token = published(tenantry, tmp_path, suspended(tenant, JIRA))
    seen = wait_for(
        lambda: (seen := asked(tenantry, f"/v1/tenants/{tenant}", at_least=token))["status"] == 200 and seen,
        "an answer as fresh as the token",
    )
    assert seen["products"][JIRA]["level"] == "closed"
    assert asked(tenantry, "/v1/tenants/none-such")["code"] == "tenant-unknown"


def test_a_context_projector_and_a_service_that_are_killed_come_back(tenantry: Running) -> None:
    for kind in ("contexts", "context-service"):
        tenantry.kill(kind)
    tenant = new_tenant()
    tenantry.send(created(tenant, JIRA))

    def is_open() -> bool:
        try:
            return bool(asked(tenantry, f"/v1/tenants/{tenant}").get("access") == "open")
        except urllib3.exceptions.HTTPError:
            return False

    wait_for(is_open, "an open context")
