"""The context service as a process: its threads, its loop and uvicorn, from start to end.

Without keys the service listens on the loopback alone. With them every path but the probes is under the access
middleware: a service token, and a line of the allow-list for this route.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from adapters.postgres.contexts import CHANNEL, ContextReader
from adapters.postgres.high_water import MarkListener
from context.service.app import ContextService
from context.service.feed import Feed
from context.service.keys import FeedKeys
from context.service.leases import Leases
from context.service.readers import Readers
from context.service.snapshots import Snapshots
from tenantry_client.access.middleware import App, Receive, Scope, Send
from tenantry_client.asap import KeySource

SERVICE = "context-service"
METRICS_PATHS = ("/metrics", "/livez", "/readyz")


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where the service listens, and who may call: `protect` puts the access middleware around it, with the keys that
    the service's own feed tells."""

    host: str = "127.0.0.1"
    port: int = 0
    protect: Callable[[App, KeySource], App] = lambda app, _: app
    metrics: tuple[str, int] | None = None
    """Where Prometheus reads without a token: a listener of its own, which answers nothing else."""


def serve(
    url: str,
    place: ServiceAddress,
    *,
    lease_seconds: float,
    stop: threading.Event,
    folder: Path | None = None,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until `stop` is set; `ready` is told the port. Raises OSError where it cannot listen."""
    asyncio.run(_serve(url, place, lease_seconds=lease_seconds, stop=stop, folder=folder, ready=ready))


async def _serve(
    url: str,
    place: ServiceAddress,
    *,
    lease_seconds: float,
    stop: threading.Event,
    folder: Path | None,
    ready: Callable[[int], None],
) -> None:
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        readers = Readers(url)
        stack.callback(readers.close)
        snapshots = Snapshots(readers, folder=folder)
        stack.callback(snapshots.close)
        of_leases, of_feed, listener = ContextReader(url), ContextReader(url), MarkListener(url, channel=CHANNEL)
        for each in (of_leases, of_feed, listener):
            stack.callback(each.close)
        service: ContextService
        feed = Feed(of_feed, listener, notify=lambda: _tell(loop, service))
        service = ContextService(
            readers=readers,
            feed=feed,
            leases=Leases(of_leases),
            snapshots=snapshots,
            lease_seconds=lease_seconds,
        )
        feed.start()
        stack.callback(feed.stop)
        fresh = asyncio.create_task(service.keep_fresh())
        stack.callback(fresh.cancel)
        if place.metrics is not None:
            await stack.enter_async_context(_listening(_only_metrics(service), *place.metrics))
        app = place.protect(service, FeedKeys(feed, lambda: service.fresh_until))
        await _run(_server(app, place.host, place.port), stop, ready)


def _tell(loop: asyncio.AbstractEventLoop, service: ContextService) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(service.notified)


def run_app(
    app: App,
    place: tuple[str, int],
    *,
    tls: tuple[Path, Path] | None,
    stop: threading.Event,
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve an application until `stop` is set; `tls`: certificate and key. Raises OSError where it cannot listen."""
    asyncio.run(_run(_server(app, *place, tls=tls), stop, ready))


def _server(app: App, host: str, port: int, *, tls: tuple[Path, Path] | None = None) -> uvicorn.Server:
    certificate, key = tls or (None, None)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def _only_metrics(service: App) -> App:
    async def only_metrics(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in METRICS_PATHS:
            scope = {**scope, "raw_path": b"/there-is-no-such-path"}
        await service(scope, receive, send)

    return only_metrics


@asynccontextmanager
async def _listening(app: App, host: str, port: int) -> AsyncIterator[None]:
    """A second server, for as long as the block lasts. Raises OSError."""
    stop, started = threading.Event(), asyncio.Event()
    task = asyncio.create_task(_run(_server(app, host, port), stop, lambda _: started.set()))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    try:
        yield
    finally:
        stop.set()
        await task


async def _run(server: uvicorn.Server, stop: threading.Event, ready: Callable[[int], None]) -> None:
    running = asyncio.create_task(server._serve())  # noqa: SLF001 - `serve` would take the process's signals
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.005)
        if not running.done():
            ready(server.servers[0].sockets[0].getsockname()[1])
        while not stop.is_set() and not running.done():
            await asyncio.sleep(0.05)
    finally:
        server.should_exit = True
        try:
            await running
        except SystemExit as error:
            raise OSError("the address cannot be listened on: name another --port") from error
