"""Do grants to export say who, why and how much, and does the log's own export hold to them?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domain.export_grants import STREAM, ExportGranted, ExportGrantRevoked
from runtime.proposal import account
from tests.cli.conftest import TENANT, Desk

LATER = "2999-01-01"
GRANT = ("access", "grant-export", account(), "--what", "audit-log", "--until", LATER, "--reason", "the yearly audit")
MOST = 3


@pytest.fixture(autouse=True)
def few(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than may go out without a grant."""
    monkeypatch.setenv("TENANTRY_EXPORT_WITHOUT_GRANT", str(MOST))
    desk.work()


def events(desk: Desk) -> int:
    return len(Path("out.jsonl").read_text().splitlines()) if Path("out.jsonl").exists() else 0


def test_a_small_export_needs_no_grant(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_EXPORT_WITHOUT_GRANT", "1000")
    desk.says("audit", "export", "out.jsonl")
    assert events(desk) > MOST


def test_a_larger_one_is_refused_with_the_command_that_grants_it_and_leaves_nothing(desk: Desk) -> None:
    said = desk.says("audit", "export", "out.jsonl", code=2)
    assert f"`tenantry access grant-export {account()} --what audit-log" in " ".join(said.split())
    assert not list(Path().glob("out*"))


def test_under_a_grant_it_goes_out_whole_and_is_counted(desk: Desk) -> None:
    grant = desk.json(*GRANT, "--rows", "1000")["grant_id"]
    exported = desk.json("audit", "export", "out.jsonl", "--grant", grant)
    (listed,) = desk.json("access", "exports")
    assert (listed["state"], listed["rows_spent"], listed["what"]) == ("in force", exported["events"], "audit-log")
    assert listed["bytes_spent"] > exported["events"] * 100
    assert "the yearly audit" in desk.says("access", "exports")


def test_a_grant_that_is_too_small_is_not_used_and_nothing_is_left(desk: Desk) -> None:
    for more in (("--rows", "2"), ("--rows", "1000", "--bytes", "5")):
        grant = desk.json(*GRANT, *more)["grant_id"]
        assert "less than this export" in desk.says("audit", "export", "out.jsonl", "--grant", grant, code=2)
        assert not list(Path().glob("out*"))
    assert {each["rows_spent"] for each in desk.json("access", "exports")} == {0}


def test_a_grant_counts_for_its_holder_its_data_its_tenant_and_its_time(desk: Desk) -> None:
    others = {
        "has no grant": ("access", "grant-export", "reporting", *GRANT[3:], "--rows", "1000"),
        "is for jira-issues": (*GRANT[:4], "jira-issues", *GRANT[5:], "--rows", "1000"),
        "is for tenant t-9 alone": (*GRANT, "--rows", "1000", "--tenant", "t-9"),
    }
    for why, command in others.items():
        grant = desk.json(*command)["grant_id"]
        assert why in " ".join(desk.says("audit", "export", "out.jsonl", "--grant", grant, code=2).split())
    own = desk.json(*GRANT, "--rows", "1000", "--tenant", TENANT)["grant_id"]
    assert "alone" in desk.says("audit", "export", "out.jsonl", "--grant", own, code=2)
    desk.says("audit", "export", "out.jsonl", "--grant", own, "--tenant", TENANT)
    assert "is over" in desk.says(*GRANT[:6], "2001-01-01", *GRANT[7:], "--rows", "5", code=2)


def test_a_revoked_grant_gives_nothing_more(desk: Desk) -> None:
    grant = desk.json(*GRANT, "--rows", "1000")["grant_id"]
    desk.says("access", "revoke-export", grant, "--reason", "the audit is over")
    assert "was revoked" in desk.says("audit", "export", "out.jsonl", "--grant", grant, code=2)
    assert "was revoked" in desk.says("access", "revoke-export", grant, "--reason", "again", code=2)
    assert "has no grant" in desk.says("access", "revoke-export", "x-none", "--reason", "again", code=2)


def test_who_granted_and_revoked_and_why_are_in_the_log_and_among_the_acts(desk: Desk) -> None:
    grant = desk.json(*GRANT, "--rows", "1000", "--as", "Ada")["grant_id"]
    desk.says("access", "revoke-export", grant, "--reason", "the audit is over", "--as", "Bo")
    granted, revoked = (fact.event for fact in desk.parts.log.load({STREAM: 0})[STREAM])
    assert isinstance(granted, ExportGranted)
    assert isinstance(revoked, ExportGrantRevoked)
    assert (granted.operator.split()[0], granted.reason, granted.rows) == ("Ada", "the yearly audit", 1000)
    assert (revoked.operator.split()[0], revoked.reason) == ("Bo", "the audit is over")
    desk.work()
    acts = [json.loads(line) for line in desk.says("acts", "--what", "export", "--json").splitlines()]
    assert [act["what"] for act in acts] == ["export granted", "export grant revoked"]


@pytest.mark.parametrize("wrong", [("", "audit-log"), ("ada", "Audit Log"), ("a\tb", "audit-log")])
def test_what_is_no_grant_is_refused(desk: Desk, wrong: tuple[str, str]) -> None:
    grantee, what = wrong
    said = desk.says("access", "grant-export", grantee, "--what", what, *GRANT[5:], "--rows", "5", code=2)
    assert "is no grant" in said
