"""The ASGI middleware and the FastAPI dependencies: no context, no access; and each refusal has its code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from tenantry_client.access.middleware import AT_LEAST, App, Message, Receive, Scope, Send
from tenantry_client.context.asgi import TenancyMiddleware
from tenantry_client.context.document import TenantContext
from tenantry_client.context.fastapi import requires, tenant_context
from tenantry_client.context.lease import now_ns
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.tenancy import Tenancy
from tests.clients.context.test_store_and_lease import change


@pytest.fixture
def tenancy(writer: StoreWriter) -> Tenancy:
    writer.lease.renew(now_ns() + 10**11)
    return Tenancy.open(writer.directory)


def call(
    app: App, host: str | None = "t-1.example", *, path: str = "/", kind: str = "http", at_least: int | None = None
) -> tuple[int, Any]:
    """The status and the body of one request; of a WebSocket the code with which it was closed."""
    sent: list[Message] = []
    scope: dict[str, Any] = {
        "type": kind,
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [] if host is None else [(b"host", host.encode())],
    }
    if at_least is not None:
        scope[AT_LEAST] = at_least

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(_run(app, scope, receive, send), 10))
    if kind == "websocket":
        return sent[0]["code"], None
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent[1:]) or b"null")


async def _run(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def api(tenancy: Tenancy, **options: Any) -> App:
    app = FastAPI()

    @app.get("/")
    def whose(context: Annotated[TenantContext, Depends(tenant_context)]) -> str:
        return context.tenant_id

    @app.get("/export")
    def export(context: Annotated[TenantContext, Depends(requires(product="crm", feature="export"))]) -> str:
        return context.tenant_id

    @app.get("/import")
    def import_(context: Annotated[TenantContext, Depends(requires(product="crm", feature="import"))]) -> str:
        return context.tenant_id

    return TenancyMiddleware(app, tenancy, open_paths={"/healthz"}, **options)


def test_a_request_finds_its_tenant_by_its_host(tenancy: Tenancy) -> None:
    assert call(api(tenancy), "T-1.Example:8080") == (200, "t-1")
    assert call(api(tenancy), path="/export") == (200, "t-1")


def test_a_feature_that_is_not_licensed_is_refused_with_its_code(tenancy: Tenancy) -> None:
    status, body = call(api(tenancy), path="/import")
    assert (status, body["detail"]["code"]) == (403, "feature-not-licensed")


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("none.example", 404, "host-unknown"),
        ("a_b", 400, "host-invalid"),
        ("ä.example", 400, "host-invalid"),
        (None, 400, "host-invalid"),
    ],
)
def test_no_context_no_access(tenancy: Tenancy, host: str | None, status: int, code: str) -> None:
    found, body = call(api(tenancy), host)
    assert (found, body["code"]) == (status, code)


def test_a_closed_tenant_and_a_closed_product_are_refused(tenancy: Tenancy, writer: StoreWriter) -> None:
    assert call(api(tenancy, product="wiki"))[1]["code"] == "product-closed"
    writer.apply(change("t-1", 11, access="closed"))
    status, body = call(api(tenancy))
    assert (status, body["code"]) == (403, "tenant-closed")


def test_without_a_lease_every_request_is_refused_but_the_probes(directory: Path) -> None:
    app = api(Tenancy.open(directory))
    status, body = call(app)
    assert (status, body["code"]) == (503, "lease-expired")
    assert call(app, path="/healthz")[0] == 404  # the application's own answer


def test_a_token_counts_only_where_the_access_middleware_left_it(tenancy: Tenancy) -> None:
    status, body = call(api(tenancy), at_least=99)
    assert (status, body["code"]) == (503, "not-fresh-enough")
    assert call(api(tenancy), at_least=10) == (200, "t-1")


def test_a_websocket_of_nobody_is_closed(tenancy: Tenancy) -> None:
    assert call(api(tenancy), "none.example", kind="websocket")[0] == 1008


def test_a_refusal_inside_the_application_is_answered_with_its_code(tenancy: Tenancy) -> None:
    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        scope["tenancy.context"].require(product="crm", feature="import")

    status, body = call(TenancyMiddleware(plain, tenancy))
    assert (status, body["code"]) == (403, "feature-not-licensed")
