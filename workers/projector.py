"""Projector: it folds the events of the log into read models.

    wait for the mark ─▶ read what comes next ─▶ fold it for each projection ─▶ one transaction: positions, rows

Every projection has a position for each bucket of tenants (projections/base.py). A projector takes its share of the
buckets: of n projectors that are alive, the one of rank r takes every n-th from r on. Who is alive is looked up once a
second, and two may see it differently for a moment, or one was killed: a transaction moves only positions that stand
where its events begin, and that no other worker has locked. So each event is applied once, in order.

What stands at the same position is read once and written in one transaction; with one projector and nothing wrong,
that is everything. What has fallen behind is read up to where the next group stands, and joins it there. Each group
gets one batch a round, so that no bucket waits for the one that is furthest behind. Where there is one group only, its
next batch is read while this one is written (read_ahead.py).

An event that a later version of Tenantry wrote halts nothing: its buckets wait right before it, `status` names it, and
they go on by themselves after the upgrade.

An event that cannot be handled halts its bucket of that projection right before it; it is named in `status` and tried
again after a pause that grows. When PostgreSQL refuses the rows, the projections are written one by one, and those of
the one that fails event by event, until the event is found.

Commits do not wait for the disk (see `Parts.projector_engine`): rows and positions that a crash of the server takes
away go together, and come back from the log.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from adapters.outage import Outage
from adapters.postgres.log_reader import LogReader, Unread
from domain.errors import NewerEvent
from domain.event import Recorded
from projections.base import BUCKETS, Fold, HandlerFailed, Projection
from projections.positions import Halt, Move, Place, advance, ensure, standing
from projections.writing import apply
from workers.loops import Listener, run_step
from workers.read_ahead import ReadAhead, Stretch

log = structlog.get_logger(__name__)

HALTED_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""How long what is halted rests before it is tried again, for the first, the second ... time; the last for ever."""

WAITING_SECONDS = 1.0
"""How long what waits for an upgrade rests before it is looked at again."""

TAKEN_SECONDS = 0.2
"""How long a bucket is left alone that another process has got: a projector with another view, or a rebuild's swap."""

SHARE_SECONDS = 1.0
"""How often a projector looks who else is at work."""

WINDOW = 50
"""Positions looked at in one read, in batches: where few events are of a handled kind, a read is still short."""

Events = Sequence[tuple[int, Recorded | Unread]]


@dataclass(slots=True)
class Work:
    """What one projection does with a batch: its buckets, what is left of the events, and where it has to stop."""

    projection: Projection
    buckets: set[int]
    fold: Fold = field(default_factory=Fold)
    halts: dict[int, Halt] = field(default_factory=dict)


class Projector:
    """Brings the projections up to date, and keeps them so. `peers` names the projectors at work, this one included."""

    def __init__(
        self,
        reader: LogReader,
        engine: Engine,
        projections: Sequence[Projection],
        *,
        batch: int,
        poll_seconds: float,
        listener: Listener,
        name: str = "",
        peers: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        self._engine = engine
        self._projections = {projection.name: projection for projection in projections}
        self._batch = batch
        self._poll = poll_seconds
        self._listener = listener
        self._name = name
        self._peers = peers
        self.outage = Outage("the projector")
        self.upgrade = Outage("the projector of an older version")
        self._waiting: dict[Place, Halt] = {}
        self._share: frozenset[Place] = frozenset()
        self._looked = float("-inf")
        self._stand: dict[Place, int] = {}
        self._halted: dict[Place, int] = {}
        self._resting: dict[Place, float] = {}
        ignored = {
            kind for kind in reader.registry.events if not any(kind in projection.handles for projection in projections)
        }
        self._reader = ReadAhead(reader, limit=batch, ignore=ignored)

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Project until `stop` is set; the batch at hand is finished."""
        ready()
        try:
            while not stop.is_set():
                if not run_step(self.step, lambda: self._listener.wait(self._poll), stop=stop, outage=self.outage):
                    self._stand.clear()
        finally:
            self._reader.finish()

    def step(self) -> int:
        """One batch for each group of buckets that is behind; the number of events read, at least 1 if any moved."""
        mark = self._reader.mark()
        self._look_around()
        if any(place not in self._stand for place in self._share):
            self._look_up()
        self._say_what_waits()
        now = time.monotonic()
        due = {
            place: self._stand[place]
            for place in self._share
            if self._stand.get(place, mark) < mark and self._resting.get(place, 0.0) <= now
        }
        whole = {name for name, projection in self._projections.items() if projection.buckets == 1}
        partitioned = {place: at for place, at in due.items() if place[0] not in whole}
        if len({bucket for name, bucket in self._share if name not in whole}) == BUCKETS:
            rounds = [due]  # with all buckets, both kinds read the same
        else:
            rounds = [partitioned, {place: at for place, at in due.items() if place[0] in whole}]
        groups = sum(len(set(each.values())) for each in rounds)
        return sum(self._round(each, mark, ahead=groups == 1) for each in rounds)

    # -- the share ----------------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        if time.monotonic() - self._looked < SHARE_SECONDS:
            return
        peers = sorted({*self._peers(), self._name})
        rank, count = peers.index(self._name), len(peers)
        share = frozenset(
            (name, bucket)
            for name, projection in self._projections.items()
            for bucket in range(projection.buckets)
            if bucket % count == rank
        )
        if share != self._share:
            log.info("taking a share", rank=rank, projectors=count)
            self._share, self._stand = share, {}
        self._looked = time.monotonic()

    def _look_up(self) -> None:
        with self._engine.begin() as connection:
            ensure(connection, self._projections.values())
            self._stand = {place: at for place, at in standing(connection).items() if place in self._share}

    def _say_what_waits(self) -> None:
        """For the upgrade of this worker. What another projector has brought past the event waits no more here."""
        self._waiting = {
            place: halt for place, halt in self._waiting.items() if self._stand.get(place) == halt.position - 1
        }
        if self._waiting:
            self.upgrade.goes_on(NewerEvent(next(iter(self._waiting.values())).reason))
        else:
            self.upgrade.is_over()

    # -- a round ------------------------------------------------------------------------------------------------------

    def _round(self, due: Mapping[Place, int], mark: int, *, ahead: bool) -> int:
        """Every group once, the furthest behind first; one that reaches the next joins it."""
        groups: dict[int, set[Place]] = {}
        for place, at in due.items():
            groups.setdefault(at, set()).add(place)
        moved = 0
        ends = [*sorted(groups), mark]
        for at, end in itertools.pairwise(ends):
            reached, read = self._batch_of(groups[at], at, end, ahead=ahead)
            moved += max(read, 1)
            if reached == end and end in groups:
                groups[end] |= {place for place in groups[at] if self._stand.get(place) == end}
        return moved

    def _batch_of(self, places: Iterable[Place], at: int, end: int, *, ahead: bool) -> tuple[int, int]:
        """One batch of events for places that stand together; how far it went, and how many events there were.

        `ahead`: the batch after it is read meanwhile.
        """
        works: dict[str, Work] = {}
        for name, bucket in places:
            works.setdefault(name, Work(self._projections[name], set())).buckets.add(bucket)
        if any(work.projection.buckets == 1 for work in works.values()):
            desired_state, of = {0}, 1
            if any(work.projection.buckets > 1 for work in works.values()):
                desired_state, of = set(range(BUCKETS)), BUCKETS
        else:
            desired_state, of = set().union(*(work.buckets for work in works.values())), BUCKETS
        buckets, window = tuple(sorted(desired_state)), WINDOW * self._batch
        batch = self._reader.read(Stretch(at, min(end, at + window), buckets, of))
        following = Stretch(batch.upto, min(end, batch.upto + window), buckets, of)
        for work in works.values():
            self._fold(work, batch.events)
        try:
            self._write(works.values(), at, batch.upto, following=following if ahead and batch.upto < end else None)
        except DBAPIError:
            for work in works.values():
                self._write_alone(work, batch.events, at, batch.upto)
        return batch.upto, len(batch.events)

    def _fold(self, work: Work, events: Events) -> None:
        """The events of the work's buckets; of a bucket that halts, those before the event that halts it."""
        whole = work.projection.buckets == 1
        halts, extend, buckets, changes_of = work.halts, work.fold.extend, work.buckets, work.projection.changes_of
        handles = work.projection.handles
        for event_bucket, recorded in events:
            if isinstance(recorded, Recorded) and type(recorded.event) not in handles:
                continue
            bucket = 0 if whole else event_bucket
            if bucket not in buckets or bucket in halts:
                continue
            try:
                if isinstance(recorded, Unread):
                    if _concerns(work.projection, recorded):
                        halts[bucket] = Halt(recorded.position, None, recorded.reason, waits=recorded.is_newer)
                    continue
                extend(changes_of(recorded))
            except HandlerFailed as error:
                log.error("projection halted", projection=work.projection.name, reason=str(error))  # noqa: TRY400
                halts[bucket] = Halt(recorded.position, error.event.id, str(error))

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, works: Iterable[Work], at: int, upto: int, *, following: Stretch | None = None) -> bool:
        """Positions and rows in one transaction; False, with nothing written, if another projector has a bucket.

        `following` is read while PostgreSQL writes the rows.
        """
        works = list(works)
        moves = [
            Move((work.projection.name, bucket), at, halt.position - 1 if halt else upto, halt)
            for work in works
            for bucket in work.buckets
            for halt in [work.halts.get(bucket)]
        ]
        with self._engine.connect() as connection:
            got = advance(connection, moves)
            if len(got) == len(moves):
                if following:
                    self._reader.begin(following)
                for work in works:
                    apply(connection, work.fold)
                connection.commit()
                self._moved(moves)
                return True
        self._stand = {}
        for move in moves:
            if move.place not in got:
                self._resting[move.place] = time.monotonic() + TAKEN_SECONDS
        return False

    def _moved(self, moves: Iterable[Move]) -> None:
        for move in moves:
            self._stand[move.place] = move.to
            if move.halt and move.halt.waits:
                self._waiting[move.place] = move.halt
                self._resting[move.place] = time.monotonic() + WAITING_SECONDS
            elif move.halt:
                tries = self._halted[move.place] = self._halted.get(move.place, -1) + 1
                pause = HALTED_SECONDS[min(tries, len(HALTED_SECONDS) - 1)]
                self._resting[move.place] = time.monotonic() + pause
            else:
                self._halted.pop(move.place, None)
                self._waiting.pop(move.place, None)

    def _write_alone(self, work: Work, events: Events, at: int, upto: int) -> None:
        """One projection in a transaction of its own; if it is the one that fails, event by event."""
        try:
            self._write([work], at, upto)
        except DBAPIError:
            whole = work.projection.buckets == 1
            for bucket in work.buckets:
                of_bucket = [recorded for found, recorded in events if whole or found == bucket]
                self._write_singly(work, bucket, of_bucket, at, upto)

    def _write_singly(self, work: Work, bucket: int, events: Iterable[Recorded | Unread], at: int, upto: int) -> None:
        halt = work.halts.get(bucket)
        for recorded in events:
            if isinstance(recorded, Unread) or (halt and recorded.position >= halt.position):
                continue
            one = Work(work.projection, {bucket}, Fold(work.projection.changes_of(recorded)))
            try:
                if one.fold.tables and not self._write([one], at, recorded.position):
                    return
            except DBAPIError as error:
                reason = (
                    f"projection {work.projection.name} cannot write event {recorded.id}"
                    f" ({type(recorded.event).__name__}) at position {recorded.position}: {type(error.orig).__name__}"
                )
                log.error("projection halted", projection=work.projection.name, reason=reason)  # noqa: TRY400
                halt = Halt(recorded.position, recorded.id, reason)
                break
            if one.fold.tables:
                at = recorded.position
        self._write([Work(work.projection, {bucket}, halts={bucket: halt} if halt else {})], at, upto)


def _concerns(projection: Projection, unread: Unread) -> bool:
    """Whether the projection must stop there: it handles such events, or this version cannot know whether it should."""
    return unread.kind is None or unread.kind in projection.handles
