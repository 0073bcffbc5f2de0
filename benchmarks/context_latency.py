"""Commit of a suspension → its frame at a reader of a context service: how long?

`python -m benchmarks.context_latency [COUNT]`. Everything is at work on one machine: the high-water agent, the context
projector in a process of its own, a service over uvicorn in another, and here the writer and the reader. Prints one
JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate
from context.service.run import ServiceAddress, serve
from domain.tenant.events import ProductSuspended
from tenantry_client.context.wire import Changes
from tests.context.engine import Engine, Service


def _projects(url: str) -> None:
    engine = Engine(url)
    with engine.marked():
        engine.projector().run(threading.Event())


def _serves(url: str, port: multiprocessing.Queue[int]) -> None:
    serve(url, ServiceAddress(), lease_seconds=30, stop=threading.Event(), ready=port.put)


def main(count: int = 500) -> None:
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            server.create_database("latency")
            measure(server.url("latency"), count)
        finally:
            server.stop()


def measure(url: str, count: int) -> None:
    migrate(url)
    engine = Engine(url)
    forks = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue[int] = forks.Queue()
    processes = [forks.Process(target=_projects, args=(url,)), forks.Process(target=_serves, args=(url, port))]
    for each in processes:
        each.start()
    try:
        for number in range(count):
            engine.open(f"t-{number}")
        position = engine.wait_for_position(seconds=120)
        service = Service(f"http://127.0.0.1:{port.get(timeout=30)}")
        service.wait_until_fresh(60)
        print(json.dumps(_measured(engine, service, position, count)))
    finally:
        for each in processes:
            each.kill()
            each.join()
        engine.close()


def _measured(engine: Engine, service: Service, position: int, count: int) -> dict[str, float]:
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
        suspended = ProductSuspended(tenant_id=tenant_id, product="jira-software", reason="unpaid")
        engine.record((f"tenant:{tenant_id}", suspended))
        committed[tenant_id] = time.perf_counter()
        time.sleep(0.02)
    reader.join(60)
    took = sorted((arrived[each] - at) * 1000 for each, at in committed.items())
    return {
        "count": len(took),
        "p50_ms": round(took[len(took) // 2], 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "max_ms": round(took[-1], 2),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
