"""Waiting for a tenant: a script goes on when its product is open, and is told why where it is not."""

from __future__ import annotations

from tests.journeys.events import activated, created, new_tenant
from tests.journeys.running import Running


def test_a_script_waits_until_the_product_is_open(tenantry: Running) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant), activated(tenant, "jira-software"))
    told = tenantry.json("wait", tenant, "--for", 60)
    assert told["reached"]
    assert told["products"]["jira-software"]["level"] == "open"


def test_what_is_not_reached_in_time_is_named_and_fails(tenantry: Running) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant), activated(tenant, "jira-software"))
    assert tenantry.json("wait", tenant, "--product", "jira-software")["reached"]
    told = tenantry.cli("wait", tenant, "--until", "closed", "--for", 0.2)
    assert told.exit_code == 1
    assert f"{tenant} is not closed after 0.2 s: jira-software is open, converged" in told.stdout


def test_a_tenant_that_never_comes_is_waited_for_no_longer_than_asked(tenantry: Running) -> None:
    told = tenantry.cli("wait", "nobody", "--for", 0)
    assert told.exit_code == 1
    assert "nobody has no such product after 0 s" in told.stdout
