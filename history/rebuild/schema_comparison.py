"""Comparison of the read models in two schemas, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, text
from sqlalchemy.exc import DBAPIError

from application.progress import Progress
from domain.errors import Unavailable, UsageError, problem
from history.rebuild.generations import quote
from history.rebuild.parallel_load import first_line
from projections.base import Projection

EXAMPLES: Final = 10
"""Keys that are shown of the rows of a table that differ."""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table: `rows` of the first schema, numbers of missing and differing rows, and some of their keys."""

    table: str
    rows: int
    only_in_first: int
    only_in_second: int
    different: int
    examples: Sequence[str] = field(default=())

    @property
    def same(self) -> bool:
        return not (self.only_in_first or self.only_in_second or self.different)


def compare(
    engine: Engine,
    first: str,
    second: str,
    models: Sequence[Projection],
    *,
    say: Callable[[Progress], None] = lambda _: None,
) -> list[TableComparison]:
    """Each table of the read models that both schemas have, in one snapshot. Raises UsageError where there is none."""
    try:
        return _compare(engine, first, second, models, say)
    except DBAPIError as error:
        raise Unavailable(
            problem("schemas-not-comparable", first=first, second=second, reason=first_line(error))
        ) from error


def refuse_unknown(engine: Engine, schema: str, models: Sequence[Projection]) -> None:
    """Raises UsageError where the schema has no read models, Unavailable where the database does not answer."""
    try:
        with engine.connect() as connection:
            _known(connection, schema, models)
    except DBAPIError as error:
        raise Unavailable(problem("schema-unreadable", schema=schema, reason=first_line(error))) from error


def _compare(
    engine: Engine, first: str, second: str, models: Sequence[Projection], say: Callable[[Progress], None]
) -> list[TableComparison]:
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        there = {schema: _known(connection, schema, models) for schema in (first, second)}
        both = [
            table for each in models for table in each.tables if all(table.name in tables for tables in there.values())
        ]
        compared: list[TableComparison] = []
        for table in both:
            rows = sum(each.rows for each in compared)
            say(Progress(len(compared), len(both), rows, f"comparing {table.name}"))
            compared.append(_compared(connection, table, first, second))
        return compared


def _known(connection: Connection, schema: str, models: Sequence[Projection]) -> set[str]:
    """The tables of read models in the schema; UsageError where there is none."""
    query = text(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = :schema AND relkind = 'r'"
    )
    there = set(connection.execute(query, {"schema": schema}).scalars())
    found = there & {table.name for each in models for table in each.tables}
    if not found:
        raise UsageError(problem("schema-without-read-models", schema=schema))
    return found


def _compared(connection: Connection, table: Table, first: str, second: str) -> TableComparison:
    keys = ", ".join(quote(column.name) for column in table.primary_key)
    key = quote(table.primary_key.columns.values()[0].name)
    sides = f"{quote(first)}.{quote(table.name)} a FULL JOIN {quote(second)}.{quote(table.name)} b USING ({keys})"
    other = f"{_row(table, 'a')} IS DISTINCT FROM {_row(table, 'b')}"
    counted = connection.execute(
        text(
            f"SELECT count(a.{key}), count(*) FILTER (WHERE b.{key} IS NULL),"  # noqa: S608
            f" count(*) FILTER (WHERE a.{key} IS NULL),"
            f" count(*) FILTER (WHERE a.{key} IS NOT NULL AND b.{key} IS NOT NULL AND {other}) FROM {sides}"
        )
    ).one()
    rows, left, right, different = map(int, counted)
    examples: list[Any] = []
    if left or right or different:
        query = text(f"SELECT concat_ws('/', {keys}) FROM {sides} WHERE {other} ORDER BY 1 LIMIT {EXAMPLES}")  # noqa: S608
        examples.extend(connection.execute(query).scalars())
    return TableComparison(table.name, rows, left, right, different, tuple(map(str, examples)))


def _row(table: Table, side: str) -> str:
    """All columns by name: their order in two schemas need not be the same."""
    return f"ROW({', '.join(f'{side}.{quote(column.name)}' for column in table.columns)})"
