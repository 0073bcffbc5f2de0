"""Page of the health: positions and lags, workers with their versions, what is due, the sweep, shards."""

from __future__ import annotations

from typing import Any

from adapters.postgres.console_reads import SAMPLED
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from runtime.reports.waits import version_waits

Row = dict[str, Any]


def page(desk: ReadingDesk, _: Ask) -> ConsolePage:
    position = desk.reads.position()
    health = desk.reads.health()
    last = health["log"]["position"]
    lags = [
        {"what": "log", "position": last, "lag": None, "halted": None},
        *({**_lag(f"projection {row['name']}", row, last), "halted": row["reason"]} for row in health["projections"]),
        _lag("outbox to Kafka", health["relay"], health["relay"]["written"]),
        _lag("seal", health["seal"], last),
    ]
    workers = [{**row, "waits": row["details"].get("waits", [])} for row in health["workers"]]
    notes = list(version_waits(workers))
    data = {
        "lags": lags,
        "due": health["due"],
        "workers": [{name: value for name, value in row.items() if name != "details"} for row in workers],
        "kafka": health["kafka"],
        "shards": health["shards"],
        "sweep": health["sweep"],
        "database": health["database"],
        "rebuilds": health["rebuilds"],
        "notes": notes,
    }
    plots = [
        desk.samples.plot("Events behind the log", "read_models", "outbox"),
        desk.samples.plot(f"Scopes that are due, and that failed, each counted up to {SAMPLED:,}", "due", "failed"),
    ]
    return ConsolePage("health", "Health", data, command("status"), position=position, extra={"plots": plots})


def _lag(what: str, row: Row, last: int) -> Row:
    return {"what": what, "position": row["position"], "lag": max(0, last - row["position"]), "halted": None}
