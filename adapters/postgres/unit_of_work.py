"""Unit of work: the rows that are committed together with events.

Everything of a `UnitOfWork` but its events, as statements on the transaction of the append. Rows that are only ever
inserted or deleted never wait for each other; where a row is not as expected, Conflict or PositionLost is raised and
nothing of the transaction stays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

from eventsourcing.persistence import IntegrityError
from psycopg import Cursor
from psycopg.rows import DictRow

from adapters.postgres.approval_budget import hold, pass_the_guard
from adapters.postgres.arrays import Bigints, Texts, bigints, byteas, texts, timestamps
from application.ports.inbox import KafkaPosition
from application.ports.work_queue import Lease
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, PositionLost, problem
from domain.faults import INTERNAL_ERROR
from domain.tenant import state as tenants

log = logging.getLogger(__name__)


class DuplicateIncoming(IntegrityError):
    """Another transaction has dealt with that incoming message."""


def write_rows(curs: Cursor[DictRow], recording: UnitOfWork, bodies: Mapping[int, str]) -> None:
    """Write them; `bodies` holds the encrypted bodies of messages by the identity of the message."""
    if recording.guarded is not None:  # first, so that a transaction that waits for the guard has no other lock yet
        pass_the_guard(curs, recording.guarded, recording.live_products)
    _know_of_each_other(curs, recording)
    _expect_unmoved(curs, recording.unmoved)
    for position in recording.positions:
        _move(curs, position)
    _guard_backlogs(curs, recording)
    _settle_leases(curs, recording)
    _close_quarantined(curs, recording)
    _see(curs, recording)
    _settle_messages(curs, recording, bodies)
    if recording.customer_tenants:
        curs.execute(
            "INSERT INTO customer_tenants (customer_id, tenant_id) SELECT * FROM unnest(%b::text[], %b::text[])"
            " ON CONFLICT DO NOTHING",
            _columns(recording.customer_tenants),
        )
    _block(curs, recording)
    if recording.replies:
        _keep_replies(curs, recording)
    if recording.pending_approvals:
        hold(curs, recording.pending_approvals)
    if recording.live_products:
        curs.execute("INSERT INTO live_products (products) VALUES (%s)", (recording.live_products,))
    if recording.work_items:
        curs.execute(
            "INSERT INTO wakes (scope, due_at) SELECT k.scope, k.at FROM unnest(%b::text[], %b::timestamptz[]) AS k"
            " (scope, at) WHERE k.at <= now() OR NOT EXISTS ("  # a timer that is set already is not set again
            " SELECT FROM wakes WHERE wakes.scope = k.scope AND wakes.due_at = k.at)",
            (
                texts([work_item.scope for work_item in recording.work_items]),
                timestamps([work_item.at for work_item in recording.work_items]),
            ),
            prepare=True,
        )


def _settle_messages(curs: Cursor[DictRow], recording: UnitOfWork, bodies: Mapping[int, str]) -> None:
    """Repetitions are counted; messages leave the backlog, and enter it or the quarantine, with encrypted bodies."""
    if recording.duplicates:
        curs.execute(
            "UPDATE incoming SET duplicates = duplicates + k.repeats"
            " FROM unnest(%b::text[], %b::text[], %b::bigint[]) AS k (source, id, repeats)"
            " WHERE incoming.source = k.source AND incoming.id = k.id",
            (*_columns(recording.duplicates), bigints(recording.duplicates.values())),
        )
    if recording.waited:
        curs.execute(
            "DELETE FROM waiting USING unnest(%b::text[], %b::text[]) AS k (source, id)"
            " WHERE waiting.source = k.source AND waiting.id = k.id",
            _columns(recording.waited),
        )
        _expect(curs, len(recording.waited), "another intake let the same message in")
    for statement, messages in ((_WAIT, recording.waiting), (_QUARANTINE, recording.quarantined)):
        for message in messages:
            curs.execute(statement, asdict(message) | {"sealed_body": bodies[id(message)]})


_WAIT: Final = """\
INSERT INTO waiting (tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body, received_at)
VALUES (%(tenant_id)s, %(source)s, %(id)s, %(type)s, %(digest)s, %(topic)s, %(partition)s, %(offset)s,
    %(sealed_body)s, %(received_at)s)
"""

_QUARANTINE: Final = """\
INSERT INTO quarantine AS q (rule, reason, source, id, type, tenant_id, topic, partition, "offset", digest,
    sealed_body, received_at)
VALUES (%(rule)s, %(reason)s, %(source)s, %(id)s, %(type)s, %(tenant_id)s, %(topic)s, %(partition)s, %(offset)s,
    %(digest)s, %(sealed_body)s, %(received_at)s)
ON CONFLICT (digest) WHERE state = 'open' DO UPDATE SET repeats = q.repeats + 1
"""


def _close_quarantined(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    if recording.released or recording.discarded:
        curs.execute(
            "SELECT tenant_id FROM quarantine WHERE number = ANY(%b) AND rule = 'internal-error'"
            " AND tenant_id IS NOT NULL",
            (bigints([*recording.released, *(each.number for each in recording.discarded)]),),
        )
        _lock_tenants(curs, [row["tenant_id"] for row in curs.fetchall()], _BACKLOGS)
    if recording.released:
        curs.execute(
            "UPDATE quarantine SET state = 'retried', closed_at = now() WHERE number = ANY(%b) AND state = 'open'",
            (bigints(recording.released),),
        )
        _expect(curs, len(recording.released), "a quarantined message is not open any more")
    for discarded in recording.discarded:
        curs.execute(
            "UPDATE quarantine SET state = 'discarded', closed_at = now(), closed_by = %s, closed_reason = %s"
            " WHERE number = %s AND state = 'open'",
            (discarded.by, discarded.reason, discarded.number),
        )
        _expect(curs, 1, "a quarantined message is not open any more")


def _block(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    if recording.blocked:
        curs.execute(
            "INSERT INTO blocked (obstacle, scope) SELECT * FROM unnest(%b::text[], %b::text[]) ON CONFLICT DO NOTHING",
            _columns([(blocked.obstacle, blocked.scope) for blocked in recording.blocked]),
        )
    if recording.unblocked:
        curs.execute(
            "WITH freed AS (DELETE FROM blocked WHERE obstacle = ANY(%b) RETURNING scope)"
            " INSERT INTO wakes (scope, due_at) SELECT DISTINCT scope, now() FROM freed",
            (texts(recording.unblocked),),
        )


def _keep_replies(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    """Store the replies that an order awaits; its scope is due. Any other reply changes nothing."""
    for reply in sorted(recording.replies, key=lambda each: (each.scope, each.step)):  # others lock in the same order
        curs.execute(
            "WITH kept AS (UPDATE replies SET said = %(text)s, signed_at = %(signed_at)s, received_at = now()"
            " WHERE scope = %(scope)s AND step = %(step)s AND key = %(key)s AND NOT taken"
            " AND said IS DISTINCT FROM %(text)s"
            " AND coalesce(signed_at < %(signed_at)s, true) RETURNING scope)"
            " INSERT INTO wakes (scope, due_at) SELECT scope, now() FROM kept",
            asdict(reply),
            prepare=True,
        )
        if not curs.rowcount:
            log.info("passed over a reply to %r: no order awaits it, or it is known", reply.key)


def _see(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    """Each message once; what waited or was quarantined may be dealt with again."""
    if not recording.incoming:
        return
    rows = {(seen.source, seen.id): seen for seen in recording.incoming}.values()
    curs.execute(
        'INSERT INTO incoming AS i (source, id, digest, topic, partition, "offset", outcome)'
        " SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::text[], %b::bigint[], %b::bigint[],"
        " %b::text[])"
        " ON CONFLICT (source, id) DO UPDATE SET outcome = excluded.outcome"
        " WHERE i.outcome IN ('waiting', 'quarantined') AND i.digest = excluded.digest",
        (
            texts([seen.source for seen in rows]),
            texts([seen.id for seen in rows]),
            byteas([seen.digest for seen in rows]),
            texts([seen.topic for seen in rows]),
            bigints([seen.partition for seen in rows]),
            bigints([seen.offset for seen in rows]),
            texts([seen.outcome for seen in rows]),
        ),
        prepare=True,
    )
    if curs.rowcount != len(rows):
        raise DuplicateIncoming("another intake dealt with the same message")
    if ahead := [(seen.source, seen.id) for seen in rows if seen.is_ahead]:
        curs.execute(
            "UPDATE incoming SET is_ahead = true FROM unnest(%b::text[], %b::text[]) AS k (source, id)"
            " WHERE incoming.source = k.source AND incoming.id = k.id",
            _columns(ahead),
        )


def _guard_backlogs(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    """No message is put into the backlog of a tenant that another transaction creates at this moment, or the other way
    round; nor behind a message that another one takes out of the quarantine (`_close_quarantined`).

    Both lock the tenant first, in the order of its id, and then look for what the other has committed.
    """
    created = [tenant_id for _, tenant_id in recording.customer_tenants]
    backlogs = {waiting.tenant_id for waiting in recording.waiting}
    if not created and not backlogs:
        return
    _lock_tenants(curs, {*created, *backlogs}, _BACKLOGS)
    curs.execute(
        "SELECT DISTINCT tenant_id FROM quarantine WHERE rule = 'internal-error' AND state = 'open'"
        " AND tenant_id = ANY(%b) AND number <> ALL(%b)",
        (texts({*created, *backlogs}), bigints(recording.released)),
        prepare=True,
    )
    faulty = {row["tenant_id"] for row in curs.fetchall()}
    faulty |= {message.tenant_id for message in recording.quarantined if message.rule == INTERNAL_ERROR}
    curs.execute(
        "SELECT 1 FROM waiting WHERE tenant_id = ANY(%b) AND (source, id) NOT IN"
        " (SELECT * FROM unnest(%b::text[], %b::text[])) LIMIT 1",
        (texts(sorted({*created} - faulty)), *_columns(recording.waited)),
        prepare=True,
    )
    if curs.fetchone() is not None:
        raise Conflict(problem("tenant-created-meanwhile"))
    curs.execute(
        "SELECT 1 FROM stored_events WHERE originator_id = ANY(%b) AND originator_version = 1 LIMIT 1",
        (texts([tenants.stream_of(tenant_id) for tenant_id in sorted(backlogs - faulty - set(created))]),),
        prepare=True,
    )
    if curs.fetchone() is not None:
        raise Conflict(problem("tenant-waited-for-created"))


def _know_of_each_other(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    """Two transactions see each other: one gives a tenant a product, the other makes its waiting scopes due.

    The second may not know the product yet, and a third may have decided already that the product waits for what is
    recorded here: then the product would never be due. So the first locks the tenant for itself, the second shares
    the lock with its kind, and then checks the tenant's version. If it has moved, the whole tenant is due.
    """
    if recording.grown:
        _lock_tenants(curs, recording.grown, _PRODUCTS)
    if recording.rescheduled:
        _lock_tenants(curs, recording.rescheduled, _PRODUCTS, with_others=True)
        curs.execute(
            "INSERT INTO wakes (scope, due_at) SELECT 'tenant:' || k.id, now()"
            " FROM unnest(%b::text[], %b::bigint[]) AS k (id, version) WHERE EXISTS (SELECT FROM stored_events"
            " WHERE originator_id = 'tenant:' || k.id AND originator_version = k.version + 1)",
            (texts(recording.rescheduled), bigints(recording.rescheduled.values())),
            prepare=True,
        )


def _expect_unmoved(curs: Cursor[DictRow], unmoved: Mapping[str, int]) -> None:
    """Raise Conflict if another transaction has recorded in these streams since they were read.

    A hold depends on the tenant's stream, and a purge on the streams of its scopes: neither writes where the other
    does. So the two exclude each other by a lock of the tenant, and the second sees what the first has recorded.
    """
    if not unmoved:
        return
    _lock_tenants(curs, {stream.split(":")[1] for stream in unmoved}, _HOLDS)
    curs.execute(
        "SELECT k.name FROM unnest(%b::text[], %b::bigint[]) AS k (name, version) WHERE EXISTS (SELECT FROM"
        " stored_events WHERE originator_id = k.name AND originator_version = k.version + 1) LIMIT 1",
        (texts(list(unmoved)), bigints(unmoved.values())),
        prepare=True,
    )
    moved = curs.fetchone()
    if moved is not None:
        raise Conflict(problem("stream-moved", name=moved["name"]))


_BACKLOGS: Final = 1
_PRODUCTS: Final = 2
_HOLDS: Final = 3
"""The subjects of the locks: the seed of their numbers."""

MANY: Final = 2000
"""More tenants than any batch holds. The server keeps each lock until the commit, and has space for some thousands."""

_ALONE: Final = (
    "WITH everybody AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(hashtextextended('*', %s)))"
    " SELECT count(pg_advisory_xact_lock(hashtextextended(id, %s)))"
    " FROM everybody, (SELECT unnest(%b::text[]) AS id ORDER BY 1) AS tenants"
)
_WITH_OTHERS: Final = _ALONE.replace("count(pg_advisory_xact_lock(", "count(pg_advisory_xact_lock_shared(")
_FOR_ALL: Final = "SELECT pg_advisory_xact_lock(hashtextextended('*', %s))"


def _lock_tenants(curs: Cursor[DictRow], tenant_ids: Iterable[str], about: int, *, with_others: bool = False) -> None:
    """Lock the tenants until the commit, in the order of their ids, so that there is no deadlock.

    A recording about very many locks them all at once instead, by the lock that each of the others shares.
    """
    ids = list(tenant_ids)
    if len(ids) > MANY:
        curs.execute(_FOR_ALL, (about,))
        return
    curs.execute(_WITH_OTHERS if with_others else _ALONE, (about, about, texts(ids)), prepare=True)


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
        raise PositionLost(problem("intake-position-lost", partition=position.partition, topic=position.topic))


def _settle_leases(curs: Cursor[DictRow], recording: UnitOfWork) -> None:
    """Leases that are kept are locked, so that a worker that takes one over, once it has run out, sees what is recorded
    here."""
    if recording.leases or recording.kept:
        curs.execute(
            "WITH ended AS (DELETE FROM leases USING unnest(%b::text[], %b::bigint[]) AS k (scope, token)"
            " WHERE leases.scope = k.scope AND leases.token = k.token RETURNING 1),"
            " answered AS (DELETE FROM wakes USING unnest(%b::text[], %b::bigint[]) AS k (scope, number)"
            " WHERE wakes.scope = k.scope AND wakes.number = k.number),"
            " kept AS (SELECT 1 FROM leases JOIN unnest(%b::text[], %b::bigint[]) AS k (scope, token)"
            " ON leases.scope = k.scope AND leases.token = k.token ORDER BY leases.scope FOR SHARE OF leases)"
            " SELECT 1 FROM ended UNION ALL SELECT 1 FROM kept",
            (
                *_leased(recording.leases),
                texts([lease.scope for lease in recording.leases for _ in lease.work_items]),
                bigints([number for lease in recording.leases for number in lease.work_items]),
                *_leased(recording.kept),
            ),
            prepare=True,
        )
        _expect(curs, len(recording.leases) + len(recording.kept), "a lease was lost")
    if recording.renewals:
        curs.execute(
            "UPDATE leases SET until = k.until FROM unnest(%b::text[], %b::bigint[], %b::timestamptz[])"
            " AS k (scope, token, until) WHERE leases.scope = k.scope AND leases.token = k.token",
            (
                *_leased([lease for lease, _ in recording.renewals]),
                timestamps([until for _, until in recording.renewals]),
            ),
            prepare=True,
        )
        _expect(curs, len(recording.renewals), "a lease was lost")


def _leased(leases: Sequence[Lease]) -> tuple[Texts, Bigints]:
    """By what a lease is known as ours."""
    return texts([lease.scope for lease in leases]), bigints([lease.token for lease in leases])


def _columns(pairs: Iterable[tuple[str, str]]) -> tuple[Texts, Texts]:
    """Two columns of the same rows."""
    rows = list(pairs)
    return texts([left for left, _ in rows]), texts([right for _, right in rows])


def _expect(curs: Cursor[DictRow], count: int, otherwise: str) -> None:
    if curs.rowcount != count:
        raise Conflict(problem("lost-meanwhile", otherwise=otherwise))
