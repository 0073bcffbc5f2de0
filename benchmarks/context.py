"""How fast and how fresh is a tenant's context, and what does it cost a host?

    hot       a document kept in the process, lease and token checked    beside HTTP on a Unix socket, and a SELECT
    cold      LMDB, decode, lease checked                                beside a prepared SELECT by primary key
    socket    HTTP look-ups through the sidecar                          beside a bare ASGI app that answers a constant
    refused   commit of a suspension → refused by all of 20 sidecars; and a campaign of faults under the history checker
    memory    PSS of 8 workers, bytes on disk for each tenant            beside a dict in each worker
    bootstrap a snapshot read, checked and loaded                        beside the same tenants from the log

The sides take turns in small rounds; medians over the rounds.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from benchmarks.context_log import seconds_of
from benchmarks.context_population import POSITION, document, host, load_file, write_file
from benchmarks.harness import Result, progress, server, together
from context.sidecar.app import SidecarApp
from context.sidecar.run import server as http_server
from tenantry_client.context.document import TenantContext, encode
from tenantry_client.context.lease import lease_path, now_ns
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.store_reader import store_path
from tenantry_client.context.tenancy import Tenancy
from tests.context.campaign import Campaign, chaos
from tests.context.processes import SidecarProcess, StandInProcess, wait_until

WORKERS: Final = 8
SIDECARS: Final = 20
DAY_NS: Final = 24 * 3600 * 10**9
NAMES: Final = 2_000
BLOCK: Final = 100

Look = Callable[[str], object]


def run(*, runs: int, quick: bool) -> Result:
    """All of it; the last line of `--json` has the names of the issue's table."""
    tenants = 5_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        found: dict[str, Any] = {"bench": "context", "tenants": tenants}
        with _directory(folder, tenants) as (store, loaded):
            found |= loaded
            found |= _look_ups(store, tenants, rounds=3 if quick else 5 * runs)
            found |= _memory(store.directory, tenants, document_bytes=len(encode(document(0))))
        found |= _bootstrap(float(found["bootstrap_snapshot_s"]), tenants, logged=500 if quick else 5_000)
        found |= _refused(folder / "refused", rounds=5 if quick else 100)
        found |= _campaign(folder / "campaign", seconds=5 if quick else 90)
    return found | {"ours": found["hot"], "peer": found["select"], "ratio": found["hot_ratio"], "runs": runs}


@contextmanager
def _directory(folder: Path, tenants: int) -> Iterator[tuple[StoreWriter, Result]]:
    """A sidecar's directory with all tenants in it, from a snapshot, and how long that took."""
    progress(f"context: {tenants:,} tenants are written as a snapshot")
    file = folder / "snapshot"
    size = write_file(file, tenants)
    store = StoreWriter(folder / "tenancy")
    started = time.perf_counter()
    load_file(store, file)
    seconds = time.perf_counter() - started
    file.unlink()
    store.lease.renew(now_ns() + DAY_NS)
    blocks = (store_path(store.directory, store.generation) / "data.mdb").stat().st_blocks * 512
    progress(f"context: loaded in {seconds:.1f} s, {blocks / tenants:.0f} bytes a tenant")
    try:
        yield (
            store,
            {
                "bytes_per_tenant": round(blocks / tenants, 1),
                "snapshot_bytes_per_tenant": round(size / tenants, 1),
                "bootstrap_snapshot_s": round(seconds, 2),
            },
        )
    finally:
        store.close()
        lease_path(store.directory).unlink(missing_ok=True)


def _bootstrap(seconds: float, tenants: int, *, logged: int) -> Result:
    """The same tenants from the log: measured for some of them, and as many times slower for all."""
    from_log = seconds_of(logged) * tenants / logged
    progress(f"context: {tenants:,} tenants take {seconds:.1f} s from a snapshot, {from_log:.0f} s from the log")
    return {"bootstrap_log_s": round(from_log, 1), "bootstrap_ratio": round(from_log / seconds, 1)}


# -- look-ups ------------------------------------------------------------------------------------------------------


def _look_ups(store: StoreWriter, tenants: int, *, rounds: int) -> Result:
    chance = random.Random(16)
    names = [host(chance.randrange(tenants)) for _ in range(NAMES)]
    with ExitStack() as stack:
        hot = stack.enter_context(Tenancy.open(store.directory))
        cold = stack.enter_context(Tenancy.open(store.directory, kept=1))
        select = stack.enter_context(_select(tenants))
        bare = stack.enter_context(_http(store.directory, "bare"))
        http = stack.enter_context(_http(store.directory, "sidecar"))
        sides: dict[str, tuple[Look, int]] = {
            "hot": (lambda name: hot.by_host(name, POSITION), 50),
            "cold": (lambda name: cold.by_host(name, POSITION), 2),
            "select": (select, 1),
            "bare": (bare, 1),
            "http": (http, 1),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for each, _ in sides.values():
            _rate(each, names)
        for number in range(rounds * 10):  # small rounds: what disturbs the machine spoils few of them
            few = [names[(number * BLOCK + at) % NAMES] for at in range(BLOCK)]
            for name, (look, times) in sides.items():
                rates[name].append(_rate(look, [*few] * times))
        singles = _singles(hot, names)
    found = {name: median(each) for name, each in rates.items()}
    sockets = [ours / theirs for ours, theirs in zip(rates["http"], rates["bare"], strict=True)]
    return {
        **{name: round(each) for name, each in found.items()},
        **{f"{name}_us": round(1e6 / each, 2) for name, each in found.items()},
        "hot_p99_us": round(singles[int(len(singles) * 0.99)] / 1e3, 2),
        "hot_ratio": round(found["hot"] / max(found["http"], found["select"]), 1),
        "hot_http_ratio": round(found["hot"] / found["http"], 1),
        "hot_select_ratio": round(found["hot"] / found["select"], 1),
        "cold_ratio": round(found["cold"] / found["select"], 1),
        "socket_ratio": round(median(sockets), 2),
    }


def _rate(look: Look, names: Sequence[str]) -> float:
    started = time.perf_counter()
    for name in names:
        look(name)
    return len(names) / (time.perf_counter() - started)


def _singles(tenancy: Tenancy, names: Sequence[str]) -> list[int]:
    """Nanoseconds of single look-ups, sorted."""
    found = []
    for name in [*names] * 20:
        started = time.perf_counter_ns()
        tenancy.by_host(name, POSITION)
        found.append(time.perf_counter_ns() - started)
    return sorted(found)


@contextmanager
def _select(tenants: int) -> Iterator[Look]:
    """A prepared SELECT of the document by its host, on the server's own socket; the answer is decoded by nobody."""
    with server() as postgres, psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE contexts (host text, document bytea)")
        with connection.cursor() as cursor:
            with cursor.copy("COPY contexts FROM STDIN (FORMAT binary)") as rows:
                rows.set_types(["text", "bytea"])
                for number in range(tenants):
                    rows.write_row((host(number), encode(document(number))))
            cursor.execute("ALTER TABLE contexts ADD PRIMARY KEY (host)")
            cursor.execute("VACUUM ANALYZE contexts")

            def look(name: str) -> object:
                cursor.execute("SELECT document FROM contexts WHERE host = %s", (name,), prepare=True)
                return cursor.fetchone()

            yield look


@contextmanager
def _http(directory: Path, kind: str) -> Iterator[Look]:
    """HTTP on a Unix socket, one connection that is kept; `kind`: the sidecar's app, or one that answers a constant."""
    path = directory / f"{kind}.sock"
    command = [sys.executable, "-c", f"from benchmarks.context import serve; serve({str(directory)!r}, {kind!r})"]
    with subprocess.Popen(command) as process:
        wait_until(lambda: _connects(path), what="the HTTP server of the bench")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            yield lambda name: _get(connection, f"/v1/hosts/{name}")
        process.terminate()


def serve(directory: str, kind: str) -> None:
    """The HTTP server of one side, in a process of its own."""
    tenancy = Tenancy.open(directory)
    body = b"x" * 900
    headers = [(b"content-type", b"application/json"), (b"content-length", b"900")]

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    app = bare if kind == "bare" else SidecarApp(tenancy, metrics=str, troubles=dict)
    http_server(app, Path(directory) / f"{kind}.sock").run()


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def _get(connection: socket.socket, path: str) -> bytes:
    connection.sendall(b"GET %s HTTP/1.1\r\nhost: sidecar\r\n\r\n" % path.encode())
    data = connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the look-up was answered {head[:40]!r}")
    return body


# -- memory --------------------------------------------------------------------------------------------------------


def _memory(directory: Path, tenants: int, *, document_bytes: int) -> Result:
    """PSS of the workers after each has looked at many tenants, beside one dict, times the workers."""
    looks = min(tenants, 200_000)
    workers = together(_worker, [(str(directory), tenants, looks, seed) for seed in range(WORKERS)])
    sample = min(tenants, 200_000)
    (alone,) = together(_dict, [(sample,)])
    dict_mib = alone.value * tenants / sample * WORKERS
    ours = sum(each.value for each in workers)
    progress(f"context: {WORKERS} workers hold {ours:.0f} MiB, dicts would hold {dict_mib:.0f} MiB")
    return {
        "memory_mib": round(ours, 1),
        "memory_dicts_mib": round(dict_mib, 1),
        "memory_ratio": round(ours / dict_mib, 3),
        "document_bytes": document_bytes,
    }


def _worker(directory: str, tenants: int, looks: int, seed: int) -> Generator[None, None, float]:
    tenancy = Tenancy.open(directory)
    chance = random.Random(seed)
    for _ in range(looks):
        tenancy.by_host(host(chance.randrange(tenants)))
    yield
    time.sleep(1)  # all others are done as well: their pages are shared now
    return _pss_mib()


def _dict(sample: int) -> Generator[None, None, float]:
    """What a dict of documents by host holds, beyond an empty process."""
    before = _pss_mib()
    kept: dict[str, TenantContext] = {host(number): document(number) for number in range(sample)}
    yield
    return _pss_mib() - before + 0 * len(kept)


def _pss_mib() -> float:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


# -- freshness -----------------------------------------------------------------------------------------------------


def _refused(folder: Path, *, rounds: int) -> Result:
    """From the commit of a suspension to the moment at which the last of the sidecars refuses."""
    services = StandInProcess(folder).start()
    sidecars = [SidecarProcess(folder / str(number), services.urls, term=30.0) for number in range(SIDECARS)]
    times = []
    try:
        services.do("fill", count=100)
        for each in sidecars:
            each.start()
        tenancies = [Tenancy.open(each.directory) for each in sidecars]
        for tenancy in tenancies:
            wait_until(lambda: tenancy.is_ready, seconds=60, what="a lease")  # noqa: B023 - called at once
        for number in range(rounds):
            tenant = f"t-{number % 100}"
            services.do("suspend", tenant=tenant)
            committed = now_ns()
            _until_all_refuse(tenancies, f"{tenant}.example")
            times.append((now_ns() - committed) / 1e6)
            services.do("unsuspend", tenant=tenant)
            time.sleep(0.02)
    finally:
        for each in sidecars:
            each.remove()
        services.end()
    times.sort()
    progress(f"context: refused by all of {SIDECARS}: median {median(times):.1f} ms")
    return {
        "sidecars": SIDECARS,
        "refused_p50_ms": round(median(times), 1),
        "refused_p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
    }


def _until_all_refuse(tenancies: Sequence[Tenancy], name: str) -> None:
    for tenancy in tenancies:
        while _is_open(tenancy, name):
            time.sleep(0.0005)


def _is_open(tenancy: Tenancy, name: str) -> bool:
    try:
        return tenancy.by_host(name).is_open("crm")
    except ContextRefused:
        return False


def _campaign(folder: Path, *, seconds: float) -> Result:
    """Kills, stops and faults at random, with T = 3 s, under the history checker."""
    progress(f"context: {seconds:g} s of kills and faults")
    with Campaign(folder, term=3.0, sidecars=3, clients=3) as campaign:
        chaos(campaign, seconds=seconds, seed=16)
    violations, judged = campaign.judge()
    for each in violations[:5]:
        progress(f"context: {each}")
    return {"violations": len(violations), "checks": judged}
