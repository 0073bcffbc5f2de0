"""Comparison of the read models with the log.

    one snapshot: the position of each bucket of each projection, and its rows
    the log:      the same events up to that position, folded in memory
    compare:      table by table, key by key, column by column

The projector continues during the comparison; rows that it writes after the snapshot are not seen. Events up to the
high-water mark never change, so the log is read outside of the snapshot. All tenants are compared bucket by bucket, in
the memory of a sixteenth of the read models; a sample reads the streams of its tenants only.

The tables are locked against a swap of generations (ACCESS SHARE, the lock of every reader) before the snapshot is
taken: an older snapshot would see the new tables without their rows. A rebuild waits with its swap meanwhile.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, Table, column, func, select, table, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from adapters.postgres.log_reader import LogReader, Unread
from application.progress import Progress
from domain.errors import Unavailable, UnreadableEvent, UsageError, problem
from domain.event import Recorded
from domain.times import in_utc
from history.rebuild.loading import READ_EVENTS, Sources, ignored_by
from projections.base import BUCKETS, Fold, Key, Row, storable
from projections.positions import Place, standing

KEPT: Final = 1_000
"""Differences that are named one by one; the others are counted."""

_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that is missing or too much (`column` is None then), or a value that differs."""

    table: str
    key: Key
    column: str | None
    expected: object
    found: object


@dataclass(frozen=True, slots=True)
class ReadModelComparison:
    """The result; the read models agree with the log where there are no differences."""

    tenants: int | None
    """How many, of a sample; None: all."""
    events: int
    rows: int
    position: int
    """The furthest that a projection stands at."""
    behind: int
    """The furthest back."""
    log: int
    """How far the log goes."""
    differences: Sequence[RowDifference]
    more: int
    seconds: float


@dataclass(slots=True)
class _Tally:
    events: int = 0
    rows: int = 0
    differences: list[RowDifference] = field(default_factory=list)
    more: int = 0

    def add(self, found: Iterable[RowDifference]) -> None:
        for each in found:
            if len(self.differences) < KEPT:
                self.differences.append(each)
            else:
                self.more += 1


@dataclass(frozen=True, slots=True)
class _Share:
    """The rows and events that are compared at a time: one bucket of all tenants, or a sample of tenants."""

    bucket: int | None = None
    tenants: tuple[str, ...] = ()
    customers: tuple[str, ...] = ()

    def rows(self, of: Table) -> ColumnElement[bool]:
        first: Column[object] = next(iter(of.primary_key.columns))
        if self.bucket is not None:
            return func.hashtextextended(first, 0).op("&")(BUCKETS - 1) == self.bucket
        return first.in_(self.customers if first.name == "customer_id" else self.tenants)


class Views:
    """Comparison of the read models with the log."""

    def __init__(self, sources: Sources, *, say: Callable[[Progress], None] = lambda _: None) -> None:
        self._sources = sources
        self._say = say
        self._models = tuple(sources.read_models())
        self._tables = tuple(each for model in self._models for each in model.tables)

    def compare(self, *, sample: int | None, seed: int = 0) -> ReadModelComparison:
        """Compare all tenants, or so many at random; the same seed chooses the same tenants of the same log.

        Raises UsageError where there are no tenants, UnreadableEvent or HandlerFailed for an event that cannot be read,
        Unavailable where the database does not answer.
        """
        started = time.monotonic()
        engine, reader = self._sources.engine(), self._sources.reader()
        try:
            with engine.connect() as connection:
                self._freeze(connection)
                places = standing(connection)
                shares = [_Share(bucket) for bucket in range(BUCKETS)]
                if sample is not None:
                    shares = [_sampled(connection, sample, seed)]
                tally, at, mark = _Tally(), self._positions(places), reader.mark()
                for number, share in enumerate(shares):
                    self._compare(connection, reader, share, places, tally, number * max(at), len(shares) * max(at))
        except DBAPIError as error:
            reason = next(iter(str(error.orig).splitlines()), type(error).__name__)
            raise Unavailable(problem("comparison-failed", reason=reason)) from error
        finally:
            reader.close()
            engine.dispose()
        count = len(shares[0].tenants) if sample is not None else None
        seconds = time.monotonic() - started
        return ReadModelComparison(
            count, tally.events, tally.rows, max(at), min(at), mark, tally.differences, tally.more, seconds
        )

    def _freeze(self, connection: Connection) -> None:
        connection.execution_options(isolation_level="REPEATABLE READ")
        names = ", ".join(_DIALECT.identifier_preparer.format_table(each) for each in self._tables)
        connection.execute(text(f"LOCK TABLE {names} IN ACCESS SHARE MODE"))

    def _positions(self, places: dict[Place, int]) -> list[int]:
        return [places.get((model.name, bucket), 0) for model in self._models for bucket in range(model.buckets)]

    def _compare(
        self,
        connection: Connection,
        reader: LogReader,
        share: _Share,
        places: dict[Place, int],
        tally: _Tally,
        done: int,
        total: int,
    ) -> None:
        folds = {model.name: Fold() for model in self._models}
        for at, events in self._events(reader, share, max(self._positions(places), default=0)):
            for bucket, recorded in events:
                self._fold(folds, bucket, recorded, places)
            tally.events += len(events)
            self._say(Progress(done + at, total, tally.events))
        for model in self._models:
            for each in model.tables:
                expected = folds[model.name].tables.get(each)
                stored = _stored(connection, each, share)
                desired_state = {key: _padded(each, row) for key, row in expected or ()}
                tally.rows += len(stored)
                tally.add(_differences(each, desired_state, stored))

    def _events(
        self, reader: LogReader, share: _Share, upto: int
    ) -> Iterator[tuple[int, Sequence[tuple[int, Recorded | Unread]]]]:
        ignored = ignored_by(self._models)
        if share.bucket is None:
            batch = reader.read_of(share.tenants, share.customers, upto, ignore=ignored, of=BUCKETS)
            yield upto, batch.events
            return
        at = 0
        while at < upto:
            batch = reader.read(at, upto, limit=READ_EVENTS, ignore=ignored, buckets=(share.bucket,), of=BUCKETS)
            at = batch.upto
            yield at, batch.events

    def _fold(self, folds: dict[str, Fold], bucket: int, recorded: Recorded | Unread, places: dict[Place, int]) -> None:
        """Into each projection that has got that far. Raises UnreadableEvent, HandlerFailed."""
        kind = recorded.kind if isinstance(recorded, Unread) else type(recorded.event)
        for model in self._models:
            place = model.name, bucket if model.buckets > 1 else 0
            if recorded.position > places.get(place, 0) or (kind is not None and kind not in model.handles):
                continue
            if isinstance(recorded, Unread):
                raise UnreadableEvent(recorded.reason)
            folds[model.name].extend(model.changes_of(recorded))


def _sampled(connection: Connection, count: int, seed: int) -> _Share:
    known = table("customer_tenants", column("tenant_id"), column("customer_id"))
    order = func.md5(func.concat(str(random.Random(seed).getrandbits(64)), known.c.tenant_id))  # noqa: S311
    found = connection.execute(select(known.c.tenant_id, known.c.customer_id).order_by(order).limit(count)).all()
    if not found:
        raise UsageError(problem("comparison-without-tenants"))
    return _Share(None, tuple(tenant for tenant, _ in found), tuple(sorted({customer for _, customer in found})))


def _stored(connection: Connection, of: Table, share: _Share) -> dict[Key, Row]:
    keys = [each.name for each in of.primary_key]
    named = [each for each in of.columns if each.computed is None]
    found = connection.execute(select(*named).where(share.rows(of))).mappings()
    return {
        tuple(row[name] for name in keys): {
            each.name: _plain(row[each.name], each) for each in named if each.name not in keys
        }
        for row in found
    }


def _padded(of: Table, row: Row) -> Row:
    """The row as it would be stored: what was never set is null."""
    return {
        each.name: _plain(storable(row.get(each.name)), each)
        for each in of.columns
        if not each.primary_key and each.computed is None
    }


def _plain(value: object, of: Column[object]) -> object:
    """The value as the database would return it, from either side."""
    if value is None:
        return None
    if isinstance(of.type, JSONB):
        return json.loads(json.dumps(value, default=str))
    return in_utc(value) if isinstance(value, datetime) else value


def _differences(of: Table, expected: dict[Key, Row], found: dict[Key, Row]) -> Iterator[RowDifference]:
    for key in sorted(expected.keys() | found.keys(), key=_order):
        ours, theirs = expected.get(key), found.get(key)
        if ours is None or theirs is None:
            yield RowDifference(of.name, key, None, _presence(ours), _presence(theirs))
            continue
        for name, value in ours.items():
            if theirs[name] != value:
                yield RowDifference(of.name, key, name, value, theirs[name])


def _order(key: Key) -> list[str]:
    return [str(part) for part in key]


def _presence(row: Row | None) -> str:
    return "no row" if row is None else "a row"
