"""Event log: the events in PostgreSQL, with everything that is committed together with them.

`application.ports.log_store.LogStore` on PostgreSQL: events through the mapper and the recorder, and in the same
transaction everything that must come or go with them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from eventsourcing.postgres import PostgresDatastore
from psycopg.rows import dict_row, tuple_row

from adapters.postgres import high_water
from adapters.postgres.arrays import bigints, texts
from adapters.postgres.connection import Limits, connect
from adapters.postgres.errors import answering
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.event_store import Recorder
from adapters.postgres.live_workers import HEARTBEAT_TIMEOUT_SECONDS
from adapters.postgres.sequences import expect_sequences
from adapters.postgres.sessions import Pool
from adapters.postgres.upgrade_gate import Reading, UpgradeGate
from application.ports.encryption import EncryptionKeys
from application.ports.inbox import WaitingMessage
from application.ports.measures import measure
from application.ports.work_queue import Lease, latest_end
from application.unit_of_work import UnitOfWork
from domain.event import Recorded
from domain.event_registry import REGISTRY, EventRegistry
from domain.scope.state import StepStarted
from domain.tenant import state as tenants
from domain.tenant.guarded import PendingApprovals

STATEMENT_SECONDS: Final = 30.0
LOCK_SECONDS: Final = 10.0
"""Of an append, and of what is asked beside it: far beyond what they take, and below what holds up a whole cloud."""


class PostgresEventLog:
    """`application.ports.log_store.LogStore` on PostgreSQL."""

    def __init__(
        self,
        url: str,
        keys: EncryptionKeys,
        *,
        pool_size: int = 2,
        append_timeout_seconds: float = 2.0,
        registry: EventRegistry = REGISTRY,
    ) -> None:
        # The library takes five parts of an address, and settings of its own: its sessions are ours instead.
        self.datastore = PostgresDatastore("", "", "", "", "", originator_id_type="text")
        limits = Limits(statement=STATEMENT_SECONDS, lock=LOCK_SECONDS, idle_in_transaction=append_timeout_seconds)
        self.datastore.pool = Pool(  # type: ignore[assignment]
            lambda: _appending(url, limits), keep=pool_size + 4
        )
        self.recorder = Recorder(self.datastore)
        self.mapper = EventMapper(keys, registry)
        self._gate = UpgradeGate(registry, self._readings)
        self._keys = keys

    def close(self) -> None:
        self.datastore.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def record(self, recording: UnitOfWork) -> None:
        """See `EventLog.record`. Raises Unavailable for an event that a live worker cannot read (upgrade_gate.py)."""
        self._gate.check(recording.events)
        encrypted_for = [self.mapper.subject_of(recorded.event) for recorded in recording.events]
        self._keys.prefetch(
            subjects={
                *(subject for subject in encrypted_for if subject is not None),
                *(tenants.stream_of(waiting.tenant_id) for waiting in recording.waiting),
                *(message.subject for message in recording.quarantined),
            }
        )
        stored = list(map(self.mapper.to_stored, recording.events, encrypted_for))
        bodies: dict[int, str] = {}
        for waiting in recording.waiting:
            place = _place_of_body(waiting.digest)
            bodies[id(waiting)] = self._keys.encrypt(tenants.stream_of(waiting.tenant_id), waiting.body, place)
        for message in recording.quarantined:
            place = _place_of_body(message.digest)
            bodies[id(message)] = self._keys.encrypt(message.subject, message.body, place)
        began = time.monotonic()
        with answering():
            self.recorder.insert_events(stored, recording=recording, bodies=bodies)
        measure("append", time.monotonic() - began)

    def _readings(self) -> list[Reading]:
        query = (
            "SELECT name, coalesce(version, ''), reads FROM workers"
            " WHERE reads IS NOT NULL AND seen_at > now() - make_interval(secs => %s)"
        )
        return [Reading(*row) for row in self._rows(query, (HEARTBEAT_TIMEOUT_SECONDS,))]

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        """See `EventLog.load`: one query, however many streams; LATERAL with OFFSET 0 reads each by index, in order."""
        found: dict[str, list[Recorded]] = {}
        if not streams:
            return found
        rows = self._rows(
            "SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id"
            " FROM unnest(%b::text[], %b::bigint[]) AS s (stream, version) CROSS JOIN LATERAL ("
            "  SELECT * FROM stored_events WHERE originator_id = s.stream AND originator_version > s.version"
            "  ORDER BY originator_version OFFSET 0) AS e",
            (texts(streams), bigints(streams.values())),
        )
        for recorded in self._recorded(rows, personal=personal):
            found.setdefault(recorded.stream, []).append(recorded)
        return found

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """See `EventFeed.read`."""
        return self._recorded(
            self._rows(
                "SELECT originator_id, originator_version, topic, state, notification_id FROM stored_events"
                " WHERE notification_id > %s AND notification_id <= (SELECT position FROM high_water_mark)"
                " ORDER BY notification_id LIMIT %s",
                (after, limit),
            )
        )

    def _recorded(self, rows: Sequence[tuple[str, int, str, bytes, int]], *, personal: bool = True) -> list[Recorded]:
        """The rows as events; the keys of all persons in them are fetched with one query."""
        if personal:
            self._keys.prefetch(encrypted={text.decode() for row in rows for text in _ENCRYPTED.findall(row[3])})
        return [
            self.mapper.to_recorded(stream, version, topic, state, position=position, personal=personal)
            for stream, version, topic, state, position in rows
        ]

    def last_position(self) -> int:
        """The position up to which `read` reads (the high-water mark), 0 while the log is empty."""
        return int(self._rows("SELECT position FROM high_water_mark", ())[0][0])

    def advance_mark(self) -> int:
        """See `Intents.advance_mark`: without waiting for the agent."""
        with answering(), self.datastore.get_connection() as connection:
            return high_water.advance(connection)

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """See `Inbox.known`."""
        pairs = list(ids)
        rows = self._rows(
            "SELECT i.source, i.id, i.digest FROM unnest(%b::text[], %b::text[]) AS k (source, id)"
            " CROSS JOIN LATERAL (SELECT * FROM incoming WHERE source = k.source AND id = k.id OFFSET 0) AS i",
            (texts([source for source, _ in pairs]), texts([id_ for _, id_ in pairs])),
        )
        return {(source, id_): bytes(digest) for source, id_, digest in rows}

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        """See `Inbox.waiting`."""
        found: dict[str, list[WaitingMessage]] = {}
        rows = self._rows(
            'SELECT tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body, received_at'
            " FROM waiting WHERE tenant_id = ANY(%b) ORDER BY number",
            (texts(tenant_ids),),
        )
        for tenant_id, source, id_, type_, digest, topic, partition, offset, encrypted, received_at in rows:
            body = self._keys.decrypt(encrypted, _place_of_body(bytes(digest)))
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

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        """See `Inbox.faulty`."""
        found: dict[str, list[int]] = {}
        rows = self._rows(
            "SELECT tenant_id, number FROM quarantine"
            " WHERE rule = 'internal-error' AND state = 'open' AND tenant_id = ANY(%b) ORDER BY number",
            (texts(tenant_ids),),
        )
        for tenant_id, number in rows:
            found.setdefault(tenant_id, []).append(number)
        return found

    def faults_since(self, moment: datetime) -> int:
        """See `Inbox.faults_since`."""
        return int(
            self._rows("SELECT count(*) FROM quarantine WHERE rule = 'internal-error' AND received_at > %s", (moment,))[
                0
            ][0]
        )

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        """See `CustomerTenants.tenants_of`."""
        rows = self._rows(
            "SELECT tenant_id FROM customer_tenants WHERE customer_id = %s ORDER BY tenant_id", (customer_id,)
        )
        return [tenant_id for (tenant_id,) in rows]

    def streams_after(self, kind: str, key: str, limit: int) -> list[str]:
        """See `StreamPages.streams_after`."""
        rows = self._rows(
            "SELECT originator_id FROM stored_events WHERE originator_version = 1"
            " AND originator_id > %s AND originator_id < %s ORDER BY originator_id LIMIT %s",
            (f"{kind}:{key}", f"{kind};", limit),
        )
        return [stream.removeprefix(f"{kind}:") for (stream,) in rows]

    def started_after(self, position: int) -> list[str]:
        """See `Intents.started_after`."""
        rows = self._rows(
            "SELECT DISTINCT originator_id FROM stored_events WHERE notification_id > %s AND topic = %s",
            (position, StepStarted.TOPIC),
        )
        return [stream for (stream,) in rows]

    def awaiting_approval(self) -> Sequence[str]:
        """See `ApprovalIndex.awaiting_approval`."""
        return [tenant_id for (tenant_id,) in self._rows("SELECT tenant_id FROM held_by_guard ORDER BY 1", ())]

    def not_counted(self) -> list[str]:
        """The tenants of which a migration knows only that a change may await approval."""
        return [tenant_id for (tenant_id,) in self._rows("SELECT tenant_id FROM held_by_guard WHERE changes = 0", ())]

    def count_pending_approvals(self, tenant_id: str, pending: PendingApprovals | None) -> None:
        """The approvals that its stream awaits; a later recording has counted them already."""
        with answering(), self.datastore.transaction(commit=True) as curs:
            if pending is None:
                curs.execute("DELETE FROM held_by_guard WHERE tenant_id = %s AND changes = 0", (tenant_id,))
            else:
                curs.execute(
                    "UPDATE held_by_guard SET changes = %s, since = %s, closings = %s"
                    " WHERE tenant_id = %s AND changes = 0",
                    (pending.changes, pending.since, pending.closings, tenant_id),
                )

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        """The next offset to read, by (topic id, partition)."""
        rows = self._rows(
            "SELECT topic_id, partition, next_offset FROM kafka_positions WHERE topic_id = ANY(%s)",
            (list(topic_ids),),
        )
        return {(topic_id, partition): next_offset for topic_id, partition, next_offset in rows}

    def scheduled(self, names: Iterable[str]) -> dict[str, datetime]:
        """See `WorkQueue.scheduled`. A scope that is leased keeps its rows until the lease ends."""
        return dict(
            self._rows("SELECT scope, min(due_at) FROM wakes WHERE scope = ANY(%b) GROUP BY scope", (texts(names),))
        )

    def claim(
        self,
        *,
        owner: str,
        limit: int,
        now: datetime,
        until: datetime,
        share: int | None = None,
        but_not_of: Sequence[str] = (),
    ) -> list[Lease]:
        """See `WorkQueue.claim`.

        Rows of `wakes` are only ever inserted and deleted. A claim answers the rows that it saw: a row that comes while
        a worker has the scope stays, and makes the scope due again. The rows of one large tenant may fill all that a
        claim looks at: the next one passes over them.
        """
        rows = self._rows(
            _CLAIM,
            {
                "owner": owner,
                "limit": limit,
                "now": now,
                "until": until,
                "latest": latest_end(now, until),
                "share": limit if share is None else share,
                "but_not_of": list(but_not_of),
            },
        )
        return [Lease(scope, owner, token, tuple(seen), until) for scope, token, seen in rows]

    def _rows(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any]) -> list[Any]:
        with (
            answering(),
            self.datastore.get_connection() as conn,
            conn.cursor(row_factory=tuple_row, binary=True) as curs,
        ):
            return curs.execute(statement.encode(), parameters, prepare=True).fetchall()


_ENCRYPTED: Final = re.compile(rb'"(v1\.[A-Za-z0-9_-]+\.)')
"""The beginning of an encrypted text, with the id of its key."""

_CLAIM: Final = """
WITH due AS (
    SELECT scope, due_at, number FROM wakes
    WHERE due_at <= %(now)s
      AND split_part(scope, ':', 2) <> ALL (%(but_not_of)s)
      AND NOT EXISTS (SELECT FROM leases
        WHERE leases.scope = wakes.scope AND leases.until > %(now)s AND leases.until <= %(latest)s)
    ORDER BY due_at, number
    LIMIT %(limit)s * 2
    FOR UPDATE SKIP LOCKED
), ranked AS (
    SELECT scope, min(due_at) AS due_at, min(number) AS number,
        row_number() OVER (PARTITION BY split_part(scope, ':', 2) ORDER BY min(due_at), min(number)) AS place
    FROM due GROUP BY scope
), chosen AS (
    SELECT scope FROM ranked WHERE place <= %(share)s ORDER BY due_at, number LIMIT %(limit)s
), claimed AS (
    INSERT INTO leases (scope, owner, until)
    SELECT scope, %(owner)s, %(until)s FROM chosen ORDER BY scope
    ON CONFLICT (scope) DO UPDATE
        SET owner = excluded.owner, until = excluded.until, token = nextval('lease_tokens')
        WHERE leases.until <= %(now)s OR leases.until > %(latest)s
    RETURNING scope, token
)
SELECT scope, token,
    ARRAY(SELECT number FROM wakes WHERE wakes.scope = claimed.scope AND due_at <= %(now)s)
FROM claimed
"""


def _appending(url: str, limits: Limits) -> psycopg.Connection[Any]:
    """A connection that may append."""
    connection = connect(url, limits=limits, autocommit=True, row_factory=dict_row)
    try:
        expect_sequences(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _place_of_body(digest: bytes) -> str:
    return f"body/{digest.hex()}"
