"""Rebuild and comparison of read models: here alone the log's adapters and the projections meet in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.postgres.log_reader import LogReader
from application.progress import Progress
from audit.read_model_check import Views
from history.rebuild.replay import Replay
from projections import PROJECTIONS
from projections.base import Projection
from runtime.compose.parts import Parts
from runtime.compose.process import pool_of
from runtime.compose.projector import projector_engine


def replay_of(parts: Parts, say: Callable[[Progress], None]) -> Replay:
    return Replay(replay_sources_of(parts), say=say)


def views_of(parts: Parts, say: Callable[[Progress], None]) -> Views:
    parts.knock()
    return Views(replay_sources_of(parts), say=say)


def replay_sources_of(parts: Parts) -> ReplaySources:
    return ReplaySources(parts.endpoints.database_url, parts.master_key)


@dataclass(frozen=True, slots=True)
class ReplaySources:
    """What a worker of a rebuild opens for itself. It is handed to that process by a pipe, never on a command line."""

    url: str = field(repr=False)
    master_key: bytes = field(repr=False)

    def reader(self) -> LogReader:
        pool = pool_of(self.url, keep=1)
        return LogReader(self.url, PostgresEncryptionKeys(pool, MasterKey(self.master_key)), close=pool.close)

    def engine(self) -> Engine:
        return projector_engine(self.url)

    def read_models(self) -> Sequence[Projection]:
        return PROJECTIONS
