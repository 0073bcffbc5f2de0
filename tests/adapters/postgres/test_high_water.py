"""Does the mark move, never back, and past nothing that is still open?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
import structlog
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.high_water import AGENT_LOCK, APPEND_LOCK, HighWaterAgent, MarkListener, advance
from tests.adapters.postgres.appending import committed, event_log, stored


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


@pytest.fixture
def log(url: str) -> Iterator[PostgresEventLog]:
    with event_log(url, pool_size=4) as opened:
        yield opened


@pytest.fixture
def hired(url: str) -> Iterator[Callable[[], HighWaterAgent]]:
    """Starts candidates, and stops them in the end."""
    agents = []

    def hire() -> HighWaterAgent:
        agents.append(HighWaterAgent(url))
        agents[-1].start()
        return agents[-1]

    yield hire
    for agent in agents:
        agent.stop()


def wait_until(holds: Callable[[], object], seconds: float = 10.0) -> float:
    """How long it took; AssertionError where it does not come to hold."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds
        time.sleep(0.005)
    return time.monotonic() - start


def append(log: PostgresEventLog, count: int = 1) -> int:
    """Append; the last position."""
    return list(log.recorder.insert_events(stored(log, count)) or ())[-1]


# -- the agent -----------------------------------------------------------------------------------------------------


def test_one_of_several_is_elected_and_the_next_when_it_leaves(hired: Callable[[], HighWaterAgent]) -> None:
    candidates = [hired() for _ in range(3)]
    wait_until(lambda: any(each.elected for each in candidates))
    time.sleep(0.7)  # all of them have tried
    [first] = [each for each in candidates if each.elected]
    first.stop()
    wait_until(lambda: any(each.elected for each in candidates), 2.0)
    assert sum(each.elected for each in candidates) == 1
    assert not first.elected


def test_when_the_agents_process_is_killed_another_takes_over_within_two_seconds(
    url: str, log: PostgresEventLog, hired: Callable[[], HighWaterAgent]
) -> None:
    program = (
        "import sys, time; from adapters.postgres.high_water import HighWaterAgent\n"
        "agent = HighWaterAgent(sys.argv[1]); agent.start()\n"
        "while not agent.elected: time.sleep(0.01)\n"
        "print('elected', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"elected\n"
        follower = hired()
        time.sleep(0.6)
        assert not follower.elected
        os.kill(holder.pid, signal.SIGKILL)
        last = append(log)
        assert wait_until(lambda: log.last_position() == last, 5.0) < 2.0
        assert follower.elected


def test_an_agent_that_is_stopped_holds_up_neither_appends_nor_readers(
    url: str, log: PostgresEventLog, hired: Callable[[], HighWaterAgent]
) -> None:
    """SIGSTOP at any moment: its lock on appends ends with its statement, and its place is free soon after."""
    program = (
        "import sys, time; from adapters.postgres.high_water import HighWaterAgent\n"
        "agent = HighWaterAgent(sys.argv[1], beat_seconds=0); agent.start()\n"
        "while not agent.elected: time.sleep(0.01)\n"
        "print('elected', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"elected\n"
        follower = hired()
        appending, stop = threading.Event(), threading.Event()
        longest = [0.0]

        def keep_appending() -> None:
            while not stop.is_set():
                start = time.monotonic()
                append(log)
                longest[0] = max(longest[0], time.monotonic() - start)
                appending.set()

        thread = threading.Thread(target=keep_appending)
        thread.start()
        try:
            assert appending.wait(10)
            for _ in range(20):  # wherever it is
                os.kill(holder.pid, signal.SIGSTOP)
                time.sleep(0.05)
                os.kill(holder.pid, signal.SIGCONT)
                time.sleep(0.005)
            os.kill(holder.pid, signal.SIGSTOP)
            wait_until(lambda: follower.elected, 8.0)
        finally:
            stop.set()
            thread.join()
            holder.kill()
        last = append(log)
        assert wait_until(lambda: log.last_position() == last, 5.0) < 2.0
        assert longest[0] < 2.0


def test_the_agents_session_ends_where_it_stops_with_a_transaction_open(url: str) -> None:
    agent = HighWaterAgent(url)
    with agent._session() as connection:  # noqa: SLF001 - as it would be, if the agent still took its lock so
        connection.execute("BEGIN")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPEND_LOCK,))
        with event_log(url) as log:
            start = time.monotonic()
            append(log)
            assert time.monotonic() - start < 3.0
        connection.close()


def test_an_agent_says_once_that_the_database_is_away_and_once_that_it_is_back(
    url: str, hired: Callable[[], HighWaterAgent]
) -> None:
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    server = make_conninfo(url, dbname="postgres")
    with structlog.testing.capture_logs() as lines, psycopg.connect(server, autocommit=True) as owner:
        agent = hired()
        wait_until(lambda: agent.elected)
        owner.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        owner.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name.as_string()[1:-1]]
        )
        wait_until(lambda: agent.outage.waits)
        time.sleep(2)
        owner.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        wait_until(lambda: agent.elected)
    assert len(lines) <= 3, lines  # that its session was ended, that nobody may connect, that it goes on
    assert lines[-1]["event"].startswith("the high-water agent goes on after ")


def test_agents_that_cannot_publish_say_so_once_however_often_one_of_them_is_elected(
    url: str, hired: Callable[[], HighWaterAgent]
) -> None:
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT nextval('stored_events_notification_id_seq')")
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                hired()
            time.sleep(4)
            assert len(lines) <= 3, "one each"
            connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
            query = "SELECT drawn.last_value <= mark.position FROM stored_events_notification_id_seq AS drawn,"
            query += " high_water_mark AS mark"
            wait_until(lambda: connection.execute(query.encode()).fetchone() == (True,))


def test_an_agent_whose_connection_was_ended_comes_back(
    url: str, log: PostgresEventLog, hired: Callable[[], HighWaterAgent]
) -> None:
    agent = hired()
    wait_until(lambda: agent.elected)
    with psycopg.connect(url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND (classid::bigint << 32) + objid::bigint = %s",
            (AGENT_LOCK,),
        ).fetchall()
    assert ended == [(True,)]
    last = append(log)
    assert wait_until(lambda: log.last_position() == last, 5.0) < 2.0


def test_an_idle_agent_takes_no_lock_that_appends_wait_for(url: str, log: PostgresEventLog) -> None:
    append(log)
    log.advance_mark()
    with psycopg.connect(url) as open_append, psycopg.connect(url, autocommit=True) as agent:
        open_append.execute("SELECT pg_advisory_xact_lock_shared(%s)", (APPEND_LOCK,))
        agent.execute("SET lock_timeout = 50")
        assert advance(agent) == 1  # it would have raised LockNotAvailable


# -- the mark ------------------------------------------------------------------------------------------------------


def test_what_is_committed_is_read_once_the_mark_has_moved(log: PostgresEventLog) -> None:
    append(log, 3)
    assert log.read(0, 10) == []
    assert log.recorder.max_notification_id() is None
    assert log.advance_mark() == 3
    assert [each.position for each in log.read(0, 10)] == [1, 2, 3]
    assert log.recorder.max_notification_id() == 3


def test_the_mark_never_goes_back_when_several_move_it(url: str, log: PostgresEventLog) -> None:
    stop, marks = threading.Event(), list[int]()

    def move() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.is_set():
                advance(connection)

    def watch() -> None:
        while not stop.is_set():
            marks.append(log.last_position())

    threads = [threading.Thread(target=each) for each in (move, move, move, watch)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        append(log, 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert marks == sorted(marks)
    assert log.advance_mark() == 400


def test_positions_of_aborted_appends_do_not_stop_the_mark(url: str, log: PostgresEventLog) -> None:
    append(log)
    with psycopg.connect(url) as aborting:
        aborting.execute("SELECT pg_advisory_xact_lock_shared(%s)", (APPEND_LOCK,))
        aborting.execute("SELECT nextval('stored_events_notification_id_seq') FROM generate_series(1, 5)")
        aborting.rollback()
    assert log.advance_mark() == 6
    last = append(log)
    assert log.advance_mark() == last == 7
    assert [each.position for each in log.read(0, 10)] == committed(url) == [1, 7]


def test_an_append_that_stays_open_stalls_readers_until_its_time_out_and_no_longer(
    url: str, hired: Callable[[], HighWaterAgent]
) -> None:
    agent = hired()
    wait_until(lambda: agent.elected)
    with event_log(url, append_timeout_seconds=2.0) as slow, event_log(url) as log:
        connection = slow.datastore.pool
        connection.open(wait=True)
        forgotten = connection.getconn()
        forgotten.autocommit = False
        forgotten.execute("SELECT pg_advisory_xact_lock_shared(%s)", (APPEND_LOCK,))
        forgotten.execute("SELECT nextval('stored_events_notification_id_seq')")
        start = time.monotonic()
        last = append(log)  # waits behind the agent, but not for the forgotten one
        assert time.monotonic() - start < 1.8
        assert log.read(0, 10) == []
        wait_until(lambda: [each.position for each in log.read(0, 10)] == [last], 5.0)
        assert time.monotonic() - start < 4.5
        forgotten.close()
        connection.putconn(forgotten)


# -- the wake-up ---------------------------------------------------------------------------------------------------


def test_a_reader_that_waits_is_woken_when_the_mark_moves(
    log: PostgresEventLog, url: str, hired: Callable[[], HighWaterAgent]
) -> None:
    agent = hired()
    wait_until(lambda: agent.elected)
    listener = MarkListener(url)
    try:
        listener.wait(0)  # it listens from here on
        threading.Timer(0.2, append, (log,)).start()
        start = time.monotonic()
        listener.wait(30)
        assert time.monotonic() - start < 5
        assert log.last_position() == 1
    finally:
        listener.close()


def test_a_reader_that_is_not_woken_waits_no_longer_than_it_said(url: str) -> None:
    listener = MarkListener(url)
    try:
        listener.wait(0)
        start = time.monotonic()
        listener.wait(0.2)
        assert 0.1 < time.monotonic() - start < 2
    finally:
        listener.close()


def test_a_reader_that_cannot_listen_polls() -> None:
    start = time.monotonic()
    MarkListener("postgresql://postgres@/none?host=/nonexistent").wait(0.2)
    assert 0.1 < time.monotonic() - start < 5
