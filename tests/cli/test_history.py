"""Do the commands that look back tell what was so, why, and what happened, on a real PostgreSQL?"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from domain.stored_form import as_json
from runtime.compose import utc_now
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure


def position(desk: Desk) -> int:
    return desk.parts.log.advance_mark()


@pytest.fixture
def moments(desk: Desk) -> tuple[int, int, int]:
    """Positions: jira-software is open, is suspended, and is open again."""
    desk.work()
    before = position(desk)
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    during = position(desk)
    desk.comes("product.unsuspended", product="jira-software")
    desk.work()
    return before, during, position(desk)


def test_a_tenant_as_of_a_moment_is_shown_as_it_was_shown_then(desk: Desk) -> None:
    shown = []
    for change in (None, "product.suspended", "product.unsuspended"):
        if change:
            desk.comes(
                change, product="jira-software", **({"reason": "unpaid"} if change.endswith(".suspended") else {})
            )
        desk.work()
        shown.append((position(desk), desk.json("show", TENANT)))
    with desk.parts.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE licenses, sites_base, provisionings")
    for at, then in shown:
        assert desk.json("show", TENANT, "--at", str(at)) == then
    assert "desired state: tenant t-1" in desk.says("show", TENANT, "--at", utc_now().isoformat())


def test_diff_names_what_differs(desk: Desk, moments: tuple[int, int, int]) -> None:
    before, during, after = map(str, moments)
    told = desk.json("diff", TENANT, "--from", before, "--to", during)
    changes = {change["where"]: (change["before"], change["after"]) for change in told["changes"]}
    assert changes["desired_state.products.jira-software.desired"] == ("open", "closed")
    assert changes["licenses.jira-software.active"] == (True, False)
    assert changes["sites.access"] == ("open", "closed")
    assert told["to"]["position"] == moments[1]
    assert "licenses.jira-software.active" in desk.says("diff", TENANT, "--from", before, "--to", during)
    same = desk.says("diff", TENANT, "--from", before, "--to", before)
    assert same.startswith(f"nothing of tenant {TENANT} differs between")
    left = {change["where"] for change in desk.json("diff", TENANT, "--from", before, "--to", after)["changes"]}
    assert not {where for where in left if where.startswith(("licenses", "identities", "sites"))}


def test_explain_tells_why_a_product_was_usable_or_not(desk: Desk, moments: tuple[int, int, int]) -> None:
    def at(moment: int) -> Any:
        (told,) = desk.json("explain", TENANT, "--product", "jira-software", "--at", str(moment))["products"]
        return told

    before, during, after = map(at, moments)
    assert [told["usable"] for told in (before, during, after)] == [True, False, True]
    assert [told["level"] for told in (before, during, after)] == ["open", "closed", "open"]
    (reason,) = during["desired_state"]
    assert reason["reason"] == "it was suspended (unpaid)"
    (fact,) = reason["since"]
    assert fact["event"] == "tenantry.product-suspended"
    assert (fact["cause"]["topic"], fact["cause"]["partition"], fact["cause"]["offset"]) == ("tenantry.lifecycle", 0, 2)
    assert [link["event"] for link in during["level_since"]] == [
        "tenantry.scope-converged",
        "tenantry.product-suspended",
    ]
    assert "its login role could not log in" in during["lacking"]
    (reason,) = after["desired_state"]
    assert reason["since"][0]["event"] == "tenantry.product-unsuspended"
    story = desk.says("explain", TENANT, "--at", str(moments[1]))
    assert f"jira-software of tenant {TENANT} was not usable at" in story
    assert "Its desired state was closed: it was suspended (unpaid)." in story
    assert "by message m-2 of /commerce at tenantry.lifecycle/0@2" in story


def test_explain_names_the_step_at_which_the_saga_stood(desk: Desk) -> None:
    failure(desk)
    (told,) = desk.json("explain", TENANT, "--at", str(position(desk)))["products"]
    assert (told["usable"], told["desired"], told["level"]) == (False, "open", "absent")
    standing = {each["scope"]: each for each in told["standing"]}
    assert standing[FAMILY]["step"] == {"number": 6, "name": "database"}
    assert standing[FAMILY]["reason"] == "no such disk"
    assert ", failed at step 6 database, attempt 1: no such disk" in desk.says(
        "explain", TENANT, "--at", str(position(desk))
    )


def test_a_moment_before_the_tenant_and_a_tenant_that_never_was_are_named(desk: Desk) -> None:
    desk.work()
    assert "there is no tenant t-9" in desk.says("show", "t-9", "--at", "1", code=2)
    desk.comes(
        "tenant.created",
        tenant_id="t-2",
        customer_id="c-1",
        site_name="late",
        residency="global",
        administrator={"account_id": "a-1", "name": "Ada", "email": "ada@example.com"},
        products=[],
    )
    desk.work()
    assert "tenant t-2 did not exist yet: it was created at" in desk.says("explain", "t-2", "--at", "1", code=2)
    assert "no message of a tenant t-9 has ever come in" in desk.says("timeline", "t-9", code=2)
    assert "there is no kind" in desk.says("timeline", TENANT, "--kind", "gossip", code=2)
    assert "is no time" in desk.says("timeline", TENANT, "--since", "noon", code=2)
    assert "is no moment" in desk.says("show", TENANT, "--at", "noon", code=2)
    assert "not in the catalogue" in desk.says("timeline", TENANT, "--product", "jyra", code=2)


def test_the_timeline_of_a_tenant_that_failed_was_tried_again_and_suspended(desk: Desk) -> None:
    failure(desk)
    desk.says("runs", "retry", FAMILY, "--reason", "the disk is in", "--as", "Ada")
    desk.work()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.comes("license.updated", product="no-such-product", edition="free", users=1, status="active")
    desk.work()
    entries = [json.loads(line) for line in desk.says("timeline", TENANT, "--json").splitlines()]
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert _golden(entries) == GOLDEN.strip().splitlines()
    assert "Lovelace" not in desk.says("timeline", TENANT, "--json")


def _golden(entries: list[dict[str, Any]]) -> list[str]:
    """The lines by stream, for scopes are worked on side by side; each with its cause."""
    place = {entry["position"]: f"{entry['stream']}/{entry['version']}" for entry in entries if entry["position"]}
    lines: dict[str, list[str]] = {}
    for entry in entries:
        cause = entry["cause"]
        because = place.get(entry["caused_by"]) or re.sub(r"\(.*\)", "(...)", cause.get("source", ""))
        if "topic" in cause:
            because = f"{cause['topic']}/{cause['partition']}@{cause['offset']}"
        lines.setdefault(entry["stream"] or "", []).append(f"  {entry['kind']} {entry['what']} <- {because}")
    return [line for stream in sorted(lines) for line in (stream or "beside the log", *lines[stream])]


GOLDEN = """
beside the log
  came message m-1 <- tenantry.lifecycle/0@1
  came message m-2 <- tenantry.lifecycle/0@2
  refused license updated <- tenantry.lifecycle/0@3
family:t-1:jira
  step started 3 region <- tenant:t-1/2
  step completed 3 region <- tenant:t-1/2
  step started 6 database <- tenant:t-1/2
  step attempt failed 6 database <- tenant:t-1/2
  scope failed 6 database <- tenant:t-1/2
  step compensating 6 database <- tenant:t-1/2
  step compensated 6 database <- tenant:t-1/2
  step compensating 3 region <- tenant:t-1/2
  step compensated 3 region <- tenant:t-1/2
  operator resumed <- Ada (...)
  step started 3 region <- family:t-1:jira/10
  step completed 3 region <- family:t-1:jira/10
  step started 6 database <- family:t-1:jira/10
  step completed 6 database <- family:t-1:jira/10
  scope converged <- family:t-1:jira/10
  step started 6 database <- tenant:t-1/3
  step completed 6 database <- tenant:t-1/3
  scope converged <- tenant:t-1/3
product:t-1:jira-software
  step started 2 site <- tenant:t-1/2
  step completed 2 site <- tenant:t-1/2
  step started 4 configuration <- tenant:t-1/2
  step completed 4 configuration <- tenant:t-1/2
  step started 5 identity <- tenant:t-1/2
  step completed 5 identity <- tenant:t-1/2
  step started 7 license <- tenant:t-1/2
  step completed 7 license <- tenant:t-1/2
  scope converged <- tenant:t-1/2
  step started 2 site <- tenant:t-1/3
  step completed 2 site <- tenant:t-1/3
  step started 5 identity <- tenant:t-1/3
  step completed 5 identity <- tenant:t-1/3
  step started 7 license <- tenant:t-1/3
  step completed 7 license <- tenant:t-1/3
  scope converged <- tenant:t-1/3
site:t-1
  step started 1 commerce <- tenant:t-1/1
  step completed 1 commerce <- tenant:t-1/1
  step started 2 site <- tenant:t-1/1
  step completed 2 site <- tenant:t-1/1
  step started 4 configuration <- tenant:t-1/1
  step completed 4 configuration <- tenant:t-1/1
  step started 5 identity <- tenant:t-1/1
  step completed 5 identity <- tenant:t-1/1
  scope converged <- tenant:t-1/1
tenant:t-1
  decided tenant created <- tenantry.lifecycle/0@1
  decided product activated <- tenantry.lifecycle/0@1
  decided product suspended <- tenantry.lifecycle/0@2
"""


def test_the_timeline_can_be_narrowed(desk: Desk, moments: tuple[int, int, int]) -> None:
    def told(*options: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in desk.says("timeline", TENANT, "--json", *options).splitlines()]

    everything = told()
    of_product = told("--product", "jira-software")
    assert {entry["stream"] for entry in of_product} == {None, f"tenant:{TENANT}", JIRA, FAMILY}
    assert {entry["kind"] for entry in told("--kind", "decided", "--kind", "scope")} == {"decided", "scope"}
    day = everything[0]["time"][:10]
    assert told("--since", day) == everything
    assert told("--until", day) == []
    middle = everything[len(everything) // 2]["time"]
    assert told("--since", middle) == [entry for entry in everything if entry["time"] >= middle]
    assert told("--until", middle) == [entry for entry in everything if entry["time"] <= middle]


def test_what_waits_for_its_tenant_is_told_before_there_is_one(desk: Desk) -> None:
    desk.comes("product.suspended", tenant_id="t-2", product="jira-software", reason="unpaid")
    (entry,) = [json.loads(line) for line in desk.says("timeline", "t-2", "--json").splitlines()]
    assert (entry["kind"], entry["what"], entry["cause"]["offset"]) == ("waiting", "product suspended", 2)


def test_following_a_timeline_tells_each_thing_once_and_ends_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.work()
    turns = iter(range(2))

    def sleep(_: float) -> None:
        if next(turns) == 0:
            desk.comes("product.suspended", product="jira-software", reason="unpaid")
            desk.parts.log.advance_mark()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.history.sleep", sleep)
    lines = [json.loads(line) for line in desk.says("timeline", TENANT, "--follow", "--json").splitlines()]
    assert [line["what"] for line in lines][-2:] == ["message m-2", "product suspended"]
    assert len({json.dumps(line) for line in lines}) == len(lines)


def test_who_retried_and_who_discarded_a_message_and_why_is_in_the_log_and_in_the_timeline(desk: Desk) -> None:
    desk.comes("license.updated", product="no-such-product", edition="free", users=1, status="active")
    assert "refused again" in desk.says("quarantine", "retry", "1", "--as", "Ada", code=1, stderr=False)
    assert (
        desk.json("quarantine", "discard", "2", "--reason", "a typing error", "--as", "Bob")["outcome"] == "discarded"
    )
    assert "is discarded already" in desk.says("quarantine", "discard", "2", "--reason", "again", code=2)
    assert "is retried already" in desk.says("quarantine", "retry", "1", code=2)
    desk.parts.log.advance_mark()
    lines = [json.loads(line) for line in desk.says("timeline", TENANT, "--json", "--kind", "operator").splitlines()]
    assert [(line["what"], line["content"]["number"]) for line in lines] == [
        ("message retried", 1),
        ("message discarded", 2),
    ]
    assert [line["cause"]["source"].split(" ")[0] for line in lines] == ["Ada", "Bob"]
    assert lines[1]["content"]["reason"] == "a typing error"
    assert (lines[1]["content"]["topic"], lines[1]["content"]["offset"]) == ("tenantry.lifecycle", 2)


def test_a_rebuild_is_an_act_in_the_log(desk: Desk) -> None:
    desk.work()
    desk.says("replay", "rebuild", "licenses", "--workers", "1", "--as", "Ada", "--reason", "new columns")
    desk.says("replay", "drop-previous", "licenses", "--as", "Ada", "--reason", "it is right")
    facts = desk.parts.log.load({"operator:": 0})["operator:"]
    assert [fact.event.TOPIC for fact in facts] == [
        "tenantry.read-models-rebuilt",
        "tenantry.previous-read-models-dropped",
    ]
    assert all(fact.cause.source.startswith("Ada (") for fact in facts)
    assert as_json(facts[0].event)["reason"] == "new columns"


def test_acts_lists_what_operators_did_to_tenants_and_to_the_whole(desk: Desk) -> None:
    desk.comes("license.updated", product="no-such-product", edition="free", users=1, status="active")
    desk.work()
    desk.says("runs", "hold", JIRA, "--reason", "the customer is on the phone", "--as", "Ada")
    between = utc_now().isoformat()
    desk.says("runs", "release", JIRA, "--reason", "they will pay", "--as", "Bob")
    desk.says("quarantine", "discard", "1", "--reason", "a typing error", "--as", "Bob")
    desk.says("replay", "rebuild", "licenses", "--workers", "1", "--as", "Ada")
    desk.parts.log.advance_mark()

    def acts(*options: str) -> list[tuple[str, str, str, str | None]]:
        told = [json.loads(line) for line in desk.says("acts", "--json", *options).splitlines()]
        return [(each["who"].split(" ")[0], each["what"], each["on"], each["why"]) for each in told]

    held = ("Ada", "scope put on hold", JIRA, "the customer is on the phone")
    released = ("Bob", "scope resumed", JIRA, "they will pay")
    discarded = ("Bob", "message discarded", f"operator:{TENANT}", "a typing error")
    rebuilt = ("Ada", "read models rebuilt", "operator:", None)
    assert acts() == [held, released, discarded, rebuilt]
    assert acts("--by", "ada") == [held, rebuilt]
    assert acts("--what", "discarded") == [discarded]
    assert acts("--tenant", TENANT) == [held, released, discarded]
    assert acts("--from", between) == [released, discarded, rebuilt]
    assert acts("--to", between) == [held]
    assert acts("--from", "1970-01-01", "--to", "1970-01-02") == []
    said = desk.says("acts", "--by", "ada")
    assert "scope put on hold: product:t-1:jira-software: the customer is on the phone" in said
    assert "read models rebuilt: all tenants  (read models licenses, position" in said
    assert desk.says("acts", "--by", "nobody") == "no such act is in the log\n"
    assert "give the earlier time first" in desk.says("acts", "--from", "2026-02-01", "--to", "2026-01-01", code=2)
    assert "noon is no time" in desk.says("acts", "--from", "noon", code=2)


def test_the_read_models_of_a_moment_are_built_and_compared_from_the_command_line(
    desk: Desk, moments: tuple[int, int, int]
) -> None:
    before, during, after = map(str, moments)
    told = desk.json("replay", "as-of", after, "--into", "now", "--workers", "1", "--verify", "public")
    assert all(table["same"] for table in told["tables"])
    assert (told["position"], told["schema"]) == (moments[2], "now")
    desk.says("replay", "as-of", before, "--into", "before", "--only", "sites,licenses", "--workers", "1")
    desk.says("replay", "as-of", during, "--into", "during", "--only", "licenses", "--workers", "1")
    said = desk.says("replay", "compare", "before", "during", code=1, stderr=False)
    assert "licenses differ" in said
    assert "t-1/jira-software" in said
    assert "there are no read models in schema nowhere" in desk.says("replay", "compare", "public", "nowhere", code=2)
    unknown = desk.says("replay", "as-of", before, "--into", "unbuilt", "--verify", "nowhere", code=2)
    assert "there are no read models in schema nowhere" in unknown
    assert "no read models in schema unbuilt" in desk.says("replay", "compare", "public", "unbuilt", code=2)
    refused = desk.says("replay", "as-of", before, "--into", "public", code=2)
    assert "schema public is not for this" in refused
    assert "--only names no read model" in desk.says("replay", "as-of", "1", "--into", "x", "--only", " ,", code=2)
    assert "there is no read model prices" in desk.says(
        "replay", "as-of", "1", "--into", "x", "--only", "prices", code=2
    )
