"""Are acts of the console those of the commands, open until their scopes have converged?"""

from __future__ import annotations

import re

from domain.scope.steps import Scope
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure
from tests.cli.test_guard import six_deactivated
from tests.console.asking import Browser


def test_a_retry_is_open_until_its_scope_has_converged(desk: Desk, browser: Browser) -> None:
    failure(desk)
    sent = browser.sends(f"/rehearse?act=retry&scope={FAMILY}", "retry", scope=FAMILY, reason="a new disk")
    assert sent.status == 303
    place = sent.headers["location"].replace("/acts?", "/acts.json?")
    [act] = browser.get(place).json["acts"]
    assert (act["what"], act["on"], act["why"], act["state"]) == ("scope resumed", FAMILY, "a new disk", "open")
    assert act["who"] == "ada@desk, console"
    desk.work()
    [act] = browser.get(place).json["acts"]
    assert act["state"] == "converged"
    [said] = [line for line in desk.says("acts").splitlines() if "scope resumed" in line]
    assert "ada@desk, console" in said


def test_a_retry_that_fails_again_is_not_green(desk: Desk, browser: Browser) -> None:
    failure(desk)
    sent = browser.sends(f"/rehearse?act=retry&scope={FAMILY}", "retry", scope=FAMILY, reason="perhaps")
    failure(desk)
    [act] = browser.get(sent.headers["location"].replace("/acts?", "/acts.json?")).json["acts"]
    assert act["state"] == "failed"


def test_an_act_that_is_refused_says_why(desk: Desk, browser: Browser) -> None:
    desk.work()
    refused = browser.sends(f"/rehearse?act=retry&scope={FAMILY}", "retry", scope=FAMILY, reason="perhaps")
    assert (refused.status, refused.code) == (400, "nothing-to-retry")
    without = browser.sends(f"/rehearse?act=retry&scope={FAMILY}", "retry", scope=FAMILY, reason=" ")
    assert (without.status, without.code) == (400, "reason-empty")
    assert browser.sends("/rehearse?act=retry", "retry", reason="x").code == "console-nothing-named"


def test_of_many_scopes_each_is_acted_on_by_itself(desk: Desk, browser: Browser) -> None:
    failure(desk)
    sent = browser.sends("/rehearse?act=retry", "retry", scope=[FAMILY, JIRA], reason="a new disk")
    assert sent.status == 303
    assert "refused=1" in sent.headers["location"]
    assert "1 refused" in browser.get(sent.headers["location"]).text


def test_a_plan_is_approved_and_an_old_hash_is_refused(desk: Desk, browser: Browser) -> None:
    six_deactivated(desk)
    plan = desk.json("runs", "approve")["plan"]
    token = browser.get("/rehearse?act=hold").form_token()
    old = browser.post("/act/approve", {"form_token": token, "plan": "0123456789abcdef", "reason": "they left"})
    assert (old.status, old.code) == (400, "plan-changed")
    sent = browser.post("/act/approve", {"form_token": token, "plan": plan, "reason": "they left"})
    place = sent.headers["location"].replace("/acts?", "/acts.json?")
    [act] = browser.get(place).json["acts"]
    assert (act["what"], act["state"]) == ("changes approved", "open")
    desk.work()
    [act] = browser.get(place).json["acts"]
    assert act["state"] == "converged"
    assert desk.json("show", TENANT)["actual"]["products"]["jira-software"]["level"] == "retained"


def test_an_act_names_the_version_that_was_seen_and_is_refused_when_it_has_moved(desk: Desk, browser: Browser) -> None:
    failure(desk)
    page = browser.get(f"/rehearse?act=retry&scope={FAMILY}")
    [given] = re.findall(r'name="scope" value="([^"]+)"', page.text)
    form = {"form_token": page.form_token(), "scope": given, "reason": "a new disk"}
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    moved = browser.post("/act/retry", form)
    assert (moved.status, moved.code) == (400, "scope-moved")
    sent = browser.sends(
        "/rehearse?act=retry",
        "retry",
        scope=re.findall(r'name="scope" value="([^"]+)"', browser.get(f"/rehearse?act=retry&scope={FAMILY}").text),
        reason="a new disk",
    )
    assert sent.status == 303
    [event] = [each for each in desk.parts.log.load({FAMILY: 0})[FAMILY] if each.cause.kind == "operator"]
    assert event.cause.act is not None
    assert (event.cause.act.channel, event.cause.act.issuer, event.cause.act.subject) == ("console", "desk", "ada")
    assert event.cause.act.seen


def test_a_hold_from_the_console_may_end_by_itself(desk: Desk, browser: Browser) -> None:
    desk.work()
    page = f"/rehearse?act=hold&scope={FAMILY}"
    assert browser.sends(page, "hold", scope=FAMILY, reason="x", **{"for": "soon"}).code == "duration-malformed"
    assert browser.sends(page, "hold", scope=FAMILY, reason="moving", **{"for": "2h"}).status == 303
    held = desk.parts.saga.snapshots([TENANT])[TENANT].actual(Scope.parse(FAMILY)).on_hold
    assert held is not None
    assert held.until is not None
    assert browser.get("/acts.json").json["acts"][0]["state"] == "done"


def test_what_has_changed_is_on_a_page(desk: Desk, browser: Browser) -> None:
    failure(desk)
    browser.sends(f"/rehearse?act=retry&scope={FAMILY}", "retry", scope=FAMILY, reason="a new disk")
    found = browser.get("/changes.json?since=1h").json["changes"]
    assert [(each["kind"], each["why"]) for each in found][:1] == [("act", "a new disk")]
    assert browser.get("/changes?since=never").status == 400
