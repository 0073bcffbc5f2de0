"""Does the console answer at night, when its database hangs, refuses or takes no writes, and go on when it is back?"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from console import desks, live
from domain.errors import Unavailable
from runtime.compose.console import console_parts_of
from tests.cli.conftest import TENANT, Desk, failure
from tests.console.asking import Answer, Browser, access

PAGES = (
    *("/", "/tenants", f"/t/{TENANT}", f"/t/{TENANT}/explain", f"/t/{TENANT}/timeline", "/plans", "/quarantine"),
    *("/acts", "/changes", "/health", "/search?q=t-1"),
)


@contextmanager
def asleep(desk: Desk) -> Iterator[Sequence[int]]:
    """Each session that is open stops where it is, as on a server whose disk hangs; new ones are answered."""
    with psycopg.connect(desk.parts.endpoints.database_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        pids = [int(pid) for (pid,) in rows]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def refused(desk: Desk) -> Iterator[None]:
    """The server lets nobody in, and has ended who was."""
    url = desk.parts.endpoints.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        with psycopg.connect(url, dbname="postgres", autocommit=True) as other:
            other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            try:
                other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
                yield
            finally:
                other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


@contextmanager
def read_only(desk: Desk) -> Iterator[None]:
    """As a server is that is being maintained, or that was demoted."""
    url = desk.parts.endpoints.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(desks, "PAGE_SECONDS", 0.5)
    monkeypatch.setattr(desks, "ACT_SECONDS", 0.5)
    monkeypatch.setattr(desks, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.3)


def until_answered(browser: Browser, path: str) -> Answer:
    """Each desk finds out by itself that its session has ended."""
    return next(found for _ in range(20) if (found := browser.get(path)).status != 503)


@pytest.mark.usefixtures("impatient")
def test_a_page_of_a_database_that_hangs_says_so_at_its_deadline_and_the_next_is_answered(
    desk: Desk, browser: Browser
) -> None:
    desk.work()
    assert [until_answered(browser, path).status for path in PAGES] == [200] * len(PAGES), "it has its sessions"
    with asleep(desk):
        found = browser.get("/")
        assert (found.status, "does not answer" in found.text) == (503, True)
        assert 'http-equiv="refresh"' in found.text, "it asks again by itself"
        assert found.headers["retry-after"] == "5"
        assert until_answered(browser, f"/t/{TENANT}").status == 200, "by sessions that are not asleep"
    assert [until_answered(browser, path).status for path in PAGES] == [200] * len(PAGES)


@pytest.mark.usefixtures("impatient")
def test_no_page_hangs_with_its_database_wherever_it_reads(desk: Desk, browser: Browser) -> None:
    desk.work()
    for path in PAGES:
        for _ in range(3):
            assert until_answered(browser, path).status == 200
        with asleep(desk):
            assert browser.get(path).status in (200, 503), "and it came"


@pytest.mark.usefixtures("impatient")
def test_while_all_desks_wait_for_the_database_another_page_is_told_so(desk: Desk, browser: Browser) -> None:
    desk.work()
    found: list[Answer] = []
    with psycopg.connect(desk.parts.endpoints.database_url) as other:
        other.execute("LOCK TABLE provisionings")
        threads = [threading.Thread(target=lambda: found.append(browser.get("/now.json"))) for _ in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(found) == len(threads)
    assert "console-busy" in {each.json.get("error") for each in found}


@pytest.mark.usefixtures("impatient")
def test_an_act_on_a_database_that_hangs_is_told_as_not_answered(desk: Desk, browser: Browser) -> None:
    failure(desk)
    [cause] = [each for each in until_answered(browser, "/now.json").json["causes"] if each["state"] == "failed"]
    page = until_answered(browser, f"/rehearse?act=retry&cause={cause['id']}")
    scopes = re.findall(r'name="scope" value="([^"]+)"', page.text)
    form = {"form_token": page.form_token(), "scope": scopes, "reason": "a new disk"}
    assert browser.post("/act/retry", {**form, "scope": "family:nobody:jira 1"}).status != 303, "it has its sessions"
    with asleep(desk):
        sent = browser.post("/act/retry", form)
        assert (sent.status, "does not answer" in sent.text) == (503, True)
        assert "refresh" not in sent.text, "a form is not sent again by itself"
    assert browser.post("/act/retry", form).status == 303


@pytest.mark.usefixtures("impatient")
def test_a_stream_says_that_the_database_hangs_and_goes_on_by_another_session(desk: Desk, browser: Browser) -> None:
    desk.work()
    mark = desk.parts.past.mark()
    with asleep(desk):
        text = browser.watch("/events", until=lambda said: "event: back" in said)
    first = re.findall(r"event: away\ndata: (.*)\n", text)[0]
    assert json.loads(first)["why"] == "time-out"
    assert text.index("event: away") < text.index("event: back")
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.parts.log.advance_mark()
    said = browser.watch(f"/events?after={mark}", until=lambda said: "event: moved" in said)
    assert TENANT in said


def test_pages_and_streams_of_a_database_that_refuses_say_so_and_go_on_where_they_were(
    desk: Desk, browser: Browser
) -> None:
    desk.work()
    mark = desk.parts.past.mark()
    with refused(desk):
        for path in PAGES:
            found = browser.get(path)
            assert (found.status, found.code) == (503, "error"), path
            assert "not currently accepting connections" in found.text
        away = browser.watch("/events", until=lambda said: "event: away" in said)
        assert '"why": "restarting"' in away
    assert [browser.get(path).status for path in PAGES] == [200] * len(PAGES)
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.parts.log.advance_mark()
    assert TENANT in browser.watch(f"/events?after={mark}", until=lambda said: "event: moved" in said)


def test_a_database_that_takes_no_writes_is_read_and_named_and_no_act_is_done(desk: Desk, browser: Browser) -> None:
    failure(desk)
    [cause] = [each for each in browser.get("/now.json").json["causes"] if each["state"] == "failed"]
    page = browser.get(f"/rehearse?act=retry&cause={cause['id']}")
    form = {"form_token": page.form_token(), "reason": "a new disk"}
    form["scope"] = re.findall(r'name="scope" value="([^"]+)"', page.text)[0]
    with read_only(desk):
        assert [until_answered(browser, path).status for path in PAGES] == [200] * len(PAGES)
        for path in ("/", "/health"):
            assert "takes no writes" in browser.get(path).text, path
        assert browser.get("/now.json").json["read_only"] is True
        sent = browser.post("/act/retry", form)
        assert (sent.status, "is read-only" in sent.text) == (503, True)
        other = Browser(console_parts_of(desk.parts), access())
        try:
            assert other.get("/").status == 200, "and a console that is started now reads as well"
        finally:
            other.close()
    assert "takes no writes" not in until_answered(browser, "/").text
    assert browser.post("/act/retry", form).status == 303


def test_a_console_can_be_ended_while_its_database_hangs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "PAGE_SECONDS", 0.5)
    desk.work()
    made = Browser(console_parts_of(desk.parts), access())
    assert made.get("/").status == 200
    with asleep(desk):
        thread = threading.Thread(target=lambda: made.get("/"))
        thread.start()
        time.sleep(0.1)
        made.close()
        thread.join(10)
    assert not thread.is_alive()


def test_what_is_waited_for_without_a_deadline_is_waited_for(desk: Desk) -> None:
    from adapters.postgres.connection import Session  # noqa: PLC0415
    from adapters.postgres.deadline import within  # noqa: PLC0415

    session = Session(desk.parts.endpoints.database_url)
    with within(0.2):
        with session() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(Unavailable) as late, session() as connection:
            connection.execute("SELECT pg_sleep(5)")
        assert late.value.why == "time-out"
        assert not session.is_open
    with within(5.0), session() as connection:
        assert connection.execute("SELECT 2").fetchone() == (2,)
    with session() as connection:
        connection.execute("SELECT pg_sleep(0.3)")
    with within(0.2, each=True), session() as connection:
        for _ in range(3):
            connection.execute("SELECT pg_sleep(0.1)")
    session.close()
