"""Fleet metrics of a relay: those of the database, and how far the intake is behind by the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from adapters.postgres.fleet import TEXTS as OF_DATABASE
from adapters.postgres.fleet import Fleet, Sample
from domain.errors import Unavailable
from runtime.compose.positions import standings_of
from runtime.compose.process import Process

TEXTS: Final = {
    **OF_DATABASE,
    "fleet_answers": "1 while the database answers the questions of these metrics",
    "broker_answers": "1 while the broker answers",
    "intake_lag_messages": "Messages on Kafka that are not taken in yet, by partition",
    "intake_partition_unread": "1 for each partition that no live intake reads",
}


def fleet_of(parts: Process, kinds: Iterable[str]) -> Callable[[], list[Sample]]:
    """All samples, asked for anew at each call. Raises Unavailable where the database does not answer."""
    fleet = parts.closing(Fleet(parts.endpoints.database_url, kinds))
    return lambda: [*fleet.samples(), *_of_broker(parts)]


def _of_broker(parts: Process) -> list[Sample]:
    try:
        found = standings_of(parts)
    except Unavailable:
        return [("broker_answers", {}, 0)]
    samples: list[Sample] = [("broker_answers", {}, 1)]
    for each in found:
        labels = {"topic": each.topic, "partition": str(each.partition)}
        samples.append(("intake_lag_messages", labels, each.lag))
        samples.append(("intake_partition_unread", labels, float(each.reader is None)))
    return samples
