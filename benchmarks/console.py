"""Console benchmark: commit → frame at 200 watchers, memory, pages of a store of a million tenants, cost of the intake.

The console is a process of its own, as `tenantry console` runs it. The store is filled by SQL: tenants as they are
after a short life, of which some have failed. `p99_ms` is from a commit to its frame, over all watchers and commits;
`rss_mib` that of the console while 200 watch the live page; `page_p99_ms` the worst page's, by its own Server-Timing;
`ingest_cost` the CPU time that a message takes the intake with 200 watchers, against none, in turns.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

from adapters.encryption import NoKeys
from adapters.kafka.ports import Message
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.high_water import HighWaterAgent
from application.ports.encryption import EncryptionKeys
from application.unit_of_work import UnitOfWork
from benchmarks.harness import Result, our_database, progress, server, settle
from benchmarks.population import (
    MASTER_KEY,
    NO_KAFKA,
    PRODUCT,
    Row,
    license_message,
    licensed,
    lives,
    load,
    parts,
    recorded,
    tenant_id,
)
from domain.scope.state import StepStarted
from domain.scope.steps import LicenseSpec, Scope, SiteSpec, Step
from runtime.compose import new_id
from runtime.compose.intake import lifecycle_of, messages_of

TENANTS: Final = 1_000_000
WATCHERS: Final = 200
COMMITS: Final = 100
ASKED: Final = 40
MESSAGES: Final = 10_000
BATCH: Final = 500
FAILED: Final = 2_000
TOKEN: Final = "the-token-of-the-bench"  # noqa: S105 - of a store that goes afterwards

_SPAWN: Final = multiprocessing.get_context("spawn")


def run(*, runs: int, quick: bool = False, tenants: int | None = None) -> Result:
    size = tenants or (200 if quick else TENANTS)
    watchers, commits, asked, messages = (5, 5, 2, 100) if quick else (WATCHERS, COMMITS, ASKED, MESSAGES)
    with server() as postgres:
        url = our_database(postgres)
        load(url, whole_lives, range(size), incoming=True)
        fill(url, size)
        with high_water(url), a_console(url) as console:
            pages = measure_pages(url, console, size, asked)
            progress(f"pages: {pages}")
        # The memory is that of a console whose watchers look at the live page alone: a process of its own.
        with high_water(url), a_console(url) as console, watching(console, watchers) as watched:
            time.sleep(2)
            took = measure_frames(url, watched, commits, size)
            rss = console.rss_mib
            progress(f"frames: p50 {took[len(took) // 2]:.1f} ms, p99 {_p99(took):.1f} ms, rss {rss:.0f} MiB")
        with high_water(url), a_console(url) as console:
            with_them, without = measure_ingest(url, console, watchers, messages, size, runs)
    return {
        "bench": "console",
        "p99_ms": round(_p99(took), 1),
        "p50_ms": round(took[len(took) // 2], 1),
        "rss_mib": round(rss, 1),
        "page_p99_ms": round(max(p99 for _, p99 in pages.values()), 1),
        "ingest_cost": round(median(with_them) / median(without), 3),
        "pages": {path: [round(each, 1) for each in values] for path, values in pages.items()},
        "ingest_us": {"watched": round(median(with_them), 1), "alone": round(median(without), 1)},
        "tenants": size,
        "watchers": watchers,
        "frames": len(took),
        "runs": runs,
    }


# -- the store -----------------------------------------------------------------------------------------------------


def whole_lives(keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """The lives of the population, with the intents before their outcomes: the saga's state is made of both."""
    started = _intents()
    for row in lives(keys, numbers):
        kind, _, rest = row[0].partition(":")
        if (intent := started.get(kind)) is not None:
            yield row[0], 1, intent[0], intent[1].replace(_TEMPLATE.encode(), rest.partition(":")[0].encode())
        yield row


@cache
def _intents() -> Mapping[str, tuple[str, bytes]]:
    """By kind of scope: the topic and the state of the intent of a tenant that stands for all."""
    mapper, found = EventMapper(NoKeys()), {}
    site = SiteSpec(site_name=f"site-{_TEMPLATE}", access="open")
    bought = LicenseSpec(
        product=PRODUCT, edition="premium", users=250, active=True, expires_at=None, features=("sandbox",)
    )
    for scope, step, spec in (
        (Scope("site", _TEMPLATE), Step.SITE, site),
        (Scope("product", _TEMPLATE, PRODUCT), Step.LICENSE, bought),
    ):
        event = StepStarted(
            tenant_id=_TEMPLATE,
            kind=scope.kind,
            key=scope.key,
            step=step,
            direction="ensure",
            generation=1,
            spec=spec,
        )
        stored = mapper.to_stored_event(recorded(str(scope), 1, event, new_id()))
        found[str(scope.kind)] = (stored.topic, stored.state)
    return found


_TEMPLATE: Final = "7e4a17aa-0000-4000-8000-7e4a17aa0000"


def fill(url: str, size: int) -> None:
    """The read models of the tenants, and what the console's pages find: failures, a quarantine, hosts."""
    progress(f"filling the read models of {size:,} tenants")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FILL:
            connection.execute(statement.encode(), {"size": size, "failed": min(FAILED, size // 10)})
    settle(url)


_ID: Final = "md5('tenant ' || n)::uuid::text"
_EACH: Final = "generate_series(0, %(size)s - 1) AS n"
_FILL: Final = (
    (
        "INSERT INTO sites_base (tenant_id, customer_id, site_name, state, created_at, updated_at)"
        f" SELECT {_ID}, 'customer-' || n / 2, 'site-' || {_ID}, 'open', now(), now() FROM {_EACH}"
    ),
    f"INSERT INTO site_products SELECT {_ID}, 'jira-software', 'open' FROM {_EACH}",
    (
        "INSERT INTO provisionings (tenant_id, kind, key, outcome, level, updated_at)"
        f" SELECT {_ID}, kind, key, 'converged', 'open', now() FROM {_EACH},"
        " (VALUES ('site', ''), ('family', 'jira'), ('product', 'jira-software')) AS s (kind, key)"
    ),
    (
        "UPDATE provisionings SET outcome = 'failed', reason = 'compass answered 503' WHERE kind = 'product'"
        f" AND tenant_id IN (SELECT {_ID} FROM generate_series(0, %(failed)s - 1) AS n)"
    ),
    (
        "INSERT INTO licenses (tenant_id, product, edition, users, active, features, updated_at)"
        f" SELECT {_ID}, 'jira-software', 'premium', 250, true, '[]', now() FROM {_EACH}"
    ),
    f"INSERT INTO contexts (tenant_id, version) SELECT {_ID}, 1 FROM {_EACH}",
    f"INSERT INTO context_hosts SELECT 'site-' || {_ID} || '.tenantry.example', {_ID}, 1 FROM {_EACH}",
    (
        'INSERT INTO quarantine (rule, reason, source, id, type, topic, partition, "offset", digest, sealed_body,'
        " received_at) SELECT 'unknown-product', 'a test', '/bench', 'q-' || n, 'product.activated',"
        " 'tenantry.lifecycle',"
        " 0, n, decode(md5('q' || n), 'hex'), 'x', now() FROM generate_series(1, %(failed)s) AS n"
    ),
    (
        "INSERT INTO projection_positions (name, bucket, position) SELECT 'sites', 0, position FROM high_water_mark"
        " ON CONFLICT DO NOTHING"
    ),
)


@contextmanager
def high_water(url: str) -> Iterator[None]:
    agent = HighWaterAgent(url)
    agent.start()
    try:
        yield
    finally:
        agent.stop()


# -- the console ---------------------------------------------------------------------------------------------------


@dataclass
class Served:
    """A console in a process of its own."""

    port: int
    pid: int

    @property
    def rss_mib(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def get(self, path: str) -> float:
        """How long the server says that the page took it, in ms."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Cookie": _COOKIE})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
            answer.read()
            return float(answer.headers["server-timing"].partition("dur=")[2])


_COOKIE: Final = f"tenantry_console={TOKEN}"


@contextmanager
def a_console(url: str) -> Iterator[Served]:
    """As an operator starts it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TENANTRY_DATABASE_URL": url,
        "TENANTRY_KAFKA_BOOTSTRAP": NO_KAFKA,
        "TENANTRY_MASTER_KEY": MASTER_KEY,
        "TENANTRY_CONSOLE_TOKEN": TOKEN,
        "TENANTRY_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-c", "from cli.main import main; main()", "console", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        printed = json.loads(process.stdout.readline())
        yield Served(urlsplit(printed["url"]).port or 0, process.pid)
    finally:
        process.kill()
        process.wait(10)


def measure_pages(url: str, console: Served, size: int, asked: int) -> dict[str, tuple[float, float]]:
    """The median and the p99 of each page; every time another tenant, and another place in a list."""
    found: dict[str, list[float]] = {}
    for number in range(asked + 1):
        tenant = tenant_id((number * 7919) % size)
        for name, path in {
            "/": "/",
            "/tenants": f"/tenants?after={tenant}",
            "/tenants?level": f"/tenants?level=open&after={tenant}",
            "/tenants?state": "/tenants?state=failed",
            "/t/ID": f"/t/{tenant}",
            "/t/ID?at": f"/t/{tenant}?at={_position(url, tenant)}",
            "/t/ID/timeline": f"/t/{tenant}/timeline",
            "/plans": "/plans",
            "/quarantine": "/quarantine",
            "/acts": "/acts",
            "/health": "/health",
            "/search": f"/search?q={tenant}",
            "/search?place": f"/search?q=tenantry.lifecycle/3/{number}",
            "/search?host": f"/search?q=site-{tenant[:8]}",
        }.items():
            took = console.get(path)
            if number:  # the first opens sessions and imports
                found.setdefault(name, []).append(took)
    return {name: (median(values), _p99(sorted(values))) for name, values in found.items()}


def _position(url: str, tenant: str) -> int:
    """A position at which the tenant was there."""
    with psycopg.connect(url) as connection:
        query = "SELECT max(notification_id) FROM stored_events WHERE originator_id = %s"
        row = connection.execute(query, (f"tenant:{tenant}",)).fetchone()
    return int(row[0]) if row else 0


# -- the live page -------------------------------------------------------------------------------------------------


class Watchers:
    """Streams of the live page, read by a loop in a thread; when each position came to each of them."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self.came: list[dict[int, float]] = [{} for _ in range(count)]
        self._open = threading.Event()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._open.wait(60):
            raise TimeoutError("the watchers did not get their streams")

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._watch(number)) for number in range(self._count)]
        await asyncio.sleep(2)
        self._open.set()
        await asyncio.gather(*tasks)

    async def _watch(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nCookie: {_COOKIE}\r\n\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"id: "):
                self.came[number][int(line[4:])] = time.perf_counter()


@contextmanager
def watching(console: Served, count: int) -> Iterator[Watchers]:
    made = Watchers(console.port, count)
    made.start()
    console.get("/")
    yield made


def measure_frames(url: str, watchers: Watchers, commits: int, size: int) -> list[float]:
    """From each commit to the first frame that covers it, in ms, over all watchers, sorted."""
    committed: list[tuple[int, float]] = []
    with parts(url, NO_KAFKA) as ours, psycopg.connect(url, autocommit=True) as connection:
        for number in range(commits):
            tenant = tenant_id(number % size)
            stream = str(Scope("product", tenant, "jira-software"))
            version = 3 + number // size
            ours.log.record(UnitOfWork(events=[recorded(stream, version, licensed(tenant), new_id())]))
            at = time.perf_counter()
            row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
            committed.append((int(row[0]) if row else 0, at))
            time.sleep(0.15)
    time.sleep(2)
    took = []
    for came in watchers.came:
        frames = sorted(came.items())
        for position, at in committed:
            arrived = next((time_ for upto, time_ in frames if upto >= position), None)
            if arrived is None:
                raise RuntimeError(f"position {position} never came to a watcher")
            took.append((arrived - at) * 1000)
    return sorted(took)


# -- the cost ------------------------------------------------------------------------------------------------------


def measure_ingest(
    url: str, console: Served, watchers: int, messages: int, size: int, runs: int
) -> tuple[list[float], list[float]]:
    """CPU time of the intake for each message in µs: watched, and alone; in turns, each in a process of its own."""
    watched: list[float] = []
    alone: list[float] = []
    revision = 1_000
    for _ in range(runs):
        with watching_apart(console, watchers):
            watched.append(_intake_apart(url, messages, size, revision))
        alone.append(_intake_apart(url, messages, size, revision + messages))
        revision += 2 * messages
        progress(f"ingest: watched {watched[-1]:.1f} µs a message, alone {alone[-1]:.1f}")
    return watched, alone


@contextmanager
def watching_apart(console: Served, count: int) -> Iterator[None]:
    """Watchers in a process of their own, which ends with the block."""
    process = _SPAWN.Process(target=_watches, args=(console.port, count), daemon=True)
    process.start()
    time.sleep(4)
    try:
        yield
    finally:
        process.kill()
        process.join(10)


def _watches(port: int, count: int) -> None:
    Watchers(port, count).start()
    threading.Event().wait()


def _intake_apart(url: str, messages: int, size: int, revision: int) -> float:
    answers: Any = _SPAWN.Queue()
    process = _SPAWN.Process(target=_intakes, args=(url, messages, size, revision, answers), daemon=True)
    process.start()
    value = float(answers.get(timeout=600))
    process.join(10)
    return value


def _intakes(url: str, messages: int, size: int, revision: int, answers: Any) -> None:
    with parts(url, NO_KAFKA) as ours:
        lifecycle, read = lifecycle_of(ours), messages_of(ours).read
        given = [_message(tenant_id((revision + n) * 31 % size), revision + n) for n in range(messages)]
        lifecycle.intake([read(_message(tenant_id(0), revision - 1))])
        before = _cpu()
        for first in range(0, messages, BATCH):
            lifecycle.intake([read(each) for each in given[first : first + BATCH]])
        answers.put((_cpu() - before) / messages * 1e6)


def _message(tenant: str, revision: int) -> Message:
    return Message(
        topic="tenantry.lifecycle",
        partition=0,
        offset=revision,
        key=tenant.encode(),
        value=license_message(tenant, revision),
        headers=(("content-type", b"application/cloudevents+json"),),
        timestamp_ms=0,
        topic_id="bench",
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _p99(values: Sequence[float]) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * 0.99))]
