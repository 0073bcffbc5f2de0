"""The sidecar's HTTP on its Unix socket: look-ups for any language, probes and metrics. A bare ASGI application.

The answers come from the same shared files that a Python process reads by itself, and are the same as the service's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from tenantry_client.access.middleware import Receive, Scope, Send, at_least
from tenantry_client.context.document import TenantContext, to_json
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.stored import named
from tenantry_client.context.tenancy import Tenancy

JSON: Final = (b"content-type", b"application/json")
TENANTS: Final = "/v1/tenants/"
HOSTS: Final = "/v1/hosts/"
KEPT: Final = 10_000

Headers = list[tuple[bytes, bytes]]


class _Rendered(NamedTuple):
    """The body of a document, which is right until the next of its licenses ends (unix seconds)."""

    context: TenantContext
    until: float
    tag: bytes
    body: bytes


class SidecarApp:
    """Look-ups through `tenancy`; `metrics` gives the text of /metrics, `troubles` what is not well."""

    def __init__(self, tenancy: Tenancy, *, metrics: Callable[[], str], troubles: Callable[[], dict[str, str]]) -> None:
        self._tenancy = tenancy
        self._metrics = metrics
        self._troubles = troubles
        self._rendered: dict[str, _Rendered] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI has it
        """One request."""
        if scope["type"] != "http":
            return
        status, headers, body = await self._answer(scope)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> tuple[int, Headers, bytes]:
        if scope["method"] not in {"GET", "HEAD"}:
            return _json(405, {"code": "method-not-allowed", "message": "only GET and HEAD are answered here"})
        raw = scope["raw_path"]
        if raw.startswith(b"/v1/"):
            return await self._look_up(raw.decode("latin-1"), scope["headers"])
        if raw == b"/readyz":
            ready = self._tenancy.is_ready
            about = {"ready": ready, "position": self._tenancy.position, "troubles": self._troubles()}
            return _json(200 if ready else 503, about)
        if raw == b"/livez":
            return _json(200, {"live": True})
        if raw == b"/metrics":
            body = self._metrics().encode()
            return 200, [(b"content-type", b"text/plain; version=0.0.4"), _length(body)], body
        return _json(404, {"code": "path-unknown", "message": "there is no such path"})

    async def _look_up(self, path: str, headers: Headers) -> tuple[int, Headers, bytes]:
        tenancy = self._tenancy
        position = tenancy.position
        find: Callable[[str, int], TenantContext]
        try:
            token = _token(headers)
            if path.startswith(HOSTS):
                key, find = _unquoted(path[len(HOSTS) :]), tenancy.by_host
            elif path.startswith(TENANTS):
                key, find = _unquoted(path[len(TENANTS) :]), tenancy.by_id
            else:
                return _json(404, {"code": "path-unknown", "message": "there is no such path"})
            if token > position:
                context = await asyncio.to_thread(find, key, token)
            else:
                context = find(key, token)
            position = max(position, token, context.version)  # what was read may be newer than the position before
        except ContextRefused as refused:
            about = {"code": refused.code, "message": str(refused), "position": refused.position or position}
            return _json(refused.status, about, *self._marks(position))
        tag, body = self._render(path, context)
        marks = [(b"etag", tag), *self._marks(position)]
        for name, value in headers:
            if name == b"if-none-match" and value == tag:
                return 304, marks, b""
        return 200, [JSON, _length(body), *marks], body

    def _render(self, path: str, context: TenantContext) -> tuple[bytes, bytes]:
        """Entity tag and body; kept for as long as the document is the same and nothing in it expires."""
        found, now = self._rendered.get(path), time.time()
        if found is not None and found.context is context and now < found.until:
            return found.tag, found.body
        seen, tag = context.seen_at(now)
        ends = (each.expires_at for each in seen.products.values() if each.level == "open")
        until = min((end for end in ends if end is not None), default=math.inf)
        if len(self._rendered) >= KEPT:
            self._rendered.clear()
        self._rendered[path] = _Rendered(context, until, tag.encode(), to_json(named(seen)))
        return self._rendered[path].tag, self._rendered[path].body

    def _marks(self, position: int) -> Headers:
        own = self._tenancy.log
        return [(b"tenancy-position", b"%d" % position), (b"tenancy-log", b"" if own is None else own.log.encode())]


def _unquoted(part: str) -> str:
    return unquote(part) if "%" in part else part


def _token(headers: Headers) -> int:
    try:
        return at_least(headers) or 0
    except ValueError as error:
        raise ContextRefused("freshness-token-invalid", str(error)) from None


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def _json(status: int, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> tuple[int, Headers, bytes]:
    encoded = msgspec.json.encode(body)
    return status, [JSON, _length(encoded), *headers], encoded
