"""Growth benchmark: rates and latency in a store of 10,000 to 1,000,000 tenants.

One store with 10,000, then 100,000, then 1,000,000 tenants of five events each, and the ids of their messages. At each
size a copy of it is measured, ours only. What a size costs shows in two ways:

    CHECKPOINT ── the rates right after it: each page that is written for the first time goes into the WAL whole
    CHECKPOINT ── 200,000 appends ── append, ingest ── 200,000 changes projected ── project ── latency

The figures are those of the second row, where most pages have been touched before: as the server is most of the time.
Appends, messages and changes are of tenants from the whole store, so that what they look for is seldom in memory.
The latency is that of the bench of this name, by the two workers through whose hands a message goes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from uuid import uuid4

import psycopg

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka.clients import ensure_topics
from application.ports.encryption import EncryptionKeys
from benchmarks import latency
from benchmarks.append import append_scattered
from benchmarks.append import our_rate as append_rate
from benchmarks.harness import Result, copied, our_database, progress, rounded, server, settle, together
from benchmarks.ingest import PARTITIONS
from benchmarks.ingest import our_rate as ingest_rate
from benchmarks.population import EVENTS_OF_A_LIFE, MASTER_KEY, Row, license_changes, lives, load, put
from benchmarks.project import projector
from benchmarks.rebuild import replay
from projections import INTEGRATION, PROJECTIONS

SIZES: Final = (10_000, 100_000, 1_000_000)
RATES: Final = ("append", "ingest", "project")


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of each is measured, and what comes before."""

    past: int = 200_000
    messages: int = 20_000
    changed: int = 10_000
    seconds: float = 3.0
    latency_seconds: float = 20.0


QUICK: Final = Amount(past=2_000, messages=50, changed=10, seconds=0.3, latency_seconds=0.5)


@dataclass(slots=True)
class Measured:
    """One size. Rates are a second, one a run; latencies are milliseconds."""

    after_checkpoint: dict[str, float] = field(default_factory=dict)
    past: dict[str, list[float]] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    rebuild: float = 0.0
    checkpoints: int = 0
    """How many the server made by itself between the first of the appends and the end: none, where it is past them."""

    def rate(self, name: str) -> float:
        return median(self.past[name])


def run(*, runs: int, quick: bool = False) -> Result:
    sizes, amount = ((20, 40, 60), QUICK) if quick else (SIZES, Amount())
    measured: dict[int, Measured] = {}
    memory: dict[str, float] = {}
    with (
        server() as postgres,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        EmbeddedBroker(Path(directory)) as broker,
    ):
        url, there = our_database(postgres), 0
        for size in sizes:
            load(url, side_by_side, range(there, size), incoming=True)
            there = size
            with ExitStack() as stack:
                # The last one is measured itself: a copy of it takes as long as a run.
                its = url if size == sizes[-1] else stack.enter_context(copied(postgres, "ours"))
                measured[size] = measure(its, broker, tenants=size, runs=runs, amount=amount, memory=memory)
            progress(f"growth, {size:,} tenants: {_rates(measured[size])}, p99 {measured[size].p99_ms:.0f} ms")
    return result_of(measured, runs=runs, memory=memory)


def result_of(measured: Mapping[int, Measured], *, runs: int, memory: Mapping[str, float]) -> Result:
    """`append`, `ingest`, `project` and `latency` are ratios of the largest size to the smallest."""
    first, last = next(iter(measured.values())), list(measured.values())[-1]
    ratios = {name: last.rate(name) / first.rate(name) for name in RATES}
    worst = min(ratios, key=lambda name: ratios[name])
    return {
        "bench": "growth",
        "ours": round(last.rate(worst), 1),
        "peer": round(first.rate(worst), 1),
        "ratio": round(ratios[worst], 2),
        "unit": f"events/s of {worst} at {max(measured):,} tenants, against {min(measured):,}",
        "runs": runs,
        "worst": worst,
        **rounded(ratios),
        "latency": round(last.p99_ms / first.p99_ms, 2),
        "after_checkpoint": {
            name: round(last.after_checkpoint[name] / first.after_checkpoint[name], 2) for name in RATES
        },
        "sizes": {
            str(size): {
                **{name: round(of_size.rate(name)) for name in RATES},
                "runs": {name: [round(each) for each in of_size.past[name]] for name in RATES},
                "after_checkpoint": rounded(of_size.after_checkpoint, 0),
                "rebuild": round(of_size.rebuild),
                "latency_p50_ms": round(of_size.p50_ms, 1),
                "latency_p99_ms": round(of_size.p99_ms, 1),
                "checkpoints": of_size.checkpoints,
            }
            for size, of_size in measured.items()
        },
        "rss_mib": rounded(memory, 0),
    }


def measure(
    url: str, broker: EmbeddedBroker, *, tenants: int, runs: int, amount: Amount, memory: dict[str, float]
) -> Measured:
    """All of one size, in the order of the picture above."""
    found = Measured()

    def remember(name: str, rss: float) -> None:
        memory[name] = max(memory.get(name, 0.0), rss)

    def append() -> float:
        return append_rate(url, seconds=amount.seconds)

    def ingest() -> float:
        rate, rss = ingest_rate(url, broker, messages=amount.messages, tenants=tenants)
        remember("ingest", rss)
        return rate

    def project(events: int) -> float:
        [worked] = together(projector, [(url,)])
        remember("project", worked.rss_mib)
        return events / float(worked.value)

    events = _position(url)
    took, rss = replay(url, "rebuild", "licenses")
    found.rebuild = events / took
    remember("rebuild", rss)

    changes = change(url, tenants, amount.changed, each=EVENTS_OF_A_LIFE)
    acts: dict[str, Callable[[], float]] = {"project": lambda: project(changes), "append": append, "ingest": ingest}
    for name, act in acts.items():
        settle(url)
        found.after_checkpoint[name] = act()

    settle(url)
    began = _checkpoints(url)
    progress(f"{amount.past:,} appends since the checkpoint")
    append_scattered(url, amount.past)
    found.past["append"] = [append() for _ in range(runs)]
    found.past["ingest"] = [ingest() for _ in range(runs)]
    project(change(url, tenants, amount.past, each=1))
    found.past["project"] = [project(change(url, tenants, amount.changed, each=EVENTS_OF_A_LIFE)) for _ in range(runs)]
    found.p50_ms, found.p99_ms = _latency(url, broker, seconds=amount.latency_seconds)
    found.checkpoints = _checkpoints(url) - began
    return found


def side_by_side(keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """The lives of many tenants at a time, as they are lived.

    One life after the other would leave a gap of the same size on each page, where only the smaller events fit: they
    would go to old pages all over the table, each written to the WAL whole, until the gaps of the whole store are full.
    """
    rows = list(lives(keys, numbers))
    each = [iter(rows[at : at + EVENTS_OF_A_LIFE]) for at in range(0, len(rows), EVENTS_OF_A_LIFE)]
    order = [life for life in each for _ in range(EVENTS_OF_A_LIFE)]
    random.Random(numbers.start).shuffle(order)
    return map(next, order)


def change(url: str, tenants: int, count: int, *, each: int) -> int:
    """Append license changes of tenants from all over the store, `each` times in a row; how many events."""
    changes = _Changes(tenants, count, each, after=_position(url))
    put(url, changes, range(count))
    return count * each


class _Changes:
    """License changes of tenants all over the store, under versions that are free."""

    def __init__(self, tenants: int, drawn: int, each: int, *, after: int) -> None:
        self._drawn = random.Random(after).sample(range(tenants), min(tenants, drawn))
        self._each = each
        self._after = after

    def __call__(self, keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
        for number in numbers:
            turn, at = divmod(number, len(self._drawn))
            tenant, free = self._drawn[at], self._after + turn * self._each
            for stream, version, topic, state in license_changes(keys, range(tenant, tenant + 1)):
                if version <= self._each:
                    yield stream, version + free, topic, state


# -- latency -------------------------------------------------------------------------------------------------------


def _latency(url: str, broker: EmbeddedBroker, *, seconds: float) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    _stand_at_the_mark(url)
    run_id = uuid4().hex[:8]
    topics = {"commerce": f"{run_id}.commerce", "lifecycle": f"{run_id}.lifecycle"}
    ensure_topics(broker.bootstrap, dict.fromkeys(topics.values(), PARTITIONS))
    settings = {
        "TENANTRY_DATABASE_URL": url,
        "TENANTRY_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TENANTRY_MASTER_KEY": MASTER_KEY,
        "TENANTRY_CONSUMER_GROUP": run_id,
        **{f"TENANTRY_{name.upper()}_TOPIC": topic for name, topic in topics.items()},
    }
    with _at_work(url, {**os.environ, **settings}, "intake", "projector"):
        where = {"database_url": url, "kafka_bootstrap": broker.bootstrap}
        latency.measure(where, min(seconds, latency.WARM_UP_SECONDS), topic=topics["commerce"])
        latencies = latency.measure(where, seconds, topic=topics["commerce"])
    return median(latencies), quantiles(latencies, n=100)[98]


def _stand_at_the_mark(url: str) -> None:
    """All read models and the outbox: of what came before, these messages change nothing."""
    with psycopg.connect(url) as connection:
        for projection in (*PROJECTIONS, INTEGRATION):
            connection.execute(
                "INSERT INTO projection_positions AS p (name, bucket, position) SELECT %s, bucket, position"
                " FROM high_water_mark, generate_series(0, %s - 1) AS bucket"
                " ON CONFLICT (name, bucket) DO UPDATE SET position = excluded.position",
                (projection.name, projection.buckets),
            )


@contextmanager
def _at_work(url: str, environment: Mapping[str, str], *kinds: str) -> Iterator[None]:
    """A worker of each kind, each a process of its own that has said that it is ready."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        errors = stack.enter_context(Path(directory, "stderr").open("wb"))
        for kind in kinds:
            command = [sys.executable, "-m", "cli.main", kind, "--data-dir", f"{directory}/data"]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=errors, stderr=errors))
            stack.callback(process.terminate)
        deadline = time.monotonic() + latency.READY_SECONDS
        while _ready(url) < len(kinds):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {' and '.join(kinds)}: {Path(directory, 'stderr').read_text()[-2000:]}")
            time.sleep(0.1)
        yield


def _ready(url: str) -> int:
    return _number(url, "SELECT count(*) FROM workers WHERE state = 'ready' AND seen_at > now() - interval '3 seconds'")


# -- the store -----------------------------------------------------------------------------------------------------


def _position(url: str) -> int:
    """Events in the store, near enough: the last position."""
    return _number(url, "SELECT position FROM high_water_mark")


def _checkpoints(url: str) -> int:
    return _number(url, "SELECT num_timed + num_requested FROM pg_stat_checkpointer")


def _number(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _rates(measured: Measured) -> str:
    return json.dumps({name: round(measured.rate(name)) for name in RATES})
