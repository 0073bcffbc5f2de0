"""Event store for aggregates of your own: the parts of Tenantry's log and projections, put together over your registry.

`Store.log` is the event log and the work queue; `keys` forgets a person; `rows` reads a read model. All of it is closed
when the block ends. The tables of the projections lie in a MetaData of yours, and are made here.

What the store asks of an aggregate: its stream is called KIND:KEY (events of one KEY are projected in order, and a
claim may be limited to a share of each KEY), its events name a TOPIC, and its database is not one that Tenantry's own
workers run on, for these know other events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.high_water import MarkListener
from adapters.postgres.log_reader import LogReader
from adapters.postgres.migrations import migrate
from domain.event_registry import EventRegistry
from projections.base import Projection, Row
from runtime.compose.process import pool_of
from runtime.compose.projector import projector_engine
from workers.projector import Projector


@dataclass(frozen=True)
class Store:
    keys: PostgresEncryptionKeys
    log: PostgresEventLog
    projector: Projector
    engine: Engine

    def rows(self, projection: Projection, key: str) -> list[Row] | dict[str, list[Row]]:
        """From a read model that knows all that is committed; a process of its own runs `projector.run` instead."""
        self.log.advance_mark()
        while self.projector.step():
            pass
        with self.engine.connect() as connection:
            return projection.query(connection, key)


@contextmanager
def opened(url: str, *, master_key: bytes, registry: EventRegistry, projections: list[Projection]) -> Iterator[Store]:
    """The store in that database. `master_key` is 32 bytes and wraps the keys of personal fields."""
    migrate(url)
    engine = projector_engine(url)
    for table in (table for projection in projections for table in projection.tables):
        table.create(engine, checkfirst=True)
    with closing(pool_of(url, keep=2)) as pool, closing(MarkListener(url)) as listener:
        keys = PostgresEncryptionKeys(pool, MasterKey(master_key))
        with (
            closing(PostgresEventLog(url, keys, registry=registry)) as log,
            closing(LogReader(url, keys, registry=registry)) as reader,
        ):
            projector = Projector(reader, engine, projections, batch=500, poll_seconds=0.1, listener=listener)
            yield Store(keys, log, projector, engine)
    engine.dispose()
