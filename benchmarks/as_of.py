"""As-of benchmark: the read models of a past moment, built beside the live ones. A part of `tenantry bench history`.

`tenantry replay as-of POSITION --into SCHEMA` and `tenantry replay rebuild`, as a person calls them, in turns on one
log and with as many workers: both read the whole log up to its end, so that they do the same work. The rebuild swaps
on top.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from benchmarks.harness import in_turns, our_database, result
from benchmarks.population import EVENTS_OF_A_LIFE, license_changes, load
from benchmarks.rebuild import rebuild, replay

EVENTS: Final = 500_000
READ_MODEL: Final = "licenses"


def asof_ratio(postgres: EmbeddedPostgres, runs: int, quick: bool) -> dict[str, Any]:
    """As-of against rebuild: 1 says that they are as fast."""
    events = 1_000 if quick else EVENTS
    url = our_database(postgres, "as_of")
    load(url, license_changes, range(events // EVENTS_OF_A_LIFE))
    position = _end(url)
    compared = in_turns(
        "history, as-of against rebuild",
        runs,
        ours=lambda: events / replay(url, "as-of", position, "--into", "bench", "--only", READ_MODEL)[0],
        peer=lambda: events / rebuild(url, READ_MODEL)[0],
    )
    found = result("as_of", compared)
    return {
        "asof_rate": found["ours"],
        "rebuild_rate": found["peer"],
        "asof_ratio": found["ratio"],
        "asof_runs": found["ours_runs"],
        "rebuild_runs": found["peer_runs"],
    }


def _end(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT position FROM high_water_mark").fetchone()
    assert row is not None
    return str(row[0])
