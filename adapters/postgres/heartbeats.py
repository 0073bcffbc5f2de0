"""Heartbeats of the workers: the lag of each worker, and what it waits for.

Every worker writes a row of its own each second, with what it has to say of its lag and of what its loops wait for
(outage.py), with its version, the newest schema of each event that it reads (upgrade_gate.py), and the newest revision
of the tables that it knows (schema_revision.py). A row that is older than `HEARTBEAT_TIMEOUT_SECONDS` (live_workers.py)
belongs to a worker that was killed; it is removed when the next one of its kind starts. What cannot be written to a
database that is away or full is on the worker's card beside it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from adapters.files.worker_cards import WorkerCard
from adapters.outage import Outage
from adapters.postgres.connection import Limits, Session
from adapters.postgres.live_workers import HEARTBEAT_TIMEOUT_SECONDS
from adapters.postgres.schema_revision import SCHEMA, known_revisions
from adapters.postgres.upgrade_gate import schemas_of
from domain.errors import TenantryError
from domain.event_registry import REGISTRY, EventRegistry

BEAT_SECONDS: Final = 1.0
VERSION: Final = version("tenantry")

_LIMITS: Final = Limits(statement=5.0, lock=5.0, idle_in_transaction=5.0)


class Heartbeat:
    """Says that a worker is alive, from a thread of its own; `ready()` says that it takes in work."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        kind: str,
        details: Callable[[], dict[str, Any]],
        outages: Sequence[Outage] = (),
        card: WorkerCard | None = None,
        registry: EventRegistry = REGISTRY,
    ) -> None:
        self._url = url
        self._name = name
        self._kind = kind
        self._details = details
        self._outage = Outage(f"the {kind}'s heartbeat")
        self._outages = (*outages, self._outage)
        self._card = card
        self._reads = Jsonb({**schemas_of(registry), SCHEMA: int(known_revisions()[-1])})
        self._state = "starting"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> None:
        self._state = "ready"

    @property
    def is_ready(self) -> bool:
        return self._state == "ready"

    def stop(self) -> None:
        """Take the row and the card away."""
        self._stopped.set()
        self._thread.join(timeout=3)
        with suppress(TenantryError), Session(self._url, limits=_LIMITS) as session, session() as connection:
            connection.execute("DELETE FROM workers WHERE name = %s", (self._name,))  # silence says the same, later
        if self._card is not None:
            self._card.close()

    def _beat(self) -> None:
        pause = 0.0
        with Session(self._url, limits=_LIMITS) as session:
            while not self._stopped.wait(pause):
                pause = BEAT_SECONDS if self._state == "ready" else BEAT_SECONDS / 4
                is_new = not session.is_open
                try:
                    with session() as connection:
                        if is_new:
                            self._sweep(connection)
                        self._tell(connection)
                except TenantryError as error:
                    self._outage.goes_on(error)
                    pause = BEAT_SECONDS
                else:
                    self._outage.is_over()
                if self._card is not None:
                    self._card.write(self._state, self._waits())

    def _sweep(self, connection: psycopg.Connection) -> None:
        connection.execute(
            "DELETE FROM workers WHERE kind = %s AND seen_at < now() - make_interval(secs => %s)",
            (self._kind, HEARTBEAT_TIMEOUT_SECONDS),
        )

    def _tell(self, connection: psycopg.Connection) -> None:
        connection.execute(
            "INSERT INTO workers (name, kind, host, pid, state, details, version, reads, started_at, seen_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), now()) ON CONFLICT (name) DO UPDATE"
            " SET state = excluded.state, details = excluded.details, version = excluded.version,"
            " reads = excluded.reads, seen_at = now()",
            (
                *(self._name, self._kind, socket.gethostname(), os.getpid(), self._state),
                *(Jsonb(self._row()), VERSION, self._reads),
            ),
        )

    def _row(self) -> dict[str, Any]:
        waits = self._waits()
        try:
            row = self._details()
        except Exception as error:  # noqa: BLE001 - a lag that cannot be read must not end the heartbeat
            row = {"error": type(error).__name__}
        return {**row, "waits": waits} if waits else row

    def _waits(self) -> list[dict[str, str]]:
        return [waits for outage in self._outages if (waits := outage.waits)]
