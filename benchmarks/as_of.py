"""How fast are the read models of a moment built beside the live ones, against a rebuild?

`tenantry replay as-of POSITION --into SCHEMA` and `tenantry replay rebuild`, as a person calls them, in turns on one
log and with as many workers: both read the whole log up to its end, so that they do the same work. The rebuild swaps
on top.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

import psycopg

from benchmarks.harness import Result, in_turns, our_database, result, server
from benchmarks.population import EVENTS_OF_A_LIFE, MASTER_KEY, NO_KAFKA, license_changes, load
from benchmarks.rebuild import WORKERS, rebuild

EVENTS: Final = 500_000
READ_MODEL: Final = "licenses"


def run(*, runs: int, quick: bool = False) -> Result:
    """`ratio` is as-of against rebuild: 1 says that they are as fast."""
    events = 1_000 if quick else EVENTS
    with server() as postgres:
        url = our_database(postgres)
        load(url, license_changes, range(events // EVENTS_OF_A_LIFE))
        return asof_ratio(url, events=events, runs=runs)


def asof_ratio(url: str, *, events: int, runs: int) -> Result:
    """The same, on a log of `events` facts that is there already and that nobody appends to."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT position FROM high_water_mark").fetchone()
    assert row is not None
    position = int(row[0])
    compared = in_turns(
        "as_of",
        runs,
        ours=lambda: events / as_of(url, position),
        peer=lambda: events / rebuild(url, READ_MODEL)[0],
    )
    return result("as_of", compared, events=events, workers=WORKERS)


def as_of(url: str, position: int) -> float:
    """Seconds, from the start of the process to its end."""
    words = ["replay", "as-of", str(position), "--into", "bench", "--only", READ_MODEL, "--workers", str(WORKERS)]
    settings = {
        "TENANTRY_DATABASE_URL": url,
        "TENANTRY_KAFKA_BOOTSTRAP": NO_KAFKA,
        "TENANTRY_MASTER_KEY": MASTER_KEY,
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - start
    if done.returncode:
        raise RuntimeError(f"as-of failed: {done.stdout[-2000:]}")
    return seconds
