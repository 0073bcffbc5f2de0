"""The context service as a process: its threads, its loop and uvicorn, from start to end.

Without keys the service listens on the loopback alone. With them every path but the probes is under the access
middleware: a service token, and a line of the allow-list for this route.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
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
from tenantry_client.access.middleware import App
from tenantry_client.asap import KeySource

SERVICE = "context-service"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where the service listens, and who may call: `protect` puts the access middleware around it, with the keys that
    the service's own feed tells."""

    host: str = "127.0.0.1"
    port: int = 0
    protect: Callable[[App, KeySource], App] = lambda app, _: app


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
    with ExitStack() as stack:
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
        await _run(_server(place.protect(service, FeedKeys(feed, lambda: service.fresh_until)), place), stop, ready)


def _tell(loop: asyncio.AbstractEventLoop, service: ContextService) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(service.notified)


def _server(app: App, place: ServiceAddress) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=place.host,
            port=place.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
    )


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
