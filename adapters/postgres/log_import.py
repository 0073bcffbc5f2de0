"""Log import: a whole exported log into an empty store.

By COPY, with the positions that it had, in one transaction with everything that an installation keeps beside its log
and that follows from it:

    table                  comes from
    stored_events          the file
    data_keys              the keys that were exported; without them, every key in the log counts as forgotten
    customer_tenants       the tenants' first events
    destroy_guard          how many tenants were destroyed
    live_products          how many products are active on tenants that were not
    held_by_guard          the caller, who folds the tenants concerned
    wakes                  every tenant: the saga looks at each of its scopes once, and leaves alone what has converged
    projection_positions   none, so that the read models come out of the log; but the outbox stands at its end, because
                           the other installation has published them
    the sequence, the mark the end of the log

What the empty store itself has adopted at its first start gives way to what the imported log says.

The append lock is taken exclusively, so there is no append, and the agent publishes nothing, until all of it is there
or nothing is. Even the sequence goes back: ALTER SEQUENCE, unlike setval, is part of the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from adapters.postgres.connection import LONG, connect
from adapters.postgres.errors import answering
from adapters.postgres.high_water import APPEND_LOCK
from adapters.postgres.log_copy import Stored
from domain.configuration import STREAM
from domain.errors import Unavailable, UsageError, problem
from domain.tenant.guarded import PendingApprovals

Key = tuple[str, str, bytes | None, datetime, datetime | None]
"""Subject, key id, wrapped key (None: forgotten), made and forgotten at."""

_LAST: Final = 2**63 - 2

_FILLED: Final = (
    "stored_events",
    "incoming",
    "waiting",
    "quarantine",
    "customer_tenants",
    "data_keys",
    "seal_tiles",
    "seal_checkpoints",
)
"""In which no row may be."""


class LogImport:
    """One import; use within `whole()`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @contextmanager
    def whole(self) -> Iterator[Self]:
        """All that is done within is there at the end of it, or nothing.

        Raises Unavailable, and UsageError where the store is not empty.
        """
        try:
            with answering(), connect(self._url, limits=LONG) as connection:
                self._connection = connection
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPEND_LOCK,))
                self._ask_for_an_empty_store()
                yield self
        except Unavailable as error:
            raise Unavailable(problem("import-broken-off", reason=error), why=error.why) from error
        finally:
            self._connection = None

    def _ask_for_an_empty_store(self) -> None:
        self._open.execute("DELETE FROM stored_events WHERE originator_id = %s", (STREAM,))
        for name in _FILLED:
            if self._rows(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(name))):
                raise UsageError(problem("import-store-not-empty", name=name))

    # -- the log ------------------------------------------------------------------------------------------------------

    def copy_events(self, events: Iterable[Stored]) -> None:
        """Raises UsageError where two events have one place."""
        copy = (
            "COPY stored_events (notification_id, originator_id, originator_version, topic, state)"
            " FROM STDIN (FORMAT binary)"
        )
        try:
            with self._open.cursor() as curs, curs.copy(copy) as into:
                into.set_types(["int8", "text", "int8", "text", "bytea"])
                for event in events:
                    into.write_row(event)
        except psycopg.errors.UniqueViolation as error:
            raise UsageError(problem("import-place-twice", reason=error.diag.message_detail)) from None

    def copy_keys(self, keys: Iterable[Key]) -> None:
        """Raises UsageError where a key is there twice."""
        copy = "COPY data_keys (subject, key_id, wrapped, created_at, forgotten_at) FROM STDIN"
        try:
            with self._open.cursor() as curs, curs.copy(copy) as into:
                for key in keys:
                    into.write_row(key)
        except psycopg.errors.UniqueViolation as error:
            raise UsageError(problem("import-key-twice", reason=error.diag.message_detail)) from None

    def missing_keys(self) -> int:
        """How many keys texts in the log are sealed under that are not in data_keys."""
        return int(self._rows(f"SELECT count(*) FROM ({_MISSING}) AS missing")[0][0])  # noqa: S608

    def forget_missing_keys(self) -> None:
        """They count as forgotten: what they sealed is shown as such, and stays sealed for good."""
        self._open.execute(
            "INSERT INTO data_keys (subject, key_id, wrapped, forgotten_at)"  # noqa: S608
            f" SELECT 'not-imported:' || key_id, key_id, NULL, now() FROM ({_MISSING}) AS missing".encode()
        )

    # -- what follows from it -----------------------------------------------------------------------------------------

    def streams_with(self, topic: str) -> list[str]:
        rows = self._rows("SELECT DISTINCT originator_id FROM stored_events WHERE topic = %s ORDER BY 1", (topic,))
        return [stream for (stream,) in rows]

    def stream(self, name: str) -> list[Stored]:
        return self._rows(
            "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events"
            " WHERE originator_id = %s ORDER BY originator_version",
            (name,),
        )

    def derive(
        self,
        *,
        upto: int,
        pending: Mapping[str, PendingApprovals],
        standing: Sequence[str],
    ) -> None:
        """`upto` is the last position; the projections of `standing` begin at the end of the log."""
        run = self._open.execute
        run("ANALYZE stored_events")
        run(_CUSTOMERS)
        run(_DESTROYED)
        run(_LIVE_PRODUCTS)
        with self._open.cursor() as curs:
            curs.executemany(
                "INSERT INTO held_by_guard (tenant_id, changes, since, closings) VALUES (%s, %s, %s, %s)",
                [(tenant, each.changes, each.since, each.closings) for tenant, each in pending.items()],
            )
            run(_WORK_ITEMS)
            run("DELETE FROM projection_positions")
            curs.executemany(
                "INSERT INTO projection_positions (name, bucket, position) VALUES (%s, 0, %s)",
                [(name, upto) for name in standing],
            )
        run(
            sql.SQL("ALTER SEQUENCE stored_events_notification_id_seq RESTART WITH {}").format(
                sql.Literal(min(upto, _LAST) + 1)
            )
        )
        run("UPDATE high_water_mark SET position = %s, published_at = now()", (upto,))

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        assert self._connection is not None, "outside of whole()"
        return self._connection

    def _rows(self, statement: str | sql.Composed, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        asked = statement.encode() if isinstance(statement, str) else statement
        with self._open.cursor(binary=True) as curs:
            return curs.execute(asked, parameters or None).fetchall()


_CUSTOMERS: Final = """
INSERT INTO customer_tenants (customer_id, tenant_id)
SELECT DISTINCT data ->> 'customer_id', data ->> 'tenant_id'
FROM (SELECT convert_from(state, 'UTF8')::json -> 'data' AS data
      FROM stored_events WHERE topic = 'tenantry.tenant-created') AS created
"""

_DESTROYED: Final = """
UPDATE destroy_guard SET destroyed = (
    SELECT count(*) FILTER (WHERE topic = 'tenantry.tenant-destroyed')
         - count(*) FILTER (WHERE topic = 'tenantry.tenant-restored')
    FROM stored_events)
"""

_LIVE_PRODUCTS: Final = """
WITH spoken AS (
    SELECT originator_id AS stream, originator_version AS version, topic,
           convert_from(state, 'UTF8')::json -> 'data' AS data
    FROM stored_events
    WHERE topic IN ('tenantry.product-activated', 'tenantry.product-deactivated', 'tenantry.tenant-destroyed',
                    'tenantry.tenant-restored')
), last AS (
    SELECT DISTINCT ON (stream, data ->> 'product') stream, topic
    FROM spoken WHERE topic LIKE 'tenantry.product-%'
    ORDER BY stream, data ->> 'product', (data ->> 'revision')::bigint DESC NULLS LAST, version DESC
), ended AS (
    SELECT stream FROM spoken WHERE topic LIKE 'tenantry.tenant-%' GROUP BY stream
    HAVING count(*) FILTER (WHERE topic = 'tenantry.tenant-destroyed')
         > count(*) FILTER (WHERE topic = 'tenantry.tenant-restored')
)
INSERT INTO live_products (products)
SELECT count(*) FROM last WHERE topic = 'tenantry.product-activated' AND stream NOT IN (SELECT stream FROM ended)
"""

_WORK_ITEMS: Final = """
INSERT INTO wakes (scope, due_at) SELECT DISTINCT 'tenant:' || tenant_id, now() FROM customer_tenants ORDER BY 1
"""

_MISSING: Final = """
    SELECT DISTINCT found[1] AS key_id
    FROM stored_events, regexp_matches(convert_from(state, 'UTF8'), '"v1[.]([A-Za-z0-9_-]{22})[.]', 'g') AS found
    WHERE position('"v1.'::bytea IN state) > 0
      AND NOT EXISTS (SELECT FROM data_keys WHERE data_keys.key_id = found[1])
"""
