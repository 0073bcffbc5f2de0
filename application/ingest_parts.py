"""The parts of the intake service that a batch is decided with."""

from __future__ import annotations

from typing import Protocol

from application.inbound import (
    Reread,
)
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.inbox import Inbox
from application.stream_cache import Streams
from domain.catalog import Catalog
from domain.policy import Policy


class IntakeLog(EventLog, Inbox, Protocol):
    """What the intake reads and records."""


class BatchParts(Protocol):
    """What a batch needs of the intake service."""

    @property
    def log(self) -> IntakeLog: ...

    @property
    def streams(self) -> Streams: ...

    @property
    def whole(self) -> Streams: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def new_id(self) -> NewId: ...

    @property
    def reread(self) -> Reread: ...

    def learn(self) -> None:
        """Use the configuration that was adopted last."""
