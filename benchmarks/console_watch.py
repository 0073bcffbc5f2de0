"""Watchers of the console's benchmark: a console in a process of its own, and streams of its live page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

import psycopg

from adapters.postgres.high_water import HighWaterAgent
from application.unit_of_work import UnitOfWork
from benchmarks.population import MASTER_KEY, NO_KAFKA, licensed, parts, recorded, tenant_id
from domain.scope.steps import Scope
from runtime.compose import new_id

TOKEN: Final = "the-token-of-the-bench"  # noqa: S105 - of a store that goes afterwards


@contextmanager
def high_water(url: str) -> Iterator[None]:
    agent = HighWaterAgent(url)
    agent.start()
    try:
        yield
    finally:
        agent.stop()


@dataclass
class Served:
    """A console in a process of its own."""

    port: int
    pid: int

    @property
    def rss_mib(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def get(self, path: str) -> tuple[bytes, float]:
        """The page, and how long the server says that it took it, in ms."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Cookie": _COOKIE})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
                return answer.read(), float(answer.headers["server-timing"].partition("dur=")[2])
        except HTTPError as error:
            raise RuntimeError(f"{path}: {error.read().decode()}") from error


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


class Watchers:
    """Streams of the live page, read by a loop in a thread; when each position came to each of them."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self.came: list[dict[int, float]] = [{} for _ in range(count)]
        self._open, self._streams = threading.Event(), 0
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._open.wait(60):
            raise TimeoutError("the watchers did not get their streams")

    def stop(self) -> None:
        """Closes all streams."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks = [asyncio.create_task(self._watch(number)) for number in range(self._count)]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nCookie: {_COOKIE}\r\n\r\n".encode())
        try:
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    self.came[number][int(line[4:])] = time.perf_counter()
                elif line.startswith(b"retry: "):
                    self._streams += 1
                    if self._streams == self._count:
                        self._open.set()
        finally:
            writer.close()


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
            version = _version(connection, stream) + 1
            ours.log.record(UnitOfWork(events=[recorded(stream, version, licensed(tenant), new_id())]))
            at = time.perf_counter()
            row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
            committed.append((int(row[0]) if row else 0, at))
            time.sleep(0.15)
    time.sleep(2)
    took: list[float] = []
    for came in watchers.came:
        frames = sorted(came.items())
        for position, at in committed:
            arrived = next((time_ for upto, time_ in frames if upto >= position), None)
            if arrived is None:
                raise RuntimeError(f"position {position} never came to a watcher")
            took.append((arrived - at) * 1000)
    return sorted(took)


def _version(connection: psycopg.Connection, stream: str) -> int:
    query = "SELECT coalesce(max(originator_version), 0) FROM stored_events WHERE originator_id = %s"
    row = connection.execute(query, (stream,)).fetchone()
    return int(row[0]) if row else 0
