"""Is what was read ahead what would have been read, and read while the batch before is written?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.log_reader import LogBatch, LogReader
from domain.errors import Unavailable
from domain.event import Recorded
from domain.tenant.events import TenantCreated
from projections import licenses
from projections.base import BUCKETS
from runtime.compose.projector import projector_engine
from tests.history.models import expected, found
from tests.history.stories import OpenKeys, Stories, append
from workers.loops import Listener
from workers.projector import Projector
from workers.read_ahead import ReadAhead, Stretch

EVENTS = 120
FIRST = Stretch(0, 100, (0,), 1)


class CountingReader(LogReader):
    """A reader that remembers what it was asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, OpenKeys())
        self.asked: list[tuple[int, int]] = []

    def read(self, after: int, upto: int, **how: Any) -> LogBatch:
        self.asked.append((after, upto))
        return super().read(after, upto, **how)


@pytest.fixture
def url(migrated_database: str) -> str:
    with closing(PostgresEventLog(migrated_database, OpenKeys())) as log:
        append(log, Stories(1, tenants=20).take(EVENTS))
    return migrated_database


@pytest.fixture
def reader(url: str) -> Iterator[CountingReader]:
    with closing(CountingReader(url)) as reader:
        yield reader


@pytest.fixture
def ahead(reader: LogReader) -> Iterator[ReadAhead]:
    ahead = ReadAhead(reader, limit=30, ignore={TenantCreated})
    yield ahead
    ahead.finish()


@pytest.mark.parametrize(
    "stretch", [FIRST, Stretch(17, 60, tuple(range(BUCKETS)), BUCKETS), Stretch(17, 100, (1, 5), BUCKETS)]
)
def test_what_was_read_ahead_is_what_the_reader_gives(
    ahead: ReadAhead, reader: CountingReader, stretch: Stretch
) -> None:
    directly = reader.read(
        stretch.after, stretch.upto, limit=30, ignore={TenantCreated}, buckets=stretch.buckets, of=stretch.of
    )
    reader.asked.clear()
    ahead.begin(stretch)
    assert ahead.mark() == EVENTS
    assert ahead.read(stretch) == directly
    assert reader.asked == [(stretch.after, stretch.upto)]


def test_the_beginning_of_a_stretch_is_enough_and_its_rest_comes_next(ahead: ReadAhead) -> None:
    ahead.begin(replace(FIRST, upto=10))
    batch = ahead.read(FIRST)
    assert batch.upto == 10
    assert ahead.read(replace(FIRST, after=10)).upto > 10


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, after=1),
        replace(FIRST, upto=99),
        replace(FIRST, upto=9),
        replace(FIRST, buckets=(1,)),
        Stretch(0, 100, (0,), BUCKETS),
    ],
)
def test_what_answers_another_question_is_dropped(ahead: ReadAhead, reader: CountingReader, other: Stretch) -> None:
    ahead.begin(FIRST)
    batch = ahead.read(other)
    assert reader.asked == [(FIRST.after, FIRST.upto), (other.after, other.upto)]
    assert batch == ahead.read(other)


def test_what_was_read_ahead_is_used_once(ahead: ReadAhead, reader: CountingReader) -> None:
    ahead.begin(FIRST)
    assert ahead.read(FIRST) == ahead.read(FIRST)
    assert len(reader.asked) == 2


def test_a_reading_ahead_that_failed_is_done_again_where_it_is_asked_for(
    url: str, ahead: ReadAhead, reader: CountingReader
) -> None:
    assert ahead.mark() == EVENTS
    with psycopg.connect(url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    ahead.begin(FIRST)
    assert len(ahead.read(FIRST).events) == 30
    assert len(reader.asked) == 2


def test_a_server_that_does_not_answer_is_met_where_the_events_are_asked_for() -> None:
    with closing(CountingReader("postgresql://127.0.0.1:1/nowhere")) as reader:
        ahead = ReadAhead(reader, limit=30, ignore=())
        ahead.begin(FIRST)
        ahead.finish()
        with pytest.raises(Unavailable):
            ahead.read(FIRST)


def test_a_projector_that_is_behind_reads_the_next_batch_while_the_server_writes_this_one(
    url: str, reader: CountingReader
) -> None:
    engine = projector_engine(url)
    projector = Projector(reader, engine, [licenses.PROJECTION], batch=25, poll_seconds=0.05, listener=Deaf())
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE licenses IN EXCLUSIVE MODE")
        writing = threading.Thread(target=projector.step)
        writing.start()
        until(lambda: len(reader.asked) == 2)
        assert other.execute("SELECT count(*) FROM projection_positions WHERE position > 0").fetchone() == (0,)
        other.commit()
        writing.join()
    while projector.step():
        pass
    engine.dispose()
    assert [after for after, _ in reader.asked] == sorted({after for after, _ in reader.asked}), "each read once"
    assert found(url, [licenses.PROJECTION]) == expected(events_of(url), [licenses.PROJECTION])


class Deaf(Listener):
    """Nobody waits for news here."""

    def wait(self, seconds: float) -> None:
        raise AssertionError


def events_of(url: str) -> Sequence[Recorded]:
    with closing(PostgresEventLog(url, OpenKeys())) as log:
        return log.read(0, 1_000_000)


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.005)
