"""Live workers: those of which the database heard lately.

Apart from the heartbeats themselves, which know every event: `tenantry status` asks here and imports no event.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg.rows import dict_row

from adapters.postgres.connection import connect
from adapters.postgres.errors import answering

HEARTBEAT_TIMEOUT_SECONDS: Final = 10.0
"""A worker that was not heard of for longer has ended."""


def alive(url: str) -> list[dict[str, Any]]:
    """The workers that were heard of lately: name, kind, state, pid, host, version, details, started_at, seen_at.

    Raises Unavailable.
    """
    with answering(), connect(url, row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT name, kind, host, pid, state, version, details, started_at, seen_at FROM workers"
            " WHERE seen_at > now() - make_interval(secs => %s) ORDER BY kind, name",
            (HEARTBEAT_TIMEOUT_SECONDS,),
        ).fetchall()
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
        for row in rows
    ]
