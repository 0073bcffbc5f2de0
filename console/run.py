"""The console as a process: its access, its desks, its live stream and uvicorn, from start to end."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from console.access import Access, Proxies
from console.app import Console
from console.desks import Desks
from console.live import Live
from console.pages import PAGES
from console.rendering import Renderer
from console.samples import Samples
from domain.errors import Unavailable, UsageError, problem
from runtime.compose.console import ConsoleParts
from runtime.proposal import account
from runtime.settings import Settings

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """Where it listens; port 0 is a free one."""

    host: str = "127.0.0.1"
    port: int = 0


def access_of(settings: Settings, place: ConsoleAddress) -> Access:
    """On the loopback a token, elsewhere proxies alone. Raises UsageError where anybody could come in."""
    is_loopback = place.host in LOOPBACK
    if not is_loopback and not settings.console_proxies:
        raise UsageError(problem("console-without-proxy", host=place.host))
    given = settings.console_token.get_secret_value() if settings.console_token is not None else None
    token = given or secrets.token_urlsafe(24)
    return Access(
        secret=hmac.digest(token.encode(), b"tenantry.console.forms.v1", "sha256"),
        token=token if is_loopback else None,
        account=account(),
        hosts=LOOPBACK if is_loopback and not settings.console_proxies else frozenset(),
        proxies=Proxies(
            networks=[ip_network(each) for each in settings.console_proxies],
            user_header=settings.console_user_header.lower(),
            groups_header=settings.console_groups_header.lower(),
            issuer=settings.console_issuer,
            groups={
                "viewer": frozenset(settings.console_viewer_groups),
                "operator": frozenset(settings.console_operator_groups),
                "approver": frozenset(settings.console_approver_groups),
            },
        ),
    )


class RunningConsole:
    """The application with what it stands on, for as long as the block lasts. In the loop's thread."""

    def __init__(self, made_of: ConsoleParts, access: Access) -> None:
        self.samples = Samples(made_of.reader)
        self._desks = Desks(made_of, self.samples)
        self.live = Live(made_of.movements, made_of.listener)
        self._console = Console(access, self._desks, self.live, Renderer(access.form_token))
        self.app: ASGIApp = self._console.app(PAGES)

    async def __aenter__(self) -> RunningConsole:
        self.live.start()
        self.samples.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.live.stop)
        await asyncio.to_thread(self.samples.stop)
        self._desks.close()


def serve(
    made_of: ConsoleParts,
    access: Access,
    place: ConsoleAddress,
    *,
    stop: threading.Event,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set; `ready` is told the port. Raises Unavailable where it cannot listen."""
    try:
        asyncio.run(_serve(made_of, access, place, stop=stop, ready=ready))
    except OSError as error:
        raise Unavailable(problem("console-address", host=place.host, port=place.port, reason=error)) from None


async def _serve(
    made_of: ConsoleParts,
    access: Access,
    place: ConsoleAddress,
    *,
    stop: threading.Event,
    ready: Callable[[int], None],
) -> None:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.create_server((place.host, place.port), family=family, backlog=512)
    async with RunningConsole(made_of, access) as running:
        server = uvicorn.Server(
            uvicorn.Config(
                running.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                proxy_headers=False,  # who the peer is decides whether its headers count
                server_header=False,
                limit_concurrency=2_000,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(server._serve([listening]))  # noqa: SLF001 - `serve` would take the process's signals
        try:
            while not server.started and not serving.done():
                await asyncio.sleep(0.005)
            if not serving.done():
                ready(listening.getsockname()[1])
            while not stop.is_set() and not serving.done():
                await asyncio.sleep(0.05)
        finally:
            server.should_exit = True
            await asyncio.to_thread(running.live.stop)  # the streams end first
            await serving
