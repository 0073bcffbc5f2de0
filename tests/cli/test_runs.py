"""Do `tenantry runs` commands do what an operator asks, on a real PostgreSQL?"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from domain.errors import ExecutorError, Obstacle, Permanent, Retryable, Unreachable
from domain.tenant.events import TenantRestored
from runtime.compose import utc_now
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure, raises


def test_list_shows_what_needs_an_operator_first(desk: Desk) -> None:
    failure(desk)
    rows = desk.json("runs", "list")
    assert [(row["scope"], row["state"], row["level"]) for row in rows] == [
        (FAMILY, "failed", "absent"),
        (JIRA, "waiting", "absent"),
        (f"site:{TENANT}", "converged", "open"),
    ]
    assert rows[0]["step"] == {"number": 6, "name": "database"}
    assert (rows[0]["reason"], rows[0]["attempts"], rows[0]["retry_at"]) == ("no such disk", 1, None)
    table = desk.says("runs", "list", "--state", "failed")
    assert FAMILY in table
    assert "6 database" in table
    assert "no such disk" in table
    assert f"site:{TENANT}" not in table


@pytest.mark.parametrize(
    ("error", "state"),
    [(Retryable("disk full", delay=timedelta(hours=1)), "in_progress"), (Obstacle("disk", "no disk yet"), "waiting")],
)
def test_list_says_why_a_step_is_tried_again_or_waits(desk: Desk, error: ExecutorError, state: str) -> None:
    desk.world.faults = raises(error)
    desk.work()
    [row] = [row for row in desk.json("runs", "list") if row["scope"] == FAMILY]
    assert (row["state"], row["reason"]) == (state, str(error))
    assert str(error) in desk.says("runs", "list", "--state", state)
    shown = desk.json("show", TENANT)["actual"]["families"]["jira"]
    assert (shown["state"], shown["reason"]) == (state, str(error))


def test_status_names_what_is_unreachable_and_how_many_wait_for_it(desk: Desk) -> None:
    desk.work()
    assert desk.json("status")["outages"] == []
    desk.world.faults = raises(Unreachable("shard eu-1", "shard eu-1: no route to host"))
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    [outage] = desk.json("status")["outages"]
    assert (outage["away"], outage["scopes"]) == ("shard eu-1", 1)
    assert "shard eu-1 has been unreachable for " in desk.says("status")
    assert "shard eu-1: no route to host" in desk.says("runs", "list", "--state", "waiting")


@pytest.mark.parametrize(
    "error",
    [
        Retryable("disk full", delay=timedelta(hours=1)),
        Obstacle("disk", "no disk yet"),
        Unreachable("shard eu-1", "shard eu-1: no route to host"),
        Permanent("no such disk"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_list_and_both_shows_have_one_word_for_each_scope(desk: Desk, error: ExecutorError) -> None:
    desk.comes("product.activated", product="confluence", edition="standard", users=5)
    desk.work()
    desk.world.faults = raises(error)
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.comes("product.activated", product="jira-service-management", edition="standard", users=5)
    desk.work()
    actual = desk.json("show", TENANT)["actual"]
    shown = {f"site:{TENANT}": actual["site"]["state"]}
    shown |= {f"family:{TENANT}:{key}": each["state"] for key, each in actual["families"].items()}
    shown |= {f"product:{TENANT}:{key}": each["state"] for key, each in actual["products"].items()}
    listed = {row["scope"]: row["state"] for row in desk.json("runs", "list")}
    assert listed == shown
    for scope, state in shown.items():
        assert desk.json("runs", "show", scope)["state"] == state
        assert scope in [row["scope"] for row in desk.json("runs", "list", "--state", state)]


def test_show_says_what_is_wanted_where_it_is_not_so_yet(desk: Desk) -> None:
    desk.work()
    assert desk.says("runs", "show", FAMILY).startswith(f"{FAMILY} is open, converged\n")
    desk.world.faults = raises(Retryable("disk full", delay=timedelta(hours=1)))
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    assert desk.says("runs", "show", FAMILY).startswith(
        f"{FAMILY} is open (desired state: closed), in progress: disk full\n"
    )
    assert desk.json("runs", "show", FAMILY)["desired"] == "closed"


def test_list_can_be_narrowed_and_says_when_there_may_be_more(desk: Desk) -> None:
    desk.work()
    assert len(desk.json("runs", "list", "--tenant", TENANT)) == 3
    assert desk.json("runs", "list", "--state", "on_hold") == []
    assert "there may be more than 1: raise --limit" in desk.says("runs", "list", "--limit", "1")


def test_the_story_of_a_run_that_failed_was_retried_and_converged(desk: Desk) -> None:
    failure(desk)
    told = desk.says("runs", "retry", FAMILY, "--reason", "the disk is in", "--as", "Ada")
    assert told.strip() == f"{FAMILY} is tried again: see `tenantry runs show {FAMILY}`"
    desk.work()
    assert {row["state"] for row in desk.json("runs", "list")} == {"converged"}
    assert len(desk.json("runs", "list")) == 3, "the product that waited for the family was woken"

    story = desk.says("runs", "show", FAMILY)
    lines = [line.split("  ", 2)[-1].strip() for line in story.splitlines()]
    assert lines[0] == f"{FAMILY} is open, converged"
    assert "product activated of jira-software, by message m-1 of /commerce at tenantry.lifecycle/0@1" in story
    order = [
        "step 6 database attempt failed: attempt 1: no such disk; not tried again",
        "step 6 database failed: no such disk",
        "step 6 database compensated",
        "step 3 region compensated",
        "run 2",
        "resumed: by Ada (",
        "step 6 database completed: schema",
        "converged: has its desired state: open",
    ]
    places = [next(number for number, line in enumerate(lines) if line.startswith(start)) for start in order]
    assert places == sorted(places), story


def test_the_story_for_programs_has_the_same_facts(desk: Desk) -> None:
    failure(desk)
    desk.says("runs", "retry", FAMILY, "--reason", "the disk is in")
    told = desk.json("runs", "show", FAMILY)
    assert (told["scope"], told["level"], told["state"]) == (FAMILY, "absent", "in_progress")
    assert [run["number"] for run in told["runs"]] == [1, 2]
    facts = [fact for run in told["runs"] for fact in run["events"]]
    wished = facts[0]["cause"]
    assert (wished["kind"], wished["source"], wished["id"]) == ("message", "/commerce", "m-1")
    assert (wished["topic"], wished["partition"], wished["offset"]) == ("tenantry.lifecycle", 0, 1)
    versions = [fact["version"] for fact in facts if fact["stream"] == FAMILY]
    assert versions == list(range(1, len(versions) + 1)), "nothing is left out"
    assert facts[-1]["what"] == "resumed"
    assert facts[-1]["reason"] == "the disk is in"
    assert facts[-1]["cause"]["kind"] == "operator"
    assert "@" in facts[-1]["cause"]["source"]


def test_a_scope_may_be_named_by_its_tenant_and_product(desk: Desk) -> None:
    desk.work()
    assert desk.json("runs", "show", TENANT, "jira-software")["scope"] == JIRA
    assert desk.json("runs", "show", TENANT)["scope"] == f"site:{TENANT}"


def test_what_is_held_does_nothing_until_it_is_released(desk: Desk) -> None:
    desk.work()
    told = desk.json("runs", "hold", JIRA, "--reason", "moving house")
    assert (told["scope"], told["act"], told["reason"]) == (JIRA, "hold", "moving house")
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    (row,) = desk.json("runs", "list", "--state", "on_hold")
    assert (row["scope"], row["level"], row["reason"]) == (JIRA, "open", "moving house")
    assert "is on hold by" in desk.says("runs", "retry", JIRA, "--reason", "now", code=2)
    assert "is on hold already by" in desk.says("runs", "hold", JIRA, "--reason", "again", code=2)
    desk.says("runs", "release", JIRA, "--reason", "moved")
    desk.work()
    (row,) = [row for row in desk.json("runs", "list") if row["scope"] == JIRA]
    assert (row["state"], row["level"]) == ("converged", "closed")


def test_an_act_that_fits_no_more_is_one_line_with_the_way_on(desk: Desk) -> None:
    failure(desk)
    desk.says("runs", "retry", FAMILY, "--reason", "the disk is in")
    second = desk.says("runs", "retry", FAMILY, "--reason", "the disk is in", code=2)
    assert second.strip() == (f"error: nothing of {FAMILY} has failed or is on hold: see `tenantry runs show {FAMILY}`")
    assert "nothing of" in desk.says("runs", "release", FAMILY, "--reason", "x", code=2)


def test_scopes_that_come_on_stdin_are_all_acted_on_and_each_refusal_is_told(desk: Desk) -> None:
    failure(desk)
    scopes = f"{FAMILY}\n\n{JIRA}\nsite:t-9\n"
    (done, *refused) = json.loads(
        desk.says("runs", "retry", "-", "--reason", "the disk is in", "--json", stdin=scopes, code=1, stderr=False)
    )
    assert (done["scope"], done["act"], done["reason"]) == (FAMILY, "retry", "the disk is in")
    assert [(each["scope"], each["refused"].split(":")[0]) for each in refused] == [
        (JIRA, "nothing of product"),
        ("site:t-9", "there is no tenant t-9"),
    ]
    desk.work()
    assert {row["state"] for row in desk.json("runs", "list")} == {"converged"}
    said = desk.says("runs", "hold", "-", "--reason", "x", stdin=f"{FAMILY}\n{JIRA}")
    assert [line.split(" ")[0] for line in said.splitlines()] == [FAMILY, JIRA]
    assert "is on hold already" in desk.says("runs", "hold", "-", "--reason", "x", stdin=FAMILY, code=1)


def test_a_line_on_stdin_that_names_no_scope_stops_all_before_anything_is_done(desk: Desk) -> None:
    failure(desk)
    said = desk.says("runs", "retry", "-", "--reason", "x", stdin=f"{FAMILY}\nproduct:t-1", code=2)
    assert "'product:t-1' names no scope" in said
    assert desk.json("runs", "list", "--state", "failed")


@pytest.mark.parametrize("act", ["show", "retry", "hold", "release"])
def test_a_scope_that_is_not_there_is_named(desk: Desk, act: str) -> None:
    reason = [] if act == "show" else ["--reason", "x"]
    unknown = f"product:{TENANT}:confluence"
    assert f"there is no scope {unknown}" in desk.says("runs", act, unknown, *reason, code=2)
    assert "names no scope" in desk.says("runs", act, "tenant:t-1", *reason, code=2)
    said = desk.says("runs", act, "site:t-9", *reason, code=2)
    assert said.strip() == "error: there is no tenant t-9: see `tenantry tenants`"


def test_listing_the_runs_of_a_tenant_that_is_not_there_says_so(desk: Desk) -> None:
    assert "there is no tenant t-9" in desk.says("runs", "list", "--tenant", "t-9", code=2)
    assert desk.json("runs", "list", "--tenant", TENANT, "--state", "on_hold") == []


def test_the_commands_say_nothing_of_persons(desk: Desk) -> None:
    desk.work()
    said = desk.says("runs", "show", TENANT) + desk.says("runs", "list", "--json")
    assert "Lovelace" not in said
    assert "ada@example.com" not in said


def test_what_is_due_and_was_never_begun_is_listed(desk: Desk) -> None:
    rows = {row["scope"]: row for row in desk.json("runs", "list")}
    assert {scope: row["state"] for scope, row in rows.items()} == {
        f"site:{TENANT}": "in_progress",
        FAMILY: "waiting",
        JIRA: "waiting",
    }
    assert rows[JIRA]["reason"] == "waits for step 2 of the site"
    desk.work()
    assert {row["state"] for row in desk.json("runs", "list")} == {"converged"}


def test_a_tenant_that_was_destroyed_by_mistake_is_restored_with_all_that_it_had(desk: Desk) -> None:
    desk.work()
    before = desk.json("show", TENANT)["placements"][0]["schema_name"]
    desk.comes("tenant.destroyed", reason="called the wrong one")
    desk.work()
    assert desk.json("show", TENANT)["actual"]["products"]["jira-software"]["level"] == "closed"
    restored = desk.json("restore", TENANT, "--reason", "it was the other one", "--as", "Ada")
    assert restored == {"tenant_id": TENANT, "outcome": "restored", "undoes": "/commerce m-2"}
    desk.work()
    shown = desk.json("show", TENANT)
    assert (shown["desired_state"]["tenant"]["destroyed"], shown["actual"]["site"]["level"]) == (False, "open")
    product = shown["actual"]["products"]["jira-software"]
    assert (product["level"], product["data_lost"]) == ("open", False)
    assert shown["placements"][0]["schema_name"] == before
    [fact] = [
        fact
        for fact in desk.parts.log.load({f"tenant:{TENANT}": 0})[f"tenant:{TENANT}"]
        if isinstance(fact.event, TenantRestored)
    ]
    assert isinstance(fact.event, TenantRestored)
    assert (fact.event.reason, fact.event.operator.startswith("Ada (")) == ("it was the other one", True)
    assert "is not destroyed" in desk.says("restore", TENANT, "--reason", "again", code=1)


def test_what_is_held_back_from_its_purge_is_restored_after_the_window(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.work()
    before = desk.json("show", TENANT)["placements"][0]["schema_name"]
    desk.comes("tenant.destroyed", reason="called the wrong one")
    desk.says("runs", "hold", TENANT, "--reason", "is it the right one?")
    desk.work()
    policy = (
        files("domain").joinpath("policy.toml").read_text().replace('restore_window = "P14D"', 'restore_window = "P0D"')
    )
    (tmp_path / "policy.toml").write_text(policy)
    monkeypatch.setenv("TENANTRY_POLICY_FILE", str(tmp_path / "policy.toml"))
    shown = desk.json("show", TENANT)["actual"]["site"]
    assert (shown["state"], shown["reason"]) == ("on_hold", "is it the right one?")
    assert "is restored" in desk.says("restore", TENANT, "--reason", "it was the wrong one")
    desk.says("runs", "release", TENANT, "--reason", "it was not")
    desk.work()
    shown = desk.json("show", TENANT)
    assert shown["actual"]["products"]["jira-software"]["level"] == "open"
    assert shown["placements"][0]["schema_name"] == before


def test_an_act_names_the_version_that_was_seen_and_is_refused_where_the_scope_has_moved(desk: Desk) -> None:
    failure(desk)
    seen = desk.json("runs", "show", FAMILY)["seen"]
    [row] = [row for row in desk.json("runs", "list") if row["scope"] == FAMILY]
    assert row["seen"] == seen
    desk.says("runs", "hold", FAMILY, "--reason", "wait", "--seen", seen)
    said = desk.says("runs", "release", FAMILY, "--reason", "go on", "--seen", seen, code=2)
    assert f"{FAMILY} has moved since: version {seen} was seen" in said
    now = desk.json("runs", "show", FAMILY)["seen"]
    lines = f"{FAMILY} {seen}\n{FAMILY} {now}\n"
    [refused, released] = json.loads(
        desk.says("runs", "release", "-", "--reason", "go on", "--json", code=1, stderr=False, stdin=lines)
    )
    assert "has moved since" in refused["refused"]
    assert released["act"] == "release"
    desk.work()
    acts = [json.loads(line) for line in desk.says("acts", "--json").splitlines()]
    assert [(act["seen"], act["channel"]) for act in acts if act["on"] == FAMILY] == [
        (seen, "terminal"),
        (now, "terminal"),
    ]
    assert acts[-1]["issuer"]


def test_a_restore_names_the_version_that_was_seen(desk: Desk) -> None:
    desk.work()
    desk.comes("tenant.destroyed", reason="left")
    said = desk.says("restore", TENANT, "--reason", "the wrong one", "--seen", "1", code=2)
    assert f"tenant {TENANT} has moved since: version 1 was seen" in said
    desk.says("restore", TENANT, "--reason", "the wrong one")


def test_persons_are_shown_only_with_a_reason_and_by_an_act(desk: Desk) -> None:
    desk.work()
    at = ("--at", str(desk.parts.past.mark()))
    for arguments in (("show", TENANT), ("show", TENANT, "--json"), ("show", TENANT, *at, "--json")):
        said = desk.says(*arguments)
        assert "Lovelace" not in said
        assert "ada@example.com" not in said
        assert "(personal)" in said
    assert "--persons needs a --reason" in desk.says("show", TENANT, "--persons", code=2)
    assert "Lovelace" in desk.says("show", TENANT, "--persons", "--reason", "she is on the phone", "--as", "Bob")
    desk.work()
    [act] = [json.loads(line) for line in desk.says("acts", "--what", "personal", "--json").splitlines()]
    assert (act["on"], act["why"], act["details"]) == (f"operator:{TENANT}", "she is on the phone", {"what": "persons"})
    assert act["who"].startswith("Bob (")


def test_a_rehearsal_names_steps_systems_and_the_command_that_carries_it_out(desk: Desk) -> None:
    failure(desk)
    before = desk.json("runs", "show", FAMILY)
    told = desk.json("runs", "rehearse", FAMILY)
    assert (told["act"], told["seen"], told["whole"], told["irreversible"]) == ("retry", before["seen"], True, [])
    assert [(each["scope"], each["step"]["name"]) for each in told["steps"]][:2] == [
        (FAMILY, "region"),
        (FAMILY, "database"),
    ]
    assert "the control database" in told["systems"]
    assert told["ends"][JIRA] == {"level": "open", "state": "converged", "reason": None}
    said = desk.says("runs", "retry", FAMILY, "--reason", "the disk is in", "--rehearse")
    assert f"tenantry runs retry {FAMILY} --reason TEXT --seen {before['seen']}" in said
    assert "nothing of it is beyond undoing" in said
    assert desk.json("runs", "show", FAMILY) == before
    assert desk.json("runs", "rehearse", "0123456789abcdef")["steps"] == [], "no change awaits approval"


def test_a_hold_for_a_time_is_listed_with_its_end(desk: Desk) -> None:
    desk.work()
    assert "on hold until 2" in desk.says("runs", "hold", FAMILY, "--reason", "their move", "--for", "1d12h")
    desk.work()
    [row] = desk.json("runs", "list", "--state", "on_hold")
    until = datetime.fromisoformat(row["until"])
    assert timedelta(hours=35) < until - utc_now() <= timedelta(hours=36)
    assert f"{until:%Y-%m-%d %H:%M}" in desk.says("runs", "list", "--state", "on_hold")
    assert f"no step starts until {until:%Y-%m-%d %H:%M}" in desk.says("runs", "show", FAMILY)
    assert "reconcile" not in desk.says("audit", "scopes"), "it is settled until its end"


@pytest.mark.parametrize("period", ["2", "0h", "-1h", "h", "2h 30m", "9999d", ""])
def test_a_hold_for_no_time_is_refused(desk: Desk, period: str) -> None:
    said = desk.says("runs", "hold", FAMILY, "--reason", "their move", "--for", period, code=2)
    assert "is no time of at most 365 days: write it as 90s" in said
