"""Feed of the console: what moved in the log, as positions and the tenants that they concern, read once for all pages.

No event is decoded: a page that is watched learns where to look again, and asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.postgres.connection import Limits, Session
from adapters.postgres.seal_store import NO_MARK
from domain.errors import Unavailable
from domain.stream_name import StreamName

MOST_TENANTS: Final = 100
"""Tenants that one movement names; of more it says that any tenant may have changed."""

MOST_EVENTS: Final = 400
"""Events that are looked at for it."""

_LIMITS: Final = Limits(statement=5.0, lock=1.0, idle_in_transaction=5.0)


@dataclass(frozen=True, slots=True)
class Movement:
    """The log moved from `after` to `position`. `tenants`: those concerned; None: any may be."""

    after: int
    position: int
    tenants: frozenset[str] | None

    def concerns(self, tenant_id: str | None) -> bool:
        return tenant_id is None or self.tenants is None or tenant_id in self.tenants


class MovementReader:
    """One session of its own, for one thread at a time. Raises Unavailable."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, limits=_LIMITS)

    def close(self) -> None:
        self._session.close()

    def mark(self) -> int:
        """How far the log may be read."""
        with self._session() as connection:
            row = connection.execute("SELECT position FROM high_water_mark", prepare=True).fetchone()
        if row is None:
            raise Unavailable(NO_MARK)
        return int(row[0])

    def after(self, position: int, upto: int) -> Movement:
        """What moved after a position, up to another that is not past the mark."""
        with self._session() as connection:
            rows = connection.execute(_STREAMS, (position, upto, MOST_EVENTS + 1), prepare=True).fetchall()
        if len(rows) > MOST_EVENTS:
            return Movement(position, upto, None)
        tenants = {_tenant(stream) for (stream,) in rows}
        named = frozenset(each for each in tenants if each is not None)
        of_all = any(stream.startswith("customer:") for (stream,) in rows) or len(named) > MOST_TENANTS
        return Movement(position, upto, None if of_all else named)


def _tenant(stream: str) -> str | None:
    try:
        return StreamName.parse(stream).tenant_id
    except ValueError:
        return None


_STREAMS: Final = (
    "SELECT originator_id FROM stored_events WHERE notification_id > %s AND notification_id <= %s"
    " ORDER BY notification_id LIMIT %s"
)
