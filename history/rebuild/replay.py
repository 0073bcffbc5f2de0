"""Rebuild of read models while readers continue to use the live ones.

    reserve ─▶ new generation ─▶ load, by workers ─▶ analyze ─▶ make room ─▶ catch up ─▶ swap
                                                                                ▲          │ tables in use: again
                                                                                └──────────┘

Until the swap has committed, the live generation stays as it was, even after a failed handler, Ctrl-C or a kill. The
next run removes the remains of a killed run. One session has the reservation and does the swap: if that session is
lost, there is no swap. Nor is there one where a migration has changed the live tables meanwhile (table_shapes.py).

The outbox is not a read model: a rebuild of it would publish every integration event again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from adapters.postgres.log_reader import LogReader
from application.progress import Progress
from domain.errors import Unavailable, UsageError, problem
from history.rebuild import generations
from history.rebuild.generations import Busy
from history.rebuild.loading import Building, LoadProgress, Sources, fold_into, ignored_by
from history.rebuild.parallel_load import first_line, load_together
from projections.base import Projection
from projections.positions import ensure

SMALL: Final = 2_000
"""The largest number of positions that may be left to apply while the live generation is locked."""

CATCH_UP_EVENTS: Final = 5_000

SWAP_SECONDS: Final = 60.0
"""How long a swap is tried while readers keep the tables locked."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result. `events`: events read and decoded for all projections together; `failures`: by projection."""

    names: tuple[str, ...]
    events: int
    position: int
    load_seconds: float
    seconds: float
    failures: Mapping[str, str]

    @property
    def rate(self) -> float:
        """Events a second, from the first to the swap."""
        return self.events / self.seconds if self.seconds else 0.0


class Replay:
    """Rebuilds read models."""

    def __init__(self, sources: Sources, *, say: Callable[[Progress], None] = lambda _: None) -> None:
        self._sources = sources
        self._say = say
        self._models = {projection.name: projection for projection in sources.read_models()}

    def rebuild(self, names: Sequence[str], *, workers: int = 1) -> Rebuilt:
        """Build the read models anew; no names: all of them. Several share one reading of the log.

        Raises UsageError for a name that is no read model's, one that is being rebuilt already or one whose tables are
        of another version; Unavailable where
        the database does not answer or readers keep a table locked. A projection whose handler fails is in
        `failures`, and its live generation is as it was.
        """
        started = time.monotonic()
        chosen = self._chosen(names)
        engine, reader = self._sources.engine(), self._sources.reader()
        try:
            with engine.connect() as connection, self._reserved(connection, chosen) as schemas:
                mark = reader.mark()
                loaded = load_together(self._sources, schemas, mark, workers=workers, say=self._loading(mark))
                load_seconds = time.monotonic() - started
                failures = dict(loaded.failures)
                works = [Building(self._models[name], schema) for name, schema in schemas.items()]
                at = mark
                for work in works:
                    if work.projection.name in failures:
                        continue
                    self._say(Progress(mark, mark, loaded.events, f"analyzing {work.projection.name}"))
                    with connection.begin():
                        generations.analyze(connection, work.projection, work.schema)
                    at, read = self._take_over(connection, reader, work, mark, loaded.events, failures)
                    loaded = LoadProgress(at, loaded.events + read, failures)
        except DBAPIError as error:
            raise Unavailable(problem("rebuild-broken-off", reason=first_line(error))) from error
        finally:
            reader.close()
            engine.dispose()
        seconds = time.monotonic() - started
        return Rebuilt(tuple(schemas), loaded.events, at, load_seconds, seconds, failures)

    def drop_previous(self, names: Sequence[str]) -> list[str]:
        """Drop the previous generations; returns the names of those that existed. Raises UsageError."""
        engine = self._sources.engine()
        dropped = []
        try:
            for projection in self._chosen(names):
                with engine.begin() as connection:
                    if generations.drop_previous(connection, projection.name):
                        dropped.append(projection.name)
        finally:
            engine.dispose()
        return dropped

    def _chosen(self, names: Sequence[str]) -> list[Projection]:
        known = ", ".join(sorted(self._models))
        for name in names:
            if name == "integration":
                raise UsageError(problem("outbox-never-rebuilt"))
            if name not in self._models:
                raise UsageError(problem("read-model-unknown", name=name, known=known))
        return [self._models[name] for name in dict.fromkeys(names or self._models)]

    @contextmanager
    def _reserved(self, connection: Connection, chosen: Sequence[Projection]) -> Iterator[dict[str, str]]:
        """The schema of an empty generation for each; those that did not become the live one are dropped."""
        with connection.begin():
            for projection in chosen:
                if not generations.reserve(connection, projection.name):
                    raise UsageError(problem("read-model-being-rebuilt", projection=projection.name))
            ensure(connection, chosen)
        schemas: dict[str, str] = {}
        try:
            for projection in chosen:
                with connection.begin():
                    schemas[projection.name] = generations.begin(connection, projection)
            yield schemas
        finally:
            with suppress(DBAPIError, Unavailable):  # the next run drops the remains
                for schema in schemas.values():
                    with connection.begin():
                        generations.abandon(connection, schema)

    def _loading(self, mark: int) -> Callable[[LoadProgress], None]:
        return lambda loaded: self._say(Progress(loaded.positions, mark, loaded.events, "loading"))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _take_over(
        self,
        connection: Connection,
        reader: LogReader,
        work: Building,
        at: int,
        before: int,
        failures: dict[str, str],
    ) -> tuple[int, int]:
        """Catch up and swap; the position of the new live generation, and the number of events that took.

        `before`: the number of events read until then.
        """
        read = 0
        name = work.projection.name
        until = time.monotonic() + SWAP_SECONDS
        rng = random.SystemRandom()
        with connection.begin():
            generations.drop_previous_generation(connection, work.projection, work.schema)
        while True:
            while (mark := reader.mark()) - at > SMALL:
                at, count = self._apply(connection, reader, work, at, mark, failures)
                read += count
                self._say(Progress(at, mark, before + read, f"catching up {name}"))
                if name in failures:
                    return at, read
            self._say(Progress(at, at, before + read, f"swapping {name}"))
            try:
                with connection.begin():
                    return self._swap(connection, reader, work, at, failures)
            except _HandlerFailed:
                return at, read
            except Busy as busy:
                if time.monotonic() > until:
                    raise Unavailable(problem("read-model-locked", name=name, busy=busy)) from busy
            time.sleep(rng.uniform(0.02, 0.2))

    def _apply(
        self, connection: Connection, reader: LogReader, work: Building, at: int, mark: int, failures: dict[str, str]
    ) -> tuple[int, int]:
        batch = reader.read(at, mark, limit=CATCH_UP_EVENTS, ignore=ignored_by([work.projection]))
        fold_into([work], (recorded for _, recorded in batch.events), failures)
        if work.projection.name not in failures:
            if connection.in_transaction():
                work.upsert(connection)
            else:
                with connection.begin():
                    work.upsert(connection)
        return batch.upto, len(batch.events)

    def _swap(
        self, connection: Connection, reader: LogReader, work: Building, at: int, failures: dict[str, str]
    ) -> tuple[int, int]:
        """In the caller's transaction: nothing of it stays when it is rolled back."""
        read = 0
        positions = generations.hold_positions(connection, work.projection)
        mark = max(reader.mark(), *positions.values())
        while at < mark:
            at, count = self._apply(connection, reader, work, at, mark, failures)
            read += count
            if work.projection.name in failures:
                raise _HandlerFailed
        generations.swap(connection, work.projection, work.schema, at)
        return at, read


class _HandlerFailed(Exception):
    """Rolls the swap back; what failed is noted already."""
