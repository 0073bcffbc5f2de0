"""The tables of tenant contexts: documents, hosts, and up to which position of which log they are.

    contexts        tenant -> document and the position that it is of; no document: the tenant is gone, at that position
    context_service_keys    kid -> public key; no key: it was revoked, at that position
    context_hosts   host -> tenant and the position at which it was taken or released
    context_log     one row: the log's id, its epoch, the position, and what the documents were derived with

Rows are never deleted, so all that changed after any position is one look at an index. Documents, hosts and position
are written in one transaction by the one projector, and read in one snapshot: a reader at position P has all that was
so at P. A commit waits for the disk: what was told to a cache is not taken back.

The identity of a log is told with everything. The id is that of the database and of the server's cluster; the epoch
grows with each promotion of a standby and each restore, for these may have lost what was told before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import psycopg

from adapters.postgres import high_water
from adapters.postgres.connection import Limits, Session
from domain.errors import Conflict, Unavailable, problem

PROJECTOR_LOCK: Final = 7_305_808_868_231_650_682
CHANNEL: Final = "tenantry_contexts"


class LogPosition(NamedTuple):
    """Up to where the contexts are told, and of which log."""

    log: str
    epoch: int
    position: int


class Committed(NamedTuple):
    """The greatest committed position of a log, and how far it may be read. A standby may be behind: it says so."""

    upto: LogPosition
    mark: int
    is_primary: bool


class ContextRow(NamedTuple):
    """A tenant's document as of `version`; None where it has no context any more. `halted`: why it stands still."""

    tenant_id: str
    version: int
    document: bytes | None
    halted: str | None = None


class HostRow(NamedTuple):
    """The tenant that has the host since `position`; None: nobody."""

    host: str
    tenant_id: str | None
    position: int


class KeyRow(NamedTuple):
    """The public key of a service since `position`; None: it was revoked."""

    key_id: str
    public_key: str | None
    position: int


class HostMove(NamedTuple):
    """A tenant takes a host, or releases it: that counts only where the host is still its own."""

    host: str
    tenant_id: str
    position: int
    is_taken: bool


class ContextStanding(NamedTuple):
    """Where the projector is. `swept_after`: the last tenant that a sweep has looked at; None: none is under way."""

    position: int
    basis: str
    swept_after: str | None


@dataclass(frozen=True, slots=True)
class ContextWrite:
    """What one batch comes to, in one transaction: from position `at` to `to`."""

    at: int
    to: int
    rows: Sequence[ContextRow] = ()
    hosts: Sequence[HostMove] = ()
    keys: Sequence[KeyRow] = ()
    basis: str | None = None
    was_swept_after: str | None = None
    swept_after: str | None = None
    """None: no sweep is under way after this. It counts where nobody has asked for another one meanwhile."""


class ContextStore:
    """What the context projector writes. One session, which holds the lock of the one projector."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, limits=Limits(statement=60.0, lock=10.0, idle_in_transaction=30.0))
        self._locked_in: int | None = None

    def close(self) -> None:
        self._session.close()

    def hold(self) -> bool:
        """Whether this process is the one projector. Raises Unavailable."""
        if not self._session.is_open or self._locked_in != self._session.number:
            with self._session() as connection:
                row = connection.execute("SELECT pg_try_advisory_lock(%s)", (PROJECTOR_LOCK,)).fetchone()
            self._locked_in = self._session.number if row is not None and row[0] else None
        return self._locked_in is not None

    def standing(self) -> ContextStanding:
        with self._session() as connection:
            row = connection.execute("SELECT position, basis, swept_after FROM context_log").fetchone()
        if row is None:
            raise Unavailable(problem("context-log-empty"))
        return ContextStanding(*row)

    def documents(self, tenants: Collection[str]) -> dict[str, bytes | None]:
        """The documents of those tenants that have a row."""
        with self._session() as connection:
            found = connection.execute(
                "SELECT tenant_id, document FROM contexts WHERE tenant_id = ANY (%s)", (list(tenants),)
            )
            return {tenant_id: document and bytes(document) for tenant_id, document in found}

    def after(self, tenant_id: str, limit: int) -> list[str]:
        """The next tenants in the order of their ids."""
        query = "SELECT tenant_id FROM contexts WHERE tenant_id > %s ORDER BY tenant_id LIMIT %s"
        with self._session() as connection:
            return [str(found) for (found,) in connection.execute(query, (tenant_id, limit))]

    def halted(self, limit: int) -> list[str]:
        query = "SELECT tenant_id FROM contexts WHERE halted IS NOT NULL ORDER BY tenant_id LIMIT %s"
        with self._session() as connection:
            return [str(found) for (found,) in connection.execute(query, (limit,))]

    def draw_position(self) -> None:
        """Let the log grow by a position without an event: what is written next gets a position of its own."""
        with self._session() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (high_water.APPEND_LOCK,))
            connection.execute("SELECT nextval('stored_events_notification_id_seq')")

    def request_sweep(self) -> None:
        """Every document is derived from the log anew, beside what goes on."""
        with self._session() as connection:
            connection.execute("UPDATE context_log SET swept_after = ''")

    def write(self, write: ContextWrite) -> None:
        """All of it, and the new position; wakes the services. Raises Conflict where another projector was here."""
        sweep = (write.was_swept_after, write.swept_after)
        with self._session() as connection, connection.transaction():
            moved = connection.execute(_MOVE, (write.to, write.basis, *sweep, write.at), prepare=True)
            if moved.rowcount != 1:
                raise Conflict(problem("contexts-moved", at=write.at))
            if write.rows:
                columns = tuple(map(list, zip(*write.rows, strict=True)))
                connection.execute(_WRITE_ROWS, columns, prepare=True)
            for host, tenant_id, position, is_taken in write.hosts:
                if is_taken:
                    connection.execute(_TAKE_HOST, (host, tenant_id, position))
                else:
                    connection.execute(_RELEASE_HOST, (position, host, tenant_id, position))
            for key_id, public_key, position in write.keys:
                connection.execute(_WRITE_KEY, (key_id, public_key, position))
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(write.to)))


_MOVE: Final = (
    "UPDATE context_log SET position = %s, basis = coalesce(%s, basis), updated_at = now(), swept_after ="
    " CASE WHEN swept_after IS NOT DISTINCT FROM %s::text THEN %s::text ELSE swept_after END WHERE position = %s"
)
_WRITE_ROWS: Final = (
    "INSERT INTO contexts (tenant_id, version, document, halted)"
    " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bytea[], %s::text[])"
    " ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, document = excluded.document,"
    " halted = excluded.halted"
)
_TAKE_HOST: Final = (
    "INSERT INTO context_hosts AS h (host, tenant_id, position) VALUES (%s, %s, %s) ON CONFLICT (host)"
    " DO UPDATE SET tenant_id = excluded.tenant_id, position = excluded.position WHERE h.position < excluded.position"
)
_WRITE_KEY: Final = (
    "INSERT INTO context_service_keys AS k (key_id, public_key, position) VALUES (%s, %s, %s) ON CONFLICT (key_id)"
    " DO UPDATE SET public_key = excluded.public_key, position = excluded.position WHERE k.position < excluded.position"
)
_RELEASE_HOST: Final = (
    "UPDATE context_hosts SET tenant_id = NULL, position = %s WHERE host = %s AND tenant_id = %s AND position < %s"
)


class ContextReader:
    """What a context service reads. One session; not for several threads."""

    def __init__(self, url: str) -> None:
        # For the high-water mark alone a lock is waited for, and appends wait behind it.
        self._session = Session(url, limits=Limits(statement=60.0, lock=high_water.LOCK_TIMEOUT_MS / 1000))

    def close(self) -> None:
        self._session.close()

    @contextmanager
    def snapshot(self) -> Iterator[ContextSnapshot]:
        """One state of the tables, for as long as the block lasts. Raises Unavailable."""
        with self._session() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield ContextSnapshot(connection)

    def position(self) -> LogPosition:
        with self._session() as connection:
            return _position(connection)

    def look_up(self, tenant_id: str) -> tuple[LogPosition, ContextRow | None]:
        with self._session() as connection:
            row = connection.execute(_LOOK_UP, (tenant_id,), prepare=True).fetchone()
        return _looked_up(row)

    def look_up_host(self, host: str) -> tuple[LogPosition, ContextRow | None]:
        with self._session() as connection:
            row = connection.execute(_LOOK_UP_HOST, (host,), prepare=True).fetchone()
        return _looked_up(row)

    def drawn(self) -> int:
        """The last position that was drawn: no event has a later one."""
        with self._session() as connection:
            row = connection.execute(_DRAWN, prepare=True).fetchone()
        return int(row[0]) if row else 0

    def is_taken_in(self, source: str, id_: str) -> bool:
        """Whether the message was taken in, and what it came to is in the log."""
        query = "SELECT outcome FROM incoming WHERE source = %s AND id = %s"
        with self._session() as connection:
            row = connection.execute(query, (source, id_), prepare=True).fetchone()
        return row is not None and row[0] not in {"waiting", "quarantined"}

    def committed(self) -> Committed:
        """Everything committed before this was asked is at or below its position. Raises Unavailable."""
        with self._session() as connection:
            row = connection.execute(_COMMITTED, prepare=True).fetchone()
        if row is None:
            raise Unavailable(problem("context-log-empty"))
        return Committed(LogPosition(row[0], int(row[1]), int(row[4])), mark=int(row[3]), is_primary=not row[5])

    def advance_mark(self) -> int:
        """Move the high-water mark as far as it goes now. Raises Unavailable, Contended."""
        with self._session() as connection:
            return high_water.advance(connection)


class ContextSnapshot:
    """One state of the tables."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.at = _position(connection)

    def changed(self, after: int, limit: int) -> tuple[list[ContextRow], list[HostRow], list[KeyRow]]:
        """All that has changed after a position, as it is now; at most `limit` of each, and then it is not all."""
        rows = self._connection.execute(_CHANGED, (after, limit), prepare=True).fetchall()
        hosts = self._connection.execute(_CHANGED_HOSTS, (after, limit), prepare=True).fetchall()
        keys = self._connection.execute(_CHANGED_KEYS, (after, limit), prepare=True).fetchall()
        return [_row(each) for each in rows], [HostRow(*each) for each in hosts], [KeyRow(*each) for each in keys]

    def service_keys(self) -> list[KeyRow]:
        """Every key that ever was, the revoked ones too, in the order of their names: they are few."""
        query = "SELECT key_id, public_key, position FROM context_service_keys ORDER BY key_id"
        return [KeyRow(*each) for each in self._connection.execute(query, prepare=True)]

    def tenants(self, chunk: int) -> Iterator[list[ContextRow]]:
        """Every tenant that has a document, in the order of the ids."""
        query = (
            "SELECT tenant_id, version, document, halted FROM contexts WHERE document IS NOT NULL ORDER BY tenant_id"
        )
        yield from ([_row(each) for each in rows] for rows in self._chunks("contexts_snapshot", query, chunk))

    def hosts(self, chunk: int) -> Iterator[list[HostRow]]:
        query = "SELECT host, tenant_id, position FROM context_hosts WHERE tenant_id IS NOT NULL ORDER BY host"
        yield from ([HostRow(*each) for each in rows] for rows in self._chunks("hosts_snapshot", query, chunk))

    def versions(self, chunk: int) -> Iterator[list[tuple[str, int]]]:
        query = "SELECT tenant_id, version FROM contexts WHERE document IS NOT NULL"
        yield from self._chunks("versions_snapshot", query, chunk)

    def _chunks(self, name: str, query: str, chunk: int) -> Iterator[list[Any]]:
        with self._connection.cursor(name) as curs:
            curs.execute(query.encode())
            while rows := curs.fetchmany(chunk):
                yield rows


def _row(row: tuple[Any, ...]) -> ContextRow:
    tenant_id, version, document, halted = row
    return ContextRow(str(tenant_id), int(version), bytes(document) if document is not None else None, halted)


def _looked_up(row: tuple[Any, ...] | None) -> tuple[LogPosition, ContextRow | None]:
    if row is None:
        raise Unavailable(problem("context-log-empty"))
    at = LogPosition(row[0], int(row[1]), int(row[2]))
    return at, _row(row[3:]) if row[3] is not None and row[5] is not None else None


def _position(connection: psycopg.Connection[Any]) -> LogPosition:
    row = connection.execute(_POSITION, prepare=True).fetchone()
    if row is None:
        raise Unavailable(problem("context-log-empty"))
    return LogPosition(row[0], int(row[1]), int(row[2]))


# The timeline of the server is the rest of the epoch: it grows with each promotion and each restore to a point in time.
_IDENTITY: Final = (
    "l.log::text || '.' || to_hex((SELECT system_identifier FROM pg_control_system())),"
    " l.epoch * 65536 + CASE WHEN pg_is_in_recovery() THEN 0"
    " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END, l.position"
)
_POSITION: Final = f"SELECT {_IDENTITY} FROM context_log l"  # noqa: S608 - ours
_FOUND: Final = (
    f"SELECT {_IDENTITY}, c.tenant_id, c.version, c.document, c.halted"  # noqa: S608 - ours
    " FROM context_log l LEFT JOIN contexts c ON c.tenant_id ="
)
_LOOK_UP: Final = f"{_FOUND} %s"
_LOOK_UP_HOST: Final = f"{_FOUND} (SELECT tenant_id FROM context_hosts WHERE host = %s)"  # noqa: S608 - ours
_CHANGED: Final = (
    "SELECT tenant_id, version, document, halted FROM contexts WHERE version > %s ORDER BY version LIMIT %s"
)
_CHANGED_HOSTS: Final = (
    "SELECT host, tenant_id, position FROM context_hosts WHERE position > %s ORDER BY position LIMIT %s"
)
_CHANGED_KEYS: Final = (
    "SELECT key_id, public_key, position FROM context_service_keys WHERE position > %s ORDER BY position LIMIT %s"
)
_DRAWN: Final = (
    "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM stored_events_notification_id_seq"
)
_COMMITTED: Final = (
    f"SELECT {_IDENTITY}, (SELECT position FROM high_water_mark),"  # noqa: S608 - ours
    " coalesce((SELECT max(notification_id) FROM stored_events), 0), pg_is_in_recovery() FROM context_log l"
)
