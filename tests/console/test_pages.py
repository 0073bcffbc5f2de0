"""Do the console's pages show what the commands show, as HTML and as JSON?"""

from __future__ import annotations

import html
import json
import re
from urllib.parse import quote

import psycopg

from runtime.compose.console import console_parts_of
from tests.cli.conftest import FAMILY, JIRA, TENANT, Desk, failure
from tests.console.asking import Browser


def test_the_page_of_a_tenant_has_what_show_prints(desk: Desk, browser: Browser) -> None:
    desk.work()
    twin = browser.get(f"/t/{TENANT}.json").json
    shown = desk.json("show", TENANT)
    for part in ("desired_state", "actual", "sites", "licenses", "placements"):
        assert twin[part] == shown[part], part
    assert twin["command"] == f"tenantry show {TENANT}"
    page = browser.get(f"/t/{TENANT}")
    assert page.status == 200
    assert page.text.count('class="step done"') == 7
    assert "acme" in page.text


def test_the_page_of_the_explanation_has_what_explain_prints(desk: Desk, browser: Browser) -> None:
    failure(desk)
    twin = browser.get(f"/t/{TENANT}/explain.json").json["products"]
    said = desk.json("explain", TENANT)["products"]
    for name in ("product", "usable", "lacking", "level", "standing", "for_customer"):
        assert [each[name] for each in twin] == [each[name] for each in said], name
    page = browser.get(f"/t/{TENANT}/explain").text
    assert said[0]["for_customer"] in html.unescape(page)
    assert f"tenantry audit evidence {TENANT}" in page
    assert f"/t/{TENANT}/explain" in browser.get(f"/t/{TENANT}").text
    assert "It had never converged to a level" in browser.get(f"/t/{TENANT}/explain?at=5").text
    assert browser.get("/t/nobody/explain").status == 404


def test_no_page_holds_its_desk_for_longer_than_its_limits(desk: Desk, browser: Browser) -> None:
    desk.work()
    made_of = console_parts_of(desk.parts)
    with made_of.reading() as parts, parts.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "5s"
        assert parts.past._rows("SHOW lock_timeout", ()) == [("1s",)]  # noqa: SLF001
    with psycopg.connect(desk.parts.endpoints.database_url) as other:
        other.execute("LOCK TABLE licenses")
        refused = browser.get(f"/t/{TENANT}")
        assert (refused.status, "let another transaction go first" in refused.text) == (503, True)
    assert browser.get(f"/t/{TENANT}").status == 200


def test_no_person_is_on_the_page_of_a_tenant(desk: Desk, browser: Browser) -> None:
    desk.work()
    assert "Ada Lovelace" in desk.says("show", TENANT, "--persons", "--reason", "a test"), "the terminal can show it"
    for path in (f"/t/{TENANT}", f"/t/{TENANT}.json", f"/t/{TENANT}.json?at=1"):
        found = browser.get(path)
        assert (found.status, "Ada" in found.text, "ada@" in found.text) == (200, False, False), path


def test_a_tenant_that_is_not_there_is_no_page(desk: Desk, browser: Browser) -> None:
    found = browser.get("/t/nobody")
    assert (found.status, found.code) == (404, "tenant-unknown")
    assert browser.get("/t/nobody.json").json["error"] == "tenant-unknown"
    assert browser.get("/nothing").code == "console-page-unknown"


def test_tenants_are_filtered_and_paged_by_their_ids(desk: Desk, browser: Browser) -> None:
    desk.work()
    for number in range(60):
        desk.comes(
            "tenant.created",
            tenant_id=f"z-{number:02}",
            customer_id="c-1",
            site_name=f"site-{number}",
            residency="global",
            administrator={"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
            products=[],
        )
    failure(desk)
    first = browser.get("/tenants.json").json
    assert len(first["tenants"]) == 50
    second = browser.get(f"/tenants.json?after={first['next']}").json
    assert len(second["tenants"]) == 11
    assert second["next"] is None
    ids = [row["tenant_id"] for row in (*first["tenants"], *second["tenants"])]
    assert ids == sorted({TENANT, *(f"z-{number:02}" for number in range(60))})
    assert [row["tenant_id"] for row in browser.get("/tenants.json?level=open").json["tenants"]] == [TENANT]
    assert browser.get("/tenants.json?state=on_hold").json["tenants"] == []
    refused = browser.get("/tenants?level=wide")
    assert (refused.status, refused.code) == (400, "console-value-unknown")


def test_a_failed_scope_is_found_by_its_state_with_its_acts(desk: Desk, browser: Browser) -> None:
    failure(desk)
    [row] = browser.get("/tenants.json?state=failed").json["tenants"]
    assert row["tenant_id"] == TENANT
    page = browser.get(f"/t/{TENANT}").text
    assert f"/rehearse?act=retry&amp;scope={quote(FAMILY)}" in page
    assert f"/rehearse?act=retry&amp;scope={quote(JIRA)}" not in page


def test_the_health_shows_positions_and_what_is_due(desk: Desk, browser: Browser) -> None:
    desk.work()
    health = browser.get("/health.json").json
    last = desk.json("status")["log"]["position"]
    assert health["lags"][0] == {"what": "log", "position": last, "lag": None, "halted": None}
    assert {row["what"] for row in health["lags"]} >= {"projection sites", "outbox to Kafka", "seal"}
    assert health["due"]["scopes"] == 0
    assert 0 < health["database"]["connections"] < health["database"]["max_connections"]
    assert browser.get("/health").status == 200


def test_foreign_text_is_escaped_and_shown_as_it_is(desk: Desk, browser: Browser) -> None:
    page = browser.get("/acts?by=%3Cscript%3E%22%1b%5B31m").text
    assert '<script>"' not in page
    assert "&lt;script&gt;&#34;\\x1b[31m" in page


def test_the_health_has_plots_of_samples_and_the_bar_of_a_rebuild(desk: Desk, browser: Browser) -> None:
    desk.work()
    browser.running.samples.take()
    with psycopg.connect(desk.parts.endpoints.database_url) as connection:
        connection.execute("CREATE SCHEMA rebuild_sites_0a1b2c3d")
        connection.execute("CREATE TABLE rebuild_sites_0a1b2c3d.sites_base AS SELECT * FROM sites_base")
    page = browser.get("/health").text
    plots = [json.loads(html.unescape(each)) for each in re.findall(r'data-plot="([^"]+)"', page)]
    assert [plot["names"] for plot in plots] == [["read_models", "outbox"], ["due", "failed"]]
    assert all(len(plot["times"]) == len(plot["values"][0]) >= 1 for plot in plots)
    assert plots[1]["values"][0][-1] == 0
    [rebuild] = browser.get("/health.json").json["rebuilds"]
    assert (rebuild["schema"], rebuild["built"] > 0) == ("rebuild_sites_0a1b2c3d", True)
    assert "rebuild_sites_0a1b2c3d" in page
