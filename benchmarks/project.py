"""Projection benchmark: the events a second that become rows of a read model, live.

Our projector, and the library's ProjectionRunner, on a log in which each event changes a row of `licenses`, five
changes a row; both views have the same columns. The peer gets fewer events: its rate does not depend on how many.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Final

from adapters.embedded.postgres import EmbeddedPostgres
from benchmarks import stock
from benchmarks.harness import Result, copied, in_turns, our_database, peer_database, result, server, settle, together
from benchmarks.population import EVENTS_OF_A_LIFE, license_changes, load, parts
from history.rebuild.loading import spare_the_collector
from projections import licenses
from runtime.compose.projector import log_reader_of, mark_listener_of, projector_engine_of
from workers.projector import Projector

EVENTS: Final = 100_000
PEER_EVENTS: Final = 5_000


def run(*, runs: int, quick: bool = False) -> Result:
    events, peer_events = (1_000, 100) if quick else (EVENTS, PEER_EVENTS)
    memory: list[float] = []

    def ours() -> float:
        with copied(postgres, "ours") as url:
            [worked] = together(projector, [(url,)])
        memory.append(worked.rss_mib)
        return events / float(worked.value)

    with server() as postgres:
        load(our_database(postgres), license_changes, range(events // EVENTS_OF_A_LIFE))
        prepare_peer(postgres, peer_events)
        compared = in_turns("project", runs, ours=ours, peer=lambda: peer_rate(postgres))
    return result("project", compared, events=events, peer_events=peer_events, rss_mib=round(max(memory)))


def prepare_peer(postgres: EmbeddedPostgres, events: int) -> None:
    url = peer_database(postgres)
    together(stock.store, [(url, events)])
    settle(url)


def peer_rate(postgres: EmbeddedPostgres) -> float:
    with copied(postgres, "peer") as url:
        [worked] = together(stock.project, [(url,)])
    return float(worked.value)


def projector(url: str) -> Generator[None, None, float]:
    """Bring the read model up to the mark; seconds."""
    with parts(url) as ours:
        at_work = Projector(
            log_reader_of(ours),
            projector_engine_of(ours),
            [licenses.PROJECTION],
            batch=ours.settings.projector_batch,
            poll_seconds=ours.settings.poll_seconds,
            listener=mark_listener_of(ours),
        )
        spare_the_collector()
        yield
        start = time.monotonic()
        while at_work.step():
            pass
        return time.monotonic() - start
