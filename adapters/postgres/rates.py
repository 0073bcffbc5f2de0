"""Rates between processes, in PostgreSQL: one row a limit, locked while a chunk is admitted; its clock is the server's.

The row is committed before the chunk is answered, and that commit waits for the disk: a server that was killed has
forgotten nothing that it admitted. An answer that is lost on its way is a chunk that nobody uses.
"""

from __future__ import annotations

from typing import Final

from adapters.postgres.connection import Limits, connect
from adapters.postgres.sessions import Sessions
from application.rates import Admitted, Rate, admitted

KEPT: Final = 4
_LIMITS: Final = Limits(statement=1.0, lock=0.5, idle_in_transaction=1.0)


class PostgresRates:
    """For many threads."""

    def __init__(self, url: str) -> None:
        self._sessions = Sessions(lambda: connect(url, autocommit=True, limits=_LIMITS), keep=KEPT)

    def close(self) -> None:
        self._sessions.close()

    def admit(self, rate: Rate, requests: int) -> Admitted:
        with self._sessions() as session, session.transaction():
            session.execute(_MAKE, (rate.name,), prepare=True)
            next_us, now_us = session.execute(_LOCK, (rate.name,), prepare=True).fetchone() or (0, 0)
            found, after = admitted(rate, requests, next_us=next_us, now_us=now_us)
            if found.requests:
                session.execute(_MOVE, (after, rate.name), prepare=True)
        return found


_MAKE: Final = "INSERT INTO rate_limits (name, next_us) VALUES (%s, 0) ON CONFLICT DO NOTHING"
_LOCK: Final = (
    "SELECT next_us, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM rate_limits"
    " WHERE name = %s FOR UPDATE"
)
_MOVE: Final = "UPDATE rate_limits SET next_us = %s WHERE name = %s"
