"""Does every reader see every committed event once, in the one order, whatever the writers do?

Writers append batches of random size, hold transactions open, abort them, and are killed by the server in the middle;
so is, now and then, the agent. Readers follow the log all the while, some by the port, some by the library's
notification log. In the end each of them must have seen exactly what was committed, in the order of the positions.

The oracle is worth something only if it finds the fault it was made for: without the lock it must see misses.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import InterfaceError, OperationalError, StoredEvent
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.event_store import Recorder
from adapters.postgres.high_water import LOCK_TIMEOUT_MS, HighWaterAgent
from tests.adapters.postgres.appending import committed, event_log, stored

WRITERS = 8
READERS = 4
LONGER_THAN_THE_AGENT_WAITS = LOCK_TIMEOUT_MS / 1000 + 0.15


class Aborted(Exception):
    """A writer changed its mind after it had drawn positions."""


class TestRecorder(Recorder):
    """The recorder, with a way to be slow between the positions and the commit."""

    __test__ = False

    def append_slowly(self, events: Sequence[StoredEvent], seconds: float, *, then: str) -> None:
        with suppress(Aborted), self.datastore.transaction(commit=True) as curs:
            self._append(curs, events)
            curs.execute("SELECT pg_sleep(%s)", (seconds,))
            if then == "abort":
                raise Aborted


class LocklessRecorder(TestRecorder):
    """The planted fault: an append that forgets the lock, and is right in everything else."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> None:
        with self.datastore.cursor() as curs:
            self._append(curs, stored_events)

    def _append(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent]) -> None:
        insert = b"INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (%s, %s, %s, %s)"
        for event in stored_events:
            curs.execute(insert, (event.originator_id, event.originator_version, event.topic, event.state))


@dataclass(slots=True)
class Verdict:
    """What was committed, and what each reader made of it."""

    committed: list[int]
    seen: list[list[int]]

    @property
    def missed(self) -> int:
        return sum(len(set(self.committed) - set(positions)) for positions in self.seen)

    @property
    def holds(self) -> bool:
        return all(positions == self.committed for positions in self.seen)


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


def test_each_reader_sees_what_was_committed_once_and_in_order(url: str) -> None:
    verdict = put_to_the_test(url, TestRecorder, seconds=7, killing=True)
    assert verdict.missed == 0
    assert verdict.holds
    assert len(verdict.committed) > 200, "too little happened to prove anything"
    assert verdict.committed[-1] > len(verdict.committed), "no position was lost: nobody aborted"


def test_without_the_lock_the_oracle_sees_misses(url: str) -> None:
    for _ in range(5):
        verdict = put_to_the_test(url, LocklessRecorder, seconds=1, killing=False)
        if verdict.missed:
            assert not verdict.holds
            return
    pytest.fail("five times nothing was missed without the lock: the oracle proves nothing")


def put_to_the_test(url: str, recorder: type[TestRecorder], *, seconds: float, killing: bool) -> Verdict:
    writing, reading = threading.Event(), threading.Event()
    seen: list[list[int]] = [[] for _ in range(2 * READERS)]
    before = committed(url)
    with agents(url), event_log(url, pool_size=WRITERS) as writers, event_log(url, pool_size=READERS) as readers:
        by_port, by_library = reading_the_port(readers), reading_the_library(readers)
        running = [
            threading.Thread(target=follow, args=(by_port if number % 2 else by_library, positions, reading))
            for number, positions in enumerate(seen)
        ]
        busy = [
            threading.Thread(target=write, args=(recorder(writers.datastore), writers, a_dice(number), writing))
            for number in range(WRITERS)
        ]
        if killing:
            busy.append(threading.Thread(target=kill, args=(url, a_dice(0), writing)))
        for thread in (*running, *busy):
            thread.start()
        time.sleep(seconds)
        writing.set()
        for thread in busy:
            thread.join()
        await_end(url, readers, seen)
        reading.set()
        for thread in running:
            thread.join()
    assert committed(url)[: len(before)] == before
    return Verdict(committed(url), seen)


@contextmanager
def agents(url: str) -> Iterator[None]:
    """Two candidates, so that one takes over when the other's connection is killed."""
    candidates = [HighWaterAgent(url), HighWaterAgent(url)]
    for candidate in candidates:
        candidate.start()
    try:
        yield
    finally:
        for candidate in candidates:
            candidate.stop()


def await_end(url: str, readers: PostgresEventLog, seen: list[list[int]]) -> None:
    """Until every reader stands at the last event; one that missed it stands where the mark is."""
    last = committed(url)[-1]
    deadline = time.monotonic() + 30
    while readers.last_position() < last:
        assert time.monotonic() < deadline, "the mark does not reach the last event"
        time.sleep(0.01)
    while time.monotonic() < deadline and any(positions[-1:] != [last] for positions in seen):
        time.sleep(0.01)


# -- who takes part ------------------------------------------------------------------------------------------------


def write(recorder: TestRecorder, log: PostgresEventLog, dice: random.Random, stop: threading.Event) -> None:
    while not stop.is_set():
        events = stored(log, dice.choice((1, 1, 1, 2, 10, 100)))
        chance = dice.random()
        with suppress(OperationalError, InterfaceError):  # its backend was killed
            if chance < 0.85:
                recorder.insert_events(events)
            elif chance < 0.93:
                recorder.append_slowly(events, dice.uniform(0, 0.15), then="commit")
            elif chance < 0.99:
                recorder.append_slowly(events, dice.uniform(0, 0.05), then="abort")
            else:
                recorder.append_slowly(events, LONGER_THAN_THE_AGENT_WAITS, then="commit")


def kill(url: str, dice: random.Random, stop: threading.Event) -> None:
    """End a session of the database in the middle of whatever it does; readers' only while they rest."""
    busy = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (query LIKE '%INSERT INTO stored_events%' OR query LIKE '%pg_sleep%' OR query LIKE '%advisory%')"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.wait(dice.uniform(0.05, 0.3)):
            if pids := [pid for (pid,) in connection.execute(busy).fetchall()]:
                connection.execute("SELECT pg_terminate_backend(%s)", (dice.choice(pids),))


def a_dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - chance that can be repeated


Read = Callable[[int, int], Sequence[int]]


def follow(read: Read, positions: list[int], stop: threading.Event) -> None:
    dice = a_dice(id(positions))
    after = 0
    while not stop.is_set():
        found = read(after, dice.choice((1, 7, 100, 1000)))
        if found:
            positions.extend(found)
            after = found[-1]
        else:
            stop.wait(dice.uniform(0, 0.01))


def reading_the_port(log: PostgresEventLog) -> Read:
    return lambda after, limit: [recorded.position for recorded in log.read(after, limit)]


def reading_the_library(log: PostgresEventLog) -> Read:
    return lambda after, limit: [
        int(notification.id)
        for notification in log.recorder.select_notifications(after, limit, inclusive_of_start=False)
    ]
