"""Where are facts kept, and how are they read without missing one?

The eventsourcing library's PostgreSQL recorder, with an append of our own. One transaction holds the events and
everything that must come or go with them (`Recording` in domain/ports.py); it either commits whole or says Conflict.

Gap-safe order. Positions come from a sequence, so a reader could see position 8 before 7 has committed. Appends
therefore take one exclusive advisory lock before the first position is drawn, and hold it until they commit: the order
of positions is the order of commits, and whoever has read up to N has seen everything up to N. The lock is taken last
of all, so that it is held for the insert of events and the commit only. No table lock, no NOTIFY.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg
from eventsourcing.persistence import IntegrityError, InterfaceError, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, tuple_row

from adapters.event_mapper import EventMapper
from domain.errors import Conflict, PositionLost, Unavailable
from domain.event import Recorded
from domain.ports import KafkaPosition, Lease, Recording, SealingKeys, WaitingMessage

APPEND_LOCK: Final = 7_305_808_868_231_650_677
"""Key of the advisory lock: the bytes of `tenantry` would not fit a bigint, so any constant will do."""


class Recorder(PostgresApplicationRecorder):
    """The library's recorder with our append; its Application, mapper and notification log work on it.

    `insert_events(stored_events, recording=...)` commits a Recording's other rows in the same transaction. A version
    that is taken is the library's IntegrityError.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        recording: Recording | None = kwargs.get("recording")
        bodies: Mapping[int, str] = kwargs.get("bodies", {})
        with self.datastore.transaction(commit=True) as curs:
            if recording is not None:
                _write(curs, recording, bodies)
            return self._append(curs, stored_events)

    def _append(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent]) -> list[int]:
        if not stored_events:
            return []
        curs.execute("SELECT pg_advisory_xact_lock(%s)", (APPEND_LOCK,), prepare=True)
        curs.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[]) RETURNING notification_id",
            (
                [event.originator_id for event in stored_events],
                [event.originator_version for event in stored_events],
                [event.topic for event in stored_events],
                [event.state for event in stored_events],
            ),
            prepare=True,
        )
        return [row["notification_id"] for row in curs.fetchall()]


class PostgresEventLog:
    """`domain.ports.EventLog` on PostgreSQL."""

    def __init__(self, url: str, keys: SealingKeys, *, pool_size: int = 2, append_timeout_seconds: float = 2.0) -> None:
        parts = conninfo_to_dict(url)
        self.datastore = PostgresDatastore(
            dbname=str(parts.get("dbname", "")),
            host=str(parts.get("host", "")),
            port=str(parts.get("port", "5432")),
            user=str(parts.get("user", "")),
            password=str(parts.get("password", "")),
            connect_timeout=10,
            idle_in_transaction_session_timeout=append_timeout_seconds,
            pool_size=pool_size,
            max_overflow=4,
            originator_id_type="text",
        )
        self.recorder = Recorder(self.datastore)
        self.mapper = EventMapper(keys)
        self._keys = keys

    def close(self) -> None:
        self.datastore.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def record(self, recording: Recording) -> None:
        """See `EventLog.record`."""
        stored = [self.mapper.to_stored_event(recorded) for recorded in recording.events]
        bodies: dict[int, str] = {}
        for waiting in recording.waiting:
            place = _place_of_body(waiting.digest)
            bodies[id(waiting)] = self._keys.seal(f"tenant:{waiting.tenant_id}", waiting.body, place)
        for message in recording.quarantined:
            place = _place_of_body(message.digest)
            bodies[id(message)] = self._keys.seal(message.subject, message.body, place)
        with _plain_errors():
            self.recorder.insert_events(stored, recording=recording, bodies=bodies)

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self, streams: Mapping[str, int]) -> dict[str, list[Recorded]]:
        """See `EventLog.load`: one query, however many streams."""
        found: dict[str, list[Recorded]] = {}
        if not streams:
            return found
        rows = self._rows(
            "SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id"
            " FROM unnest(%s::text[], %s::bigint[]) AS s (stream, version)"
            " JOIN stored_events e ON e.originator_id = s.stream AND e.originator_version > s.version"
            " ORDER BY e.originator_id, e.originator_version",
            (list(streams), list(streams.values())),
        )
        for stream, version, topic, state, position in rows:
            recorded = self.mapper.to_recorded(stream, version, topic, state, position=position)
            found.setdefault(stream, []).append(recorded)
        return found

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """See `EventLog.read`."""
        rows = self._rows(
            "SELECT originator_id, originator_version, topic, state, notification_id FROM stored_events"
            " WHERE notification_id > %s ORDER BY notification_id LIMIT %s",
            (after, limit),
        )
        return [
            self.mapper.to_recorded(stream, version, topic, state, position=position)
            for stream, version, topic, state, position in rows
        ]

    def last_position(self) -> int:
        """The position of the last fact, 0 while there is none."""
        rows = self._rows("SELECT coalesce(max(notification_id), 0) FROM stored_events", ())
        return int(rows[0][0])

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """See `EventLog.known`."""
        pairs = list(ids)
        rows = self._rows(
            "SELECT i.source, i.id, i.digest FROM unnest(%s::text[], %s::text[]) AS k (source, id)"
            " JOIN incoming i ON i.source = k.source AND i.id = k.id",
            ([source for source, _ in pairs], [id_ for _, id_ in pairs]),
        )
        return {(source, id_): bytes(digest) for source, id_, digest in rows}

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        """See `EventLog.waiting`."""
        found: dict[str, list[WaitingMessage]] = {}
        rows = self._rows(
            'SELECT tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body, received_at'
            " FROM waiting WHERE tenant_id = ANY(%s) ORDER BY number",
            (list(tenant_ids),),
        )
        for tenant_id, source, id_, type_, digest, topic, partition, offset, sealed, received_at in rows:
            body = self._keys.unseal(sealed, _place_of_body(bytes(digest)))
            found.setdefault(tenant_id, []).append(
                WaitingMessage(
                    tenant_id=tenant_id,
                    source=source,
                    id=id_,
                    type=type_,
                    digest=bytes(digest),
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    body=body or b"",
                    received_at=received_at,
                )
            )
        return found

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        """See `EventLog.tenants_of`."""
        rows = self._rows(
            "SELECT tenant_id FROM customer_tenants WHERE customer_id = %s ORDER BY tenant_id", (customer_id,)
        )
        return [tenant_id for (tenant_id,) in rows]

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """The next offset to read, by (topic id, partition)."""
        rows = self._rows(
            "SELECT topic_id, partition, next_offset FROM kafka_positions WHERE topic_id = ANY(%s)",
            (list(topic_ids),),
        )
        return {(topic_id, partition): next_offset for topic_id, partition, next_offset in rows}

    def claim(self, *, owner: str, limit: int, now: datetime, until: datetime) -> list[Lease]:
        """See `EventLog.claim`.

        Wake rows are only ever inserted and deleted. A claim answers the rows that it saw: a row that comes while the
        scope is being worked on stays, and makes the scope due again.
        """
        with _plain_errors(), self.datastore.transaction(commit=True) as curs:
            curs.row_factory = tuple_row  # type: ignore[assignment]
            rows: Sequence[tuple[Any, ...]] = curs.execute(
                _CLAIM, {"owner": owner, "limit": limit, "now": now, "until": until}, prepare=True
            ).fetchall()  # type: ignore[assignment]
            scopes = [scope for scope, _ in rows]
            seen: dict[str, list[int]] = {}
            for number, scope in curs.execute(
                "SELECT number, scope FROM wakes WHERE scope = ANY(%s) AND due_at <= %s", (scopes, now)
            ).fetchall():
                seen.setdefault(str(scope), []).append(int(number))
        return [Lease(scope, owner, token, tuple(seen.get(scope, ())), until) for scope, token in rows]

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        with (
            _plain_errors(),
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row) as curs,
        ):
            return curs.execute(statement.encode(), parameters, prepare=True).fetchall()


_CLAIM: Final = """
WITH due AS (
    SELECT scope, due_at FROM wakes
    WHERE due_at <= %(now)s
      AND NOT EXISTS (SELECT FROM leases WHERE leases.scope = wakes.scope AND leases.until > %(now)s)
    ORDER BY due_at, number
    LIMIT %(limit)s * 4
    FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT scope FROM due GROUP BY scope ORDER BY min(due_at) LIMIT %(limit)s
)
INSERT INTO leases (scope, owner, until)
SELECT scope, %(owner)s, %(until)s FROM chosen ORDER BY scope
ON CONFLICT (scope) DO UPDATE
    SET owner = excluded.owner, until = excluded.until, token = nextval('lease_tokens')
    WHERE leases.until <= %(now)s
RETURNING scope, token
"""


# -- the rows that go with the events ------------------------------------------------------------------------------


def _write(curs: Cursor[DictRow], recording: Recording, bodies: Mapping[int, str]) -> None:
    for position in recording.positions:
        _move(curs, position)
    _end_leases(curs, recording)
    if recording.released:
        curs.execute(
            "UPDATE quarantine SET state = 'retried', closed_at = now() WHERE number = ANY(%s) AND state = 'open'",
            (recording.released,),
        )
        _expect(curs, len(recording.released), "a quarantined message is not open any more")
    if recording.incoming:
        rows = {(seen.source, seen.id): seen for seen in recording.incoming}.values()
        curs.execute(
            'INSERT INTO incoming AS i (source, id, digest, topic, partition, "offset", outcome)'
            " SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::int[], %s::bigint[],"
            " %s::text[])"
            " ON CONFLICT (source, id) DO UPDATE SET outcome = excluded.outcome"
            " WHERE i.outcome IN ('waiting', 'quarantined') AND i.digest = excluded.digest",
            (
                [seen.source for seen in rows],
                [seen.id for seen in rows],
                [seen.digest for seen in rows],
                [seen.topic for seen in rows],
                [seen.partition for seen in rows],
                [seen.offset for seen in rows],
                [seen.outcome for seen in rows],
            ),
            prepare=True,
        )
        _expect(curs, len(rows), "another intake dealt with the same message")
    if recording.duplicates:
        curs.execute(
            "UPDATE incoming SET duplicates = duplicates + k.repeats"
            " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS k (source, id, repeats)"
            " WHERE incoming.source = k.source AND incoming.id = k.id",
            (
                [source for source, _ in recording.duplicates],
                [id_ for _, id_ in recording.duplicates],
                list(recording.duplicates.values()),
            ),
        )
    if recording.waited:
        curs.execute(
            "DELETE FROM waiting USING unnest(%s::text[], %s::text[]) AS k (source, id)"
            " WHERE waiting.source = k.source AND waiting.id = k.id",
            ([source for source, _ in recording.waited], [id_ for _, id_ in recording.waited]),
        )
        _expect(curs, len(recording.waited), "another intake let the same message in")
    for waiting in recording.waiting:
        curs.execute(
            'INSERT INTO waiting (tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body,'
            " received_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                waiting.tenant_id,
                waiting.source,
                waiting.id,
                waiting.type,
                waiting.digest,
                waiting.topic,
                waiting.partition,
                waiting.offset,
                bodies[id(waiting)],
                waiting.received_at,
            ),
        )
    for message in recording.quarantined:
        curs.execute(
            "INSERT INTO quarantine AS q (rule, reason, source, id, type, tenant_id, topic, partition,"
            ' "offset", digest, sealed_body, received_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)'
            " ON CONFLICT (digest) WHERE state = 'open' DO UPDATE SET repeats = q.repeats + 1",
            (
                message.rule,
                message.reason,
                message.source,
                message.id,
                message.type,
                message.tenant_id,
                message.topic,
                message.partition,
                message.offset,
                message.digest,
                bodies[id(message)],
                message.received_at,
            ),
        )
    if recording.customer_tenants:
        curs.executemany(
            "INSERT INTO customer_tenants (customer_id, tenant_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            recording.customer_tenants,
        )
    if recording.blocked:
        curs.executemany(
            "INSERT INTO blocked (obstacle, scope) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [(blocked.obstacle, blocked.scope) for blocked in recording.blocked],
        )
    if recording.unblocked:
        curs.execute(
            "WITH freed AS (DELETE FROM blocked WHERE obstacle = ANY(%s) RETURNING scope)"
            " INSERT INTO wakes (scope, due_at) SELECT DISTINCT scope, now() FROM freed",
            (recording.unblocked,),
        )
    if recording.wakes:
        curs.execute(
            "INSERT INTO wakes (scope, due_at) SELECT * FROM unnest(%s::text[], %s::timestamptz[])",
            ([wake.scope for wake in recording.wakes], [wake.at for wake in recording.wakes]),
            prepare=True,
        )


def _move(curs: Cursor[DictRow], position: KafkaPosition) -> None:
    if position.expected is None:
        curs.execute(
            "INSERT INTO kafka_positions (topic_id, partition, topic, next_offset) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (position.topic_id, position.partition, position.topic, position.next_offset),
        )
    else:
        curs.execute(
            "UPDATE kafka_positions SET next_offset = %s, updated_at = now()"
            " WHERE topic_id = %s AND partition = %s AND next_offset = %s",
            (position.next_offset, position.topic_id, position.partition, position.expected),
            prepare=True,
        )
    if curs.rowcount != 1:
        raise PositionLost(f"partition {position.partition} of {position.topic} was moved on by another intake")


def _end_leases(curs: Cursor[DictRow], recording: Recording) -> None:
    if recording.leases:
        curs.execute(
            "DELETE FROM leases USING unnest(%s::text[], %s::bigint[]) AS k (scope, token)"
            " WHERE leases.scope = k.scope AND leases.token = k.token",
            ([lease.scope for lease in recording.leases], [lease.token for lease in recording.leases]),
            prepare=True,
        )
        _expect(curs, len(recording.leases), "a lease was lost")
        numbers = [number for lease in recording.leases for number in lease.wakes]
        curs.execute("DELETE FROM wakes WHERE number = ANY(%s)", (numbers,), prepare=True)
    if recording.renewals:
        curs.execute(
            "UPDATE leases SET until = k.until FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[])"
            " AS k (scope, token, until) WHERE leases.scope = k.scope AND leases.token = k.token",
            (
                [lease.scope for lease, _ in recording.renewals],
                [lease.token for lease, _ in recording.renewals],
                [until for _, until in recording.renewals],
            ),
            prepare=True,
        )
        _expect(curs, len(recording.renewals), "a lease was lost")


def _expect(curs: Cursor[DictRow], count: int, otherwise: str) -> None:
    if curs.rowcount != count:
        raise Conflict(f"{otherwise}: decide again")


def _place_of_body(digest: bytes) -> str:
    return f"body/{digest.hex()}"


@contextmanager
def _plain_errors() -> Iterator[None]:
    """The library's errors as ours: who was second is told so, and a database that does not answer is named."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict(f"somebody else recorded first ({_first_line(error)}): decide again") from error
    except (OperationalError, InterfaceError) as error:
        if isinstance(error.__cause__, _MAY_PASS):
            raise Conflict(f"two transactions stood in each other's way ({_first_line(error)})") from error
        raise Unavailable(
            f"the database does not answer ({_first_line(error)}): check TENANTRY_DATABASE_URL"
        ) from error


_MAY_PASS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
