"""Read-ahead: the next batch of the log is read and decoded while PostgreSQL writes the one before.

    projector   │ fold 1 │ write 1 ········· │ fold 2 │ write 2 ········· │     · waits for the server
    beside it            │ read and decode 2 │        │ read and decode 3 │

The larger the store, the more of a write is waiting for pages; a projector that has fallen behind decodes meanwhile.

What was read ahead stays true: the log below the mark never changes. It is used where the projector asks for just that
(a share, a halt or another group changes the question), and dropped otherwise. A reading that failed is done again
where its result is asked for, and raises there. The reader has one connection: all that is asked of it waits until the
reading ahead is over, so that it is never used by two threads at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from adapters.postgres.log_reader import LogBatch, LogReader
from domain.event import Event


@dataclass(frozen=True, slots=True)
class Stretch:
    """The events after `after` and up to `upto`, of these buckets of so many."""

    after: int
    upto: int
    buckets: tuple[int, ...]
    of: int

    def begins(self, other: Stretch) -> bool:
        """Whether it is the other one, or its beginning."""
        return (self.after, self.buckets, self.of) == (other.after, other.buckets, other.of) and self.upto <= other.upto


class ReadAhead:
    """A reader of batches of at most `limit` events, without those of the kinds to `ignore`; one batch ahead."""

    def __init__(self, reader: LogReader, *, limit: int, ignore: Collection[type[Event]]) -> None:
        self._reader = reader
        self._limit = limit
        self._ignore = ignore
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._ahead: tuple[Stretch, Future[LogBatch]] | None = None

    def mark(self) -> int:
        """The high-water mark. Raises Unavailable."""
        self.finish()
        return self._reader.mark()

    def read(self, stretch: Stretch) -> LogBatch:
        """The next events of it; not all, where fewer were read ahead. Raises Unavailable."""
        self.finish()
        ahead, self._ahead = self._ahead, None
        if ahead and ahead[0].begins(stretch) and not ahead[1].exception():
            return ahead[1].result()
        return self._read(stretch)

    def begin(self, stretch: Stretch) -> None:
        """Read it while the caller does something else."""
        self.finish()
        self._ahead = stretch, self._thread.submit(self._read, stretch)

    def finish(self) -> None:
        """Wait until nothing is being read."""
        if self._ahead:
            wait([self._ahead[1]])

    def _read(self, stretch: Stretch) -> LogBatch:
        return self._reader.read(
            stretch.after, stretch.upto, limit=self._limit, ignore=self._ignore, buckets=stretch.buckets, of=stretch.of
        )
