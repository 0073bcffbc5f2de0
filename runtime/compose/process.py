"""Process: its settings and addresses, and what it has opened, which is closed together.

What only one process or command needs is a function of it in a module of this package, made once by `once`. A command
that needs no configuration and no log, as `tenantry status`, works on a Process alone; most work on Parts (parts.py).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast
from uuid import UUID, uuid4

from domain.event_ids import CHANCE_BYTES, event_id

if TYPE_CHECKING:
    from adapters.postgres.sessions import Pool
    from runtime.instance import Endpoints
    from runtime.settings import Settings


class Closable(Protocol):
    """What a process closes at its end."""

    def close(self) -> None: ...


T = TypeVar("T")
C = TypeVar("C", bound=Closable)
P = TypeVar("P", bound="Process")


class Process:
    """What is opened for one process or command. Use as a context manager; leaving it closes all of it."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self._closing = ExitStack()
        self.made: dict[object, Any] = {}
        self.made_of_configuration: dict[object, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def closing(self, thing: C) -> C:
        """The thing, which is closed with this process."""
        self._closing.callback(thing.close)
        return thing

    def at_the_end(self, act: Callable[[], object]) -> None:
        """Call it when this process is left."""
        self._closing.callback(act)

    def knock(self) -> None:
        """Raises Unavailable where the database does not answer."""
        from adapters.postgres.connection import connect  # noqa: PLC0415

        connect(self.endpoints.database_url).close()

    def expect_schema(self) -> None:
        """Raises Unavailable where the database does not answer, or awaits the migration to this version."""
        from adapters.postgres.schema_revision import expect_schema  # noqa: PLC0415

        expect_schema(self.endpoints.database_url)


def once(make: Callable[[P], T]) -> Callable[[P], T]:
    """A function that makes one thing of the parts of a process, and gives the same thing again."""
    return _kept(make, lambda parts: parts.made)


def once_per_configuration(make: Callable[[P], T]) -> Callable[[P], T]:
    """As `once`; the thing is made anew when another configuration is used."""
    return _kept(make, lambda parts: parts.made_of_configuration)


def _kept(make: Callable[[P], T], where: Callable[[P], dict[object, Any]]) -> Callable[[P], T]:
    @wraps(make)
    def made(parts: P) -> T:
        kept = where(parts)
        if make not in kept:
            kept[make] = make(parts)
        return cast("T", kept[make])

    return made


def utc_now() -> datetime:
    return datetime.now(UTC)


def pool_of(url: str, *, keep: int) -> Pool:
    """Sessions of the control database."""
    from adapters.postgres.connection import connect  # noqa: PLC0415
    from adapters.postgres.sessions import Pool  # noqa: PLC0415

    return Pool(lambda: connect(url, autocommit=True), keep=keep)


def new_id() -> UUID:
    """An id for an event (event_ids.py). The operating system is asked for randomness once for many: each time takes it
    15 microseconds."""
    while True:
        try:
            return event_id(time.time_ns() // 1_000_000, _randomness.pop())
        except IndexError:
            drawn = os.urandom(CHANCE_BYTES * 256)
            _randomness.extend(drawn[at : at + CHANCE_BYTES] for at in range(0, len(drawn), CHANCE_BYTES))


_randomness: list[bytes] = []
os.register_at_fork(after_in_child=_randomness.clear)  # or two processes would draw the same


def worker_name(kind: str) -> str:
    """Unique among all workers that ever run: the same pid on the same host may come again."""
    return f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def lease_of(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.lease_seconds)
