"""Table shapes: whether the next generation of a read model has the columns and indexes of the live one.

The next generation is made of what this version knows, and a migration changes the live one. Where a migration came
in between, or has yet to come, the swap would take its columns away, with what it wrote into them; so such a rebuild is
refused: when it begins, before it drops the previous generation, and once more while the swap has the tables locked,
so that no migration comes after the look.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, text

from domain.errors import UsageError, problem

_SHAPE = text(
    "SELECT format('column %s %s%s', a.attname, format_type(a.atttypid, a.atttypmod),"
    "  CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END)"
    " FROM pg_attribute a WHERE a.attrelid = to_regclass(:thing) AND a.attnum > 0 AND NOT a.attisdropped"
    " UNION ALL SELECT 'index ' || replace(pg_get_indexdef(i.indexrelid), format(' ON %I.', n.nspname), ' ON ')"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE i.indrelid = to_regclass(:thing)"
)


def expect_same_shape(connection: Connection, things: Iterable[Table], schema: str) -> None:
    """Raises UsageError where a table or view of the generation in `schema` is not as the live one is."""
    for thing in things:
        live, following = (_shape(connection, where, thing) for where in ("public", schema))
        if live != following:
            raise UsageError(
                problem("read-model-changed", table=thing.name, differs="; ".join(_differences(live, following)))
            )


def _shape(connection: Connection, schema: str, thing: Table) -> set[str]:
    quoted = connection.dialect.identifier_preparer.quote
    return set(connection.execute(_SHAPE, {"thing": f"{quoted(schema)}.{quoted(thing.name)}"}).scalars())


def _differences(live: set[str], following: set[str]) -> Iterable[str]:
    yield from (f"only the live one has {each}" for each in sorted(live - following))
    yield from (f"only the new one has {each}" for each in sorted(following - live))
