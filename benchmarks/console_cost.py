"""Cost of the console's benchmark: what a message takes the intake in CPU time, with metrics and watchers and without.

One process takes messages in for all turns, short ones, with and without in a changing order: what disturbs the machine
for a while disturbs both of a pair. What counts is the median over the pairs. Messages that are taken in alone a second
time tell how much of it is noise.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, Literal, get_args

import psycopg

from application.ports.measures import listen, measure
from benchmarks.console_store import from_kafka
from benchmarks.console_watch import Served, Watchers
from benchmarks.harness import progress
from benchmarks.population import NO_KAFKA, license_message, parts, tenant_id
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.metrics import WorkerMetrics

BATCH: Final = 500
IN_A_TURN: Final = 2
"""Batches."""
WARM: Final = 5
"""Turns before those that count."""

Kind = Literal["watched", "metrics", "again", "alone"]
"""With metrics and watchers, with metrics, with neither, and with neither: what the others are compared with."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass
class Cost:
    """µs of CPU a message, one a turn."""

    by_name: Mapping[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def of(self, kind: Kind) -> float:
        """The cost of a kind, as a ratio to `alone`."""
        return median(one / other for one, other in zip(self.by_name[kind], self.by_name["alone"], strict=True))


def measure_ingest(url: str, console: Served, watchers: int, size: int, turns: int) -> Cost:
    """`turns` of each kind."""
    cost = Cost()
    with _an_intake(url, size) as intake, _watchers(console, watchers) as watch:
        for _ in range(WARM):
            intake.turn("alone")
        for number in range(turns):
            for kind in KINDS if number % 2 else reversed(KINDS):
                watch(kind == "watched")
                cost.by_name[kind].append(intake.turn(kind))
    for kind, values in cost.by_name.items():
        progress(f"ingest, {kind}: {' '.join(f'{each:.0f}' for each in values)} µs a message")
    return cost


@contextmanager
def _watchers(console: Served, count: int) -> Iterator[Any]:
    """Opens and closes the streams, in a process of their own."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_watches, args=(console.port, count, theirs), daemon=True)
    process.start()

    def watch(there: bool) -> None:
        ours.send(there)
        ours.recv()

    try:
        yield watch
    finally:
        process.kill()
        process.join(10)


def _watches(port: int, count: int, orders: Any) -> None:
    watchers: Watchers | None = None
    while True:
        watch = orders.recv()
        if watch and watchers is None:
            watchers = Watchers(port, count)
            watchers.start()
        elif not watch and watchers is not None:
            watchers.stop()
            watchers = None
        orders.send(watch)


class _Intake:
    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def turn(self, kind: Kind) -> float:
        self._pipe.send(kind)
        return float(self._pipe.recv())


@contextmanager
def _an_intake(url: str, size: int) -> Iterator[_Intake]:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_intakes, args=(url, size, theirs), daemon=True)
    process.start()
    try:
        yield _Intake(ours)
    finally:
        process.kill()
        process.join(10)


def _intakes(url: str, size: int, orders: Any) -> None:
    revision = _mark(url)  # behind every revision of an earlier run: each message makes an event
    metrics = WorkerMetrics("intake")
    with parts(url, NO_KAFKA) as ours:
        lifecycle, read = lifecycle_of(ours), messages_of(ours).read
        while True:
            kind = orders.recv()
            stop = listen(metrics.listener) if kind in ("watched", "metrics") else lambda: None
            spent = 0.0
            gc.collect()  # or it would be somebody's turn
            for _ in range(IN_A_TURN):
                tenants = [tenant_id((revision + n) * 31 % size) for n in range(BATCH)]
                given = [
                    from_kafka(each, license_message(each, revision + n), revision + n)
                    for n, each in enumerate(tenants)
                ]
                revision += BATCH
                before = _cpu()
                outcome = lifecycle.intake([read(each) for each in given])
                for (type_, became), count in outcome.by_type.items():
                    measure("message", count, type_, became)
                spent += _cpu() - before
                if outcome.counts["recorded"] != BATCH:
                    raise RuntimeError(f"{outcome.counts}: the bench measures something else")
            stop()
            orders.send(spent / (BATCH * IN_A_TURN) * 1e6)


def _mark(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
    return int(row[0]) + 1_000 if row else 0


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
