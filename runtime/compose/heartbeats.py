"""Signs of life of a worker, and the candidate for the high-water agent beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adapters.files.worker_cards import WorkerCard
from adapters.outage import Outage
from adapters.postgres.heartbeats import Heartbeat
from adapters.postgres.high_water import HighWaterAgent
from runtime.compose.parts import Parts
from runtime.compose.process import Process, worker_name


def high_water_agent_of(parts: Parts) -> HighWaterAgent:
    return HighWaterAgent(parts.endpoints.database_url)


def heartbeat_of(
    process: Process,
    kind: str,
    details: Callable[[], dict[str, Any]] = dict,
    *,
    name: str | None = None,
    outages: Sequence[Outage] = (),
) -> Heartbeat:
    name = name or worker_name(kind.replace(" ", "-"))
    card = WorkerCard(process.settings.data_dir, name=name, kind=kind)
    return Heartbeat(process.endpoints.database_url, name=name, kind=kind, details=details, outages=outages, card=card)
