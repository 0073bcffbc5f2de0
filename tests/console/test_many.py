"""Are pages right, and their next pages too, where there is more than one page looks at?"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from adapters.postgres import console_quarantine, console_reads
from application.operator_commands import Act
from console.pages import acts, changes, plans
from domain.operator import Operator
from domain.policy import Guard
from domain.scope.steps import Scope
from runtime.compose.intake import lifecycle_of
from runtime.compose.operators import operating_of
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk
from tests.console.asking import Browser


def run(desk: Desk, *statements: str) -> None:
    with psycopg.connect(desk.parts.endpoints.database_url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def walked(browser: Browser, path: str, following: str) -> list[Any]:
    """All pages, one after the other, by `next`; `following` is the name under which the address names it."""
    pages, asked = [], path
    while True:
        page = browser.get(asked).json
        pages.append(page)
        if page["next"] is None:
            return pages
        assert len(pages) < 50, "it goes in circles"
        at = page["next"] - 1 if following == "upto" else page["next"]
        asked = f"{path}{'&' if '?' in path else '?'}{following}={at}"


def quarantined(desk: Desk, count: int, *, state: str = "open", rule: str = "unknown-product", source: str) -> None:
    run(
        desk,
        "INSERT INTO quarantine (state, rule, reason, source, id, type, tenant_id, topic, partition, "
        f"\"offset\", digest, sealed_body, received_at) SELECT '{state}', '{rule}', 'a test', '{source}', 'q-' || n,"
        f" 'product.activated', 't-' || n, 'topic', 0, n, decode(md5('{state}{rule}{source}' || n), 'hex'), 'x', now()"
        f" FROM generate_series(1, {count}) AS n",
    )


def test_what_is_more_than_is_counted_is_said_to_be_more(desk: Desk, browser: Browser) -> None:
    desk.work()
    assert "messages wait for their tenant" not in browser.get("/").text
    each = "FROM generate_series(1, 10050) AS n"
    run(
        desk,
        'INSERT INTO waiting (tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body,'
        f" received_at) SELECT 'w-' || n, '/s', 'w-' || n, 'product.activated', 'x', 't', 0, n, 'x', now() {each}",
        f"INSERT INTO held_by_guard (tenant_id, changes, since) SELECT 'g-' || n, 1, now() {each}",
        f"INSERT INTO wakes (scope, due_at) SELECT 'family:w-' || n || ':jira', now() - interval '1 hour' {each}",
    )
    quarantined(desk, 10_050, source="/flood")
    quarantined(desk, 2, source="/other", rule="unknown-edition")
    page = browser.get("/").text
    assert "more than 10,000 messages wait for their tenant" in page
    assert "Changes of more than 10,000 tenants await approval" in page
    assert "more than 10,000 scopes are due" in browser.get("/health").text
    rules = {row["rule"]: row["messages"] for row in browser.get("/now.json").json["quarantine"]}
    assert rules == {"unknown-product": 10_001, "unknown-edition": 2}, "a flood of one rule hides no other"
    assert "the oldest 10000" in browser.get("/quarantine").text


def test_a_cause_that_is_not_among_the_scopes_looked_at_is_among_those_that_are_counted(
    desk: Desk, browser: Browser
) -> None:
    desk.work()
    browser.running.samples.count()
    assert browser.get("/now.json").json["counted"] is None
    run(
        desk,
        "INSERT INTO provisionings (tenant_id, kind, key, outcome, updated_at, reason) SELECT 'm-' || n, 'product',"
        " 'compass', 'failed', now(), 'order ' || (10000 + n) || ' was lost' FROM generate_series(1, 1100) AS n",
        "INSERT INTO provisionings (tenant_id, kind, key, outcome, updated_at, reason)"
        " VALUES ('z-1', 'product', 'jira-software', 'failed', now(), 'the disk is broken')",
    )
    now = browser.get("/now.json").json
    assert (now["is_all"], [cause["scopes"] for cause in now["causes"]]) == (False, [1000])
    assert "causes may be missing. All of them are not counted yet" in browser.get("/").text
    cause = browser.get(f"/cause/{now['causes'][0]['id']}").text
    assert ["at least 1000 scopes" in cause, "retry the first 500 of them" in cause] == [True, True]
    browser.running.samples.count()
    counted = browser.get("/now.json").json["counted"]
    assert [(row["reason"], row["scopes"]) for row in counted["causes"]] == [
        ("order … was lost", 1100),
        ("the disk is broken", 1),
    ]
    page = browser.get("/").text
    assert "as they were counted at" in page
    assert 'href="/t/z-1"' in page


def test_pages_of_the_quarantine_leave_no_message_out_however_few_match(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.work()
    monkeypatch.setattr(console_quarantine, "LOOKED_THROUGH", 40)
    for _ in range(3):
        quarantined(desk, 30, source=f"/a{_}")
        quarantined(desk, 2, source=f"/rare{_}")
    run(desk, "UPDATE quarantine SET source = '/rare' WHERE source LIKE '/rare%'")
    quarantined(desk, 130, state="retried", source="/a")
    quarantined(desk, 1, state="discarded", source="/a")
    for path, expected in (
        ("/quarantine.json", 96),
        ("/quarantine.json?source=/rare", 6),
        ("/quarantine.json?rule=unknown-product&source=/rare", 6),
        ("/quarantine.json?tenant=t-2&source=/rare", 3),
        ("/quarantine.json?rule=none", 0),
        ("/quarantine.json?state=retried", 130),
        ("/quarantine.json?state=discarded", 1),
    ):
        numbers = [row["number"] for page in walked(browser, path, "after") for row in page["messages"]]
        assert (len(numbers), numbers) == (expected, sorted(set(numbers))), path
    assert "sealed_body" not in browser.get("/quarantine.json").text


def test_tenants_that_pass_all_filters_are_found_behind_many_that_pass_one(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.work()
    monkeypatch.setattr(console_reads, "TENANTS_LOOKED_AT", 120)
    run(
        desk,
        "INSERT INTO sites_base (tenant_id, state) SELECT 'm-' || lpad(n::text, 4, '0'), 'open'"
        " FROM generate_series(1, 700) AS n",
        "INSERT INTO provisionings (tenant_id, kind, key, outcome, level)"
        " SELECT 'm-' || lpad(n::text, 4, '0'), 'product', 'jira-software', 'failed',"
        " CASE WHEN n % 100 = 0 THEN 'retained' ELSE 'open' END FROM generate_series(1, 700) AS n",
    )
    pages = walked(browser, "/tenants.json?state=failed&level=retained", "after")
    found = [row["tenant_id"] for page in pages for row in page["tenants"]]
    assert found == [f"m-{n:04}" for n in range(100, 701, 100)]
    assert len(pages) > 2, "a page looks at so many only"
    for path, count in (("?state=failed", 700), ("?level=open", 694), ("?state=converged", 1), ("", 701)):
        pages = walked(browser, f"/tenants.json{path}", "after")
        ids = [row["tenant_id"] for page in pages for row in page["tenants"]]
        assert (len(ids), ids) == (count, sorted(set(ids))), path
        assert all(len(page["tenants"]) <= 50 for page in pages)


def test_an_operators_acts_are_found_behind_a_hundred_of_others(desk: Desk, browser: Browser) -> None:
    desk.work()
    operating = operating_of(desk.parts)

    def act(name: str, times: int) -> None:
        for _ in range(times):
            operating.carry_out(Act("hold", Scope.parse(JIRA), "a look"), by=Operator(name))
            operating.carry_out(Act("release", Scope.parse(JIRA), "seen"), by=Operator(name))

    act("grace", 2)
    act("ada", 60)
    desk.work()
    for path, count in (("?by=grace", 4), ("?by=ada", 120), ("?by=ada&what=resumed", 60), ("", 124)):
        for narrowed in ("", f"tenant={TENANT}"):
            asked = f"/acts.json{path}{'&' if path and narrowed else '?' if narrowed else ''}{narrowed}"
            pages = walked(browser, asked, "upto")
            positions = [row["position"] for page in pages for row in page["acts"]]
            assert (len(positions), positions) == (count, sorted(set(positions), reverse=True)), asked
    assert browser.get("/acts.json?tenant=t-2").json["acts"] == []


def test_acts_that_are_found_only_further_back_have_a_next_page(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.work()
    operating = operating_of(desk.parts)
    operating.carry_out(Act("hold", Scope.parse(FAMILY), "a look"), by=Operator("grace"))
    for _ in range(6):
        operating.carry_out(Act("hold", Scope.parse(JIRA), "a look"), by=Operator("ada"))
        operating.carry_out(Act("release", Scope.parse(JIRA), "seen"), by=Operator("ada"))
    desk.parts.log.advance_mark()
    monkeypatch.setattr(acts, "LOOKED_THROUGH", 4)
    pages = walked(browser, "/acts.json?by=grace", "upto")
    assert [len(page["acts"]) for page in pages] == [0, 0, 0, 1]
    assert "Earlier acts" in browser.get("/acts?by=grace").text


def test_what_has_changed_says_where_the_acts_before_it_are(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.work()
    operating = operating_of(desk.parts)
    for kind in ("hold", "release", "hold"):
        operating.carry_out(Act(kind, Scope.parse(JIRA), "a look"), by=Operator("ada"))
    desk.parts.log.advance_mark()
    whole = [each for each in browser.get("/changes.json").json["changes"] if each["kind"] == "act"]
    assert len(whole) == 3
    assert browser.get("/changes.json").json["acts_before"] is None
    monkeypatch.setattr(changes, "ACTS", 2)
    cut = browser.get("/changes.json").json
    assert [each for each in cut["changes"] if each["kind"] == "act"] == whole[:2]
    [before] = browser.get(f"/acts.json?upto={cut['acts_before'] - 1}").json["acts"]
    assert before["position"] == whole[2]["position"]
    assert "those before them" in browser.get("/changes").text


def destroyed(desk: Desk, *tenants: str) -> None:
    """Tenants whose destruction awaits approval."""
    administrator = {"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"}
    for tenant in tenants:
        products = [{"product": "jira-software", "edition": "standard", "users": 5}]
        desk.comes(
            "tenant.created",
            tenant_id=tenant,
            customer_id=f"c-{tenant}",
            site_name=tenant,
            residency="global",
            administrator=administrator,
            products=products,
        )
    desk.work()
    lifecycle = lifecycle_of(desk.parts)
    policy = lifecycle.policy
    lifecycle.policy = policy.model_copy(update={"guard": Guard(at_least=0, share=0)})
    for tenant in tenants:
        desk.comes("tenant.destroyed", tenant_id=tenant, reason="a script")
    lifecycle.policy = policy
    desk.work()


def test_a_plan_of_many_is_shown_in_parts_and_its_kinds_and_its_hash_are_of_all(
    desk: Desk, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    destroyed(desk, "p-1", "p-2", "p-3", "p-4", "p-5")
    monkeypatch.setattr(plans, "ON_A_PAGE", 2)
    monkeypatch.setattr(plans, "REHEARSED", 1)
    plan = desk.json("runs", "approve")
    shown = browser.get("/plans.json").json
    assert (shown["plan"], shown["changes"]) == (plan["plan"], plan["changes"])
    assert len(shown["changes"]) == 5
    assert shown["rehearsal"]["whole"] is False
    assert {step["scope"].split(":")[1] for step in shown["rehearsal"]["steps"]} <= {"p-1"}
    first = browser.get("/plans")
    assert "All 5 changes by what they do" in first.text
    assert ["/t/p-1" in first.text, "/t/p-3" in first.text] == [True, False]
    assert "Approve 5 changes" in first.text
    third = browser.get("/plans?from=4").text
    assert ["/t/p-5" in third, "/t/p-4" in third, "Next changes" in third] == [True, False, False]
    assert "Nothing of it is beyond undoing" not in first.text, "what was not rehearsed is not judged"


def test_a_plan_of_before_is_that_of_then_whether_its_tenants_have_moved_since_or_not(
    desk: Desk, browser: Browser
) -> None:
    destroyed(desk, "p-1", "p-2", "p-3")
    before, position = desk.json("runs", "approve"), desk.parts.past.mark()
    desk.comes("product.suspended", tenant_id="p-2", product="jira-software", reason="unpaid")
    destroyed(desk, "p-4")
    now = browser.get("/plans.json").json
    assert len(now["changes"]) == 4
    then = browser.get(f"/plans.json?at={position}").json
    assert (then["plan"], then["changes"]) == (before["plan"], before["changes"])
    since = browser.get(f"/plans/{before['plan']}.json?seen={position}").json
    assert (since["changes"], since["is_current"]) == (before["changes"], False)
    assert [each["tenant_id"] for each in since["since"]["came"]] == ["p-4"]
    assert [each["tenant_id"] for each in since["since"]["others"]] == ["p-2"]
    assert browser.get("/plans.json?at=3").json["plan"] is None


def test_the_timeline_of_a_tenant_in_a_flood_has_its_newest_messages_and_says_so(desk: Desk, browser: Browser) -> None:
    desk.work()
    assert "the newest are shown" not in browser.get(f"/t/{TENANT}/timeline").text
    quarantined(desk, 250, source="/flood")
    run(desk, f"UPDATE quarantine SET tenant_id = '{TENANT}'")
    found = browser.get(f"/t/{TENANT}/timeline.json").json
    refused = [entry for entry in found["entries"] if entry["kind"] == "refused"]
    assert (found["is_cut"], len(refused)) == (True, 200)
    assert refused[-1]["cause"]["offset"] == 250
    assert "the newest are shown" in browser.get(f"/t/{TENANT}/timeline").text
