"""Projector: the log and the read models that it keeps, with a connection whose commits do not wait for the disk."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, text

from adapters.postgres.connection import Limits
from adapters.postgres.engine import engine
from adapters.postgres.high_water import MarkListener
from adapters.postgres.log_reader import LogReader
from projections import INTEGRATION, PROJECTIONS
from projections.base import Projection
from runtime.compose.parts import Parts
from runtime.compose.process import once


def projections_of(_: Parts) -> Sequence[Projection]:
    """All that a projector keeps: the read models, and the outbox."""
    return (*PROJECTIONS, INTEGRATION)


@once
def log_reader_of(parts: Parts) -> LogReader:
    return parts.closing(LogReader(parts.endpoints.database_url, parts.keys))


@once
def projector_engine_of(parts: Parts) -> Engine:
    made = projector_engine(parts.endpoints.database_url)
    parts.at_the_end(made.dispose)
    return made


@once
def mark_listener_of(parts: Parts) -> MarkListener:
    return parts.closing(MarkListener(parts.endpoints.database_url))


def peers_of(parts: Parts, kind: str) -> list[str]:
    """The names of the workers of that kind that gave a sign of life in the last 3 seconds."""
    query = text("SELECT name FROM workers WHERE kind = :kind AND seen_at > now() - interval '3 seconds'")
    with projector_engine_of(parts).connect() as connection:
        return list(connection.execute(query, {"kind": kind}).scalars())


def projector_engine(url: str) -> Engine:
    """One connection whose commits do not wait for the disk: what it writes can be made again from the log."""
    limits = Limits(statement=0, lock=0, idle_in_transaction=30)
    return engine(url, pool_size=1, limits=limits, settings={"synchronous_commit": "off"})
