"""Read models in memory: folded rows from which the queries of read models answer, without a table being written.

    SELECT ... FROM licenses  ──▶  WITH licenses AS (SELECT * FROM json_to_recordset(...)) SELECT ... FROM licenses

A name of a WITH comes before a table of that name. So each statement of the connection is preceded by the rows of the
tables that it names, as JSON, and reads nothing else. A view is preceded by its own query, for a view that is stored
reads the stored tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from projections.base import METADATA, VIEW, Fold
from projections.writing import document, quoted, typed

_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]


@contextmanager
def shadowed(connection: Connection, fold: Fold) -> Iterator[None]:
    """Within the block the connection's queries see these rows as the whole of all read models."""

    def preceded(
        _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: object
    ) -> tuple[str, Any]:
        named = _tables_of(statement)
        rows = {f"rows_of_{table.name}": document(table, fold) for table in named if not table.is_view}
        return _with(named) + statement, {**(parameters or {}), **rows}

    event.listen(connection, "before_cursor_execute", preceded, retval=True)
    try:
        yield
    finally:
        event.remove(connection, "before_cursor_execute", preceded)


@cache
def _tables_of(statement: str) -> tuple[Table, ...]:
    """The tables and views that the statement names; a view behind the tables that it names itself."""
    named = [table for table in METADATA.tables.values() if re.search(rf"\b{table.name}\b", statement)]
    behind = [table for view in named if view.is_view for table in _tables_of(_query_of(view))]
    return tuple(dict.fromkeys([*behind, *(each for each in named if not each.is_view), *named]))


@cache
def _with(tables: tuple[Table, ...]) -> str:
    bodies = ", ".join(
        f"{quoted(table.name)} AS ({_query_of(table) if table.is_view else _rows_of(table)})" for table in tables
    )
    return f"WITH {bodies} " if bodies else ""


def _rows_of(table: Table) -> str:
    """The rows of a parameter as the table would hold them; columns that PostgreSQL computes are computed."""
    shown = (
        f"({column.computed.sqltext}) AS {quoted(column.name)}" if column.computed is not None else quoted(column.name)
        for column in table.columns
    )
    given = typed([column for column in table.columns if column.computed is None])
    return f"SELECT {', '.join(shown)} FROM json_to_recordset(%(rows_of_{table.name})s::json) AS given ({given})"  # noqa: S608


@cache
def _query_of(view: Table) -> str:
    return str(view.info[VIEW].compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
