"""The authorizer without a proxy: its forms of a question, and everything else, which is never a 200."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from access.edge.app import MAX_WAITING, EdgeApp
from access.edge.process import edge_app
from tests.access.cloud import Edge, edge, tenant

Headers = list[tuple[bytes, bytes]]


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Edge]:
    with edge(tmp_path) as made:
        made.app = edge_app(made.settings, tenancy=made.tenancy, memberships=made.memberships)
        yield made


def asked(found: Edge, path: bytes, *headers: tuple[str, str], kind: str = "http") -> tuple[int, dict[str, str], str]:
    """Status, headers and code."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    assert found.app is not None
    asyncio.run(found.app({"type": kind, "raw_path": path, "path": path.decode(), "headers": raw}, receive, send))
    if kind != "http":
        return sent[0]["code"], {}, ""
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, json.loads(sent[1]["body"])["code"] if sent[1].get("body") else ""


def header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


FORMS = [
    (b"/ext_authz/wiki/page", [("Host", "t-1.example")]),
    (b"/auth_request", [("X-Original-Host", "t-1.example"), ("X-Original-Uri", "/wiki/page?a=//")]),
    (b"/forward_auth", [("X-Forwarded-Host", "t-1.example"), ("X-Forwarded-Uri", "/wiki/page")]),
]


@pytest.mark.parametrize(("path", "headers"), FORMS)
def test_each_form_of_a_question_gets_the_same_decision(
    found: Edge, path: bytes, headers: list[tuple[str, str]]
) -> None:
    status, told, _ = asked(found, path, *headers, header(found.cookie()))
    assert status == 200
    assert (told["tenancy-tenant"], told["tenancy-product"], told["tenancy-region"]) == ("t-1", "confluence", "eu")
    assert asked(found, path, *headers)[2] == "session-missing"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (b"/ext_authz/wiki", [("X-Original-Host", "t-1.example"), ("X-Forwarded-Host", "t-1.example")]),
        (b"/auth_request", [("Host", "t-1.example"), ("X-Forwarded-Host", "t-1.example"), ("X-Forwarded-Uri", "/")]),
        (b"/forward_auth", [("Host", "t-1.example"), ("X-Original-Host", "t-1.example"), ("X-Original-Uri", "/")]),
        (b"/auth_request", [("X-Original-Host", "t-1.example")]),
        (b"/ext_authz", [("Host", "t-1.example")]),
        (b"/", [("Host", "t-1.example")]),
        (b"/auth_request/", [("X-Original-Host", "t-1.example"), ("X-Original-Uri", "/")]),
        (b"/other", []),
        (b"", []),
    ],
)
def test_a_question_in_another_form_is_refused(found: Edge, path: bytes, headers: list[tuple[str, str]]) -> None:
    assert asked(found, path, *headers, header(found.cookie()))[0] in (400, 403)


@pytest.mark.parametrize("name", ["tenancy-tenant", "tenancy-region", "tenancy-anything", "tenancy-"])
def test_a_header_of_ours_that_a_proxy_let_through_is_refused(found: Edge, name: str) -> None:
    for path, headers in FORMS:
        assert asked(found, path, *headers, header(found.cookie()), (name, "x"))[2] == "header-not-allowed"


def test_what_may_come_once_is_refused_twice(found: Edge) -> None:
    cookie, (path, headers) = header(found.cookie()), FORMS[1]
    for twice in (headers[0], headers[1], header(found.bearer())):
        both = [twice, twice] if twice not in headers else [twice]
        assert asked(found, path, *headers, cookie, *both)[2] == "request-ambiguous"


def test_websockets_are_closed(found: Edge) -> None:
    assert asked(found, b"/ext_authz/", kind="websocket")[0] == 1008


def test_a_probe_says_whether_there_is_a_lease(found: Edge) -> None:
    assert asked(found, b"/livez")[0] == 200
    assert asked(found, b"/readyz")[0] == 200
    found.writer.drop()
    assert asked(found, b"/livez")[0] == 200
    assert asked(found, b"/readyz")[0] == 503
    path, headers = FORMS[0]
    assert asked(found, path, *headers, header(found.cookie()))[2] == "lease-expired"


def test_a_license_that_runs_out_closes_its_product_without_an_event(found: Edge) -> None:
    context = tenant("t-1", version=11)
    ending = msgspec.structs.replace(context.products["confluence"], expires_at=time.time() + 0.5)
    products = {**context.products, "confluence": ending}
    found.change(msgspec.structs.replace(context, products=products), 11, after=10)
    path, headers = FORMS[0]
    assert asked(found, path, *headers, header(found.cookie()))[0] == 200
    assert asked(found, path, *headers, header(found.cookie()))[0] == 200
    time.sleep(0.55)
    assert asked(found, path, *headers, header(found.cookie()))[2] == "product-closed"
    assert asked(found, b"/ext_authz/", *headers, header(found.cookie()))[0] == 200


def test_what_is_remembered_of_a_tenant_ends_with_the_next_change(found: Edge) -> None:
    path, headers = FORMS[0]
    assert asked(found, path, *headers, header(found.cookie()))[1]["tenancy-region"] == "eu"
    found.change(tenant("t-1", region="us", version=11), 11, after=10)
    told = asked(found, path, *headers, header(found.cookie()))[1]
    assert (told["tenancy-region"], told["tenancy-at-least"]) == ("us", "11")


def test_a_refusal_says_nothing_of_the_request(found: Edge) -> None:
    secret = "SECRET"
    for path, headers in (
        (b"/ext_authz/SECRET%2f", [("Host", "t-1.example")]),
        (b"/ext_authz/", [("Host", "t-1.example"), ("Authorization", f"Bearer {secret}.{secret}.x")]),
        (b"/ext_authz/", [("Host", "t-1.example"), ("Cookie", f"session={secret}")]),
        (b"/ext_authz/", [("Host", "t-1.example"), ("Authorization", f"{secret} x")]),
    ):
        status, told, _ = asked(found, path, *headers)
        assert status >= 400
        assert secret not in str(told)


def test_more_questions_than_may_wait_for_the_database_are_refused_at_once(found: Edge) -> None:
    assert isinstance(found.app, EdgeApp)
    found.app._waiting = MAX_WAITING  # noqa: SLF001 - so many at a time would be a test of threads
    path, headers = FORMS[0]
    assert asked(found, path, *headers, header(found.cookie()))[2] == "membership-unavailable"
