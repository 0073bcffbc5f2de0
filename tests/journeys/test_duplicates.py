"""Does an event count once, however often it comes?"""

from __future__ import annotations

from dataclasses import replace

from tests.journeys.events import Event, activated, created, new_tenant
from tests.journeys.running import Running, wait_for

TENANTS = 200


def thousand() -> list[Event]:
    """1,000 events of 200 tenants: five licence changes each, so that the saga has little to do."""
    events = []
    for _ in range(TENANTS):
        tenant = new_tenant()
        events.append(created(tenant, revision=1))
        events += [
            Event(
                "license.updated",
                {"tenant_id": tenant, "product": "atlas", "edition": "free", "users": users, "status": "active"},
                revision=users,
            )
            for users in range(1, 5)
        ]
    return events


def test_a_thousand_events_three_times_leave_the_log_as_once(tenantry: Running) -> None:
    events = thousand()
    assert len(events) == 1000
    tenantry.send(*events)
    tenantry.until_taken_in(*events)
    tenantry.until_settled()
    log = tenantry.rows("SELECT count(*), max(notification_id) FROM stored_events")
    before = tenantry.json("status")["messages"]["duplicates"]

    tenantry.send(*events, *events)
    wait_for(
        lambda: tenantry.json("status")["messages"]["duplicates"] == before + 2000, "2,000 duplicates to be counted"
    )
    tenantry.until_settled()
    assert tenantry.rows("SELECT count(*), max(notification_id) FROM stored_events") == log
    ids = [event.id for event in events]
    counts = tenantry.rows("SELECT duplicates, count(*) FROM incoming WHERE id = ANY(%s) GROUP BY 1", ids)
    assert counts == [{"duplicates": 2, "count": 1000}]
    assert tenantry.one("SELECT count(*) FROM quarantine WHERE id = ANY(%s)", ids) == 0


def test_both_modes_and_any_order_of_keys_are_the_same_event(tenantry: Running) -> None:
    first = activated(new_tenant(), "atlas")
    again = replace(first, mode="binary", data=dict(reversed(list(first.data.items()))))
    tenantry.send(first, again)
    wait_for(
        lambda: tenantry.rows("SELECT 1 FROM incoming WHERE id = %s AND duplicates = 1", first.id), "the duplicate"
    )


def test_the_same_id_with_another_body_is_quarantined(tenantry: Running) -> None:
    tenant = new_tenant()
    first = created(tenant, "atlas")
    other = replace(first, data={**first.data, "site_name": "another-name"})
    tenantry.send(first, other)
    (entry,) = wait_for(
        lambda: [each for each in tenantry.json("quarantine", "list") if each["id"] == first.id], "the quarantine"
    )
    assert entry["rule"] == "same-id-other-content"
    assert entry["tenant_id"] == tenant
    tenantry.until_level(tenant, "atlas", "open")
    assert tenantry.show(tenant)["sites"][0]["site_name"] == first.data["site_name"]
