"""How fast does the log leave as Parquet? A part of `tenantry bench history`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from adapters.embedded import EmbeddedPostgres
from adapters.log_copy import LogCopy
from benchmarks.harness import our_database, peak_mib, progress
from benchmarks.population import EVENTS_OF_A_LIFE, lives, load
from history.export import Choice, export

EVENTS = 300_000


def export_rate(postgres: EmbeddedPostgres, runs: int, quick: bool) -> dict[str, Any]:
    """Events a second of an export to Parquet, from the query to the renamed folder; and the most memory it held."""
    url = our_database(postgres, "export")
    load(url, lives, range((1_000 if quick else EVENTS) // EVENTS_OF_A_LIFE))
    rates, size = [], 0
    for number in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder, LogCopy(url) as log:
            path = Path(folder) / "log"
            rates.append(export(log, path, Choice("parquet")).rate)
            size = sum(file.stat().st_size for file in path.rglob("*.parquet"))
        progress(f"history, export {number} of {runs}: {rates[-1]:,.0f}/s")
    return {
        "export_rate": round(median(rates), 1),
        "export_runs": [round(rate, 1) for rate in rates],
        "export_mib": round(size / 2**20, 1),
        "export_rss_mib": round(peak_mib("self"), 1),
    }
