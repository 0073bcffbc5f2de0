"""The event log: streams of events, read from a version on, and written one unit of work at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from application.unit_of_work import UnitOfWork
from domain.event import Recorded


class EventStreams(Protocol):
    """Reads streams."""

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        """The events of each stream after the given version, in order; streams without any are absent.

        Without `personal`, no personal field is decrypted: each holds a text that says nothing.
        """


class UnitRecorder(Protocol):
    """Commits units of work."""

    def record(self, recording: UnitOfWork) -> None:
        """Commit all of it or nothing.

        Raises Conflict, with nothing recorded, where a version, an incoming id, a quarantined message or a lease is
        not what was expected, PositionLost where a Kafka position is not, and GuardTripped where more would be
        destroyed, or closed, than the guard lets pass.
        """


class EventLog(EventStreams, UnitRecorder, Protocol):
    """Reads and records: what a service needs that loads, decides and records."""
