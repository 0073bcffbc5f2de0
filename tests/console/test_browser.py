"""Real Chromium on a real console: a night, a plan, the past, the quarantine, roles, other sites, and a kill.

`make test-console` runs it; with PICTURES=1 it takes the pictures of docs/how-to/console.md.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure
from tests.cli.test_guard import six_deactivated
from tests.console.chromium import (
    FAINT,
    NAMELESS,
    WIDER,
    Pictures,
    chromium,
    context,
    many_tenants,
    page,
    picture,
    provisioner_is_down,
    served,
    working,
)
from tests.console.conftest import drop_role
from tests.console.served import ROOT, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

__all__ = ["chromium", "context", "page", "picture", "served"]

SCOPES = 200


def test_a_failed_provisioner_is_found_rehearsed_retried_and_seen_to_converge(
    desk: Desk, served: Served, page: Page, picture: Pictures
) -> None:
    many_tenants(desk, SCOPES)
    desk.world.faults = provisioner_is_down
    desk.work()
    cause = page.get_by_role("link", name=re.compile("compass.*answered 503"))
    cause.wait_for()
    row = page.locator("tr", has=cause)
    row.locator(".count", has_text=str(SCOPES)).wait_for()
    assert "failed" in row.inner_text()
    picture(page, "now")
    cause.click()
    picture(page, "cause")
    page.get_by_role("link", name="retry all of them").click()
    assert "nothing was recorded" in page.inner_text("main")
    assert "It would call" in page.inner_text("main")
    picture(page, "rehearse")
    page.get_by_label("Reason").fill("compass answers again")
    page.get_by_role("button", name=f"retry {SCOPES} scopes").click()
    page.wait_for_url("**/acts?after=*")
    assert f"{SCOPES} open" in page.inner_text(".result")
    assert page.locator(".act-state.converged").count() == 0, "nothing is green on submission"
    picture(page, "acts")
    desk.world.faults = lambda order, when: None
    with working(desk):
        page.get_by_text(f"{SCOPES} converged").first.wait_for(timeout=120_000)
    assert page.locator(".act-state.open").count() == 0
    page.goto(f"{served.url}/")
    page.get_by_text("Nothing needs a person").wait_for()


def test_a_guards_plan_is_read_and_approved_and_an_old_one_is_refused(
    desk: Desk, served: Served, page: Page, picture: Pictures
) -> None:
    six_deactivated(desk)
    page.reload()
    page.get_by_role("link", name=re.compile("await approval")).click()
    assert "unless the product is activated again" in page.inner_text("main")
    page.get_by_role("link", name="address of this plan").click()
    picture(page, "plan")
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    page.get_by_label("Reason").fill("they left")
    page.get_by_role("button", name="Approve").click()
    refused = page.get_by_role("alert")
    assert refused.get_attribute("data-code") == "plan-changed"
    page.go_back()
    page.reload()
    assert "cannot be approved" in page.inner_text("main")
    page.get_by_role("link", name=re.compile("The current plan is")).click()
    page.get_by_label("Reason").fill("they left")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_url("**/acts?after=*")
    assert page.locator(".act-state.open").count() == 1
    with working(desk):
        page.locator(".act-state.converged").first.wait_for()


def test_the_slider_goes_back_before_a_suspension(desk: Desk, served: Served, page: Page, picture: Pictures) -> None:
    desk.work()
    before = desk.parts.past.mark()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    page.goto(f"{served.url}/t/{TENANT}")
    assert page.locator("main.past").count() == 0
    assert page.locator("table.steps .chip.closed").count() == 2, "desired and actual"
    assert page.locator("a.act").count() > 0
    picture(page, "tenant")
    slider = page.locator("#slide")
    moments = str(slider.get_attribute("data-moments")).split()
    back = len(moments) - 1 - moments.index(str(before))
    slider.evaluate(
        "(slider, by) => { slider.value = Number(slider.max) - by;"
        " slider.dispatchEvent(new Event('change', {bubbles: true})); }",
        back,
    )
    page.wait_for_url(f"**/t/{TENANT}?at={before}")
    assert "PAST" in page.inner_text("main.past .banner")
    assert page.locator("table.steps .chip.open").count() == 2
    assert page.locator("a.act").count() == 0, "nothing can be done in the past"
    picture(page, "past")
    page.get_by_label("beside").fill(moments[-1])
    page.get_by_role("button", name="Show").click()
    assert page.locator(".pair > div").count() == 2
    assert page.locator("caption", has_text="What differs").count() == 1
    picture(page, "beside")
    page.get_by_role("link", name="timeline").click()
    assert page.locator("main.past").count() == 1
    picture(page, "timeline")


def test_messages_are_tried_in_a_dry_run_then_one_is_retried_and_then_all(
    desk: Desk, served: Served, page: Page, picture: Pictures
) -> None:
    desk.work()
    for product in ("compass", "confluence", "atlas"):
        desk.came("product.suspended", {"product": product, "reason": "unpaid"}, is_revised=False)
    page.goto(f"{served.url}/quarantine")
    page.get_by_role("link", name="not-active").first.click()
    page.get_by_role("link", name=re.compile("Dry run")).click()
    assert "3 would be quarantined" in page.inner_text("main")
    for product in ("compass", "confluence", "atlas"):
        edition = next(iter(desk.parts.catalog[product].editions))
        desk.came("product.activated", {"product": product, "edition": edition, "users": 5}, is_revised=False)
    page.reload()
    assert "3 would be recorded" in page.inner_text("main")
    picture(page, "quarantine")
    listed = page.url
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Retry the chosen").click()
    page.wait_for_url("**/acts?after=*")
    page.goto(listed)
    assert "2 would be recorded" in page.inner_text("main")
    page.get_by_role("button", name="Retry all that match").click()
    page.wait_for_url("**/acts?after=*")
    assert page.get_by_text("message retried").count() == 2
    page.goto(f"{served.url}/quarantine")
    assert "The quarantine is empty" in page.inner_text("main")


def test_a_viewer_is_refused_each_act(desk: Desk, chromium: Chromium, tmp_path: Path) -> None:
    failure(desk)
    served = Served(tmp_path, console_proxies='["127.0.0.1"]', console_viewer_groups='["everybody"]')
    served.start()
    named = {"X-Forwarded-User": "eve", "X-Forwarded-Groups": "everybody"}
    context = chromium.new_context(extra_http_headers=named)
    try:
        page = context.new_page()
        page.goto(f"{served.url}/t/{TENANT}")
        assert "eve" in page.inner_text(".who")
        assert page.locator("a.act").count() == 0
        page.goto(f"{served.url}/rehearse?act=retry&scope={FAMILY}")
        assert "ask for the role operator" in page.inner_text("main")
        for act in ("retry", "hold", "release", "ensure", "restore", "approve", "reject", "retry-messages"):
            sent = page.evaluate(
                "async (act) => { const answer = await fetch(`/act/${act}`, {method: 'POST',"
                " headers: {'content-type': 'application/x-www-form-urlencoded', accept: 'application/json'},"
                " body: 'reason=x'}); return [answer.status, (await answer.json()).error]; }",
                act,
            )
            assert sent == [403, "console-role-missing"], act
    finally:
        context.close()
        served.stop()
        drop_role(desk.parts.endpoints.database_url)
    assert "scope resumed" not in desk.says("acts")


def test_a_form_of_another_site_changes_nothing(desk: Desk, served: Served, page: Page) -> None:
    failure(desk)
    other = page.context.new_page()
    form = (
        f"<form id=f method=post action='{served.url}/act/retry'><input name=scope value='{FAMILY}'>"
        "<input name=reason value=x></form><script>f.submit()</script>"
    )
    other.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    with other.expect_navigation(url=f"{served.url}/act/retry"):
        other.goto("http://evil.example/")
    refused = other.get_by_role("alert").get_attribute("data-code")
    assert refused in ("console-unauthenticated", "console-cross-site", "console-form-stale")
    assert "scope resumed" not in desk.says("acts")


def test_a_console_that_is_killed_goes_on_at_the_position_of_the_page(desk: Desk, served: Served, page: Page) -> None:
    page.locator("#live", has_text="live").wait_for()
    served.kill()
    page.locator("#live", has_text="not connected").wait_for()
    failure(desk)
    time.sleep(0.5)
    served.start()
    page.get_by_role("link", name=re.compile("no such disk")).wait_for()
    assert int(page.locator("#live").get_attribute("data-position") or 0) >= desk.parts.past.mark() - 5
    assert int(page.locator("#main").get_attribute("data-position") or 0) > 0


def test_keys_go_through_the_pages_and_a_hidden_page_has_no_stream(
    desk: Desk, served: Served, page: Page, picture: Pictures
) -> None:
    many_tenants(desk, 5)
    desk.work()
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tenants")
    picture(page, "tenants")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("tr.at").count() == 1
    assert page.locator("tr.at a").inner_text() == page.evaluate("document.activeElement.textContent")
    page.keyboard.press("x")
    assert page.locator("tr.at.chosen").count() == 1
    page.keyboard.press("k")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    picture(page, "keys")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type(TENANT)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=t-1")
    assert page.get_by_role("link", name=TENANT).count() >= 1
    picture(page, "search")
    page.goto(f"{served.url}/health")
    spans = page.eval_on_selector_all(
        "[data-plot]",
        "all => all.map(({plotted: {scales: {x}}}) => [x.min, x.max].map((at) => at - Date.now() / 1000))",
    )
    assert spans
    for since, until in spans:  # of a console that has just started there is one sample
        assert since > -4_000
        assert until < 60
    picture(page, "health")
    page.goto(f"{served.url}/")
    page.locator("#live", has_text="live").wait_for()
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    assert page.inner_text("#live") == "paused"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_names_contrast_and_fit_at_200_percent(
    desk: Desk, served: Served, chromium: Chromium, scheme: Literal["light", "dark"]
) -> None:
    failure(desk)
    context = chromium.new_context(viewport={"width": 640, "height": 400}, device_scale_factor=2, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(served.address)
        for path in (
            "/",
            "/tenants",
            f"/t/{TENANT}",
            f"/t/{TENANT}/timeline",
            "/plans",
            "/quarantine",
            "/acts",
            "/health",
        ):
            page.goto(served.url + path)
            assert page.locator("[data-code]").count() == 0, f"{path} is an error"
            assert page.evaluate(WIDER) is False, f"{path} is wider than the window"
            assert page.evaluate(NAMELESS) == [], path
            assert page.evaluate(FAINT) == [], path
            assert page.locator("h1").count() == 1, path
    finally:
        context.close()


def test_everything_can_be_read_and_an_act_sent_without_javascript(
    desk: Desk, served: Served, chromium: Chromium
) -> None:
    failure(desk)
    context = chromium.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(served.address)
        page.get_by_role("link", name=re.compile("no such disk")).click()
        page.get_by_role("link", name="retry all of them").click()
        page.get_by_label("Reason").fill("a new disk")
        page.get_by_role("button", name="retry").click()
        assert "1 open" in page.inner_text(".result")
        page.goto(f"{served.url}/t/{TENANT}")
        page.get_by_label("Moment: a position of the log").fill("3")
        page.get_by_role("button", name="Show").click()
        assert "PAST" in page.inner_text("main")
    finally:
        context.close()
    assert JIRA


def test_the_demo_prints_the_address_of_its_console_and_stays_until_it_is_interrupted(
    chromium: Chromium, tmp_path: Path
) -> None:
    program = "from cli.main import main; main()"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    demo = subprocess.Popen(
        [sys.executable, "-c", program, "demo", "--console", "--json", "--tenants", "24"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stderr is not None
        address = next(line.split()[1] for line in demo.stderr if line.startswith("console"))
        page = chromium.new_page()
        page.goto(address)
        page.locator("#live", has_text="live").wait_for()
        assert any("until Ctrl-C" in line for line in demo.stderr)
        page.goto(address.partition("?")[0] + "tenants")
        assert page.locator("table.rows tbody tr").count() >= 24
        page.close()
        demo.send_signal(signal.SIGINT)
        output, _ = demo.communicate(timeout=120)
        assert json.loads(output)["agreed"] is True
        assert demo.returncode == 0
    finally:
        demo.kill()
