"""Load of a new generation from the whole log, by one worker.

A worker reads its buckets of the log from the beginning, in order, and folds the events. It writes the rows when the
fold has grown to FLUSH_CHANGES, so memory is constant for a log of any length. A row whose key begins with a new value
(in most cases a new tenant) cannot exist yet and is copied, which is fast; other rows are upserted. A bit field of
constant size remembers these values: two keys may share a bit, and then one of them is upserted without need.

Several projections share one reading. A projection that fails is dropped and reported; the others continue.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import Connection, Engine

from adapters.postgres.log_reader import LogReader, Unread
from domain.errors import UnreadableEvent
from domain.event import Event, Recorded
from domain.event_registry import REGISTRY
from projections.base import BUCKETS, Fold, HandlerFailed, Key, Projection, Row, TableFold
from projections.writing import apply, copy

READ_EVENTS: Final = 4_000
"""In one read: some 20 MB when they are decoded."""

FLUSH_CHANGES: Final = 60_000
"""Changes in one fold: some 60 MB."""

_BITS: Final = 1 << 25
"""4 MiB a projection; with a million keys one in thirty takes the slow way."""


class Sources(Protocol):
    """The sources that a worker opens. They are sent to another process, so they are addresses, not connections."""

    def reader(self) -> LogReader: ...
    def engine(self) -> Engine: ...
    def read_models(self) -> Sequence[Projection]: ...


@dataclass(frozen=True, slots=True)
class Job:
    """The share of one worker: these buckets of the log up to a position, into the schema of each projection."""

    schemas: dict[str, str]
    buckets: tuple[int, ...]
    upto: int


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Progress of a worker: its position, the number of events read, and the failure of each failed projection."""

    position: int
    events: int
    failures: dict[str, str]
    done: bool = False


@dataclass(slots=True)
class Building:
    """The state of one projection during the load: its fold, and the keys that may have rows already."""

    projection: Projection
    schema: str
    fold: Fold = field(default_factory=Fold)
    changes: int = 0
    met: bytearray = field(default_factory=lambda: bytearray(_BITS // 8))

    def add(self, recorded: Recorded | Unread) -> None:
        """Raises HandlerFailed, UnreadableEvent."""
        if isinstance(recorded, Unread):
            raise UnreadableEvent(recorded.reason)
        for change in self.projection.changes_of(recorded):
            self.fold.add(change)
            self.changes += 1

    def flush(self, connection: Connection) -> None:
        """Write what is folded, in the connection's transaction."""
        known = Fold()
        for table, folded in self.fold.tables.items():
            new: list[tuple[Key, Row]] = []
            old = TableFold(table)
            for first, rows in folded.rows.items():
                if self._is_met(first):
                    old.rows[first] = rows
                else:
                    new.extend(rows.items())
            old.deleted = {prefix for prefix in folded.deleted if self._is_met(prefix[0])}
            if old.rows or old.deleted:
                known.tables[table] = old
            copy(connection, table, new, schema=self.schema)
        apply(connection, known, schema=self.schema)
        for folded in self.fold.tables.values():
            for first in folded.rows:
                bit = hash(first) % _BITS
                self.met[bit >> 3] |= 1 << (bit & 7)
        self.fold = Fold()
        self.changes = 0

    def upsert(self, connection: Connection) -> None:
        """Write what is folded where any row may be there already, in the connection's transaction."""
        apply(connection, self.fold, schema=self.schema)
        self.fold = Fold()
        self.changes = 0

    def _is_met(self, first: object) -> bool:
        bit = hash(first) % _BITS
        return bool(self.met[bit >> 3] & (1 << (bit & 7)))


def load(sources: Sources, job: Job, say: Callable[[LoadProgress], None]) -> LoadProgress:
    """Do the job and return its result. `say` gets the progress."""
    reader, engine = sources.reader(), sources.engine()
    failures: dict[str, str] = {}
    try:
        building = [
            Building(projection, job.schemas[projection.name])
            for projection in sources.read_models()
            if projection.name in job.schemas
        ]
        ignored = ignored_by(work.projection for work in building)
        at, events = 0, 0
        while at < job.upto and building:
            batch = reader.read(at, job.upto, limit=READ_EVENTS, ignore=ignored, buckets=job.buckets, of=BUCKETS)
            fold_into(building, (recorded for _, recorded in batch.events), failures)
            building = [work for work in building if work.projection.name not in failures]
            at, events = batch.upto, events + len(batch.events)
            if sum(work.changes for work in building) >= FLUSH_CHANGES or at >= job.upto:
                with engine.begin() as connection:
                    for work in building:
                        work.flush(connection)
            say(LoadProgress(at, events, dict(failures)))
        return LoadProgress(at, events, failures, done=True)
    finally:
        reader.close()
        engine.dispose()


def fold_into(building: Iterable[Building], events: Iterable[Recorded | Unread], failures: dict[str, str]) -> None:
    """Fold the events for each; a projection that fails on an event is named in `failures` and gets no more."""
    works = list(building)
    for recorded in events:
        kind = recorded.kind if isinstance(recorded, Unread) else type(recorded.event)
        for work in works:
            if kind is not None and kind not in work.projection.handles:
                continue
            try:
                work.add(recorded)
            except (HandlerFailed, UnreadableEvent) as error:
                failures[work.projection.name] = str(error)
                works = [other for other in works if other is not work]


def ignored_by(projections: Iterable[Projection]) -> set[type[Event]]:
    """The known types of events that none of the projections handles."""
    handled: set[type[Event]] = set()
    for projection in projections:
        handled |= projection.handles
    return set(REGISTRY.events) - handled


def spare_the_collector() -> None:
    """Tune the garbage collector of a process that only makes and drops events, none of which is in a cycle.

    The garbage collector looks at all of them again and again: measured, it took more than a third of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
