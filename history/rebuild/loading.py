"""Load of a new generation from the whole log, by one worker of several.

    worker 0   read, fold window 0 ──▶ write ──▶ read, fold window 2 ──────────▶ write ──▶ ...
                                        │ turn                          turn ▲    │
    worker 1   read, fold window 1 ─────────────▶ write ──▶ read, fold window 3 ─────────▶ write ──▶ ...

The log is divided into windows of WINDOW positions, which the workers take by turns: each event is read by one of them
only. Several windows are read and folded at a time, and written in the order of the log: a worker writes when the turn
has come to it, so what it writes stands on the committed rows of all windows before.

A worker writes at the end of its window, or when the fold has grown to FLUSH_CHANGES, so memory is constant for a log
of any length. A row whose key begins with a new value (in most cases a new tenant) cannot exist yet and is copied,
which is fast; other rows are upserted. Bits that all workers share remember these values: two keys may share a bit, and
then one of them is upserted without need.

Several projections share one reading. A projection that fails is dropped and reported; the others continue.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from zlib import crc32

from sqlalchemy import Connection, Engine

from adapters.postgres.log_reader import LogBatch, LogReader, Unread
from domain.errors import UnreadableEvent
from domain.event import Event, Recorded
from domain.event_registry import REGISTRY
from projections.base import Fold, HandlerFailed, Projection, TableFold
from projections.writing import apply, copy

READ_EVENTS: Final = 4_000
"""In one read: some 20 MB when they are decoded."""

WINDOW: Final = 16_000
"""Positions that a worker takes at a time."""

FLUSH_CHANGES: Final = 60_000
"""Changes in one fold: some 60 MB."""

MET_BYTES: Final = 1 << 22
"""4 MiB a projection; with a million keys one in thirty takes the slow way."""

_BITS: Final = MET_BYTES * 8


class Sources(Protocol):
    """The sources that a worker opens. They are sent to another process, so they are addresses, not connections."""

    def reader(self) -> LogReader: ...
    def engine(self) -> Engine: ...
    def read_models(self) -> Sequence[Projection]: ...


class Turn(Protocol):
    """A worker's turn to write."""

    def take(self) -> None:
        """Wait until every window before this worker's is written."""

    def pass_on(self) -> None:
        """Let the next window be written."""


class NoTurn:
    """Of a worker that is alone."""

    def take(self) -> None: ...
    def pass_on(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """The share of one worker: every `of`-th window of the log up to a position, into the schema of each projection.

    `met` has MET_BYTES for each projection, which all workers share.
    """

    schemas: Mapping[str, str]
    met: Mapping[str, memoryview]
    turn: Turn
    upto: int
    rank: int = 0
    of: int = 1

    def windows(self) -> Iterator[tuple[int, int]]:
        """(after, up to) of each."""
        for start in range(self.rank * WINDOW, self.upto, self.of * WINDOW):
            yield start, min(start + WINDOW, self.upto)


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """Progress of a worker: the numbers of positions and events that are read, and each failed projection's failure."""

    positions: int
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
    met: memoryview = field(default_factory=lambda: memoryview(bytearray(MET_BYTES)))

    def add(self, recorded: Recorded | Unread) -> None:
        """Raises HandlerFailed, UnreadableEvent."""
        if isinstance(recorded, Unread):
            raise UnreadableEvent(recorded.reason)
        changes = self.projection.changes_of(recorded)
        self.changes += len(changes)
        self.fold.extend(changes)

    def flush(self, connection: Connection) -> None:
        """Write what is folded, in the connection's transaction."""
        known = Fold()
        for table, folded in self.fold.tables.items():
            old = TableFold(table)
            old.rows = {first: rows for first, rows in folded.rows.items() if self._is_met(first)}
            new = (keyed for first, rows in folded.rows.items() if first not in old.rows for keyed in rows.items())
            old.deleted = {prefix for prefix in folded.deleted if self._is_met(prefix[0])}
            if old.rows or old.deleted:
                known.tables[table] = old
            copy(connection, table, new, schema=self.schema)
        apply(connection, known, schema=self.schema)
        for folded in self.fold.tables.values():
            for first in folded.rows:
                bit = _bit_of(first)
                self.met[bit >> 3] |= 1 << (bit & 7)
        self.fold = Fold()
        self.changes = 0

    def upsert(self, connection: Connection) -> None:
        """Write what is folded where any row may be there already, in the connection's transaction."""
        apply(connection, self.fold, schema=self.schema)
        self.fold = Fold()
        self.changes = 0

    def _is_met(self, first: object) -> bool:
        bit = _bit_of(first)
        return bool(self.met[bit >> 3] & (1 << (bit & 7)))


def _bit_of(first: object) -> int:
    """The same in all processes, as `hash` is not."""
    return crc32(str(first).encode()) % _BITS


def load(sources: Sources, job: Job, say: Callable[[LoadProgress], None]) -> LoadProgress:
    """Do the job and return its result. `say` gets the progress."""
    reader, engine = sources.reader(), sources.engine()
    failures: dict[str, str] = {}
    try:
        building = [
            Building(projection, job.schemas[projection.name], met=job.met[projection.name])
            for projection in sources.read_models()
            if projection.name in job.schemas
        ]
        ignored = ignored_by(work.projection for work in building)
        positions, events = 0, 0
        for start, end in job.windows():
            at, has_turn = start, False
            while at < end:
                batch = reader.read(at, end, limit=READ_EVENTS, ignore=ignored) if building else LogBatch((), end)
                fold_into(building, (recorded for _, recorded in batch.events), failures)
                building = [work for work in building if work.projection.name not in failures]
                if sum(work.changes for work in building) >= FLUSH_CHANGES or batch.upto >= end:
                    if not has_turn:
                        job.turn.take()
                        has_turn = True
                    with engine.begin() as connection:
                        for work in building:
                            work.flush(connection)
                positions, events, at = positions + batch.upto - at, events + len(batch.events), batch.upto
                say(LoadProgress(positions, events, dict(failures)))
            job.turn.pass_on()
        return LoadProgress(positions, events, failures, done=True)
    finally:
        reader.close()
        engine.dispose()


def fold_into(building: Iterable[Building], events: Iterable[Recorded | Unread], failures: dict[str, str]) -> None:
    """Fold the events for each; a projection that fails on an event is named in `failures` and gets no more."""
    works = list(building)
    concerned: dict[type[Event] | None, list[Building]] = {}
    for recorded in events:
        kind = recorded.kind if isinstance(recorded, Unread) else type(recorded.event)
        found = concerned.get(kind)
        if found is None:
            found = [work for work in works if kind is None or kind in work.projection.handles]
            concerned[kind] = found
        for work in found:
            try:
                work.add(recorded)
            except (HandlerFailed, UnreadableEvent) as error:
                failures[work.projection.name] = str(error)
                works = [other for other in works if other is not work]
                concerned = {}


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
