"""Does an append say what became of it, whatever happened on the way?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import OperationalError, StoredEvent

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.event_store import Recorder, VersionConflict
from adapters.postgres.high_water import APPEND_LOCK
from adapters.postgres.unit_of_work import DuplicateIncoming
from application.ports.inbox import Incoming, KafkaPosition
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict
from tests.adapters.postgres.appending import Wire, a_stream, committed, event_log, fact, stored


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


@pytest.fixture
def log(url: str) -> Iterator[PostgresEventLog]:
    with event_log(url) as opened:
        yield opened


def incoming(id_: str) -> Incoming:
    return Incoming("/test", id_, b"digest", "topic", 0, 7, "recorded")


def position(expected: int | None, next_offset: int) -> KafkaPosition:
    return KafkaPosition(topic="topic", topic_id="id", partition=0, expected=expected, next_offset=next_offset)


# -- what it says --------------------------------------------------------------------------------------------------


def test_an_append_gives_the_positions_of_its_events_in_their_order(log: PostgresEventLog) -> None:
    first = log.recorder.insert_events(stored(log, 3))
    second = log.recorder.insert_events(stored(log, 2))
    assert (first, second) == ([1, 2, 3], [4, 5])


def test_an_append_of_nothing_is_nothing(log: PostgresEventLog) -> None:
    assert not log.recorder.insert_events([])


def test_a_call_with_ten_thousand_events_is_one_append(log: PostgresEventLog, url: str) -> None:
    assert log.recorder.insert_events(stored(log, 10_000)) == list(range(1, 10_001))
    assert log.advance_mark() == 10_000
    assert [each.position for each in log.read(9_990, 100)] == list(range(9_991, 10_001))
    assert [each.version for each in log.read(0, 10_000)] == committed(url)


def test_who_wants_a_version_that_is_taken_is_told_so_and_nothing_of_the_call_stays(
    log: PostgresEventLog, url: str
) -> None:
    stream = a_stream()
    log.recorder.insert_events(stored(log, 2, stream=stream))
    with pytest.raises(VersionConflict, match=stream):
        log.recorder.insert_events([*stored(log, 3), *stored(log, 1, stream=stream, after=1)])
    assert len(committed(url)) == 2


def test_of_many_who_want_the_same_version_one_gets_it(url: str) -> None:
    stream, outcomes = a_stream(), []
    start = threading.Barrier(8)

    def want() -> None:
        with event_log(url) as mine:
            start.wait()
            try:
                mine.recorder.insert_events(stored(mine, 1, stream=stream))
                outcomes.append("got it")
            except VersionConflict:
                outcomes.append("conflict")

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["got it"]


def test_a_message_that_was_dealt_with_is_told_apart_from_a_version_that_is_taken(log: PostgresEventLog) -> None:
    first = UnitOfWork(events=[fact(a_stream(), 1)], incoming=[incoming("1")])
    log.recorder.insert_events(stored(log, 1), recording=first, bodies={})
    with pytest.raises(DuplicateIncoming, match="another intake dealt with the same message"):
        log.recorder.insert_events(stored(log, 1), recording=first, bodies={})


def test_a_message_that_somebody_else_dealt_with_is_a_conflict_and_nothing_of_the_call_stays(
    log: PostgresEventLog, url: str
) -> None:
    log.record(UnitOfWork(events=[fact(a_stream())], incoming=[incoming("1")]))
    with pytest.raises(Conflict, match="same message"):
        log.record(UnitOfWork(events=[fact(a_stream())], incoming=[incoming("2"), incoming("1")]))
    assert len(committed(url)) == 1
    assert log.known([("/test", "2")]) == {}


def test_prepared_statements_that_are_gone_are_prepared_again(url: str) -> None:
    with event_log(url) as log:
        pool = log.datastore.pool
        turns = pool.max_size  # the pool hands out its connections in turns: each appends, forgets, and appends again
        every = [pool.getconn() for _ in range(turns)]
        for connection in every:
            pool.putconn(connection)
        assert [log.recorder.insert_events(stored(log, 1)) for _ in range(turns)] == [[n + 1] for n in range(turns)]
        for connection in every:
            connection.execute("DEALLOCATE ALL")
        assert len([log.recorder.insert_events(stored(log, 1)) for _ in range(turns)]) == turns
        assert log.recorder.insert_events(stored(log, 2)) == [2 * turns + 1, 2 * turns + 2]


# -- when the connection breaks ------------------------------------------------------------------------------------


def test_a_write_that_had_landed_before_the_connection_broke_is_found(url: str) -> None:
    with Wire(url) as wire, event_log(wire.url) as log:
        log.recorder.insert_events(stored(log))  # connected, and the statement prepared
        mine = stored(log, 3)
        wire.cut_answer_to(str(mine[0].originator_id))
        assert log.recorder.insert_events(mine) == [2, 3, 4]
        assert wire.cuts == 1
        assert len(committed(url)) == 4


def test_a_whole_recording_that_had_landed_before_the_connection_broke_is_found(url: str) -> None:
    with Wire(url) as wire, event_log(wire.url) as log:
        wire.cut_answer_to("COMMIT")
        log.record(UnitOfWork(events=[fact(a_stream())], incoming=[incoming("1")], positions=[position(None, 8)]))
        assert wire.cuts == 1
        assert committed(url) == [1]
        assert log.positions(["id"]) == {("id", 0): 8}


def test_a_write_that_was_lost_with_the_connection_is_done_again(url: str) -> None:
    with Wire(url) as wire, event_log(wire.url) as log:
        log.recorder.insert_events(stored(log))
        mine = stored(log, 3)
        wire.cut_before(str(mine[0].originator_id))
        assert len(log.recorder.insert_events(mine) or ()) == 3
        assert wire.cuts == 1
        assert len(committed(url)) == 4


def test_a_write_that_lands_after_its_connection_broke_is_no_conflict_with_itself(url: str) -> None:
    """It waits in the server when the client is cut off, tries again, and finds the version taken: by itself."""
    with Wire(url) as wire, event_log(wire.url) as log, psycopg.connect(url) as agent:
        log.recorder.insert_events(stored(log))
        mine, outcome = stored(log, 2), list[object]()
        agent.execute("SELECT pg_advisory_xact_lock(%s)", (APPEND_LOCK,))
        append = threading.Thread(target=lambda: outcome.append(log.recorder.insert_events(mine)))
        append.start()
        wait_for_appends(url, 1)
        wire.hang_up()
        wait_for_appends(url, 2)
        agent.commit()
        append.join()
        assert len(committed(url)) == 3
        assert outcome == [committed(url)[1:]]


def test_it_is_looked_for_again_where_the_look_for_it_broke_as_well(url: str) -> None:
    class Unlucky(Recorder):
        """The answer to the first write is lost; it is not seen yet at the first look, and the second look breaks."""

        looks = 0

        def _insert(self, *args: Any) -> list[int] | None:
            inserted = super()._insert(*args)
            if not self.looks:
                self._break()
            return inserted

        def _landed(self, stored_events: Sequence[StoredEvent]) -> list[int]:
            self.looks += 1
            if self.looks == 2:
                self._break()
            return [] if self.looks == 1 else super()._landed(stored_events)

        def _break(self) -> None:
            raise OperationalError("lost") from psycopg.OperationalError("the connection broke")

    with event_log(url) as log:
        log.recorder = Unlucky(log.datastore)
        assert log.recorder.insert_events(stored(log, 2)) == committed(url) == [1, 2]
        assert log.recorder.looks == 3


def wait_for_appends(url: str, count: int) -> None:
    """Until so many appends wait for the agent."""
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock'"
    deadline = time.monotonic() + 10
    with psycopg.connect(url, autocommit=True) as connection:
        while (row := connection.execute(waiting).fetchone()) and row[0] < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_somebody_elses_write_of_the_version_is_a_conflict_also_after_a_break(url: str) -> None:
    with Wire(url) as wire, event_log(wire.url) as log, event_log(url) as other:
        log.recorder.insert_events(stored(log))
        stream = a_stream()
        other.recorder.insert_events(stored(other, 1, stream=stream))
        wire.cut_before(stream)
        with pytest.raises(VersionConflict):
            log.recorder.insert_events(stored(log, 1, stream=stream))
        assert wire.cuts == 1
