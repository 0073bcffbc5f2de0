"""High-water mark: the position up to which the log may be read without a gap.

Positions come from a sequence, so a reader could see position 8 committed while 7 is still open. Every append holds a
shared advisory lock from before its first position until it has committed. One agent takes that lock exclusively for a
moment: then no append is open, so everything up to the sequence's last value has been decided, committed or not. That
value is the high-water mark; it is published in a row and by NOTIFY, and readers never read past it.

    append ──shared──▶ nextval, insert, commit          append ──shared──▶ …
                                               ▲
    agent  ────────────────────────exclusive───┘ read the sequence, let go, publish the mark

Any worker process can be the agent: it is the process that has a session's advisory lock, and PostgreSQL releases that
lock when the process is killed. While the agent waits for one slow append, new appends wait behind the agent. So an
append has a time-out, and the agent a shorter one, after which it lets them pass and tries again.

A process may stop between any two of its statements, and go on an hour later. So the agent's lock lasts for one
statement, which the server ends by itself; and the server ends the session of an agent that says nothing for a while,
with which the place of the agent is free for another. The same holds for an append that stops before its commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from adapters.outage import Outage
from adapters.postgres.connection import Limits, Session
from domain.errors import Contended, TenantryError, Unavailable, problem

APPEND_LOCK: Final = 7_305_808_868_231_650_677
AGENT_LOCK: Final = 7_305_808_868_231_650_679
CHANNEL: Final = "tenantry_mark"

BEAT_SECONDS: Final = 0.01
"""How often the agent looks. An idle look is one short query that takes no lock."""

LOCK_TIMEOUT_MS: Final = 250
"""How long appends may have to wait behind an agent that waits for a slow one."""

IDLE_SECONDS: Final = 3.0
"""After which the server ends the session of an agent that has stopped. Those that are at work ask far more often."""

ELECTION_SECONDS: Final = 0.5
"""How often the others try to become the agent."""


def advance(connection: psycopg.Connection[Any], *, unheard: Callable[[psycopg.Error], None] | None = None) -> int:
    """Publish the mark if it has moved, and return it. Needs autocommit; several at once do no harm.

    Where the server's queue of notifications is full, the mark is published without one: readers poll as well, and
    `unheard` is called. Raises psycopg.errors.LockNotAvailable where an append stayed open for longer than the
    connection's lock_timeout.
    """
    curs = connection.cursor(row_factory=tuple_row)
    published, drawn = curs.execute(_LOOK, prepare=True).fetchone() or (0, 0)
    if drawn <= published:
        return int(published)
    row = curs.execute(_DRAWN, (APPEND_LOCK,), prepare=True).fetchone()
    mark = int(row[0]) if row else 0
    try:
        curs.execute(_PUBLISH, (mark, mark, CHANNEL, str(mark)), prepare=True)
    except psycopg.errors.ProgramLimitExceeded as error:
        curs.execute(_MOVE, (mark, mark))
        curs.execute("SELECT pg_notification_queue_usage()")  # which frees what no listener needs any more
        if unheard is not None:
            unheard(error)
    return mark


# The sequence is read for a row that is the lock: not before it is taken. And a sequence is read as it is now, not as
# it was when the statement began.
_DRAWN: Final = (
    "WITH taken AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s) AS lock)"
    " SELECT (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
    " FROM stored_events_notification_id_seq WHERE taken.lock IS NOT NULL) FROM taken"
)
_LOOK: Final = (
    "SELECT (SELECT position FROM high_water_mark),"
    " (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM stored_events_notification_id_seq)"
)
_MOVE: Final = "UPDATE high_water_mark SET position = %s, published_at = now() WHERE position < %s"
_PUBLISH: Final = f"WITH moved AS ({_MOVE} RETURNING position) SELECT pg_notify(%s, %s) FROM moved"  # noqa: S608 - ours


class HighWaterAgent:
    """A thread that is the agent, or waits to become it."""

    def __init__(self, url: str, *, beat_seconds: float = BEAT_SECONDS) -> None:
        limits = Limits(statement=30.0, lock=LOCK_TIMEOUT_MS / 1000, idle_in_transaction=1.0, idle=IDLE_SECONDS)
        self._session = Session(url, limits=limits)
        self._beat = beat_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="high-water-agent", daemon=True)
        self.outage = Outage("the high-water agent")
        self.elected = False
        self._is_unheard = False
        """Whether the last mark was published without a notification."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        with self._session:
            while not self._stopped.is_set():
                try:
                    with self._session() as connection:
                        self._stand(connection)
                except TenantryError as error:
                    self.outage.goes_on(error)
                finally:
                    self.elected = False
                self._stopped.wait(ELECTION_SECONDS)

    def _stand(self, connection: psycopg.Connection) -> None:
        """Wait to be elected, then publish until stopped."""
        while not self._stopped.is_set():
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (AGENT_LOCK,)).fetchone()
            if self.outage.waits and not _lags(connection):
                self.outage.is_over()  # an agent has published: an accepted session alone does not prove it
            if row is not None and row[0]:
                self.elected = True
                break
            self._stopped.wait(ELECTION_SECONDS)
        mark = -1
        while not self._stopped.wait(self._beat):
            self._is_unheard, was_unheard, before = False, self._is_unheard, mark
            try:
                mark = advance(connection, unheard=self._tell_unheard)
            except psycopg.errors.LockNotAvailable as error:
                self.outage.goes_on(_stays_open(error))
                continue
            if mark == before:
                self._is_unheard = was_unheard  # nothing was published: that tells nothing
            if not self._is_unheard:
                self.outage.is_over()

    def _tell_unheard(self, error: psycopg.Error) -> None:
        self._is_unheard = True
        self.outage.goes_on(_queue_is_full(error))


def _lags(connection: psycopg.Connection) -> bool:
    published, drawn = connection.execute(_LOOK, prepare=True).fetchone() or (0, 0)
    return bool(drawn > published)


def _stays_open(error: psycopg.Error) -> Contended:
    text = f"an append stays open for longer than {LOCK_TIMEOUT_MS} ms, and readers do not move on: the server ends it"
    failure = Contended(text, why="append-open")
    failure.__cause__ = error
    return failure


def _queue_is_full(error: psycopg.Error) -> Unavailable:
    failure = Unavailable(
        problem("notification-queue-full"),
        why="notify-queue-full",
    )
    failure.__cause__ = error
    return failure


class MarkListener:
    """Notifies a reader when the mark moves, or `channel` has news; a lost notification costs `wait`'s time-out."""

    def __init__(self, url: str, *, channel: str = CHANNEL) -> None:
        self._session = Session(url)
        self._channel = channel

    def wait(self, seconds: float) -> None:
        """Until the mark moves, or so many seconds. Never raises: a reader that cannot listen polls."""
        try:
            is_new = not self._session.is_open
            with self._session() as connection:
                if is_new:
                    connection.execute(f"LISTEN {self._channel}".encode())
                    return  # it may have moved before we listened
                for _ in connection.notifies(timeout=seconds, stop_after=1):
                    pass
        except TenantryError:
            threading.Event().wait(seconds)

    def close(self) -> None:
        self._session.close()
