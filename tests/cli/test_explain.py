"""Does `explain` tell of what is on its way out, and of what began anew?"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from application.drift_detection import Sweep
from application.ports.resources import Order
from domain.drift import Finding, Seen
from domain.errors import Permanent, Unreachable
from domain.operator import Operator
from domain.scope.steps import Scope, Step
from domain.times import clock
from runtime.compose import utc_now
from runtime.compose.resources import reconciling_of
from tests.cli.conftest import TENANT, Desk, failure, raises

APP = "timesheets"


def explained(desk: Desk, product: str, at: int) -> str:
    return desk.says("explain", TENANT, "--product", product, "--at", str(at))


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy by which retention is over at once."""
    text = files("domain").joinpath("policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(re.sub(r'(?m)^retention = "\w+"', 'retention = "PT0S"', text))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))


def test_a_purge_that_has_begun_and_the_life_after_it_are_explained(short: None, desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("product.deactivated", product="jira-software", reason="downgrade")
    desk.work()
    [purge] = [
        fact for fact in desk.parts.log.load({f"tenant:{TENANT}": 0})[f"tenant:{TENANT}"] if "purge" in fact.event.TOPIC
    ]
    said = explained(desk, "jira-software", purge.position)
    assert "Its desired state was gone: it was deactivated (downgrade)." in said
    assert "Its desired state was gone: its retention was over, and the purge of its data had begun." in said
    assert f"purge started (position {purge.position})" in said
    assert "its host jira-software: its retention was over" in explained(desk, APP, purge.position)

    desk.comes("product.activated", product="jira-software", edition="standard", users=5)
    desk.work()
    now = desk.parts.log.advance_mark()
    for product in ("jira-software", APP):
        said = explained(desk, product, now)
        assert f"{product} of tenant {TENANT} was usable" in said
        assert "It had started again without data: its earlier data is lost." in said
        assert "purge" not in said
    [told] = desk.json("explain", TENANT, "--product", "jira-software", "--at", str(now))["products"]
    assert told["data_lost"] is True
    line = next(
        line for line in desk.says("timeline", TENANT, "--kind", "timer").splitlines() if "purge started" in line
    )
    assert f"apps {APP}, families jira, epoch" in line


def test_without_a_moment_it_is_told_as_it_is_now(desk: Desk) -> None:
    desk.work()
    position = desk.parts.log.advance_mark()
    said = desk.says("explain", TENANT, "--product", "jira-software")
    assert f"jira-software of tenant {TENANT} was usable at" in said
    assert f"(position {position})" in said


def test_what_closes_an_app_and_its_host_alike_is_told_once(desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("tenant.destroyed", reason="a script")
    desk.work()
    said = explained(desk, APP, desk.parts.log.advance_mark())
    assert said.count("Its desired state was") == 1
    assert "Its desired state was closed: its tenant was destroyed (a script)." in said


def test_a_tenant_of_which_only_messages_wait_is_no_typing_error(desk: Desk) -> None:
    desk.comes("product.suspended", tenant_id="t-2", product="jira-software", reason="unpaid")
    desk.parts.log.advance_mark()
    for asked in (("explain", "t-2", "--at", "1"), ("show", "t-2", "--at", "1"), ("show", "t-2")):
        assert "1 messages wait for it to be created" in desk.says(*asked, code=2)
    assert "see `tenantry tenants`" in desk.says("explain", "t-3", "--at", "1", code=2)


# -- what awaits an approval ---------------------------------------------------------------------------------------


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy by which every destruction is held."""
    text = files("domain").joinpath("policy.toml").read_text()
    text = re.sub(r"(?m)^at_least = \d+", "at_least = 0", text)
    (tmp_path / "policy.toml").write_text(re.sub(r"(?m)^share = 0\.01", "share = 0.0", text))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))


def test_a_destruction_that_is_held_and_who_approved_it_are_explained(strict: None, desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("tenant.destroyed", reason="they left")
    desk.work()
    held = desk.parts.log.advance_mark()
    for product in ("jira-software", APP):
        said = explained(desk, product, held)
        assert "licensed, and without an obstacle" not in said
        assert "Its desired state was open: activated, licensed, and a change of that awaits approval." in said
        assert (
            "A change awaited approval and had changed nothing: the destruction of its tenant (they left), beyond"
            in said
        )
        assert f"approval requested (position {held})" in said
        assert "by message m-3 of /commerce" in said

    plan = desk.json("runs", "approve")["plan"]
    desk.says("runs", "approve", plan, "--reason", "I have called them", "--as", "Ada")
    desk.work()
    now = desk.parts.log.advance_mark()
    said = explained(desk, "jira-software", now)
    assert "awaited approval" not in said
    assert "Its desired state was closed: its tenant was destroyed (they left)." in said
    approved = [line for line in said.splitlines() if "approved by Ada (" in line]
    assert len(approved) == 2, "once for the wish, once for the level that came of it"
    assert all(": I have called them (position " in line for line in approved)
    assert said.count("by message m-3 of /commerce") == 2
    [told] = desk.json("explain", TENANT, "--product", "jira-software")["products"]
    assert "tenantry.changes-approved" in [link["event"] for link in told["desired_state"][0]["since"]]
    assert told["awaiting"] == []

    acts = desk.says("acts", "--what", "approved")
    assert re.search(r"\(1 change, requested at version \d+ of the tenant's stream, plan ", acts)


def test_a_deactivation_that_is_held_is_not_told_of_the_other_products(strict: None, desk: Desk) -> None:
    desk.comes("product.activated", product="confluence", edition="standard", users=5)
    desk.work()
    desk.comes("product.deactivated", product="confluence", reason="a script")
    desk.work()
    now = desk.parts.log.advance_mark()
    assert "a deactivation of it (a script), beyond the budget of the destroy guard" in explained(
        desk, "confluence", now
    )
    assert "licensed, and without an obstacle" in explained(desk, "jira-software", now)


# -- what is only as recorded --------------------------------------------------------------------------------------


def test_converging_again_to_the_same_level_is_what_last_brought_it_there(desk: Desk) -> None:
    desk.work()
    first = desk.parts.log.advance_mark()
    desk.says("runs", "ensure", f"product:{TENANT}:jira-software", "--reason", "somebody was at it", "--as", "Ada")
    desk.work()
    last = desk.parts.log.advance_mark()
    assert last > first
    said = explained(desk, "jira-software", last)
    brought = said[said.index("It last converged to open:") :]
    assert f"scope converged (position {last})" in brought
    assert "It was open since " in brought
    [told] = desk.json("explain", TENANT, "--product", "jira-software", "--at", str(last))["products"]
    assert told["level_since"][0]["position"] <= first
    assert told["level_last"][0]["position"] == last


def test_a_moment_before_data_was_found_missing_is_told_as_recorded(desk: Desk) -> None:
    desk.work()
    before = desk.parts.log.advance_mark()
    family = Scope("family", TENANT, "jira")
    version = desk.parts.saga.snapshots([TENANT])[TENANT].actual(family).version
    seen = Seen(family, version, "eu-1", (Finding(Step.DATABASE, "data", "data_missing: it is not there"),))
    reconciling_of(desk.parts).mend(Sweep(drifted=[seen]), by=Operator.parse("a sweep"))
    after = desk.parts.log.advance_mark()
    said = explained(desk, "jira-software", before)
    assert "was usable" in said
    assert "Its database: as recorded, last observed at " in said
    assert f"it was found missing at {clock(utc_now())[:10]}" in said
    assert f"(position {after}), and the time when it was lost is not known" in said
    said = explained(desk, "jira-software", after)
    assert "was not usable" in said
    assert re.search(rf"Its database: as recorded, last observed at .* \(position {after}\), when it was missing", said)


def test_a_moment_in_an_outage_is_told_as_recorded(desk: Desk) -> None:
    desk.work()
    assert "as recorded" not in explained(desk, "jira-software", desk.parts.log.advance_mark())
    desk.world.faults = raises(Unreachable("shard eu-1", "shard eu-1: no route to host"))
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    said = explained(desk, "jira-software", desk.parts.log.advance_mark())
    assert f"Step 6 of family:{TENANT}:jira: as recorded, last observed at " in said
    assert "; shard eu-1 could not be reached since " in said


def for_customer(desk: Desk, *arguments: str) -> str:
    return desk.says("explain", TENANT, "--product", "jira-software", "--for-customer", *arguments).strip()


def test_a_customer_hears_that_a_product_is_being_set_up_then_available_then_suspended(desk: Desk) -> None:
    desk.parts.log.advance_mark()
    assert for_customer(desk) == "Jira Software is being set up."
    desk.work()
    assert for_customer(desk) == "Jira Software is available."
    desk.comes("product.suspended", product="jira-software", reason="Ada has not paid")
    desk.work()
    said = for_customer(desk)
    assert re.fullmatch(
        r"Jira Software is suspended, since \d{4}-\d\d-\d\d \d\d:\d\d UTC\. Its data is kept\.", said
    ), said
    assert desk.json("explain", TENANT)["products"][0]["for_customer"] == said


def test_a_customer_hears_of_a_failure_without_its_details(desk: Desk) -> None:
    failure(desk)
    assert for_customer(desk) == ("Jira Software could not be set up. Our operators know of it and are working on it.")
    assert "disk" in desk.says("explain", TENANT), "the operator hears of the disk"


def test_a_customer_whose_product_works_while_a_change_of_it_failed_is_not_alarmed(desk: Desk) -> None:
    desk.work()
    desk.says("runs", "hold", f"product:{TENANT}:jira-software", "--reason", "their move")
    desk.parts.log.advance_mark()
    assert for_customer(desk) == "Jira Software is available."
    desk.says("runs", "release", f"product:{TENANT}:jira-software", "--reason", "over")

    def fault(order: Order, when: str) -> None:
        if order.step is Step.LICENSE and when == "before":
            raise Permanent("no such edition on the disk")

    desk.world.faults = fault
    desk.comes("license.updated", product="jira-software", edition="standard", users=9, status="active")
    desk.work()
    assert for_customer(desk) == ("Jira Software is available; a change to it is on its way and is not complete yet.")


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        ("tenant.destroyed", {"reason": "left"}, "is closed, because the site was cancelled"),
        (
            "product.deactivated",
            {"product": "jira-software", "reason": "x"},
            "is not part of the subscription any more",
        ),
        (
            "license.updated",
            {"product": "jira-software", "edition": "standard", "users": 5, "status": "inactive"},
            "is closed, because its license is not active",
        ),
    ],
)
def test_a_customer_hears_why_a_product_is_closed(desk: Desk, type_: str, data: dict[str, Any], said: str) -> None:
    desk.work()
    desk.comes(type_, **data)
    desk.work()
    assert said in for_customer(desk)


def test_a_customer_hears_that_an_app_is_closed_by_its_host(desk: Desk) -> None:
    desk.comes("product.activated", product=APP, edition="standard", users=5)
    desk.work()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    said = desk.says("explain", TENANT, "--product", APP, "--for-customer")
    assert "is closed, because the product that it belongs to is closed, since" in said
