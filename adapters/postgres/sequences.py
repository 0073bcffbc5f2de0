"""The sequences behind positions and numbers, checked on each connection that appends.

A position is drawn from a sequence, and readers never go back below the high-water mark. So two things must hold of the
sequence, and neither is certain where another team runs the server:

    it is not behind        logical replication, and some restores, bring rows along and leave sequences where they
                            were. An append would draw a position below the mark, and no reader would ever see it.
    it hands out one by one with CACHE above 1 each session draws a block. The mark follows the sequence, so it passes
                            over positions that are drawn and not yet used, and their events are never read.

After a failover each connection is a new one. So the check is made when a connection is opened, and no append gets past
it. A sequence that is behind is moved on, with all others of its schema, while appends wait. One that has a cache is
refused, because other sessions may hold blocks of it.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
import structlog
from psycopg import sql
from psycopg.rows import tuple_row

from adapters.postgres.high_water import APPEND_LOCK
from domain.errors import Unavailable, problem

log = structlog.get_logger(__name__)

POSITIONS: Final = "stored_events_notification_id_seq"

_STANDS: Final = (
    "SELECT greatest((SELECT max(notification_id) FROM stored_events), (SELECT position FROM high_water_mark), 0),"
    " (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM stored_events_notification_id_seq),"
    " (SELECT seqcache FROM pg_sequence WHERE seqrelid = 'stored_events_notification_id_seq'::regclass)"
)
_OWNED: Final = (
    "SELECT s.relname, t.relname, a.attname FROM pg_class s"
    " JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass"
    " AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')"
    " JOIN pg_class t ON t.oid = d.refobjid"
    " JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid"
    " WHERE s.relkind = 'S' AND s.relnamespace = t.relnamespace AND t.oid IN"
    " (SELECT c.oid FROM pg_class c WHERE c.relnamespace ="
    " (SELECT relnamespace FROM pg_class WHERE oid = 'stored_events'::regclass))"
    " UNION ALL SELECT 'lease_tokens', 'leases', 'token'"
)


def expect_sequences(connection: psycopg.Connection[Any]) -> None:
    """Move the sequences on where they are behind what was drawn. Needs autocommit.

    Raises Unavailable where the sequence of positions has a cache.
    """
    used, drawn, cache = _stands(connection)
    if cache != 1:
        raise Unavailable(
            problem("sequence-cached", cache=cache, positions=POSITIONS),
            why="sequence-cached",
        )
    if drawn >= used:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPEND_LOCK,))
        used, drawn, _ = _stands(connection)
        if drawn >= used:
            return  # another connection was first
        _move_on(connection)
        connection.execute("SELECT setval(%s, %s)", (POSITIONS, used))
    log.warning(
        "the sequences of the database were behind its rows and were moved on: it is a copy by logical replication, or"
        " was restored without them",
        position=used,
        sequence=drawn,
    )


def _stands(connection: psycopg.Connection[Any]) -> tuple[int, int, int]:
    """The last position that is known, the last that was drawn, and how many are drawn at once."""
    used, drawn, cache = connection.cursor(row_factory=tuple_row).execute(_STANDS).fetchone() or (0, 0, 1)
    return int(used), int(drawn), int(cache)


def _move_on(connection: psycopg.Connection[Any]) -> None:
    """Each sequence to the largest number of its column, where it is behind."""
    for sequence, table, column in connection.cursor(row_factory=tuple_row).execute(_OWNED).fetchall():
        connection.execute(
            sql.SQL(
                "SELECT setval({name}, k.used) FROM (SELECT max({column}) AS used FROM {table}) AS k, {sequence} AS s"
                " WHERE k.used > CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END"
            ).format(
                name=sql.Literal(sequence),
                column=sql.Identifier(column),
                table=sql.Identifier(table),
                sequence=sql.Identifier(sequence),
            )
        )
