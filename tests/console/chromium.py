"""Chromium on a served console: fixtures, pictures, the steps of the tests, and what is asked of every page."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

from application.ports.resources import Order
from domain.errors import Permanent
from tests.cli.conftest import Desk
from tests.console.conftest import drop_role
from tests.console.served import ROOT, Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import BrowserContext, Page

PICTURES = ROOT / "docs" / "how-to" / "console"
SECONDS = 60_000.0

WIDER: Final = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"
NAMELESS: Final = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
  .filter((each) => each.getClientRects().length)
  .filter((each) => !(each.textContent.trim() || each.labels?.length || each.getAttribute('aria-label')))
  .map((each) => each.outerHTML)"""
FAINT: Final = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((each) => {
      const part = each / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (each) => {
    for (let node = each; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .filter((each) => each.getClientRects().length && !each.closest('option, dialog:not([open])'))
    .filter((each) => {
      const [one, two] = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => b - a);
      return (one + 0.05) / (two + 0.05) < 4.5;
    })
    .map((each) => `${each.textContent.trim().slice(0, 40)} ${getComputedStyle(each).color} on ${behind(each)}`);
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test-console")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def served(desk: Desk, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.start()
    yield made
    made.stop()
    drop_role(desk.parts.endpoints.database_url)


@pytest.fixture
def context(chromium: Chromium) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 960, "height": 540}, color_scheme="light")
    made.set_default_timeout(SECONDS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, served: Served) -> Iterator[Page]:
    """The console at /, with the token; nothing that its policy forbids may be tried."""
    opened, complaints = context.new_page(), list[str]()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(served.address)
    yield opened
    expected = ("Failed to load resource", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "EventSource")
    assert [text for text in complaints if not any(part in text for part in expected)] == []


@contextmanager
def working(desk: Desk) -> Iterator[None]:
    """The workers, beside the browser."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            desk.work()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Pictures:
    return Pictures(PICTURES if request.config.getoption("--pictures") else None)


class Pictures:
    """Takes pictures into a folder, or none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __call__(self, page: Page, name: str) -> None:
        if self._folder is not None:
            self._folder.mkdir(exist_ok=True)
            page.screenshot(path=self._folder / f"{name}.png", caret="initial")  # or it adds a style of its own


def many_tenants(desk: Desk, count: int) -> None:
    for number in range(count):
        desk.comes(
            "tenant.created",
            tenant_id=f"t-{number:03}",
            customer_id="c-1",
            site_name=f"site-{number:03}",
            residency="global",
            administrator={"account_id": "a-1", "name": "Ada Lovelace", "email": "ada@example.com"},
            products=[{"product": "compass", "edition": "free", "users": 5}],
        )


def provisioner_is_down(order: Order, when: Literal["before", "after"]) -> None:
    of_compass = (order.scope.kind, order.scope.key) == ("product", "compass")
    if of_compass and order.direction == "ensure" and when == "before":
        raise Permanent("compass answered 503")
