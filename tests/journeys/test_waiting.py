"""What becomes of messages that come before those they need?"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.journeys.events import activated, created, customer_updated, new_tenant, person, suspended
from tests.journeys.running import Running, wait_for


def test_a_product_activated_before_its_tenant_waits_and_opens_when_the_tenant_comes(tenantry: Running) -> None:
    tenant = new_tenant()
    first = activated(tenant, "confluence", edition="premium", users=12)
    tenantry.send(first)
    tenantry.until_taken_in(first)
    messages = tenantry.json("status")["messages"]
    assert messages["waiting"] >= 1
    assert messages["oldest_waiting"] >= 0
    unknown = tenantry.cli("show", tenant)
    assert unknown.exit_code == 2
    assert "1 messages wait for it to be created" in unknown.error

    tenantry.send(created(tenant))
    tenantry.until_level(tenant, "confluence", "open")
    assert tenantry.one("SELECT count(*) FROM waiting WHERE tenant_id = %s", tenant) == 0
    told = tenantry.show(tenant)
    assert told["desired_state"]["products"]["confluence"]["license"]["value"]["edition"] == "premium"
    (license_,) = told["licenses"]
    assert (license_["product"], license_["users"], license_["active"]) == ("confluence", 12, True)


def test_a_revisioned_suspend_before_its_activate_waits_in_its_register(tenantry: Running) -> None:
    tenant = new_tenant()
    tenantry.send(
        created(tenant, revision=1),
        suspended(tenant, "confluence", revision=7),
        activated(tenant, "confluence", revision=3),
    )
    tenantry.until_level(tenant, "confluence", "closed")
    tenantry.send(activated(tenant, "confluence", revision=8))
    tenantry.until_level(tenant, "confluence", "open")


def test_a_taken_site_name_is_waited_for_and_shown(tenantry: Running) -> None:
    first, second = new_tenant(), new_tenant()
    name = f"taken-{uuid4()}"
    tenantry.send(created(first, "atlas", site_name=name))
    tenantry.until_level(first, "atlas", "open")
    tenantry.send(created(second, "atlas", site_name=name))
    site = wait_for(lambda: _waiting(tenantry, second), "the second tenant to wait for the name")
    assert name in site["reason"]
    assert second in [row["tenant_id"] for row in tenantry.json("tenants", "--state", "waiting")]
    assert tenantry.show(first)["sites"][0]["site_name"] == name


def test_a_customer_update_takes_a_dropped_administrators_access_on_every_site(tenantry: Running) -> None:
    customer = f"customer-{uuid4()}"
    tenants = [new_tenant(), new_tenant()]
    one, two = person("one"), person("two")
    tenantry.send(customer_updated(customer, one, two, revision=1))
    tenantry.send(*[created(tenant, "atlas", customer=customer) for tenant in tenants])
    for tenant in tenants:
        wait_for(lambda: administrators(tenantry, tenant) == {"one", "two"}, "both administrators")  # noqa: B023
        tenantry.until_level(tenant, "atlas", "open")

    tenantry.send(customer_updated(customer, two, revision=2))
    for tenant in tenants:
        wait_for(lambda: administrators(tenantry, tenant) == {"two"}, "the dropped one to be gone")  # noqa: B023
        tenantry.until_settled(tenant)
        told = tenantry.show(tenant)
        assert {row["account_id"] for row in told["identities"]["users"]} == {"two"}
        assert told["identities"]["permissions"], "the other's permissions are in force"
    assert (
        tenantry.one("SELECT count(*) FROM identities WHERE account_id = 'one' AND tenant_id = ANY(%s)", tenants) == 0
    )

    tenantry.send(customer_updated(customer, one, two, revision=1))
    tenantry.send(customer_updated(customer, one, two, revision=3))
    for tenant in tenants:
        wait_for(lambda: administrators(tenantry, tenant) == {"one", "two"}, "the dropped one to be back")  # noqa: B023


def test_a_closed_product_has_no_permission_in_force(tenantry: Running) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant, "atlas"))
    tenantry.until_level(tenant, "atlas", "open")
    assert permissions(tenantry, tenant, "atlas") > 0
    tenantry.send(suspended(tenant, "atlas"))
    tenantry.until_level(tenant, "atlas", "closed")
    assert permissions(tenantry, tenant, "atlas") == 0
    (license_,) = tenantry.show(tenant)["licenses"]
    assert license_["active"] is False


def test_an_app_is_never_more_open_than_its_host(tenantry: Running) -> None:
    tenant = new_tenant()
    tenantry.send(created(tenant, "confluence", "diagrams"))
    for product in ("confluence", "diagrams"):
        tenantry.until_level(tenant, product, "open")
    steps = tenantry.show(tenant)["actual"]["products"]["diagrams"]["steps"]
    assert [step["state"] for step in steps] == ["done"] * 7
    tenantry.send(suspended(tenant, "confluence"))
    for product in ("confluence", "diagrams"):
        tenantry.until_level(tenant, product, "closed")


def administrators(tenantry: Running, tenant: str) -> set[str]:
    """Whoever has a permission in force on any of the tenant's products or its site."""
    query = "SELECT DISTINCT account_id FROM identities WHERE tenant_id = %s AND cardinality(permissions) > 0"
    return {row["account_id"] for row in tenantry.rows(query, tenant)}


def permissions(tenantry: Running, tenant: str, product: str) -> int:
    query = "SELECT count(*) FROM identity_permissions WHERE tenant_id = %s AND product = %s"
    return int(tenantry.one(query, tenant, product))


def _waiting(tenantry: Running, tenant: str) -> dict[str, Any] | None:
    rows = tenantry.rows("SELECT 1 FROM incoming JOIN customer_tenants ON tenant_id = %s LIMIT 1", tenant)
    site: dict[str, Any] | None = tenantry.show(tenant)["actual"]["site"] if rows else None
    known = tenantry.rows("SELECT 1 FROM provisionings WHERE tenant_id = %s AND state = 'waiting'", tenant)
    return site if site and site["state"] == "waiting" and known else None
