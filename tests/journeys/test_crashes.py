"""Does everything converge, once and without orphans, whatever is killed and when?

SIGKILL leaves no time for anything. The supervisor starts again what it lost; nothing starts the supervisor again but
the journey.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.events import Event, activated, created, deactivated, destroyed, new_tenant, suspended
from tests.journeys.running import Running, wait_for

pytestmark = [pytest.mark.saga, pytest.mark.slow, pytest.mark.timeout(300)]

TENANTS = 200
QUICK_LEASES = {"TENANTRY_LEASE_SECONDS": "3"}
"""What a killed provisioner held is taken over after three seconds, not thirty."""


def many(tenants: list[str]) -> list[Event]:
    """Each gets one or two products; every fifth is suspended, deactivated or destroyed on the way."""
    events = []
    for number, tenant in enumerate(tenants):
        events.append(created(tenant, "atlas", revision=1))
        if number % 2:
            events.append(activated(tenant, "confluence", revision=1))
        match number % 20:
            case 4:
                events.append(suspended(tenant, "atlas", revision=5))
            case 9:
                events.append(deactivated(tenant, "confluence", revision=5))
            case 14:
                events.append(destroyed(tenant, revision=5))
            case _:
                pass
    return events


def wishes(number: int) -> dict[str, str]:
    """What must become of the tenant with this number; the level of a deactivated product depends on its past."""
    atlas = "closed" if number % 20 in (4, 14) else "open"
    return {"atlas": atlas, **({"confluence": "open"} if number % 2 and number % 20 != 9 else {})}


def check(tenantry: Running, tenants: list[str], events: list[Event]) -> None:
    """One row for each event, every wish fulfilled, one completion a generation, no orphan, nothing missing."""
    tenantry.until_taken_in(*events)
    tenantry.until_settled()
    rows = tenantry.rows("SELECT tenant_id, key, level, state FROM provisionings WHERE kind = 'product'")
    found = {(row["tenant_id"], row["key"]): row["level"] for row in rows}
    for number, tenant in enumerate(tenants):
        for product, level in wishes(number).items():
            assert found[tenant, product] == level, (number, product)
    assert tenantry.rows("SELECT * FROM provisionings WHERE state <> 'converged'") == []
    assert tenantry.disagreements() == []
    assert tenantry.one("SELECT count(*) FROM incoming") == len(events)
    assert tenantry.one("SELECT count(*) FROM quarantine") == 0
    # Everything that happened is told, and nothing twice.
    query = (
        "SELECT (SELECT count(*) FROM stored_events WHERE topic = ANY(%s)) - (SELECT count(*) FROM outbox) AS missing"
    )
    told = [
        f"tenantry.{name}"
        for name in ("step-completed", "step-failed", "scope-converged", "scope-gave-up", "scope-held")
    ]
    assert tenantry.one(query, told) == 0
    wait_for(lambda: tenantry.json("status")["relay"]["lag"] == 0, "the relay to have published everything")


def test_killing_each_worker_in_the_middle_leaves_one_of_everything(data_dir: Path, unguarded: dict[str, str]) -> None:
    tenants = [new_tenant() for _ in range(TENANTS)]
    events = many(tenants)
    kinds = ["provisioner", "intake", "projector", "relay", "provisioner"]
    share = len(events) // len(kinds) + 1
    with Running(data_dir, {**QUICK_LEASES, **unguarded}) as tenantry:
        for number, kind in enumerate(kinds):
            before = tenantry.one("SELECT count(*) FROM stored_events")
            tenantry.send(*events[number * share : (number + 1) * share])
            wait_for(
                lambda: tenantry.one("SELECT count(*) FROM stored_events") > before + 30,  # noqa: B023
                "some work to be done",
            )
            killed = tenantry.kill(kind)
            wait_for(lambda: _replaced(tenantry, kind, killed), f"another {kind}")  # noqa: B023
        check(tenantry, tenants, events)


def test_killing_everything_in_the_middle_and_starting_again_leaves_one_of_everything(
    data_dir: Path, unguarded: dict[str, str]
) -> None:
    tenants = [new_tenant() for _ in range(TENANTS // 2)]
    events = many(tenants)
    with Running(data_dir, {**QUICK_LEASES, **unguarded}) as tenantry:
        tenantry.send(*events)
        tenantry.until_taken_in(*events)
        wait_for(
            lambda: tenantry.one("SELECT count(*) FROM stored_events WHERE topic = 'tenantry.step-completed'") > 100,
            "the saga to be in the middle",
        )
        tenantry.kill_everything()
        assert tenantry.processes() == set()
        tenantry.start()
        # The embedded broker forgot everything: commerce sends again what it is not sure of.
        tenantry.send(*events[: len(events) // 2])
        check(tenantry, tenants, events)


def _replaced(tenantry: Running, kind: str, killed: int) -> bool:
    query = (
        "SELECT 1 FROM workers WHERE kind = %s AND pid <> %s AND state = 'ready' AND seen_at > now() - interval '3 s'"
    )
    return bool(tenantry.rows(query, kind, killed))
