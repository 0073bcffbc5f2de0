"""ASGI middleware of the tenant context: it resolves the tenant of a request and checks its access.

    host of the request ─▶ the tenant's context ─▶ its access open? ─▶ the product open? ─▶ the application

No context, no access: a request whose tenant is unknown, closed, or cannot be told in time is refused with a JSON body
`{"code", "message"}` before the application sees it. The application finds the context in `scope["tenancy.context"]`.
A freshness token is honoured only where the access middleware has left it, which is beside a valid service token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Final

from tenantry_client.access.middleware import AT_LEAST, App, Message, Receive, Scope, Send
from tenantry_client.context.document import TenantContext
from tenantry_client.context.hosts import host_of
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy

CONTEXT: Final = "tenancy.context"
REQUIRED_AT_LEAST: Final = "tenancy.at_least"


class TenancyMiddleware:
    """Puts the tenant's context on each request. `product`, where named, must be open as well."""

    def __init__(
        self, app: App, tenancy: Tenancy, *, product: str | None = None, open_paths: Collection[str] = ()
    ) -> None:
        """`open_paths` (probes) belong to no tenant and are let through."""
        self._app = app
        self._tenancy = tenancy
        self._product = product
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket; a refused WebSocket is closed."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in self._open_paths:
            return await self._app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            at_least = scope.get(AT_LEAST) or 0
            scope[CONTEXT] = await self._context(scope, at_least)
            scope[REQUIRED_AT_LEAST] = at_least
            await self._app(scope, receive, watched)
        except ContextRefused as refused:
            if started:
                raise
            await refuse(scope, send, refused)

    async def _context(self, scope: Scope, at_least: int) -> TenantContext:
        host, tenancy = host_of(scope["headers"]), self._tenancy
        if at_least > tenancy.position:  # it may wait, or ask a service: in a thread, so that other requests go on
            found = await asyncio.to_thread(tenancy.by_host, host, at_least)
        else:
            found = tenancy.by_host(host, at_least)
        if found.access != "open":
            raise ContextRefused("tenant-closed", "this site is closed")
        if self._product is not None:
            found.require(product=self._product)
        return found


async def refuse(scope: Scope, send: Send, refused: ContextRefused) -> None:
    """Answer with the refusal."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"code": refused.code, "message": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
