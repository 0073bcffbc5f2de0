"""Event store: appends to the log, fast and without a gap that a reader could miss.

The eventsourcing library's PostgreSQL recorder with an append of our own; the library's Application, mapper and
notification log work on it.

An append takes a shared advisory lock, draws positions from a sequence, inserts and commits: appends never wait for
each other, unless two want the same version of the same stream, which one of them gets. There is no table lock and no
NOTIFY. That readers miss nothing all the same is the matter of high_water.py: no read here goes past its mark.

A small append is one statement, so one round trip and one commit. The lock stands in a CTE that the rows are joined
with: no position is drawn before it is taken. There is no upper limit on a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import psycopg
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    Notification,
    OperationalError,
    PersistenceError,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import Cursor
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import DictRow

from adapters.postgres.arrays import Bigints, Byteas, Texts, bigint, bigints, byteas, texts
from adapters.postgres.errors import is_worth_keeping, outcome_is_unknown
from adapters.postgres.high_water import APPEND_LOCK
from adapters.postgres.unit_of_work import write_rows
from application.unit_of_work import UnitOfWork

_RETRIES: Final = 3
"""How often an append is tried again when its connection breaks."""


class VersionConflict(IntegrityError):
    """Another transaction has recorded that version of the stream."""


class Recorder(PostgresApplicationRecorder):
    """`insert_events(stored_events, recording=...)` commits a UnitOfWork's other rows in the same transaction.

    The positions of the events of a UnitOfWork are not returned: no caller reads them. Raises VersionConflict or
    DuplicateIncoming (unit_of_work.py), both the library's IntegrityError. A write of our own that had landed before
    the connection broke is neither: it is found, and its positions are returned.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        recording: UnitOfWork | None = kwargs.get("recording")
        bodies: Mapping[int, str] = kwargs.get("bodies", {})
        attempt = 0
        conflict: IntegrityError | None = None
        while True:
            try:
                if attempt and (landed := self._landed(stored_events)):
                    return landed
                if conflict is not None:
                    raise conflict
                return self._insert(stored_events, recording, bodies)
            except (InterfaceError, OperationalError) as error:
                attempt += 1
                if attempt > _RETRIES or not outcome_is_unknown(error):
                    raise
            except IntegrityError as error:
                if not attempt or error is conflict:
                    raise _distinguished(error) from error.__cause__
                # The broken connection's write may have been under way still when we looked, and taken its version
                # before this one: only now is it certain that it has landed. So look once more.
                attempt, conflict = 1, error

    def _insert(
        self, stored_events: Sequence[StoredEvent], recording: UnitOfWork | None, bodies: Mapping[int, str]
    ) -> list[int] | None:
        if recording is None:
            return self._append_alone(stored_events)
        with self.datastore.transaction(commit=True) as curs:
            write_rows(curs, recording, bodies)
            self._append(curs, stored_events)
        return None

    def _append(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent]) -> None:
        if stored_events:
            curs.execute(_APPEND, _columns(stored_events), prepare=True)

    def _append_alone(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        """One statement is a transaction by itself, and goes straight through libpq: what psycopg and the library put
        around a statement takes the client longer than everything else."""
        if not stored_events:
            return []
        pool = self.datastore.pool
        connection = pool.getconn()
        try:
            positions = _execute(connection, *_parameters(stored_events))
        except BaseException as error:
            if is_worth_keeping(error):
                pool.putconn(connection)
            else:
                connection.close()
            if not isinstance(error, psycopg.Error):
                raise
            kind = next((ours for theirs, ours in _ERRORS.items() if isinstance(error, theirs)), PersistenceError)
            raise kind(str(error)) from error
        pool.putconn(connection)
        return positions

    def _landed(self, stored_events: Sequence[StoredEvent]) -> list[int]:
        """The positions of the very same events, if all of them are there; the state of each holds its own id."""
        if not stored_events:
            return []
        with self.datastore.cursor() as curs:
            rows = curs.execute(_LANDED, _columns(stored_events)).fetchall()
        return [row["notification_id"] for row in rows] if len(rows) == len(stored_events) else []

    # -- reading, up to the mark

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """See the library; never past the high-water mark."""
        mark = self.max_notification_id() or 0
        stop = mark if stop is None else min(stop, mark)
        found: Sequence[Notification] = super().select_notifications(
            start, limit, stop, topics, inclusive_of_start=inclusive_of_start
        )
        return found

    def max_notification_id(self) -> int | None:
        """The high-water mark; None while the log is empty."""
        with self.datastore.cursor() as curs:
            row = curs.execute("SELECT position FROM high_water_mark", prepare=True).fetchone()
        return (row["position"] if row else 0) or None


_INTO: Final = (
    b"WITH taken AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(%d) AS lock)"
    b" INSERT INTO stored_events (originator_id, originator_version, topic, state)"
    b" SELECT e.stream, e.version, e.topic, e.state FROM taken, " % APPEND_LOCK
)
_ROWS: Final = b" AS e (stream, version, topic, state)"
_RETURNING: Final = _ROWS + b" RETURNING notification_id"

_APPEND: Final = _INTO + b"unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])" + _ROWS
_ALONE: Final = {
    b"tenantry_append": _INTO + b"unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[])" + _RETURNING,
    b"tenantry_append_one": _INTO + b"(VALUES ($1::text, $2::bigint, $3::text, $4::bytea))" + _RETURNING,
}
_LANDED: Final = (
    b"SELECT s.notification_id"
    b" FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[]) WITH ORDINALITY"
    b" AS e (stream, version, topic, state, number)"
    b" JOIN stored_events s ON s.originator_id = e.stream AND s.originator_version = e.version AND s.state = e.state"
    b" ORDER BY e.number"
)


def _parameters(stored_events: Sequence[StoredEvent]) -> tuple[bytes, Sequence[bytes]]:
    """The statement that appends so many, and what it is given; arrays of one element take longer than the element."""
    if len(stored_events) > 1:
        return b"tenantry_append", [column.content for column in _columns(stored_events)]
    (event,) = stored_events
    stream = str(event.originator_id).encode()
    return b"tenantry_append_one", [stream, bigint(event.originator_version), event.topic.encode(), event.state]


def _execute(connection: psycopg.Connection[Any], name: bytes, parameters: Sequence[bytes]) -> list[int]:
    """The positions. The connection is in no transaction; psycopg drops prepared statements whenever it sees fit."""
    pgconn = connection.pgconn
    if connection not in _prepared:
        for each, statement in _ALONE.items():
            with suppress(psycopg.errors.DuplicatePreparedStatement):
                _checked(pgconn, pgconn.prepare(each, statement))
        _prepared.add(connection)
    try:
        result = _checked(pgconn, pgconn.exec_prepared(name, parameters, [Format.BINARY] * len(parameters)))
    except psycopg.errors.InvalidSqlStatementName:
        _prepared.discard(connection)
        return _execute(connection, name, parameters)
    return [int(result.get_value(row, 0) or 0) for row in range(result.ntuples)]


_prepared: Final[WeakSet[psycopg.Connection[Any]]] = WeakSet()
"""The connections that know the statements, whichever recorder prepared them."""


def _checked(pgconn: PGconn, result: PGresult) -> PGresult:
    """The result, if it is one. Raises psycopg's errors, as a cursor would."""
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if pgconn.status != ConnStatus.OK:
        raise psycopg.OperationalError(result.get_error_message() or "the connection broke")
    raise error_from_result(result)


def _columns(stored_events: Sequence[StoredEvent]) -> tuple[Texts, Bigints, Texts, Byteas]:
    return (
        texts([str(event.originator_id) for event in stored_events]),
        bigints([event.originator_version for event in stored_events]),
        texts([event.topic for event in stored_events]),
        byteas([event.state for event in stored_events]),
    )


_ERRORS: Final[dict[type[psycopg.Error], type[PersistenceError]]] = {
    psycopg.InterfaceError: InterfaceError,
    psycopg.OperationalError: OperationalError,
    psycopg.IntegrityError: IntegrityError,
}
"""psycopg's errors, and what the library makes of them."""


def _distinguished(error: IntegrityError) -> IntegrityError:
    """The library's error as the more telling one."""
    constraint = error.__cause__.diag.constraint_name if isinstance(error.__cause__, psycopg.Error) else None
    if constraint == "stored_events_pkey":
        return VersionConflict(str(error))
    return error
