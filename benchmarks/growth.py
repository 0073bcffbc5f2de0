"""Growth benchmark: each rate in a store of 10,000 to 1,000,000 tenants.

One store with 10,000, then 100,000, then 1,000,000 tenants of five events each, and the ids of their messages; at each
size every rate is measured on it as the other benches do, ours only. The ratio is that of the rate which suffers most:
at the largest size against the smallest. Live projection and intake work on tenants from the whole store, so that
what they look for is seldom in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from adapters.embedded.broker import EmbeddedBroker
from application.ports.encryption import EncryptionKeys
from benchmarks.append import our_rate as append_rate
from benchmarks.harness import Result, our_database, progress, rounded, server, settle, together
from benchmarks.ingest import our_rate as ingest_rate
from benchmarks.population import EVENTS_OF_A_LIFE, Row, Source, license_changes, lives, load
from benchmarks.project import projector
from benchmarks.rebuild import rebuild

SIZES: Final = (10_000, 100_000, 1_000_000)
MESSAGES: Final = 20_000
CHANGED: Final = 10_000
SECONDS: Final = 3.0

Rates = dict[str, float]


def run(*, runs: int, quick: bool = False) -> Result:
    sizes = (20, 40, 60) if quick else SIZES
    rates: dict[int, Rates] = {}
    memory: dict[str, float] = {}
    with (
        server() as postgres,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        EmbeddedBroker(Path(directory)) as broker,
    ):
        url = our_database(postgres)
        there = 0
        for size in sizes:
            load(url, lives, range(there, size), incoming=True)
            rates[size] = measure(url, broker, tenants=size, runs=runs, quick=quick, memory=memory)
            there = size
            progress(f"growth, {size:,} tenants: {rounded(rates[size], 0)}")
    ratios = {name: rates[sizes[-1]][name] / rates[sizes[0]][name] for name in rates[sizes[0]]}
    worst = min(ratios, key=lambda name: ratios[name])
    return {
        "bench": "growth",
        "ours": round(rates[sizes[-1]][worst], 1),
        "peer": round(rates[sizes[0]][worst], 1),
        "ratio": round(ratios[worst], 2),
        "unit": f"events/s of {worst} at {sizes[-1]:,} tenants, against {sizes[0]:,}",
        "runs": runs,
        "worst": worst,
        "ratios": rounded(ratios),
        "rates": {str(size): rounded(of_size, 0) for size, of_size in rates.items()},
        "rss_mib": rounded(memory, 0),
    }


def measure(
    url: str, broker: EmbeddedBroker, *, tenants: int, runs: int, quick: bool, memory: dict[str, float]
) -> Rates:
    """Each rate at this size, medians of `runs`; the rebuild of the largest store once, it reads so much."""
    messages, changed, seconds = (50, 10, 0.3) if quick else (MESSAGES, CHANGED, SECONDS)

    def remember(name: str, rss: float) -> None:
        memory[name] = max(memory.get(name, 0.0), rss)

    def of_rebuild() -> float:
        events = _count(url)
        took, rss = rebuild(url, "licenses")
        remember("rebuild", rss)
        return events / took

    def of_ingest() -> float:
        rate, rss = ingest_rate(url, broker, messages=messages, tenants=tenants)
        remember("ingest", rss)
        return rate

    def of_project() -> float:
        together(projector, [(url,)])  # what the others have appended
        before = _count(url)
        load(url, _spread(tenants, changed, before), range(changed))
        [worked] = together(projector, [(url,)])
        remember("project", worked.rss_mib)
        return changed * EVENTS_OF_A_LIFE / float(worked.value)

    def of_append() -> float:
        return append_rate(url, seconds=seconds)

    measured: list[tuple[str, Callable[[], float], int]] = [
        ("rebuild", of_rebuild, 1 if tenants >= SIZES[-1] else runs),
        ("project", of_project, runs),
        ("ingest", of_ingest, runs),
        ("append", of_append, runs),
    ]
    rates: Rates = {}
    for name, act, times in measured:
        settle(url)
        rates[name] = median(act() for _ in range(times))
    return rates


class _Spread:
    """License changes of tenants all over the store, under versions that are free."""

    def __init__(self, tenants: int, changed: int, after: int) -> None:
        self._step = max(1, tenants // changed)
        self._after = after

    def __call__(self, keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
        for number in numbers:
            for stream, version, topic, state in license_changes(
                keys, range(number * self._step, number * self._step + 1)
            ):
                yield stream, version + self._after, topic, state


def _spread(tenants: int, changed: int, after: int) -> Source:
    return _Spread(tenants, changed, after)


def _count(url: str) -> int:
    """Events in the store, near enough: the last position."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT position FROM high_water_mark").fetchone()
    return int(row[0]) if row else 0
