"""Does `up` tell other services who a tenant is, and close it as soon as its suspension is in the log?"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg
import urllib3

from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy
from tests.context.processes import SidecarProcess
from tests.journeys.events import created, new_tenant, suspended
from tests.journeys.running import Running, wait_for

JIRA = "jira-software"
TENANTRY = [str(Path(sys.executable).with_name("tenantry"))]


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


def said_of_login(account: dict[str, Any]) -> str:
    """What the database says to the application's own role; empty where it lets it in."""
    names = {"host": "host", "port": "port", "dbname": "database", "user": "role", "password": "password"}
    try:
        psycopg.connect(**{name: account[ours] for name, ours in names.items()}, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_a_suspended_role_is_refused_by_its_database_though_the_sidecar_stands_still(
    tenantry: Running, tmp_path: Path
) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant, JIRA))
    tenantry.until_level(tenant, JIRA, "open")
    sidecar = SidecarProcess(tmp_path, [], term=30.0)
    sidecar.command = [
        *TENANTRY, "context-sidecar", "--service", tenantry.said["context_url"], "--dir", str(sidecar.directory)
    ]  # fmt: skip
    sidecar.start()

    def is_open() -> bool:
        try:
            return tenancy.by_id(tenant).is_open(JIRA)
        except ContextRefused:
            return False

    try:
        with Tenancy.open(sidecar.directory) as tenancy:
            wait_for(is_open, "an open tenant on the host")
            account = tenantry.json("credentials", tenant, JIRA)
            assert said_of_login(account) == ""
            sidecar.send(signal.SIGSTOP)
            tenantry.send(suspended(tenant, JIRA))
            said = wait_for(lambda: said_of_login(account), "the refusal of the role", seconds=25)
            assert "is not permitted to log in" in said
            assert is_open(), "its lease is not over: the database alone has refused"
            sidecar.send(signal.SIGCONT)
            wait_for(lambda: not is_open(), "a closed tenant on the host")
    finally:
        sidecar.remove()
