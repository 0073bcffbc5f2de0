"""The ASGI middleware: over the protocol itself, and over sockets against a real server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tenantry_client.access import AccessMiddleware, AllowList
from tenantry_client.access.middleware import AT_LEAST, CALLER, Message, Receive, Scope, Send
from tenantry_client.asap import FixedKeys, LocalReplays, Refused, Signer, SigningKey, Verifier
from tenantry_client.asap.public_keys import FoundKey
from tests.clients.asap.mutants import ISSUER, KEY_ID, KEYS

SERVICE = "context-service"
ALLOWED = AllowList.parse(
    """
    [[allow]]
    caller = "billing"
    callee = "context-service"
    routes = ["GET /v1/tenants/{id}", "HEAD /v1/tenants/{id}", "POST /v1/exports"]
    """
)
KEY = SigningKey.read(KEY_ID, Path(__file__).parents[1] / "asap" / "keys" / "rsa.test.pem")
SIGNER = Signer(ISSUER, KEY, lifetime=3600)  # some tokens are made as this file is read, long before their tests run

Headers = list[tuple[bytes, bytes]]


@dataclass
class Application:
    """An application behind the middleware that remembers what reached it."""

    reached: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(scope)
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def guarded(app: Application, keys: FixedKeys | None = None) -> AccessMiddleware:
    verifier = Verifier(
        SERVICE,
        keys or FixedKeys(KEYS),
        may_call=lambda issuer: ALLOWED.knows(issuer, callee=SERVICE),
        replays=LocalReplays(),
    )
    return AccessMiddleware(
        app, service=SERVICE, verifier=verifier, allow_list=lambda: ALLOWED, open_paths=[b"/healthz"]
    )


@pytest.fixture
def app() -> Application:
    return Application()


@dataclass
class Reply:
    status: int
    code: str | None
    headers: dict[bytes, bytes]


def call(guard: AccessMiddleware, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent


def request(
    guard: AccessMiddleware,
    method: str = "GET",
    path: str = "/v1/tenants/t-1",
    *,
    headers: Headers | None = None,
    raw: bytes | None = None,
) -> Reply:
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode() if raw is None else raw,
        "query_string": b"",
        "headers": [bearer()] if headers is None else headers,
    }
    start, body = call(guard, scope)
    code = None if start["status"] == 200 else json.loads(body["body"])["code"]
    return Reply(start["status"], code, dict(start["headers"]))


def bearer(token: str | None = None) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token or SIGNER.token(SERVICE)}".encode()


def test_a_caller_that_may_passes_and_is_named_to_the_application(app: Application) -> None:
    assert request(guarded(app)).status == 200
    assert app.reached[0][CALLER].issuer == ISSUER
    assert app.reached[0][AT_LEAST] is None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "token-missing"),
        ([(b"authorization", b"")], "token-malformed"),
        ([(b"authorization", b"Bearer ")], "token-missing"),
        ([(b"authorization", b"Basic YTpi")], "token-malformed"),
        ([(b"authorization", b"Bearer a b")], "token-malformed"),
        ([(b"authorization", b"Bearer \xff.a.b")], "token-malformed"),
        ([bearer("x.y.z"), bearer()], "token-malformed"),
        ([bearer(), bearer()], "token-malformed"),
        ([bearer(f"{SIGNER.token(SERVICE)}, Bearer x")], "token-malformed"),
        ([(b"x-authorization", bearer()[1])], "token-missing"),
        ([(b"proxy-authorization", bearer()[1])], "token-missing"),
        ([bearer(SIGNER.token("edge"))], "audience-not-ours"),
    ],
)
def test_a_request_without_one_good_token_is_refused(app: Application, headers: Headers, code: str) -> None:
    reply = request(guarded(app), headers=headers)
    assert (reply.status, reply.code) == (401, code)
    assert reply.headers[b"www-authenticate"].startswith(b'Bearer realm="asap"')
    assert app.reached == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("OPTIONS", "/v1/tenants/t-1"),
        ("DELETE", "/v1/tenants/t-1"),
        ("TRACE", "/v1/tenants/t-1"),
        ("get", "/v1/tenants/t-1"),
        ("GET", "/v1/exports"),
        ("GET", "/v1/other"),
        ("HEAD", "/v1/exports"),
    ],
)
def test_a_route_that_is_not_allowed_is_refused(app: Application, method: str, path: str) -> None:
    reply = request(guarded(app), method, path, headers=[bearer(SIGNER.fresh(SERVICE))])
    assert (reply.status, reply.code) == (403, "route-not-allowed")
    assert app.reached == []


def test_head_is_a_read_of_its_own(app: Application) -> None:
    guard = guarded(app)
    assert [request(guard, "HEAD").status for _ in range(3)] == [200, 200, 200]


def test_a_command_takes_a_token_once(app: Application) -> None:
    guard, token = guarded(app), SIGNER.fresh(SERVICE)
    replies = [request(guard, "POST", "/v1/exports", headers=[bearer(token)]) for _ in range(2)]
    assert [(reply.status, reply.code) for reply in replies] == [(200, None), (401, "token-repeated")]
    assert len(app.reached) == 1


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/v1/tenants/a/b", b"/v1/tenants/a%2fb"),
        ("/v1/tenants/a%2fb", b"/v1/tenants/a%252fb"),
        ("/v1/tenants/t-1", b"/v1/tenants/x/../t-1"),
        ("/v1/tenants/t-1", b"/v1/tenants/t-1;a=b"),
        ("/v1/tenants/t-1", b"//v1/tenants/t-1"),
        ("/v1/tenants/t-1", b"/v1\\tenants\\t-1"),
        ("/v1/tenants/t-1", b"http://context-service/v1/tenants/t-1"),
        ("/v1/exports", b"/v1/tenants/t-1"),
        ("/v1/tenants/t-1", b""),
        ("/app/v1/tenants/t-1", b"/v1/tenants/t-1"),
    ],
)
def test_a_path_without_one_meaning_is_refused_before_the_token_is_looked_at(
    app: Application, path: str, raw: bytes
) -> None:
    reply = request(guarded(app), path=path, raw=raw, headers=[])
    assert (reply.status, reply.code) == (400, "path-ambiguous")
    assert app.reached == []


def test_a_server_that_passes_no_raw_path_on_gets_nothing_through(app: Application) -> None:
    scope = {"type": "http", "method": "GET", "path": "/v1/tenants/t-1", "headers": [bearer()]}
    assert call(guarded(app), scope)[0]["status"] == 400
    assert app.reached == []


def test_the_freshness_token_is_handed_on_beside_a_good_token(app: Application) -> None:
    assert request(guarded(app), headers=[bearer(), (b"tenancy-at-least", b"4711")]).status == 200
    assert app.reached[0][AT_LEAST] == 4711


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"\xd9\xa1", b"9" * 20, b"1 ", b"1, 2"])
def test_a_freshness_token_that_is_no_position_is_refused(app: Application, value: bytes) -> None:
    reply = request(guarded(app), headers=[bearer(), (b"tenancy-at-least", value)])
    assert (reply.status, reply.code) == (400, "freshness-token-invalid")


def test_two_freshness_tokens_are_refused(app: Application) -> None:
    twice = [(b"tenancy-at-least", b"1"), (b"tenancy-at-least", b"2")]
    assert request(guarded(app), headers=[bearer(), *twice]).code == "freshness-token-invalid"


def test_a_freshness_token_without_a_good_token_counts_for_nothing(app: Application) -> None:
    assert request(guarded(app), headers=[(b"tenancy-at-least", b"99999")]).status == 401
    assert request(guarded(app), path="/healthz", headers=[(b"tenancy-at-least", b"99999")]).status == 200
    assert not {AT_LEAST, CALLER} & app.reached[0].keys()


def test_an_open_path_is_open_and_its_neighbours_are_not(app: Application) -> None:
    guard = guarded(app)
    assert request(guard, path="/healthz", headers=[]).status == 200
    for path in ("/healthz/", "/healthz/x", "//healthz", "/healthz;x", "/healthz%2f", "/HEALTHZ"):
        assert request(guard, path=path, headers=[]).status in (400, 401), path
    assert len(app.reached) == 1


def test_a_websocket_is_closed(app: Application) -> None:
    scope = {"type": "websocket", "path": "/v1/tenants/t-1", "raw_path": b"/v1/tenants/t-1", "headers": [bearer()]}
    assert call(guarded(app), scope) == [{"type": "websocket.close", "code": 1008}]
    assert app.reached == []


class SlowKeys(FixedKeys):
    """Keys that are far away."""

    def find(self, key_id: str, *, now: float) -> FoundKey:
        time.sleep(0.5)
        return super().find(key_id, now=now)


def test_a_slow_key_holds_up_no_other_request(app: Application) -> None:
    guard = guarded(app, SlowKeys(KEYS))
    known = [bearer()]
    request(guard, headers=known)

    async def both() -> float:
        slow = asyncio.create_task(_get(guard, [bearer(SIGNER.fresh(SERVICE))]))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await _get(guard, known)
        took = time.monotonic() - started
        await slow
        return took

    assert asyncio.run(both()) < 0.3
    assert len(app.reached) == 3


async def _get(guard: AccessMiddleware, headers: Headers) -> None:
    path = "/v1/tenants/t-1"
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        pass

    await guard(scope, receive, send)


class NoKeys(FixedKeys):
    def find(self, key_id: str, *, now: float) -> FoundKey:
        raise Refused("key-unavailable", "no key repository answers with the key: try again later")


def test_keys_that_are_out_of_reach_are_no_fault_of_the_caller_and_let_nobody_in(app: Application) -> None:
    reply = request(guarded(app, NoKeys()))
    assert (reply.status, reply.code) == (503, "key-unavailable")
    assert app.reached == []


# -- over sockets, against a real server -------------------------------------------------------------------------------


@pytest.fixture
def server(app: Application) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(guarded(app), log_level="critical", ws="none", lifespan="on", http="h11")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        running.should_exit = True
        thread.join(10)


def spoken(port: int, target: str, *, method: str = "GET", headers: str = "", body: str = "") -> tuple[int, Any]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n{body}".encode()
        )
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, content = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split()[1]), json.loads(content).get("code")
    except ValueError:
        return int(head.split()[1]), None


def authorized(token: str | None = None) -> str:
    return f"authorization: Bearer {token or SIGNER.token(SERVICE)}\r\n"


def test_a_real_server_s_requests_pass_and_are_refused_alike(app: Application, server: int) -> None:
    assert spoken(server, "/v1/tenants/t-1?x=%2f", headers=authorized()) == (200, None)
    assert spoken(server, "/v1/tenants/%C3%A4", headers=authorized()) == (200, None)
    assert spoken(server, "/healthz") == (200, None)
    assert spoken(server, "/v1/tenants/t-1") == (401, "token-missing")
    assert spoken(server, "/v1/other", headers=authorized()) == (403, "route-not-allowed")
    assert spoken(server, "/v1/tenants/t-1", headers=authorized() * 2) == (401, "token-malformed")
    assert spoken(server, "/v1/tenants/t-1", headers=authorized().replace("a", "A", 1)) == (200, None)
    assert [scope["type"] for scope in app.reached] == ["lifespan", *["http"] * 4]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/tenants/a%2fb",
        "/v1/tenants/a%252fb",
        "/v1/tenants/../tenants/t-1",
        "/v1/./tenants/t-1",
        "//v1/tenants/t-1",
        "/v1/tenants/t-1/",
        "/v1/tenants/t-1;x",
        "/v1\\tenants\\t-1",
        "http://x/v1/tenants/t-1",
        "http://x/healthz",
        "*",
        "x:443",
    ],
)
def test_a_raw_target_with_two_meanings_never_reaches_the_application(
    app: Application, server: int, target: str
) -> None:
    assert spoken(server, target, headers=authorized())[0] == 400
    assert [scope["type"] for scope in app.reached] == ["lifespan"]


def test_a_second_request_that_was_smuggled_into_the_first_needs_a_token_of_its_own(
    app: Application, server: int
) -> None:
    inner = "GET /v1/tenants/t-2 HTTP/1.1\r\nhost: x\r\n\r\n"
    both = f"content-length: 0\r\ntransfer-encoding: chunked\r\n{authorized(SIGNER.fresh(SERVICE))}"
    spoken(server, "/v1/exports", method="POST", headers=both, body=f"0\r\n\r\n{inner}")
    assert all(scope["path"] != "/v1/tenants/t-2" for scope in app.reached if scope["type"] == "http")


def test_a_header_with_an_underscore_or_a_space_is_no_token(app: Application, server: int) -> None:
    token = SIGNER.token(SERVICE)
    assert spoken(server, "/v1/tenants/t-1", headers=f"authorization : Bearer {token}\r\n")[0] in (400, 401)
    assert spoken(server, "/v1/tenants/t-1", headers=f"x: y\r\n authorization: Bearer {token}\r\n")[0] in (400, 401)
    assert [scope["type"] for scope in app.reached] == ["lifespan"]


def test_an_upgrade_to_a_websocket_does_not_reach_the_application(app: Application, server: int) -> None:
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\n"
    assert spoken(server, "/v1/tenants/t-1", headers=upgrade)[0] in (400, 401)
    assert [scope["type"] for scope in app.reached] == ["lifespan"]
