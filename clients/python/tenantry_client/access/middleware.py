"""ASGI middleware: it verifies the caller of a request and checks the request against the allow-list.

    raw path unambiguous? ─▶ open? ─▶ token (ASAP) ─▶ allow-list: caller, method, route ─▶ limit ─▶ the application

The path is the raw one, as it came over the wire: a server that passes none on (`raw_path` of ASGI) gets no request
through. Each refusal is a JSON body `{"code", "message"}` with 400, 401, 403, 429 or 503; where the entry has a limit,
the answer says how much of it is left (RateLimit). The application finds the caller in `scope["tenantry.caller"]`, and
the freshness token in `scope["tenantry.at_least"]`: that header counts only beside a token that was verified, so that
only a verified caller can make a service wait.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

from tenantry_client.access.allow_list import AllowList
from tenantry_client.access.paths import AmbiguousPath, segments
from tenantry_client.access.rates import Limit, RateLimits, Verdict
from tenantry_client.asap.refusals import Refused
from tenantry_client.asap.verifier import Caller, Verifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

READS: Final = frozenset({"GET", "HEAD"})
CALLER: Final = "tenantry.caller"
AT_LEAST: Final = "tenantry.at_least"
AT_LEAST_HEADER: Final = b"tenancy-at-least"
MAX_POSITION_DIGITS: Final = 19


class _Refusal(NamedTuple):
    status: int
    code: str
    message: str
    www_authenticate: str | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()


class AccessMiddleware:
    """Lets a request through to `app` when its caller may make it.

    Every method but GET and HEAD is a command, and takes a token once. `open_paths` (probes) need none. Without
    `limits` an entry that has a limit lets nothing through: it would not be counted.
    """

    def __init__(
        self,
        app: App,
        *,
        service: str,
        verifier: Verifier,
        allow_list: Callable[[], AllowList],
        open_paths: Collection[bytes] = (),
        limits: RateLimits | None = None,
    ) -> None:
        self._app = app
        self._service = service
        self._verifier = verifier
        self._allow_list = allow_list
        self._open_paths = frozenset(open_paths)
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. WebSockets are closed: no allow-list names them."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        raw = scope.get("raw_path") or b""
        if raw in self._open_paths:
            return await self._app(scope, receive, send)
        found = await self._judged(scope, raw)
        if isinstance(found, _Refusal):
            return await _answer(send, found)
        if found is None:
            return await self._app(scope, receive, send)
        verdict = await self._counted(found)
        if verdict.code is not None:
            return await _answer(send, _Refusal(verdict.status, verdict.code, verdict.message, None, verdict.headers))
        return await self._app(scope, receive, _telling(send, verdict))

    async def _counted(self, limit: Limit) -> Verdict:
        if self._limits is None:
            return Verdict(limit, "limit-unavailable", 0, 1.0)
        return await self._limits.admit(limit)

    async def _judged(self, scope: Scope, raw: bytes) -> _Refusal | Limit | None:
        """No refusal where the request may pass; then the scope is filled in, and the limit is that of the entry."""
        try:
            _check_path(raw, scope["path"])
        except AmbiguousPath as error:
            return _Refusal(400, "path-ambiguous", f"{error}: send a plain path")
        method = scope["method"]
        try:
            caller = await self._caller(bearer(scope["headers"]), once=method not in READS)
        except Refused as error:
            return _Refusal(error.status, error.code, str(error), error.www_authenticate)
        answer = self._allow_list().route(caller.issuer, self._service, method, raw)
        if not answer.allowed:
            return _Refusal(403, "route-not-allowed", answer.reason)
        try:
            scope[AT_LEAST] = at_least(scope["headers"])
        except ValueError as error:
            return _Refusal(400, "freshness-token-invalid", str(error))
        scope[CALLER] = caller
        return answer.entry.limit if answer.entry is not None else None

    async def _caller(self, token: str | None, *, once: bool) -> Caller:
        """A known token is checked at once. Another token may need a key from a repository, or the record of used
        tokens on disk: it is checked in a thread, so that other requests continue."""
        if token and not once and (caller := self._verifier.remembered(token)) is not None:
            return caller
        return await asyncio.to_thread(self._verifier.verify, token, once=once)


def _check_path(raw: bytes, path: str) -> None:
    """The path has one meaning, and the application sees that one. Raises AmbiguousPath."""
    if "/" + "/".join(segments(raw)) != path:
        raise AmbiguousPath("the server reads the path in another way")


def bearer(headers: Collection[tuple[bytes, bytes]]) -> str | None:
    """The token of `Authorization: Bearer`, None where there is none. Raises Refused where it is another, or twice."""
    found = [value for name, value in headers if name == b"authorization"]
    if not found:
        return None
    scheme, _, token = found[0].partition(b" ")
    if len(found) > 1 or scheme.lower() != b"bearer" or not token.isascii():
        raise Refused("token-malformed", "send one header Authorization: Bearer TOKEN")
    return token.strip(b" ").decode()


def at_least(headers: Collection[tuple[bytes, bytes]]) -> int | None:
    """The freshness token of the request. Raises ValueError."""
    found = [value for name, value in headers if name == AT_LEAST_HEADER]
    if not found:
        return None
    if len(found) > 1 or not found[0].isdigit() or len(found[0]) > MAX_POSITION_DIGITS:
        raise ValueError("Tenancy-At-Least is no log position: send decimal digits, once")
    return int(found[0])


def _telling(send: Send, verdict: Verdict) -> Send:
    """The same, with the headers of the limit."""

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *verdict.headers]}
        await send(message)

    return tell


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = json.dumps({"code": refusal.code, "message": refusal.message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.extend(refusal.headers)
    if refusal.www_authenticate is not None:
        headers.append((b"www-authenticate", refusal.www_authenticate.encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
