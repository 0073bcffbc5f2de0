"""Are sessions kept that ended well, and no others?"""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from adapters.postgres.sessions import Sessions


@pytest.fixture
def sessions(database: str) -> Iterator[Sessions]:
    found = Sessions(lambda: psycopg.connect(database, autocommit=True), keep=1)
    yield found
    found.close()


def backend(sessions: Sessions) -> int:
    with sessions() as connection:
        return connection.info.backend_pid


def test_a_session_that_ended_well_serves_the_next(sessions: Sessions) -> None:
    assert backend(sessions) == backend(sessions)


def test_no_more_are_kept_than_was_said(sessions: Sessions) -> None:
    with sessions() as first, sessions() as second:
        assert first.info.backend_pid != second.info.backend_pid
    assert [first.closed, second.closed].count(True) == 1


def test_a_session_in_which_something_failed_or_was_left_open_is_not_used_again(sessions: Sessions) -> None:
    with pytest.raises(ZeroDivisionError), sessions() as failed:
        raise ZeroDivisionError
    with sessions() as left_open:
        left_open.execute("BEGIN")
    assert failed.closed
    assert left_open.closed


def test_a_session_that_the_server_has_ended_is_not_used_again(sessions: Sessions, database: str) -> None:
    ended = backend(sessions)
    with psycopg.connect(database, autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s)", [ended])
        while administrator.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [ended]).fetchone():
            time.sleep(0.01)
    with sessions() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.info.backend_pid != ended


def test_what_is_closed_keeps_nothing(sessions: Sessions) -> None:
    sessions.close()
    with sessions() as connection:
        pass
    assert connection.closed
