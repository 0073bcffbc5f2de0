"""Generations of a read model, and the swap of the next one with the live one.

    rebuild_NAME_xxxxxxxx ──swap──▶ public ──swap──▶ previous_NAME ──▶ dropped

A generation is the tables and views of one projection in a schema. The next one is built in a schema with a name that
is never used again, so that a worker of a killed run finds no table to write into. The swap moves both generations in
one transaction. It locks the positions, so that the live generation stands still; it applies the missing events; then
it locks the tables for a moment, views first, in the order of the readers. The time-out of these locks is much shorter
than the deadlock time-out of PostgreSQL (1 s): where a reader has one table locked and waits for the next, the swap
gives way, never the reader. A reader's statement waits some milliseconds, and then finds the new tables by name.

(One known limit: a transaction in REPEATABLE READ that is older than the rows of the new generation, and reads the
table for the first time after the swap, does not see those rows.)
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from domain.errors import Contended, UsageError, problem
from history.rebuild.table_shapes import expect_same_shape
from projections.base import METADATA, Projection
from projections.positions import POSITIONS, lock

LOCK_MILLISECONDS = 100
"""How long a swap waits for each table; meanwhile new readers wait behind it."""

POSITION_MILLISECONDS = 2000
"""How long a swap waits for the projector's batch; no reader waits behind it."""

_CLASS = 1_415_671_122
"""The first half of the rebuild's advisory locks; no other lock of Tenantry uses it."""

quote = PGDialect_psycopg().identifier_preparer.quote  # type: ignore[no-untyped-call]


class Busy(Exception):
    """Another session uses the tables; try again in a moment."""


class InUse(Exception):
    """A table or view that Tenantry did not create is in the schema, or depends on it."""


def reserve(connection: Connection, name: str) -> bool:
    """Whether this session is now the only one to rebuild the projection; until it ends."""
    return bool(connection.execute(select(func.pg_try_advisory_lock(_CLASS, func.hashtext(name)))).scalar())


def begin(connection: Connection, projection: Projection) -> str:
    """The schema of a new, empty generation; the remains of earlier runs are dropped.

    Raises UsageError, also where the live tables are of another version (table_shapes.py).
    """
    views = _views(connection, projection)
    connection.execute(text("SET LOCAL lock_timeout = '30s'"))
    for left in _schemas(connection, f"rebuild_{projection.name}_[0-9a-f]{{8}}"):
        connection.execute(text(f"DROP SCHEMA {quote(left)} CASCADE"))
    schema = f"rebuild_{projection.name}_{secrets.token_hex(4)}"
    connection.execute(text(f"CREATE SCHEMA {quote(schema)}"))
    connection.execution_options(schema_translate_map={None: schema})
    METADATA.create_all(connection, tables=[*projection.tables, *views])
    connection.execution_options(schema_translate_map={})
    expect_same_shape(connection, [*projection.tables, *views], schema)
    for thing in (*projection.tables, *views):
        _grant_the_same(connection, thing.name, schema)
    return schema


def abandon(connection: Connection, schema: str) -> None:
    """Drop a generation that was not completed."""
    connection.execute(text(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE"))


def analyze(connection: Connection, projection: Projection, schema: str) -> None:
    """Give the planner statistics of the new tables before they are read."""
    for table in projection.tables:
        connection.execute(text(f"ANALYZE {quote(schema)}.{quote(table.name)}"))


def hold_positions(connection: Connection, projection: Projection) -> dict[int, int]:
    """The live positions by bucket, locked until the transaction ends. Raises Busy."""
    connection.execute(text(f"SET LOCAL lock_timeout = {POSITION_MILLISECONDS}; SET LOCAL synchronous_commit = on"))
    try:
        return lock(connection, projection.name)
    except Contended as error:
        raise Busy(str(error)) from error


def swap(connection: Connection, projection: Projection, schema: str, position: int) -> None:
    """The generation in `schema` becomes the live one and stands at `position`, in the caller's transaction.

    The caller holds the positions. Raises Busy and UsageError, and then the transaction must be rolled back.
    """
    things = [*_views(connection, projection), *projection.tables]
    previous = previous_of(projection.name)
    try:
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
        for thing in things:
            connection.execute(text(f"LOCK TABLE public.{quote(thing.name)} IN ACCESS EXCLUSIVE MODE"))
    except Contended as error:
        raise Busy(str(error)) from error
    expect_same_shape(connection, things, schema)
    for was, becomes in (("public", previous), (schema, "public")):
        for thing in things:
            kind = "VIEW" if thing.is_view else "TABLE"
            connection.execute(text(f"ALTER {kind} {was}.{quote(thing.name)} SET SCHEMA {quote(becomes)}"))
    connection.execute(text(f"DROP SCHEMA {quote(schema)}"))
    connection.execute(
        POSITIONS.update()
        .where(POSITIONS.c.name == projection.name)
        .values(position=position, halted_at=None, halted_event=None, halted_reason=None, updated_at=func.now())
    )


def previous_of(name: str) -> str:
    return f"previous_{name}"


def drop_previous(connection: Connection, name: str) -> bool:
    """Drop the generation that was live before; whether there was one. Raises UsageError where others build on it."""
    schema = previous_of(name)
    if not _schemas(connection, schema):
        return False
    connection.execute(text("SET LOCAL lock_timeout = '30s'"))
    try:
        drop_things(connection, schema)
    except InUse as error:
        raise UsageError(problem("previous-generation-in-use", name=name, reason=error)) from error
    return True


def drop_things(connection: Connection, schema: str, *, among: Collection[str] | None = None) -> None:
    """Drop the tables and views of a schema (`among`: of these names), and then the schema itself.

    Raises InUse where anything else is in it, or builds on it; the transaction must then be rolled back.
    """
    things = connection.execute(
        text(
            "SELECT relname, relkind = 'v' FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = :schema AND relkind IN ('r', 'v') ORDER BY relkind DESC, relname"
        ),
        {"schema": schema},
    ).all()
    try:
        for thing, is_view in things:
            if among is None or thing in among:
                kind = "VIEW" if is_view else "TABLE"
                connection.execute(text(f"DROP {kind} {quote(schema)}.{quote(thing)}"))
        connection.execute(text(f"DROP SCHEMA {quote(schema)}"))
    except DBAPIError as error:
        if _state(error) != "2BP01":
            raise
        raise InUse(" ".join(str(error.orig).split())) from error


def drop_previous_generation(connection: Connection, projection: Projection, schema: str) -> None:
    """An empty schema for the generation that the one in `schema` is about to replace; the one before it is dropped.

    Raises UsageError, also where the swap would be refused.
    """
    expect_same_shape(connection, projection.tables, schema)
    drop_previous(connection, projection.name)
    connection.execute(text(f"CREATE SCHEMA {quote(previous_of(projection.name))}"))


def _views(connection: Connection, projection: Projection) -> list[Table]:
    """Tenantry's views on the projection's tables; UsageError where another view would stay with the old tables."""
    for schema, view in _views_on(connection, projection):
        if schema != "public" or view not in _our_views():
            raise UsageError(problem("foreign-view", schema=schema, view=view, projection=projection.name))
    return views_of(connection, [projection])


def views_of(connection: Connection, projections: Iterable[Projection]) -> list[Table]:
    """Tenantry's views on the tables of these projections."""
    found = {named for projection in projections for named in _views_on(connection, projection)}
    return [_our_views()[view] for schema, view in sorted(found) if schema == "public" and view in _our_views()]


def _our_views() -> dict[str, Table]:
    return {table.name: table for table in METADATA.tables.values() if table.is_view}


def _views_on(connection: Connection, projection: Projection) -> list[tuple[str, str]]:
    """(schema, view) of each view that is built on the live tables of the projection."""
    found = connection.execute(
        text(
            "SELECT DISTINCT vn.nspname, v.relname FROM pg_depend d"
            " JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class"
            " JOIN pg_namespace vn ON vn.oid = v.relnamespace JOIN pg_class t ON t.oid = d.refobjid"
            " WHERE d.classid = 'pg_rewrite'::regclass AND t.relnamespace = 'public'::regnamespace"
            " AND t.relname = ANY(:names) AND v.oid <> t.oid"
        ),
        {"names": [table.name for table in projection.tables]},
    )
    return [(str(schema), str(view)) for schema, view in found]


def _grant_the_same(connection: Connection, name: str, schema: str) -> None:
    """Copy the grants of the live table to the next one."""
    grants = connection.execute(
        text(
            "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
            " a.privilege_type, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relname = :name AND a.grantee <> c.relowner"
        ),
        {"name": name},
    ).all()
    for grantee, privilege, grantable in grants:
        option = " WITH GRANT OPTION" if grantable else ""
        connection.execute(text(f"GRANT {privilege} ON {quote(schema)}.{quote(name)} TO {grantee}{option}"))
    columns = connection.execute(text(_COLUMN_GRANTS), {"name": name}).all()
    for grantee, privilege, column in columns:
        what = f"{privilege} ({quote(column)})"
        connection.execute(text(f"GRANT {what} ON {quote(schema)}.{quote(name)} TO {grantee}"))


_COLUMN_GRANTS = (
    "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
    " a.privilege_type, c.attname FROM pg_attribute c, aclexplode(c.attacl) a"
    " WHERE c.attrelid = to_regclass('public.' || quote_ident(:name)) AND NOT c.attisdropped"
)


def _schemas(connection: Connection, pattern: str) -> Sequence[str]:
    names = connection.execute(text("SELECT nspname FROM pg_namespace")).scalars().all()
    return [name for name in names if re.fullmatch(pattern, name)]


def _state(error: DBAPIError) -> object:
    return getattr(error.orig, "sqlstate", None)
