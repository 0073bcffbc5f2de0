"""Rebuild benchmark: the events a second that a rebuild reads, decodes, folds and writes.

`tenantry replay rebuild licenses --workers 2` as a person calls it, from the start of its process to the swap, on a
log of a million events that all change the read model (200,000 rows, five changes each). The peer has no rebuild: its
ProjectionRunner reads 20,000 events from the beginning, one transaction each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

from benchmarks.harness import MemoryWatch, Result, in_turns, our_database, result, server
from benchmarks.population import EVENTS_OF_A_LIFE, MASTER_KEY, NO_KAFKA, license_changes, load
from benchmarks.project import peer_rate, prepare_peer

EVENTS: Final = 1_000_000
PEER_EVENTS: Final = 20_000
WORKERS: Final = 2


def run(*, runs: int, quick: bool = False) -> Result:
    events, peer_events = (1_000, 100) if quick else (EVENTS, PEER_EVENTS)
    memory: list[float] = []

    def ours() -> float:
        seconds, rss = rebuild(url, "licenses")
        memory.append(rss)
        return events / seconds

    with server() as postgres:
        url = our_database(postgres)
        load(url, license_changes, range(events // EVENTS_OF_A_LIFE))
        prepare_peer(postgres, peer_events)
        compared = in_turns("rebuild", runs, ours=ours, peer=lambda: peer_rate(postgres))
    return result(
        "rebuild", compared, events=events, peer_events=peer_events, workers=WORKERS, rss_mib=round(max(memory))
    )


def rebuild(url: str, name: str) -> tuple[float, float]:
    """Seconds, and the peak memory of the largest of its processes in MiB."""
    return replay(url, "rebuild", name)


def replay(url: str, *words: str) -> tuple[float, float]:
    """The same for any `tenantry replay`, from the start of its process to its end."""
    command = [sys.executable, "-m", "cli.main", "replay", *words, "--workers", str(WORKERS)]
    settings = {
        "TENANTRY_DATABASE_URL": url,
        "TENANTRY_KAFKA_BOOTSTRAP": NO_KAFKA,
        "TENANTRY_MASTER_KEY": MASTER_KEY,
    }
    start = time.monotonic()
    with (
        subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        MemoryWatch(process.pid) as watch,
    ):
        output, _ = process.communicate()
        seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"tenantry replay {' '.join(words)} failed: {output[-2000:]}")
    return seconds, watch.worst_mib
