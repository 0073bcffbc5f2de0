"""Who gets in, with which role, and which forms count?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import psycopg
import pytest

from console.access import COOKIE, Person, Proxies
from console.gate import LARGEST_BODY, LONGEST_QUERY
from runtime.compose.console import console_parts_of
from tests.cli.conftest import FAMILY, Desk, failure
from tests.console.asking import HOST, TOKEN, Browser, access
from tests.console.conftest import drop_role

PROXY = "10.1.2.3"


@pytest.fixture
def behind(desk: Desk) -> Iterator[Browser]:
    """A console behind a proxy that names people and their groups."""
    proxies = Proxies(
        networks=[ip_network("10.1.0.0/16")],
        issuer="sso",
        groups={
            "viewer": frozenset({"everybody"}),
            "operator": frozenset({"on-call"}),
            "approver": frozenset({"leads"}),
        },
    )
    made = Browser(console_parts_of(desk.parts), access(proxies=proxies, token=None))
    made.peer, made.headers = PROXY, {"host": HOST}
    yield made
    made.close()
    drop_role(desk.parts.endpoints.database_url)


def test_without_the_token_nobody_gets_in(desk: Desk, browser: Browser) -> None:
    for cookie in ("", f"{COOKIE}=wrong", f"{COOKIE}=\xe9", "tenantry=\x00"):
        refused = browser.get("/tenants", cookie=cookie)
        assert (refused.status, refused.code) == (401, "console-unauthenticated"), cookie
    assert browser.get("/events", cookie="").status == 401
    assert browser.post("/act/retry", {}, cookie="").status == 401
    assert browser.get("/static/console.css", cookie="").status == 200


def test_the_address_with_the_token_leaves_a_cookie_and_no_token(desk: Desk, browser: Browser) -> None:
    came = browser.get(f"/tenants?level=open&token={TOKEN}", cookie="")
    assert (came.status, came.headers["location"]) == (303, "/tenants?level=open")
    kept = came.headers["set-cookie"]
    assert kept.startswith(f"{COOKIE}={TOKEN};")
    assert "HttpOnly" in kept
    assert "samesite=strict" in kept.lower()
    assert browser.get("/tenants?token=wrong", cookie="").status == 401


def test_a_name_that_is_not_the_consoles_is_refused(desk: Desk, browser: Browser) -> None:
    refused = browser.get("/tenants", host="evil.example:7000")
    assert (refused.status, refused.code) == (421, "console-host-unknown")


def test_every_answer_keeps_other_sites_and_caches_out(desk: Desk, browser: Browser) -> None:
    for path in ("/tenants", "/nothing", "/static/console.js"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert browser.get("/tenants").headers["cache-control"] == "no-store"


def test_a_form_of_another_site_or_session_does_not_count(desk: Desk, browser: Browser) -> None:
    failure(desk)
    form = {"scope": FAMILY, "reason": "x", "form_token": browser.get("/rehearse?act=retry").form_token()}
    for given in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"}):
        assert browser.post("/act/retry", form, **given).code == "console-cross-site", given
    elsewhere = {"sec-fetch-site": "", "origin": "http://evil.example"}
    assert browser.post("/act/retry", form, **elsewhere).code == "console-cross-site"
    assert browser.post("/act/retry", form, sec_fetch_site="").code == "console-cross-site"
    assert browser.post("/act/retry", {**form, "form_token": "0" * 64}).code == "console-form-stale"
    assert browser.post("/act/retry", {**form, "form_token": "é"}).code == "console-form-stale"
    assert "scope resumed" not in desk.says("acts")
    assert browser.post("/act/retry", form, sec_fetch_site="", origin=f"http://{HOST}").status == 303


def test_what_is_too_large_is_refused(desk: Desk, browser: Browser) -> None:
    long = browser.get(f"/tenants?after={'x' * LONGEST_QUERY}")
    assert (long.status, long.code) == (414, "console-query-too-long")
    large = {"reason": "x" * LARGEST_BODY}
    assert browser.post("/act/retry", large).code == "console-body-too-large"
    assert browser.post("/act/retry", large, content_length="10").code == "console-body-too-large"
    many = {"form_token": browser.get("/rehearse?act=retry").form_token(), "scope": ["site:t"] * 501, "reason": "x"}
    assert browser.post("/act/retry", many).code == "console-too-many"


def test_the_proxys_groups_give_the_roles(desk: Desk, behind: Browser) -> None:
    failure(desk)
    viewer = {"x-forwarded-user": "eve", "x-forwarded-groups": "everybody"}
    on_call = {"x-forwarded-user": "ada", "x-forwarded-groups": "on-call"}
    lead = {"x-forwarded-user": "ida", "x-forwarded-groups": "leads,everybody"}
    form = {"scope": FAMILY, "reason": "x", "plan": "p", "tenant": "t-1"}
    assert "ask for the role operator" in behind.get(f"/rehearse?act=retry&scope={FAMILY}", **viewer).text
    assert "/rehearse?act" not in behind.get("/t/t-1", **viewer).text

    def sends(act: str, person: dict[str, str]) -> str | None:
        token = access().form_token(Person(person["x-forwarded-user"], "sso", frozenset()))
        return behind.post(f"/act/{act}", {**form, "form_token": token}, **person).code

    for act in ("retry", "hold", "release", "ensure", "restore", "approve", "reject"):
        assert sends(act, viewer) == "console-role-missing", act
    assert sends("approve", on_call) == "console-role-missing"
    assert sends("retry", lead) == "console-role-missing"
    assert sends("approve", lead) != "console-role-missing"
    assert "scope resumed" not in desk.says("acts")
    assert sends("retry", on_call) is None
    assert "ada@sso, console  scope resumed" in desk.says("acts")


def test_headers_count_from_the_proxy_alone(desk: Desk, behind: Browser) -> None:
    named = {"x-forwarded-user": "eve", "x-forwarded-groups": "everybody"}
    assert behind.get("/tenants", **named).status == 200
    assert behind.get("/tenants", **{**named, "x-forwarded-groups": "others"}).code == "console-role-missing"
    assert behind.get("/tenants").code == "console-unauthenticated"
    for peer in ("10.2.0.1", "127.0.0.1", "::1", "no address"):
        behind.peer = peer
        assert behind.get("/tenants", **named).code == "console-unauthenticated", peer


def test_pages_read_with_a_role_that_can_change_nothing_and_sees_no_person(desk: Desk, browser: Browser) -> None:
    url = console_parts_of(desk.parts).reading().endpoints.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "UPDATE high_water_mark SET position = 0",
            "INSERT INTO wakes (scope, due_at) VALUES ('site:t', now())",
            "DELETE FROM quarantine",
            "CREATE TABLE more (x int)",
            "SELECT * FROM customers",
            "SELECT * FROM identity_users",
            "SELECT nextval('stored_events_notification_id_seq')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        assert connection.execute("SELECT count(*) FROM stored_events").fetchone() != (0,)
