"""Which rows are committed together with events?

Everything of a `Recording` but its events, as statements on the transaction of the append. Rows that are only ever
inserted or deleted never wait for each other; where a row is not as expected, Conflict or PositionLost is raised and
nothing of the transaction stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import Cursor
from psycopg.rows import DictRow

from domain.errors import Conflict, PositionLost
from domain.ports import KafkaPosition, Recording


def write_rows(curs: Cursor[DictRow], recording: Recording, bodies: Mapping[int, str]) -> None:
    """Write them; `bodies` holds the sealed bodies of messages by the identity of the message."""
    for position in recording.positions:
        _move(curs, position)
    _guard_waiting_rooms(curs, recording)
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
            "INSERT INTO wakes (scope, due_at) SELECT k.scope, k.at FROM unnest(%s::text[], %s::timestamptz[]) AS k"
            " (scope, at) WHERE k.at <= now() OR NOT EXISTS ("  # a timer that is set already is not set again
            " SELECT FROM wakes WHERE wakes.scope = k.scope AND wakes.due_at = k.at)",
            ([wake.scope for wake in recording.wakes], [wake.at for wake in recording.wakes]),
            prepare=True,
        )


def _guard_waiting_rooms(curs: Cursor[DictRow], recording: Recording) -> None:
    """Nobody is sent to wait for a tenant that another transaction creates at this moment, or the other way round.

    Both lock the tenant first, in the order of its id, and then look for what the other has committed.
    """
    created = [tenant_id for _, tenant_id in recording.customer_tenants]
    rooms = {waiting.tenant_id for waiting in recording.waiting}
    if not created and not rooms:
        return
    curs.execute(
        "SELECT count(pg_advisory_xact_lock(hashtextextended(id, 1)))"
        " FROM (SELECT unnest(%s::text[]) AS id ORDER BY 1) AS tenants",
        (sorted({*created, *rooms}),),
        prepare=True,
    )
    curs.execute(
        "SELECT 1 FROM waiting WHERE tenant_id = ANY(%s) AND (source, id) NOT IN"
        " (SELECT * FROM unnest(%s::text[], %s::text[])) LIMIT 1",
        (created, [source for source, _ in recording.waited], [id_ for _, id_ in recording.waited]),
        prepare=True,
    )
    if curs.fetchone() is not None:
        raise Conflict("a message was sent to wait for a tenant that is created here: decide again")
    curs.execute(
        "SELECT 1 FROM stored_events WHERE originator_id = ANY(%s) AND originator_version = 1 LIMIT 1",
        ([f"tenant:{tenant_id}" for tenant_id in sorted(rooms - set(created))],),
        prepare=True,
    )
    if curs.fetchone() is not None:
        raise Conflict("the tenant that a message should wait for was created: decide again")


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
