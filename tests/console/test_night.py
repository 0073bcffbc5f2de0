"""Does an operator find on the console what needs a person, why, and what to do about it?"""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest

from console.pages import timeline
from domain.errors import Retryable, Unreachable
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure, raises
from tests.cli.test_guard import six_deactivated
from tests.console.asking import Browser


def test_nothing_needs_a_person_when_all_has_converged(desk: Desk, browser: Browser) -> None:
    desk.work()
    assert "Nothing needs a person" in browser.get("/").text
    assert browser.get("/now.json").json["needs_a_person"] is False


def test_a_failed_scope_is_a_cause_with_its_reason_and_one_act_for_all(desk: Desk, browser: Browser) -> None:
    failure(desk)
    now = browser.get("/now.json").json
    assert now["needs_a_person"] is True
    first = now["causes"][0]
    assert (first["state"], first["subject"], first["scopes"]) == ("failed", "jira", 1)
    assert "no such disk" in first["reason"]
    cause = browser.get(f"/cause/{first['id']}").text
    assert FAMILY in cause
    before = browser.get(f"/rehearse?act=retry&cause={first['id']}")
    assert "Nothing of it is beyond undoing" in before.text
    mark = desk.parts.past.mark()
    rehearsal = browser.get(f"/rehearse.json?act=retry&cause={first['id']}").json
    assert [step["step"]["name"] for step in rehearsal["steps"]][:2] == ["region", "database"]
    assert rehearsal["systems"]
    assert desk.parts.past.mark() == mark, "nothing was recorded"
    scopes = re.findall(r'name="scope" value="([^"]+)"', before.text)
    assert [scope.split()[0] for scope in scopes] == [FAMILY]
    form = {"form_token": before.form_token(), "scope": scopes, "reason": "a new disk"}
    assert browser.post("/act/retry", form).status == 303
    desk.work()
    assert "Nothing needs a person" in browser.get("/").text
    gone = browser.get(f"/cause/{first['id']}")
    assert (gone.status, gone.code) == (404, "console-cause-gone")


def test_a_scope_that_waits_names_what_it_waits_for_and_has_no_act(desk: Desk, browser: Browser) -> None:
    desk.world.faults = raises(Unreachable("shard eu-1", "connection refused"))
    desk.work()
    waiting = [cause for cause in browser.get("/now.json").json["causes"] if cause["need"] == "waits"]
    assert [cause["reason"] for cause in waiting] == ["connection refused"]
    assert all("act=retry" not in browser.get(f"/cause/{cause['id']}").text for cause in waiting)


def test_a_scope_that_is_tried_again_has_a_countdown(desk: Desk, browser: Browser) -> None:
    desk.world.faults = raises(Retryable("disk full", delay=timedelta(hours=1)))
    desk.work()
    page = browser.get(f"/t/{TENANT}")
    assert page.status == 200
    assert "is tried again" in page.text
    tried = [cause for cause in browser.get("/now.json").json["causes"] if cause["need"] == "tries"]
    assert [cause["reason"] for cause in tried] == ["disk full"]
    listed = browser.get("/tenants.json?state=in_progress").json["tenants"]
    assert [row["tenant_id"] for row in listed] == [TENANT]


def test_a_long_timeline_is_read_in_parts_which_leave_nothing_out(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure(desk)
    desk.work()
    whole = browser.get(f"/t/{TENANT}/timeline.json").json["entries"]
    monkeypatch.setattr(timeline, "ON_A_PAGE", 4)
    parts, address = [], f"/t/{TENANT}/timeline.json"
    while True:
        part = browser.get(address).json
        parts.append(part["entries"])
        if part["before"] is None:
            break
        address = f"/t/{TENANT}/timeline.json?upto={part['before']}"
    assert len(parts) > 3
    assert [entry for part in reversed(parts) for entry in part] == whole


def test_the_timeline_has_the_commands_entries_with_position_seal_and_cause(desk: Desk, browser: Browser) -> None:
    desk.work()
    shown = browser.get(f"/t/{TENANT}/timeline.json").json
    said = [desk_line for desk_line in desk.says("timeline", TENANT, "--json").splitlines() if desk_line]
    assert len(shown["entries"]) == len(said)
    desk.says("audit", "seal")
    page = browser.get(f"/t/{TENANT}/timeline").text
    assert "not sealed yet" not in page
    assert page.count("<td>sealed</td>") > 10
    caused = next(entry for entry in shown["entries"] if entry["caused_by"])
    assert f'href="#p{caused["caused_by"]}"' in page
    assert f'id="p{caused["caused_by"]}"' in page
    only = browser.get(f"/t/{TENANT}/timeline.json?kind=scope").json["entries"]
    assert {entry["kind"] for entry in only} == {"scope"}
    then = browser.get(f"/t/{TENANT}/timeline.json?at=5").json["entries"]
    assert max(entry["position"] or 0 for entry in then) == 5
    assert browser.get("/t/nobody/timeline").status == 404


def test_a_moment_of_the_past_is_framed_and_has_no_acts(desk: Desk, browser: Browser) -> None:
    desk.work()
    before = desk.parts.past.mark()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    now, then = browser.get(f"/t/{TENANT}").text, browser.get(f"/t/{TENANT}?at={before}").text
    assert 'class="past"' not in now
    assert "/rehearse?act=hold" in now
    assert '<main id="main" tabindex="-1" data-position="' in then
    assert 'class="past"' in then
    assert "<strong>PAST</strong>" in then
    assert "/rehearse?act" not in then
    assert 'data-watches=""' in then
    data = browser.get(f"/t/{TENANT}.json?at={before}&beside={desk.parts.past.mark()}").json
    assert data["actual"]["products"]["jira-software"]["level"] == "open"
    assert data["beside"]["actual"]["products"]["jira-software"]["level"] == "closed"
    assert any("access" in change["where"] for change in data["changes"])
    assert data["command"].startswith(f"tenantry diff {TENANT} --from")
    assert browser.get(f"/t/{TENANT}?at=99999999").code == "position-beyond"


def test_the_slider_goes_through_the_tenants_own_moments(desk: Desk, browser: Browser) -> None:
    desk.work()
    page = browser.get(f"/t/{TENANT}").text
    [moments] = re.findall(r'data-moments="([^"]+)"', page)
    assert [int(each) for each in moments.split()] == desk.parts.past.positions_of(TENANT)
    last = moments.split()[-1]
    assert f"?at={last}" in page, "one step back is the last moment"


def test_a_plan_shows_the_fate_of_data_and_what_changed_since(desk: Desk, browser: Browser) -> None:
    assert "No change awaits approval" in browser.get("/plans").text
    six_deactivated(desk)
    plan = desk.json("runs", "approve")
    shown = browser.get("/plans.json").json
    assert (shown["plan"], shown["changes"]) == (plan["plan"], plan["changes"])
    page = browser.get("/plans").text
    assert "Nothing of it is beyond undoing" in page
    assert shown["rehearsal"]["steps"]
    assert "after the approval, unless the product is activated again" in page
    [address] = set(re.findall(rf'href="(/plans/{plan["plan"]}\?seen=\d+)"', page))
    assert browser.get(address).form_token()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    old = browser.get(address)
    assert "cannot be approved" in old.text
    assert 'action="/act/approve"' not in old.text
    twin = browser.get(address.replace("?", ".json?")).json
    assert (twin["is_current"], twin["changes"]) == (False, plan["changes"])
    assert twin["since"]["others"] or twin["since"]["came"] or twin["since"]["gone"]
    assert twin["current"] != plan["plan"]


def test_a_plan_that_was_settled_says_by_whom(desk: Desk, browser: Browser) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    position = desk.parts.past.mark()
    desk.says("runs", "approve", plan, "--reason", "they left", "--as", "Ada")
    desk.work()
    shown = browser.get(f"/plans/{plan}.json?seen={position}").json
    assert shown["settled"]["verdict"] == "approved"
    assert shown["settled"]["by"].startswith("Ada (")
    assert len(shown["changes"]) == 1
    then = browser.get(f"/plans.json?at={position}").json
    assert then["plan"] == plan
    assert "PAST" in browser.get(f"/plans?at={position}").text


def test_a_search_finds_by_each_form_of_a_name(desk: Desk, browser: Browser) -> None:
    desk.work()

    def finds(text: str) -> list[tuple[str, str | None]]:
        return [(row["kind"], row["address"]) for row in browser.get(f"/search.json?q={text}").json["found"]]

    [event] = desk.parts.log.load({JIRA: 0})[JIRA][:1]
    assert ("tenant", f"/t/{TENANT}") in finds(TENANT)
    with psycopg.connect(desk.parts.endpoints.database_url) as connection:
        connection.execute("INSERT INTO site_names VALUES ('acme', %s, 1)", (TENANT,))
        connection.execute("INSERT INTO context_hosts VALUES ('acme.tenantry.example', %s, 1)", (TENANT,))
    assert ("tenant", f"/t/{TENANT}") in finds("acme")
    assert ("tenant", f"/t/{TENANT}") in finds("ACME.tenantry.ex")
    place = ("event", f"/t/{TENANT}/timeline?upto={event.position}#p{event.position}")
    assert finds(str(event.position)) == [place]
    assert place in finds(str(event.id))
    assert ("message", None) in finds("tenantry.lifecycle/0/1")
    assert ("message", None) in finds("m-1")
    assert ("event", f"/t/{TENANT}/timeline?upto={event.position}#p{event.position}") in finds(
        f"{JIRA}/2/ensure/{event.version}"
    )
    assert ("scope", f"/t/{TENANT}") in finds(JIRA)
    assert finds("nothing-of-that-name") == []
    assert browser.get("/search?q=%00").status == 200


def test_a_dry_run_says_what_a_retry_would_come_to_and_records_nothing(desk: Desk, browser: Browser) -> None:
    desk.work()
    desk.came("product.activated", {"product": "compass", "edition": "of-no-name", "users": 1})
    desk.came("product.activated", {"product": "loom", "edition": "free", "users": 1})
    mark = desk.parts.past.mark()
    page = browser.get("/quarantine.json?dry=1").json
    assert {row["rule"] for row in page["groups"]} == {"unknown-edition", "unknown-product"}
    by_rule = {row["rule"]: row["dry_run"] for row in page["messages"]}
    assert (by_rule["unknown-product"]["outcome"], by_rule["unknown-product"]["rule"]) == (
        "quarantined",
        "unknown-product",
    )
    assert desk.parts.past.mark() == mark
    assert {row["state"] for row in desk.json("quarantine", "list")} == {"open"}
    assert "Dry run of 2 messages" in browser.get("/quarantine?dry=1").text


def test_a_message_is_retried_and_one_is_discarded(desk: Desk, browser: Browser) -> None:
    desk.work()
    for product in ("loom", "rovo"):
        desk.came("product.activated", {"product": product, "edition": "free", "users": 1})
    first, second = [row["number"] for row in desk.json("quarantine", "list")]
    sent = browser.sends("/quarantine", "retry-messages", number=first)
    assert sent.status == 303
    [act] = browser.get(sent.headers["location"].replace("/acts?", "/acts.json?")).json["acts"]
    assert (act["what"], act["state"]) == ("message retried", "done")
    sent = browser.sends("/quarantine", "discard-messages", number=second, reason="a test of theirs")
    assert sent.status == 303
    assert [row["number"] for row in desk.json("quarantine", "list", "--state", "discarded")] == [second]
    assert browser.sends("/quarantine", "retry-messages").code == "console-nothing-named"
    assert browser.sends("/quarantine", "retry-messages", all="yes").code == "console-nothing-named"
    assert browser.sends("/quarantine", "retry-messages", all="yes", rule="unknown-product").status == 303
