"""Probes of a worker: `/metrics` for Prometheus, `/livez` and `/readyz` for whatever starts it again.

    /livez    200 while the worker's loop moves. It asks neither the database nor Kafka: to start a worker again does
              not bring either back.
    /readyz   200 while the worker takes in work and its loops wait for nothing; otherwise 503, with what they wait for.
    /metrics  the metrics of this worker; of a relay those of the fleet as well, from the database and the broker.

They are served by threads beside the loop, on `metrics_address`, which is this machine alone by default: metrics name
shards and read models, and nothing here asks for a password.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from adapters.outage import Outage
from application.ports.measures import listen
from domain.errors import TenantryError, UsageError, problem

if TYPE_CHECKING:
    from prometheus_client.core import CollectorRegistry

    from runtime.compose.process import Process
    from runtime.metrics import Sample

log = structlog.get_logger(__name__)

STUCK_SECONDS: Final = 60.0
"""A loop that has not moved for so long is stuck: each of its waits has a time-out that is shorter."""

KEPT_SECONDS: Final = 5.0
"""How long numbers of the fleet are kept: several scrapers cost the database no more than one."""

REQUEST_SECONDS: Final = 10.0


class Heart(Protocol):
    """Whether the worker takes in work."""

    @property
    def is_ready(self) -> bool: ...


@dataclass(slots=True)
class Serving:
    """The heart of a service that keeps no row of heartbeats: whether it listens."""

    is_ready: bool = False


class Probes:
    """What the probes of one worker answer. `loop` is its main one; `outages` are those of all of its loops."""

    def __init__(
        self,
        heart: Heart,
        loop: Outage | None,
        outages: Sequence[Outage],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heart = heart
        self._loop = loop
        self._outages = outages
        self._seconds = seconds

    def live(self) -> tuple[int, str]:
        """Status and one line."""
        if self._loop is None:
            return 200, "it answers, and has no loop"
        still = self._seconds() - self._loop.moved_at
        if still > STUCK_SECONDS:
            return 503, f"the loop has not moved for {still:.0f} s: start this worker again"
        return 200, "the loop moves"

    def ready(self) -> tuple[int, str]:
        """Status, and a line for each reason."""
        if waits := [each for outage in self._outages if (each := outage.waits)]:
            return 503, "\n".join(f"not ready: {each['who']} waits: {each['why']}" for each in waits)
        if not self._heart.is_ready:
            return 503, "not ready: the worker is starting"
        return 200, "ready"


@contextmanager
def probed(
    process: Process, kind: str, heart: Heart, outages: Sequence[Outage] = (), *, kinds: Iterable[str] = ()
) -> Iterator[None]:
    """Serve the probes while the block runs, where `metrics_port` is set; `kinds` are all of the fleet.

    UsageError where the port is taken.
    """
    settings = process.settings
    if settings.metrics_port is None:
        yield
        return
    from runtime.metrics import WorkerMetrics  # noqa: PLC0415 - only who is asked for metrics loads their library

    metrics = WorkerMetrics(kind, outages)
    if kind == "relay":
        from runtime.compose.fleet import TEXTS, fleet_of  # noqa: PLC0415

        metrics.add(FleetNumbers(fleet_of(process, kinds)), TEXTS)
    server = serve(
        settings.metrics_address,
        settings.metrics_port,
        Probes(heart, next(iter(outages), None), outages),
        metrics.registry,
    )
    unlisten = listen(metrics.listener)
    try:
        yield
    finally:
        unlisten()
        server.shutdown()
        server.server_close()


class FleetNumbers:
    """Numbers of the fleet that are kept for a while, for any thread; `fleet_answers` is 0, and alone, where there are
    none: old numbers must not look like new ones."""

    def __init__(self, samples: Callable[[], list[Sample]], *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._samples = samples
        self._seconds = seconds
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._kept: list[Sample] = []

    def __call__(self) -> list[Sample]:
        with self._lock:
            if self._seconds() >= self._until:
                try:
                    self._kept = [*self._samples(), ("fleet_answers", {}, 1)]
                except TenantryError as error:
                    log.debug("no metrics of the fleet", reason=str(error))
                    self._kept = [("fleet_answers", {}, 0)]
                self._until = self._seconds() + KEPT_SECONDS
            return self._kept


def serve(address: str, port: int, probes: Probes, registry: CollectorRegistry) -> ThreadingHTTPServer:
    """A server in threads of its own. UsageError where it cannot listen."""
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        server_version, sys_version = "tenantry", ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encode(registry), content_type)
            elif path in ("/livez", "/readyz"):
                status, text = probes.live() if path == "/livez" else probes.ready()
                self._answer(status, f"{text}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(404, b"see /metrics, /livez and /readyz\n", "text/plain; charset=utf-8")

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A scrape is no news."""

    try:
        server = _Server((address, port), Handler)
    except OSError as error:
        raise UsageError(
            problem("metrics-address", address=address, port=port, reason=error.strerror or error)
        ) from None
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - its signature
        """A scraper that went away is no error of ours."""
        log.debug("a request to the probes failed")
