"""Does the stream say what moved, from the position on that a browser has seen?"""

from __future__ import annotations

import json
import re
import threading
import time

from runtime.compose.console import console_parts_of
from tests.cli.conftest import TENANT, Desk
from tests.console.asking import Browser, access


def events(text: str) -> list[tuple[int, list[str] | None]]:
    found = re.findall(r"id: (\d+)\nevent: moved\ndata: (.*)\n", text)
    return [(int(position), json.loads(data)["tenants"]) for position, data in found]


def another(desk: Desk, tenant_id: str) -> None:
    desk.comes(
        "tenant.created",
        tenant_id=tenant_id,
        customer_id="c-1",
        site_name=tenant_id,
        residency="global",
        administrator={"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
        products=[],
    )
    desk.parts.log.advance_mark()


def soon(act: object) -> None:
    def later() -> None:
        time.sleep(0.3)
        act()  # type: ignore[operator]

    threading.Thread(target=later).start()


def test_a_stream_says_which_tenants_moved_with_the_position_as_its_id(desk: Desk, browser: Browser) -> None:
    desk.work()
    soon(lambda: another(desk, "t-2"))
    position, tenants = events(browser.watch("/events", until=lambda text: "t-2" in text))[-1]
    assert tenants is not None
    assert "t-2" in tenants
    assert position == desk.parts.past.mark()


def test_a_stream_of_one_tenant_says_nothing_of_another(desk: Desk, browser: Browser) -> None:
    desk.work()
    mark = desk.parts.past.mark()
    another(desk, "t-2")
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.parts.log.advance_mark()
    said = events(browser.watch(f"/events?after={mark}&tenant={TENANT}", until=lambda text: "moved" in text))
    assert all(tenants is None or TENANT in tenants for _, tenants in said)


def test_a_console_that_was_killed_goes_on_where_the_browser_was(desk: Desk, browser: Browser) -> None:
    desk.work()
    mark = desk.parts.past.mark()
    another(desk, "t-missed")
    time.sleep(0.5)
    fresh = Browser(console_parts_of(desk.parts), access())
    try:
        time.sleep(0.5)
        fresh.headers["last-event-id"] = str(mark)
        said = events(fresh.watch("/events", until=lambda text: "t-missed" in text))
    finally:
        fresh.close()
    assert said[0][1] == ["t-missed"]
    assert said[0][0] == desk.parts.past.mark()


def test_a_stream_that_missed_too_much_learns_that_any_tenant_may_have_changed(desk: Desk, browser: Browser) -> None:
    for number in range(140):
        another(desk, f"t-{number:03}")
    fresh = Browser(console_parts_of(desk.parts), access())
    try:
        time.sleep(0.5)
        [(position, tenants)] = events(fresh.watch("/events?after=1", until=lambda text: "moved" in text))[:1]
    finally:
        fresh.close()
    assert tenants is None
    assert position <= desk.parts.past.mark()


def test_a_page_says_what_it_watches_and_where_it_stands(desk: Desk, browser: Browser) -> None:
    desk.work()
    assert 'data-watches="*"' in browser.get("/").text
    assert f'data-watches="{TENANT}"' in browser.get(f"/t/{TENANT}").text
    assert f'data-position="{desk.parts.past.mark()}"' in browser.get("/").text
