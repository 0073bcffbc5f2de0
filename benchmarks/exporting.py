"""Export benchmark: speed and memory of the log's export as Parquet. A part of `tenantry bench history`."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path
from statistics import median
from typing import Any

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.log_copy import LogCopy
from audit.export import Choice, export
from benchmarks.harness import our_database, progress, together
from benchmarks.population import EVENTS_OF_A_LIFE, lives, load

EVENTS = 300_000


def export_rate(postgres: EmbeddedPostgres, runs: int, quick: bool) -> dict[str, Any]:
    """Events a second of an export to Parquet, from the query to the renamed folder; and the most memory it used."""
    url = our_database(postgres, "export")
    load(url, lives, range((1_000 if quick else EVENTS) // EVENTS_OF_A_LIFE))
    rates, sizes, memory = [], [], []
    for number in range(1, runs + 1):
        [worked] = together(_exported, [(url,)])
        rate, size = worked.value
        rates.append(rate)
        sizes.append(size)
        memory.append(worked.rss_mib)
        progress(f"history, export {number} of {runs}: {rate:,.0f}/s")
    return {
        "export_rate": round(median(rates), 1),
        "export_runs": [round(rate, 1) for rate in rates],
        "export_mib": round(max(sizes) / 2**20, 1),
        "rss_mib": {"export": round(max(memory), 1)},
    }


def _exported(url: str) -> Generator[None, None, tuple[float, int]]:
    """In a process of its own, as the command is; the rate, and the bytes that it wrote."""
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder, LogCopy(url) as log:
        yield
        path = Path(folder) / "log"
        rate = export(log, path, Choice("parquet")).rate
        return rate, sum(file.stat().st_size for file in path.rglob("*.parquet"))
