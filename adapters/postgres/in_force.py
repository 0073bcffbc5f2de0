"""The stream of what is in force, looked into: its last event, and the first one that covers a position.

The stream grows with each second in which anything changed, so nobody reads it whole: `up_to` grows with the version,
and the first event that covers a position is found by halving.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from adapters.postgres.connection import Session
from domain.in_force import STREAM
from domain.times import in_utc


class ObservedPositions(NamedTuple):
    """The high-water mark, and the position of the newest change of any context; 0: none."""

    mark: int
    changed: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Since `time`, as the event at `position` says, everything up to `up_to` is in force."""

    version: int
    position: int
    time: datetime
    up_to: int


class InForceStream:
    """One session; not for several threads."""

    def __init__(self, url: str) -> None:
        self._session = Session(url)

    def close(self) -> None:
        self._session.close()

    def observe(self) -> ObservedPositions:
        """Raises Unavailable."""
        with self._session() as connection:
            row = connection.execute(_OBSERVE, prepare=True).fetchone()
        return ObservedPositions(int(row[0]), int(row[1])) if row is not None else ObservedPositions(0, 0)

    def last(self) -> Proof | None:
        with self._session() as connection:
            row = connection.execute(f"{_EVENT} ORDER BY originator_version DESC LIMIT 1", (STREAM,)).fetchone()
        return _proof(row) if row is not None else None

    def first_covering(self, position: int) -> Proof | None:
        """From when on nobody was let in on what came before that position; None where that is not proved yet."""
        found = self.last()
        if found is None or found.up_to < position:
            return None
        low, high = 1, found.version
        while low < high:
            middle = (low + high) // 2
            with self._session() as connection:
                row = connection.execute(f"{_EVENT} AND originator_version = %s", (STREAM, middle)).fetchone()
            assert row is not None, "versions of a stream have no gap"
            looked = _proof(row)
            if looked.up_to >= position:
                found, high = looked, middle
            else:
                low = middle + 1
        return found


def _proof(row: tuple[int, int, bytes]) -> Proof:
    version, position, state = row
    stored = json.loads(state)
    return Proof(version, position, in_utc(datetime.fromisoformat(stored["at"])), int(stored["data"]["up_to"]))


_EVENT: Final = "SELECT originator_version, notification_id, state FROM stored_events WHERE originator_id = %s"
_OBSERVE: Final = (
    "SELECT (SELECT position FROM high_water_mark), greatest((SELECT coalesce(max(version), 0) FROM contexts),"
    " (SELECT coalesce(max(position), 0) FROM context_hosts),"
    " (SELECT coalesce(max(position), 0) FROM context_service_keys))"
)
