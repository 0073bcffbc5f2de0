"""Which workers are alive, and how far behind is each?

Every worker writes a row of its own each second, with what it has to say of its lag. A row that is older than
`SILENT_SECONDS` belongs to a worker that was killed; it is removed when the next one of its kind starts.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from domain.errors import Unavailable

BEAT_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 10.0


class Heartbeat:
    """Says that a worker is alive, from a thread of its own; `ready()` says that it takes in work."""

    def __init__(self, url: str, *, name: str, kind: str, details: Callable[[], dict[str, Any]]) -> None:
        self._url = url
        self._name = name
        self._kind = kind
        self._details = details
        self._state = "starting"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> None:
        self._state = "ready"

    def stop(self) -> None:
        """Take the row away."""
        self._stopped.set()
        self._thread.join(timeout=3)
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                connection.execute("DELETE FROM workers WHERE name = %s", (self._name,))
        except psycopg.Error:
            pass  # silence says the same, a little later

    def _beat(self) -> None:
        connection: psycopg.Connection | None = None
        while not self._stopped.wait(0 if connection is None else BEAT_SECONDS / 4):
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
                    connection.execute(
                        "DELETE FROM workers WHERE kind = %s AND seen_at < now() - make_interval(secs => %s)",
                        (self._kind, SILENT_SECONDS),
                    )
                connection.execute(
                    "INSERT INTO workers (name, kind, host, pid, state, details, started_at, seen_at)"
                    " VALUES (%s, %s, %s, %s, %s, %s, now(), now()) ON CONFLICT (name) DO UPDATE"
                    " SET state = excluded.state, details = excluded.details, seen_at = now()",
                    (
                        self._name,
                        self._kind,
                        socket.gethostname(),
                        os.getpid(),
                        self._state,
                        Jsonb(self._said()),
                    ),
                )
            except psycopg.Error:
                connection = None
                self._stopped.wait(BEAT_SECONDS)
            if self._state == "ready":
                self._stopped.wait(BEAT_SECONDS)

    def _said(self) -> dict[str, Any]:
        try:
            return self._details()
        except Exception as error:  # noqa: BLE001 - a lag that cannot be told must not end the heartbeat
            return {"error": type(error).__name__}


def alive(url: str) -> list[dict[str, Any]]:
    """The workers that were heard of lately: name, kind, state, pid, host, details, started_at, seen_at.

    Raises Unavailable.
    """
    try:
        with psycopg.connect(url, row_factory=dict_row, connect_timeout=5) as connection:
            rows = connection.execute(
                "SELECT * FROM workers WHERE seen_at > now() - make_interval(secs => %s) ORDER BY kind, name",
                (SILENT_SECONDS,),
            ).fetchall()
    except psycopg.OperationalError as error:
        raise Unavailable("the database does not answer: check TENANTRY_DATABASE_URL") from error
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows
    ]
