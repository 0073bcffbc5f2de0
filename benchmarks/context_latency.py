"""Commit of a suspension → its frame at a reader of a context service, and its refusal on a host: how long?

`python -m benchmarks.context_latency [COUNT]`. Everything is at work on one machine: the high-water agent, the context
projector in a process of its own, a service over uvicorn in another, a sidecar, and here the writer and the readers.
Prints one JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate
from context.service.run import ServiceAddress, serve
from tenantry_client.context.tenancy import Tenancy
from tenantry_client.context.wire import Changes
from tests.context.engine import PRODUCT, Engine, Service
from tests.context.processes import SidecarProcess, wait_until

REFUSALS: Final = 100


def _projects(url: str) -> None:
    engine = Engine(url)
    with engine.marked():
        engine.projector().run(threading.Event())


def _serves(url: str, port: multiprocessing.Queue[int]) -> None:
    serve(url, ServiceAddress(), lease_seconds=30, stop=threading.Event(), ready=port.put)


def main(count: int = 500) -> None:
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            server.create_database("latency")
            measure(server.url("latency"), count, Path(folder) / "host")
        finally:
            server.stop()


def measure(url: str, count: int, host: Path) -> None:
    migrate(url)
    engine = Engine(url)
    forks = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue[int] = forks.Queue()
    processes = [forks.Process(target=_projects, args=(url,)), forks.Process(target=_serves, args=(url, port))]
    for each in processes:
        each.start()
    try:
        for number in range(count + REFUSALS):
            engine.open(f"t-{number}")
        position = engine.wait_for_position(seconds=120)
        service = Service(f"http://127.0.0.1:{port.get(timeout=30)}")
        service.wait_until_fresh(60)
        print(json.dumps(_frames(engine, service, position, count) | _refusals(engine, service, host, count)))
    finally:
        for each in processes:
            each.kill()
            each.join()
        engine.close()


def _frames(engine: Engine, service: Service, position: int, count: int) -> dict[str, float]:
    committed: dict[str, float] = {}
    arrived: dict[str, float] = {}

    def reads() -> None:
        log = str(service.get("/v1/lease")[1]["log"])
        for frame in service.frames(position, log):
            now = time.perf_counter()
            for change in frame.tenants if isinstance(frame, Changes) else ():
                arrived.setdefault(change.tenant_id, now)
            if len(arrived) == count:
                return

    reader = threading.Thread(target=reads)
    reader.start()
    time.sleep(1)
    for number in range(count):
        tenant_id = f"t-{number}"
        engine.suspend(tenant_id)
        committed[tenant_id] = time.perf_counter()
        time.sleep(0.02)
    reader.join(60)
    return {"count": count} | _percentiles("", [arrived[each] - at for each, at in committed.items()])


def _refusals(engine: Engine, service: Service, host: Path, first: int) -> dict[str, float]:
    """From the commit until the sidecar's host refuses, for tenants that no frame was measured with."""
    sidecar = SidecarProcess(host, [service.url], term=30.0)
    sidecar.start()
    took = []
    try:
        with Tenancy.open(sidecar.directory) as tenancy:
            wait_until(lambda: tenancy.is_ready, seconds=30, what="a lease")
            for number in range(first, first + REFUSALS):
                tenant_id = f"t-{number}"
                engine.suspend(tenant_id)
                committed = time.perf_counter()
                while tenancy.by_id(tenant_id).is_open(PRODUCT):
                    time.sleep(0.0005)
                took.append(time.perf_counter() - committed)
                time.sleep(0.02)
    finally:
        sidecar.remove()
    return _percentiles("refused_", took)


def _percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    took = sorted(each * 1000 for each in seconds)
    return {
        f"{name}p50_ms": round(took[len(took) // 2], 2),
        f"{name}p99_ms": round(took[int(len(took) * 0.99)], 2),
        f"{name}max_ms": round(took[-1], 2),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
