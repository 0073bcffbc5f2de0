"""Portions of what lies in a schema, or belongs to a role: dropped or handed over a hundred at a time.

PostgreSQL keeps a lock for each table until the end of its transaction, in a memory of fixed size
(max_locks_per_transaction x connections). So one DROP SCHEMA or REASSIGN OWNED over some thousands of tables is refused
as "out of shared memory", at each attempt, and other sessions of the server may be refused with it. What these
functions leave for the last statement is small. A portion is a transaction of the caller's, who passes the fence in
each; where a worker dies between two, the next one goes on with the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import psycopg
from psycopg import sql

PORTION: Final = 100

_LIES_IN: Final = """
    SELECT o.type, o.identity FROM (
        SELECT 'pg_class'::regclass AS class, oid, relkind = 'S' AS last,
            EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) AS has_parent
        FROM pg_class c WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind = ANY ('{r,p,v,m,f,S}')
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, true, false FROM pg_proc WHERE pronamespace = to_regnamespace(%(schema)s)
        UNION ALL
        SELECT 'pg_type'::regclass, t.oid, true, false FROM pg_type t LEFT JOIN pg_class r ON r.oid = typrelid
        WHERE typnamespace = to_regnamespace(%(schema)s) AND (typtype IN ('e', 'd', 'r') OR r.relkind = 'c')
    ) AS thing, pg_identify_object(thing.class, thing.oid, 0) AS o
    WHERE NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = thing.class AND d.objid = thing.oid AND d.deptype IN ('i', 'e'))
    ORDER BY last, has_parent DESC, thing.oid DESC
    LIMIT %(portion)s
"""
"""Partitions before what they are of, which would take all of them along; what goes with its table, last."""

_IS_OWNED: Final = """
    SELECT o.type, o.identity FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid,
        pg_identify_object(d.classid, d.objid, 0) AS o
    WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND r.rolname = %(role)s
        AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
        AND o.type IN ('table', 'view', 'materialized view', 'foreign table', 'sequence', 'function', 'procedure',
            'aggregate')
        AND NOT EXISTS (SELECT FROM pg_depend p
            WHERE p.classid = d.classid AND p.objid = d.objid AND p.deptype IN ('a', 'i', 'e'))
    LIMIT %(portion)s
"""
"""Without what has no owner of its own: a sequence goes with the column that it was made for."""


def drop_portion(connection: psycopg.Connection, schema: str) -> bool:
    """Drop a portion of what lies in the schema; False where nothing is left that goes by itself."""
    asked = {"schema": _quoted(connection, schema), "portion": PORTION}
    found = connection.execute(_LIES_IN.encode(), asked).fetchall()
    _execute(connection, found, "DROP {} IF EXISTS {} CASCADE")
    return bool(found)


def hand_over_portion(connection: psycopg.Connection, role: str, *, to: str) -> bool:
    """Give a portion of what the role owns in this database to another; False where nothing is left."""
    found = connection.execute(_IS_OWNED.encode(), {"role": role, "portion": PORTION}).fetchall()
    _execute(connection, found, f"ALTER {{}} {{}} OWNER TO {_quoted(connection, to)}")
    return bool(found)


def _execute(connection: psycopg.Connection, found: Iterable[tuple[str, str]], statement: str) -> None:
    """Both parts come from PostgreSQL, which has quoted the names."""
    for kind, identity in found:
        connection.execute(statement.format(kind.upper(), identity).encode())


def _quoted(connection: psycopg.Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)
