"""Benchmark harness: it measures one implementation against another.

A server of our own in a folder that goes afterwards; ours and the peer in turns on it, so that what disturbs the
machine disturbs both; the median of the runs. Work is done by processes that get ready first, and start together:

    work(*arguments) ── prepares ── yield ── works ──▶ returns what it did
                                      │
                     every process stands here before any goes on

Progress goes to stderr; stdout is for the result.
"""

from __future__ import annotations

import multiprocessing
import queue
import re
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrations import migrate
from runtime.telemetry import configure_logging

START_SECONDS: Final = 120
WORK_SECONDS: Final = 900

Work = Callable[..., Generator[None, None, Any]]
Result = dict[str, Any]

_SPAWN: Final = multiprocessing.get_context("spawn")  # a fork would copy the parent's memory into every figure


def progress(text: str) -> None:
    """One line to those who wait."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# -- the server ----------------------------------------------------------------------------------------------------


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """The embedded PostgreSQL, as `tenantry up` starts it, on a folder that is removed afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        EmbeddedPostgres(Path(directory) / "postgres") as postgres,
    ):
        yield postgres


def our_database(postgres: EmbeddedPostgres, name: str = "ours") -> str:
    """The URL of a database with our tables."""
    postgres.create_database(name)
    migrate(postgres.url(name))
    return postgres.url(name)


def peer_database(postgres: EmbeddedPostgres, name: str = "peer") -> str:
    """The URL of an empty database: the library makes its own tables."""
    postgres.create_database(name)
    return postgres.url(name)


@contextmanager
def slow_disk(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Commits wait 1 ms for company, as they would for a disk that takes as long."""
    _configure(postgres, "ALTER SYSTEM SET commit_delay = 1000", "ALTER SYSTEM SET commit_siblings = 0")
    try:
        yield
    finally:
        _configure(postgres, "ALTER SYSTEM RESET commit_delay", "ALTER SYSTEM RESET commit_siblings")


def _configure(postgres: EmbeddedPostgres, *statements: str) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        for statement in (*statements, "SELECT pg_reload_conf()"):
            connection.execute(statement)
    time.sleep(0.2)


@contextmanager
def copied(postgres: EmbeddedPostgres, name: str) -> Iterator[str]:
    """The URL of a copy of the database, as it was filled, for one run."""
    copy = f"{name}_copy"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    try:
        yield postgres.url(copy)
    finally:
        postgres.drop_database(copy)


def settle(*urls: str) -> None:
    """What the server would do in its own time, and in the middle of a measurement, it does now."""
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")


# -- processes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worked:
    """The result of a process, and the most memory it used."""

    value: Any
    rss_mib: float


def together(
    work: Work,
    arguments: Sequence[tuple[object, ...]],
    *,
    when_ready: Callable[[], None] = lambda: None,
    seconds: float = WORK_SECONDS,
) -> list[Worked]:
    """Run `work` in one process for each of `arguments`; `when_ready` is called when all of them stand at the line.

    Raises TimeoutError where one of them is not done within `seconds`, RuntimeError where one failed.
    """
    line = _SPAWN.Barrier(len(arguments) + 1)
    answers: Any = _SPAWN.Queue()
    processes = [_SPAWN.Process(target=_run, args=(work, each, line, answers), daemon=True) for each in arguments]
    for process in processes:
        process.start()
    outcomes: list[Any] = []
    try:
        with suppress(threading.BrokenBarrierError):
            line.wait(START_SECONDS)  # all are ready
            when_ready()
            line.wait(START_SECONDS)  # go
        outcomes = [answers.get(timeout=seconds) for _ in processes]
    except queue.Empty:
        raise TimeoutError(f"{work.__name__} hangs: it has not answered for {seconds:g} s") from None
    finally:
        for process in processes:
            process.join(10 if len(outcomes) == len(processes) else 0)
            if process.is_alive():
                process.kill()
    for outcome in outcomes:
        if isinstance(outcome, str) and "BrokenBarrierError" not in outcome:
            raise RuntimeError(f"a process of the bench failed:\n{outcome}")
    return outcomes


def _run(work: Work, arguments: tuple[object, ...], line: Any, answers: Any) -> None:
    try:
        configure_logging(level="warning")
        steps = work(*arguments)
        next(steps)
        line.wait(START_SECONDS)
        line.wait(START_SECONDS)
        try:
            next(steps)
        except StopIteration as done:
            answers.put(Worked(done.value, peak_mib("self")))
    except BaseException:  # noqa: BLE001 - sent to the parent, which raises
        line.abort()
        answers.put(traceback.format_exc())


def peak_mib(pid: int | str) -> float:
    """The most memory that the process has used so far, in MiB; 0 where it cannot be read any more."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


class MemoryWatch:
    """The peak memory of each process below one of ours; PostgreSQL and the broker are not ours to judge."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peaks: dict[int, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def worst_mib(self) -> float:
        return max(self.peaks.values(), default=0.0)

    def _look(self) -> None:
        while not self._stopped.wait(0.1):
            for pid in _descendants(self._pid):
                self.peaks[pid] = max(self.peaks.get(pid, 0.0), peak_mib(pid))


def _descendants(pid: int) -> set[int]:
    """The Python processes that descend from `pid`, itself included."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                if "python" in (entry / "exe").readlink().name:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


# -- the comparison ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compared:
    """Rates of both sides, one a run, each the more the better."""

    ours: list[float]
    peer: list[float]

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.peer)


def in_turns(name: str, runs: int, *, ours: Callable[[], float], peer: Callable[[], float]) -> Compared:
    """Ours, the peer, ours, the peer ..., `runs` times each."""
    compared = Compared([], [])
    for run in range(1, runs + 1):
        compared.ours.append(ours())
        compared.peer.append(peer())
        progress(f"{name}, run {run} of {runs}: ours {compared.ours[-1]:,.0f}/s, peer {compared.peer[-1]:,.0f}/s")
    return compared


def result(bench: str, compared: Compared, *, unit: str = "events/s", **more: object) -> Result:
    """The object that a bench prints."""
    return {
        "bench": bench,
        "ours": round(median(compared.ours), 1),
        "peer": round(median(compared.peer), 1),
        "ratio": round(compared.ratio, 2),
        "unit": unit,
        "runs": len(compared.ours),
        "ours_runs": [round(rate, 1) for rate in compared.ours],
        "peer_runs": [round(rate, 1) for rate in compared.peer],
        **more,
    }


def rounded(values: Mapping[str, float], digits: int = 2) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
