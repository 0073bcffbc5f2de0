"""Console benchmark: commit → frame at 200 watchers, memory, pages of a store of a million tenants, cost of the intake.

The console is a process of its own, as `tenantry console` runs it; its store is described in console_store.py.
`p99_ms` is from a commit to its frame, over all watchers and commits; `rss_mib` that of the console while 200 watch the
live page; `page_p99_ms` the worst page's, by its own Server-Timing; `ingest_cost` the CPU time that a message takes the
intake with metrics and 200 watchers, against neither, in turns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import psycopg

from benchmarks.console_cost import measure_ingest
from benchmarks.console_store import filled_store, veteran
from benchmarks.console_watch import Served, a_console, high_water, measure_frames, watching
from benchmarks.harness import Result, progress
from benchmarks.population import PRODUCT, tenant_id

TENANTS: Final = 1_000_000
WATCHERS: Final = 200
COMMITS: Final = 100
ASKED: Final = 30
TURNS: Final = 20
"""Turns of the intake of each kind, in a run."""


def run(*, runs: int, quick: bool = False, tenants: int | None = None, store: Path | None = None) -> Result:
    size = tenants or (200 if quick else TENANTS)
    watchers, commits, asked, turns = (5, 5, 2, 2) if quick else (WATCHERS, COMMITS, ASKED, TURNS * runs)
    with filled_store(size, store) as url:
        with high_water(url), a_console(url) as console:
            pages = measure_pages(url, console, size, asked)
        # The memory is that of a console whose watchers look at the live page alone: a process of its own.
        with high_water(url), a_console(url) as console, watching(console, watchers) as watched:
            time.sleep(2)
            took = measure_frames(url, watched, commits, size)
            rss = console.rss_mib
            progress(f"frames: p50 {took[len(took) // 2]:.1f} ms, p99 {_p99(took):.1f} ms, rss {rss:.0f} MiB")
        with high_water(url), a_console(url) as console:
            cost = measure_ingest(url, console, watchers, size, turns)
    return {
        "bench": "console",
        "p99_ms": round(_p99(took), 1),
        "p50_ms": round(took[len(took) // 2], 1),
        "rss_mib": round(rss, 1),
        "page_p99_ms": round(max(p99 for _, p99 in pages.values()), 1),
        "ingest_cost": round(cost.of("watched"), 4),
        "ingest_cost_of_metrics": round(cost.of("metrics"), 4),
        "ingest_noise": round(cost.of("again"), 4),
        "ingest_us": {name: round(median(values), 1) for name, values in cost.by_name.items()},
        "pages": {path: [round(each, 1) for each in values] for path, values in pages.items()},
        "tenants": size,
        "watchers": watchers,
        "frames": len(took),
        "runs": runs,
    }


# -- the pages -----------------------------------------------------------------------------------------------------


def measure_pages(url: str, console: Served, size: int, asked: int) -> dict[str, tuple[float, float]]:
    """The median and the p99 of each page and of its JSON; every time another tenant, and another place in a list."""
    found: dict[str, list[float]] = {}
    known = _known(console)
    for number in range(asked + 1):
        for name, path in _addresses(url, known, size, number).items():
            for twin, address in ((name, path), (f"{name} .json", _twin(path))):
                _, took = console.get(address)
                if number:  # the first opens sessions and imports
                    found.setdefault(twin, []).append(took)
    pages = {name: (median(values), _p99(sorted(values))) for name, values in found.items()}
    for name, (half, p99) in sorted(pages.items(), key=lambda each: -each[1][1])[:12]:
        progress(f"{name}: p50 {half:.1f}, p99 {p99:.1f} ms")
    return pages


def _known(console: Served) -> Mapping[str, Any]:
    """The causes and the plan that addresses name."""
    now = json.loads(console.get("/now.json")[0])
    return {"cause": now["causes"][0]["id"], "plan": json.loads(console.get("/plans.json")[0])["plan"]}


def _addresses(url: str, known: Mapping[str, Any], size: int, number: int) -> dict[str, str]:
    tenant, old = tenant_id((number * 7919 + 5) % size), veteran(size)
    others = [tenant_id((number * 20 + each) % size) for each in range(20)]
    first, last, event = _moments(url, tenant)
    _, lately, _ = _moments(url, old)
    middle = _middle(url, old) + number
    return {
        "/": "/",
        "/cause": f"/cause/{known['cause']}",
        "/tenants": f"/tenants?after={tenant}",
        **{f"/tenants?{each}": f"/tenants?{each}&after={tenant if number % 2 else ''}" for each in _FILTERS},
        "/t/ID": f"/t/{tenant}",
        "/t/ID?at": f"/t/{tenant}?at={first}",
        "/t/ID?beside": f"/t/{tenant}?at={last}&beside={first}",
        "/t/ID/explain": f"/t/{tenant}/explain",
        "/t/ID/timeline": f"/t/{tenant}/timeline",
        "/t/ID/timeline?at": f"/t/{tenant}/timeline?at={last}",
        "/t/OLD": f"/t/{old}",
        "/t/OLD?at": f"/t/{old}?at={middle}",
        "/t/OLD?beside": f"/t/{old}?at={lately}&beside={middle}",
        "/t/OLD/explain": f"/t/{old}/explain",
        "/t/OLD/timeline": f"/t/{old}/timeline",
        "/t/OLD/timeline?at": f"/t/{old}/timeline?at={middle}",
        "/t/OLD/timeline?kind": f"/t/{old}/timeline?kind=came",
        "/plans": "/plans",
        "/plans/HASH": f"/plans/{known['plan']}?seen={lately}",
        "/plans/OTHER": f"/plans/0123456789abcdef?seen={lately}",
        "/plans?at": f"/plans?at={lately}",
        "/quarantine": "/quarantine",
        "/quarantine?after": f"/quarantine?after={number * 10}",
        "/quarantine?rule": "/quarantine?rule=unknown-product",
        "/quarantine?source": "/quarantine?source=/bench/3&type=product.activated",
        "/quarantine?state": f"/quarantine?state=retried&after={number * 100}",
        "/quarantine?tenant": f"/quarantine?tenant={tenant}",
        "/quarantine?none": "/quarantine?state=retried&rule=no-such-rule",
        "/quarantine?discarded": "/quarantine?state=discarded",
        "/acts": "/acts",
        "/acts?upto": f"/acts?upto={lately + 400}",
        "/acts?tenant": f"/acts?tenant={tenant}",
        "/acts?by": "/acts?by=nobody",
        "/acts?tenant=OLD": f"/acts?tenant={old}",
        "/changes": "/changes?since=30d",
        "/health": "/health",
        "/rehearse": f"/rehearse?act=retry&cause={known['cause']}",
        "/rehearse?scope": "/rehearse?act=ensure&" + "&".join(f"scope=product:{each}:{PRODUCT}" for each in others),
        "/search": f"/search?q={tenant}",
        "/search?place": f"/search?q=tenantry.lifecycle/3/{number}",
        "/search?host": f"/search?q=site-{tenant[:8]}",
        "/search?event": f"/search?q={event}",
        "/search?position": f"/search?q={last}",
        "/search?key": f"/search?q=product:{tenant}:{PRODUCT}/7/ensure/1",
        "/search?none": "/search?q=nothing-of-the-kind",
    }


_FILTERS: Final = (
    *("level=open", "level=closed", "level=retained", "level=absent"),
    *("state=failed", "state=on_hold", "state=waiting", "state=in_progress", "state=converged"),
    "level=retained&state=failed",
)


def _twin(address: str) -> str:
    path, mark, query = address.partition("?")
    return f"{'/now' if path == '/' else path}.json{mark}{query}"


def _moments(url: str, tenant: str) -> tuple[int, int, str]:
    """The first and the last position of the tenant's stream, and the id of its last event."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT min(notification_id), max(notification_id),"
            " (array_agg(convert_from(state, 'UTF8')::json ->> 'id' ORDER BY notification_id DESC))[1]"
            " FROM stored_events WHERE originator_id = %s",
            (f"tenant:{tenant}",),
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), str(row[2])


def _middle(url: str, tenant: str) -> int:
    """The position in the middle of the tenant's history."""
    with psycopg.connect(url) as connection:
        query = (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY notification_id) FROM stored_events"
            " WHERE originator_id = %s"
        )
        row = connection.execute(query, (f"tenant:{tenant}",)).fetchone()
    return int(row[0]) if row else 0


def _p99(values: Sequence[float]) -> float:
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * 0.99))]
