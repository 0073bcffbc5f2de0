"""The feed of events in the order of the whole log, for projections and other readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from domain.event import Recorded


class EventFeed(Protocol):
    """Reads events by position, up to the high-water mark."""

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """Events in position order, each committed one exactly once to a reader that goes on from its last position."""
