"""The edge authorizer as a bare ASGI application: one question a request, in the form of each proxy.

    GET /ext_authz/{path}    Envoy: method, host and path of the request itself, `cookie` and `authorization`
    GET /auth_request        nginx: X-Original-Host, X-Original-Uri
    GET /forward_auth        Traefik, Caddy: X-Forwarded-Host, X-Forwarded-Uri
    GET /livez, /readyz

200 means that the request may pass, and its headers are for the upstream. Everything else is a refusal, a path that is
not known here too. The form is chosen by the path, which the proxy's configuration says, and never by headers, which
may come from outside. A header of ours that a proxy let through is refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final

from access.edge.authorizer import Authorizer, Passed, Question
from access.edge.refusals import EdgeRefused
from access.edge.sessions import Place
from access.edge.upstream import OUR_PREFIX, UpstreamHeaders

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

EXT_AUTHZ: Final = "/ext_authz"
AUTH_REQUEST: Final = "/auth_request"
FORWARD_AUTH: Final = "/forward_auth"
REFUSAL_HEADER: Final = b"tenancy-refusal"

_FORMS: Final = {
    AUTH_REQUEST.encode(): (b"x-original-host", b"x-original-uri"),
    FORWARD_AUTH.encode(): (b"x-forwarded-host", b"x-forwarded-uri"),
}
_PREFIX: Final = EXT_AUTHZ.encode()
_OURS: Final = OUR_PREFIX.encode()
COOKIES: Final = 4_096
"""`Cookie` headers that are remembered, taken apart: a user sends the same one again and again."""

MAX_WAITING: Final = 256
"""Questions that wait for keys or the database; one more is refused at once."""


class EdgeApp:
    """Answers the questions of proxies on this machine."""

    def __init__(
        self, authorizer: Authorizer, upstream: UpstreamHeaders, *, cookie: str, is_ready: Callable[[], bool]
    ) -> None:
        self._authorizer = authorizer
        self._upstream = upstream
        self._cookie = cookie.encode() + b"="
        self._is_ready = is_ready
        self._waiting = 0
        self._session = lru_cache(maxsize=COOKIES)(self._read_session)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (raw := scope.get("raw_path") or b"") in (b"/livez", b"/readyz"):
            await _answer(send, 200 if raw == b"/livez" or self._is_ready() else 503, [], b"")
        else:
            try:
                question, rest = self._question(raw, scope["headers"])
                passed = self._authorizer.at_once(question) or await self._decide(question)
            except EdgeRefused as refused:
                await _refuse(send, refused, raw)
                return
            headers = self._upstream.of(passed, cookies=rest)
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body"})

    async def _decide(self, question: Question) -> Passed:
        if self._waiting >= MAX_WAITING:
            raise EdgeRefused("membership-unavailable", "too many requests wait for the database: try again later")
        self._waiting += 1
        try:
            return await asyncio.to_thread(self._authorizer.decide, question)
        finally:
            self._waiting -= 1

    def _question(self, raw: bytes, headers: Headers) -> tuple[Question, bytes]:
        """The question, and the cookies without the session's. Raises EdgeRefused."""
        if raw.startswith(_PREFIX):
            host_name, path = b"host", raw[len(_PREFIX) :]
            uri_name = None
        elif raw in _FORMS:
            host_name, uri_name = _FORMS[raw]
            path = b""
        else:
            raise EdgeRefused("request-ambiguous", "this is the edge authorizer: ask it as its proxies do")
        host = uri = authorization = None
        cookies: list[bytes] = []
        for name, value in headers:
            if name == host_name:
                host = _once(host, value)
            elif name == b"cookie":
                cookies.append(value)
            elif name == b"authorization":
                authorization = _once(authorization, value)
            elif name == uri_name:
                uri = _once(uri, value)
            elif name.startswith(_OURS):
                raise EdgeRefused("header-not-allowed", "the request carries a header of ours: the proxy strips them")
        if uri_name is not None:
            path = (uri or b"").partition(b"?")[0]
        if not host or not host.isascii():
            raise EdgeRefused("request-ambiguous", "the request names no host")
        token, rest = self._session(cookies[0] if len(cookies) == 1 else b"; ".join(cookies))
        place: Place = "cookie"
        if authorization is not None:
            token, place = _bearer(authorization), "authorization"
        return Question(host.decode(), path, token, place), rest

    def _read_session(self, cookies: bytes) -> tuple[str | None, bytes]:
        if not cookies:
            return None, b""
        rest, found = [], None
        for each in cookies.split(b";"):
            if (pair := each.strip()).startswith(self._cookie):
                found = _once(found, pair[len(self._cookie) :])
            elif pair:
                rest.append(pair)
        return (None if found is None else found.decode("latin-1")), b"; ".join(rest)


def _once(known: bytes | None, value: bytes) -> bytes:
    if known is not None:
        raise EdgeRefused("request-ambiguous", "the request carries twice what may come once")
    return value


def _bearer(value: bytes) -> str:
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        raise EdgeRefused("session-malformed", "the session is not Authorization: Bearer TOKEN")
    return token.strip(b" ").decode("latin-1")


async def _refuse(send: Send, refused: EdgeRefused, raw: bytes) -> None:
    """nginx passes 401 and 403 on and takes everything else for a fault of ours: it reads the code in the header."""
    status = refused.status
    if raw == AUTH_REQUEST.encode() and status != 401:
        status = 403
    body = json.dumps({"code": refused.code, "message": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (REFUSAL_HEADER, refused.code.encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="edge"'))
    await _answer(send, status, headers, body)


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; there is nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
