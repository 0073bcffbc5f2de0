"""How does a test run a projector, here or as a process that can be killed?"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import psycopg
from sqlalchemy import Connection

import workers.projector
from adapters.postgres.heartbeats import Heartbeat
from adapters.postgres.high_water import MarkListener
from adapters.postgres.log_reader import LogReader
from domain.event_registry import REGISTRY, EventRegistry
from projections import INTEGRATION, PROJECTIONS
from projections.base import Fold, Projection
from projections.writing import apply
from runtime.compose.projector import projector_engine
from tests.history.stories import OpenKeys
from workers.projector import Projector

EVERY = (*PROJECTIONS, INTEGRATION)


class Projectors:
    """Makes projectors on one database, and closes what they have opened."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __call__(
        self,
        projections: Sequence[Projection] = EVERY,
        *,
        batch: int = 100,
        name: str = "",
        peers: Sequence[str] = (),
        registry: EventRegistry = REGISTRY,
    ) -> Projector:
        reader = LogReader(self.url, OpenKeys(), registry=registry)
        engine, listener = projector_engine(self.url), MarkListener(self.url)
        self._closing.callback(reader.close)
        self._closing.callback(engine.dispose)
        self._closing.callback(listener.close)
        return Projector(
            reader,
            engine,
            projections,
            batch=batch,
            poll_seconds=0.05,
            listener=listener,
            name=name,
            peers=lambda: peers,
        )


def until_idle(*projectors: Projector) -> None:
    """Let them take turns until none of them finds anything to do."""
    while sum(each.step() for each in projectors):
        pass


def run(url: str, name: str, batch: int = 40, kill_after: int | None = None) -> None:
    """The main function of a process; after so many writes it kills itself in the middle of a batch."""
    writes = 0

    def apply_and_perhaps_die(connection: Connection, fold: Fold) -> None:
        nonlocal writes
        apply(connection, fold)
        writes += 1
        if writes == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    workers.projector.apply = apply_and_perhaps_die  # type: ignore[assignment, attr-defined]

    def peers() -> list[str]:
        with psycopg.connect(url) as connection:
            query = "SELECT name FROM workers WHERE kind = 'projector' AND seen_at > now() - interval '3 seconds'"
            return [str(name) for (name,) in connection.execute(query).fetchall()]

    heart = Heartbeat(url, name=name, kind="projector", details=dict)
    running = Projector(
        LogReader(url, OpenKeys()),
        projector_engine(url),
        EVERY,
        batch=batch,
        poll_seconds=0.02,
        listener=MarkListener(url),
        name=name,
        peers=peers,
    )
    heart.start()
    running.run(threading.Event(), ready=heart.ready)
