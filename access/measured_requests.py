"""Measured requests: how long each answer of a service took, by its status class, for the metrics of its process.

The outermost layer of a service: what the access middleware refuses is an answer, too.
"""

from __future__ import annotations

import time
from typing import Any

from application.ports.measures import measure
from tenantry_client.access.middleware import App, Receive, Scope, Send


def measured(app: App) -> App:
    """The application; its answers over HTTP are measured."""

    async def measuring(scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.monotonic(), 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            if scope["type"] == "http":
                measure("request", time.monotonic() - began, f"{status // 100}xx")

    return measuring
