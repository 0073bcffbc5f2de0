"""The sidecar as a process: its store, its threads and its HTTP, from start to end.

The HTTP is served by uvicorn on the Unix socket of the directory; the threads follow the services meanwhile. A signal
ends both, and the store is closed so that the next sidecar takes it on. The lease is left as it stands: until its end
it is as true as before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import uvicorn

from context.sidecar.app import SidecarApp
from context.sidecar.follower import Follower
from context.sidecar.process import Sidecar
from context.sidecar.services import Service, first_answer
from tenantry_client.context.lease import now_ns
from tenantry_client.context.sidecar_socket import SOCKET
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.tenancy import Tenancy


def run_sidecar(
    directory: Path,
    services: Sequence[Service],
    *,
    term: float,
    digest_seconds: float = 60.0,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve `directory` until a signal. `term` is T, in seconds; `ready` is called under the first lease.

    Raises StoreTaken, LeaseUnusable, OSError.
    """
    follower = Follower(StoreWriter(directory), int(term * 1e9))
    sidecar = Sidecar(follower, services, digest_seconds=digest_seconds)
    tenancy = Tenancy(directory, ask=partial(first_answer, list(services)))
    app = SidecarApp(tenancy, metrics=partial(metrics, follower), troubles=lambda: sidecar.troubles)
    sidecar.start()
    threading.Thread(target=_tell_first_lease, args=(tenancy, directory / SOCKET, ready), daemon=True).start()
    try:
        server(app, directory / SOCKET).run()
    finally:
        tenancy.close()
        sidecar.stop()


def _tell_first_lease(tenancy: Tenancy, path: Path, ready: Callable[[], None]) -> None:
    while not (tenancy.is_ready and path.exists()):
        time.sleep(0.05)
    ready()


def server(app: object, path: Path) -> uvicorn.Server:
    """The HTTP server of a sidecar."""
    path.unlink(missing_ok=True)
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            uds=str(path),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def metrics(follower: Follower) -> str:
    """The counters as Prometheus reads them."""
    lines = [
        f"tenancy_sidecar_position {follower.store.position}",
        f"tenancy_sidecar_lease_seconds {max(0, follower.store.lease.end_ns - now_ns()) / 1e9:.3f}",
        f"tenancy_sidecar_generation {follower.store.generation}",
        *(f"tenancy_sidecar_{name}_total {value}" for name, value in asdict(follower.counters).items()),
    ]
    return "\n".join(lines) + "\n"
