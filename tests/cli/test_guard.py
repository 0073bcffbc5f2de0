"""Do `runs approve` and `reject` do what an operator has read, on a real PostgreSQL?"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from adapters.postgres import migrations
from adapters.postgres.log_import import LogImport
from audit.importing import import_log
from runtime.compose.prepare import count_pending_approvals
from tests.cli.conftest import JIRA, TENANT, Desk

ANOTHER = {
    "tenant_id": "t-other",
    "customer_id": "c-1",
    "site_name": "other",
    "residency": "global",
    "administrator": {"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
    "products": [{"product": "jira-software", "edition": "standard", "users": 5}],
}
MORE = ("confluence", "compass", "atlas", "jira-product-discovery", "jira-service-management")


def six_deactivated(desk: Desk) -> None:
    """One more than the guard lets pass; it is that of jira-software, the last one, which is held."""
    for product in MORE:
        edition = next(iter(desk.parts.catalog[product].editions))
        desk.comes("product.activated", product=product, edition=edition, users=5)
    desk.work()
    for product in (*MORE, "jira-software"):
        desk.comes("product.deactivated", product=product, reason="a script")
    desk.work()


def test_the_plan_is_printed_and_approved_by_its_hash(desk: Desk) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")
    (change,) = plan["changes"]
    assert (change["tenant_id"], change["change"], change["product"]) == (TENANT, "deactivate", "jira-software")
    assert change["levels"] == [["jira-software", "open", "retained"]]
    assert plan["plan"] in desk.says("runs", "approve")
    assert desk.json("status")["guard"]["awaiting_approval"] == 1
    assert "1 changes of 1 tenants await approval" in desk.says("status")
    (held,) = desk.json("show", TENANT)["desired_state"]["tenant"]["awaiting_approval"]
    assert (held["change"], held["product"]) == ("deactivate", "jira-software")
    assert "awaiting approval" in desk.says("show", TENANT)

    done = desk.json("runs", "approve", plan["plan"], "--reason", "they left", "--as", "Ada")
    assert (done["outcome"], done["by"].startswith("Ada (")) == ("approved", True)
    desk.work()
    assert desk.json("show", TENANT)["actual"]["products"]["jira-software"]["level"] == "retained"
    again = desk.says("runs", "approve", plan["plan"], "--reason", "again")
    assert again.startswith(f"plan {plan['plan']} was approved before, by Ada (")
    assert again.strip().endswith("nothing is done again")
    assert desk.json("runs", "approve", plan["plan"], "--reason", "again")["outcome"] == "approved before"
    too_late = desk.says("runs", "reject", plan["plan"], "--reason", "stop!", code=2)
    assert f"nothing was rejected: no change awaits approval; plan {plan['plan']} was approved" in too_late
    assert desk.json("status")["guard"] == {
        "awaiting_approval": 0,
        "closings": 0,
        "tenants": 0,
        "since": None,
        "oldest_seconds": None,
    }


def test_an_old_hash_and_a_missing_reason_are_refused(desk: Desk) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    assert "--reason is missing" in desk.says("runs", "approve", plan, code=2)
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    assert f"what awaits approval is not plan {plan}" in desk.says("runs", "approve", plan, "--reason", "x", code=2)


def test_a_mistyped_hash_is_refused_though_nothing_is_held(desk: Desk) -> None:
    said = desk.says("runs", "approve", "0123456789abcdef", "--reason", "they left", code=2)
    assert "nothing was approved: no change awaits approval, and no plan 0123456789abcdef was ever approved" in said
    assert "check the hash" in desk.says("runs", "reject", "0123456789abcdef", "--reason", "no", code=2)


def test_a_plan_that_was_approved_before_is_told_though_something_else_is_held_now(desk: Desk) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    desk.says("runs", "approve", plan, "--reason", "they left")
    desk.comes("product.activated", product="confluence", edition="standard", users=5)
    desk.work()
    desk.comes("product.deactivated", product="confluence", reason="a script")
    desk.work()
    held = desk.json("runs", "approve")["plan"]
    assert held not in (None, plan)
    assert f"plan {plan} was approved before" in desk.says("runs", "approve", plan, "--reason", "again")
    assert desk.json("runs", "approve")["plan"] == held, "nothing was approved"
    assert f"it is plan {held}" in desk.says("runs", "approve", "0123456789abcdef", "--reason", "x", code=2)


def test_a_rejected_plan_is_not_approved_afterwards(desk: Desk) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    desk.says("runs", "reject", plan, "--reason", "a script went wild")
    assert "nothing was approved" in desk.says("runs", "approve", plan, "--reason", "yes", code=2)


def test_a_rejected_plan_is_dropped(desk: Desk) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    desk.says("runs", "reject", plan, "--reason", "a script went wild")
    desk.work()
    assert desk.json("show", TENANT)["actual"]["products"]["jira-software"]["level"] == "open"
    assert desk.json("runs", "approve") == {"plan": None, "changes": []}


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy by which retention is over at once, and everything is held."""
    text = files("domain").joinpath("policy.toml").read_text()
    text = re.sub(r'(?m)^retention = "\w+"', 'retention = "PT0S"', text)
    text = re.sub(r"(?m)^at_least = \d+", "at_least = 0", text)
    (tmp_path / "policy.toml").write_text(re.sub(r"(?m)^share = 0\.01", "share = 0.0", text))
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))


def test_a_rejection_says_which_purges_stay_held(strict: None, desk: Desk) -> None:
    desk.comes("product.activated", product="confluence", edition="standard", users=5)
    desk.work()
    desk.comes("product.deactivated", product="jira-software", reason="left")
    desk.says("runs", "approve", desk.json("runs", "approve")["plan"], "--reason", "they left")
    desk.work()
    desk.comes("product.deactivated", product="confluence", reason="a script")
    plan = desk.json("runs", "approve")["plan"]
    said = desk.says("runs", "reject", plan, "--reason", "stop").strip()
    assert said == f"plan {plan} is rejected: 1 changes; purges that still await approval: 1"
    assert [change["change"] for change in desk.json("runs", "approve")["changes"]] == ["purge"]


def test_a_closing_beyond_its_budget_is_told_everywhere_and_closes_when_it_is_approved(
    strict: None, desk: Desk
) -> None:
    desk.work()
    desk.comes("product.suspended", product="jira-software", reason="a fault")
    desk.comes("license.updated", product="jira-software", edition="standard", users=5, status="inactive")
    desk.work()
    told = desk.json("status")["guard"]
    assert (told["awaiting_approval"], told["closings"], told["tenants"]) == (2, 2, 1)
    assert "2 changes of 1 tenants await approval (2 of them would close a product)" in desk.says("status")
    rows = {row["scope"]: row for row in desk.json("runs", "list")}
    awaits = "a suspension and a license that is inactive or over await approval: see `tenantry runs approve`"
    assert (rows[JIRA]["state"], rows[JIRA]["reason"]) == ("waiting", awaits)
    assert JIRA not in {row["scope"] for row in desk.json("runs", "list", "--state", "converged")}
    assert [each["change"] for each in desk.json("show", TENANT)["desired_state"]["tenant"]["awaiting_approval"]] == [
        "suspend",
        "license",
    ]
    [explained] = desk.json("explain", TENANT)["products"]
    assert (explained["usable"], explained["desired"]) == (True, "open")
    assert [each["reason"] for each in explained["awaiting"]] == [
        "a suspension of it (a fault), beyond the budget of the destroy guard: see `tenantry runs approve`",
        "a license that is inactive or over of it, beyond the budget of the destroy guard: see `tenantry runs approve`",
    ]
    said = desk.says("explain", TENANT)
    assert "A change awaited approval and had changed nothing: a suspension of it (a fault), beyond" in said
    assert "by message m-2 of /commerce" in said
    line = next(line for line in desk.says("timeline", TENANT).splitlines() if "closing awaits approval" in line)
    assert "change suspend, reason a fault" in line

    plan = desk.json("runs", "approve")
    assert [(each["change"], each["levels"]) for each in plan["changes"]] == [
        ("suspend", [["jira-software", "open", "closed"]]),
        ("license", []),
    ]
    assert plan["changes"][1]["says"] == "license standard, 5 users, inactive"
    desk.says("runs", "approve", plan["plan"], "--reason", "they do not pay", "--as", "Ada")
    desk.work()
    assert desk.json("show", TENANT)["actual"]["products"]["jira-software"]["level"] == "closed"
    assert desk.json("status")["guard"]["awaiting_approval"] == 0
    assert "changes approved: tenant:" in desk.says("acts")


def live_products(url: str) -> int:
    with psycopg.connect(url) as connection:
        [(products,)] = connection.execute("SELECT coalesce(sum(products), 0)::bigint FROM live_products").fetchall()
    return int(products)


def test_the_live_products_are_found_in_the_log_again_after_their_table_was_dropped(desk: Desk) -> None:
    url = desk.parts.endpoints.database_url
    for product in MORE:
        edition = next(iter(desk.parts.catalog[product].editions))
        desk.comes("product.activated", product=product, edition=edition, users=5)
    desk.comes("product.deactivated", product="atlas", reason="left")
    desk.comes("product.deactivated", product="compass", reason="left")
    desk.comes("product.activated", product="compass", edition="free", users=5)
    desk.comes("tenant.created", **ANOTHER)
    desk.comes("tenant.destroyed", tenant_id="t-other", reason="left")
    assert live_products(url) == 5
    for revision, expected in (("0003", 5), ("0008", 5)):
        migrations.downgrade(url, revision)
        migrations.migrate(url)
        assert live_products(url) == expected
    desk.says("restore", "t-other", "--reason", "the wrong one")
    assert live_products(url) == 6
    migrations.downgrade(url, "0008")
    migrations.migrate(url)
    assert live_products(url) == 6


def test_what_the_guard_counts_and_holds_comes_with_an_imported_log(
    strict: None, desk: Desk, second_database: str, tmp_path: Path
) -> None:
    desk.comes("product.activated", product="confluence", edition="standard", users=5)
    desk.comes("product.suspended", product="confluence", reason="a fault")
    desk.work()
    file = str(tmp_path / "log.jsonl")
    desk.says("audit", "export", file)
    url = desk.parts.endpoints.database_url
    import_log(LogImport(second_database), Path(file), keys=None)
    held = "SELECT tenant_id, changes, closings, since FROM held_by_guard"
    with psycopg.connect(url) as here, psycopg.connect(second_database) as there:
        assert here.execute(held).fetchall() == there.execute(held).fetchall() != []
    assert live_products(url) == live_products(second_database) == 2


def test_a_held_purge_is_listed_among_the_runs_and_found_again_after_its_table_was_dropped(
    strict: None, desk: Desk
) -> None:
    desk.work()
    desk.comes("product.deactivated", product="jira-software", reason="left")
    desk.says("runs", "approve", desk.json("runs", "approve")["plan"], "--reason", "they left")
    desk.work()
    [change] = desk.json("runs", "approve")["changes"]
    assert change["change"] == "purge"
    for asked in ((), ("--state", "waiting"), ("--tenant", TENANT)):
        rows = {row["scope"]: row for row in desk.json("runs", "list", *asked)}
        assert rows[JIRA]["state"] == "waiting"
        assert "its purge, which the destroy guard holds: see `tenantry runs approve`" in rows[JIRA]["reason"]
    assert JIRA not in {row["scope"] for row in desk.json("runs", "list", "--state", "converged")}

    before, url = desk.json("status")["guard"], desk.parts.endpoints.database_url
    migrations.downgrade(url, "0003")
    migrations.migrate(url)
    assert desk.json("status")["guard"]["awaiting_approval"] == 0
    count_pending_approvals(desk.parts)
    after = desk.json("status")["guard"]
    assert (after["awaiting_approval"], after["tenants"], after["since"]) == (
        before["awaiting_approval"],
        before["tenants"],
        before["since"],
    )
    assert desk.json("runs", "approve")["changes"] == [change]

    desk.says("runs", "approve", desk.json("runs", "approve")["plan"], "--reason", "it may go")
    migrations.downgrade(url, "0003")
    migrations.migrate(url)
    count_pending_approvals(desk.parts)
    assert desk.json("status")["guard"]["tenants"] == 0, "what was approved is not held again"
