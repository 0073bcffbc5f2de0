"""Writer of projections: folded changes go into their tables.

`apply` costs a few statements however many rows there are; `copy` is faster still, for rows that are known to be new.
Both write the tables of `schema`; without one, those of the connection's `schema_translate_map`, as SQLAlchemy would.
The statements are put together once, because that used to cost more than their execution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Column, Connection, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from projections.base import Fold, Key, Row, TableFold, storable
from projections.copy_text import as_text

_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode

Keyed = tuple[Key, Row]


def apply(connection: Connection, fold: Fold, *, schema: str | None = None) -> None:
    """Write the fold: for each table one DELETE a length of prefix, and one upsert a set of columns."""
    schema = schema or _schema(connection)
    for table, folded in fold.tables.items():
        _delete_all(connection, table, folded.deleted, schema)
        for names, keyed in _by_columns(folded):
            columns = (*_keys(table), *names)
            document = _document(columns, ((*key, *(storable(row[name]) for name in names)) for key, row in keyed))
            connection.exec_driver_sql(_upsert(table, names, schema), (document,))


def _delete_all(connection: Connection, table: Table, prefixes: Iterable[Key], schema: str | None) -> None:
    for length, alike in groupby(sorted(prefixes, key=len), key=len):
        document = _document(_keys(table)[:length], alike)
        connection.exec_driver_sql(_delete(table, length, schema), (document,))


def copy(connection: Connection, table: Table, rows: Iterable[Keyed], *, schema: str | None = None) -> None:
    """Write rows of which none is there yet. They are put into COPY's text form column by column (copy_text.py)."""
    schema = schema or _schema(connection)
    cursor = connection.connection.cursor()
    for names, keyed in _by_columns(rows):
        columns = (*_keys(table), *names)
        values: list[Sequence[object]] = [*zip(*(key for key, _ in keyed), strict=True)]
        values += [[row[name] for _, row in keyed] for name in names]
        as_json = [isinstance(table.columns[name].type, JSONB) for name in columns]
        texts = [as_text(_in_json(each) if is_json else each) for each, is_json in zip(values, as_json, strict=True)]
        with cursor.copy(_copy(table, columns, schema)) as stream:
            stream.write("".join(f"{line}\n" for line in map("\t".join, zip(*texts, strict=True))))
    cursor.close()


def _in_json(values: Iterable[object]) -> list[object]:
    """The values encoded; tuples of texts, as the features of editions are, only once each."""
    encoded: dict[tuple[object, ...], str] = {}
    found: list[object] = []
    for value in values:
        if type(value) is tuple and {*map(type, value)} == {str}:
            if value not in encoded:
                encoded[value] = _ENCODE(storable(value))
            found.append(encoded[value])
        else:
            found.append(None if value is None else _ENCODE(storable(value)))
    return found


def _by_columns(rows: TableFold | Iterable[Keyed]) -> Iterable[tuple[tuple[str, ...], list[Keyed]]]:
    """The rows with the same columns together."""
    groups: dict[tuple[str, ...], list[Keyed]] = {}
    for key, row in rows:
        groups.setdefault(tuple(row), []).append((key, row))
    same: dict[tuple[str, ...], list[Keyed]] = {}
    for names, keyed in groups.items():
        same.setdefault(tuple(sorted(names)), []).extend(keyed)
    return same.items()


def _document(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows as one JSON parameter, so that the statement is the same however many they are.

    One array a column (`unnest`) is the usual way, but psycopg quotes JSON inside of arrays mark by mark:
    measured with the outbox, most of the time went there.
    """
    return _ENCODE([dict(zip(names, row, strict=True)) for row in rows])


def document(table: Table, fold: Fold) -> str:
    """All rows of the table as one JSON document; a column that was never set is missing from its row."""
    names = _keys(table)
    rows = fold.tables.get(table, ())
    return _ENCODE([dict(zip(names, key, strict=True)) | {n: storable(v) for n, v in row.items()} for key, row in rows])


def _schema(connection: Connection) -> str | None:
    found = connection.get_execution_options().get("schema_translate_map")
    return found.get(None) if found else None


# -- statements -----------------------------------------------------------------------------------------------


@cache
def _keys(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key)


@cache
def _delete(table: Table, length: int, schema: str | None) -> str:
    columns = table.primary_key.columns.values()[:length]
    names = _names(column.name for column in columns)
    return f"DELETE FROM {_named(table, schema)} WHERE ({names}) IN (SELECT * FROM {_incoming(columns)})"  # noqa: S608


@cache
def _upsert(table: Table, names: tuple[str, ...], schema: str | None) -> str:
    columns = [table.columns[name] for name in (*_keys(table), *names)]
    into = _names(column.name for column in columns)
    statement = f"INSERT INTO {_named(table, schema)} ({into}) SELECT * FROM {_incoming(columns)}"  # noqa: S608
    if not names or table.info.get("write_once"):
        return f"{statement} ON CONFLICT DO NOTHING"
    changed = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in names)
    return f"{statement} ON CONFLICT ({_names(_keys(table))}) DO UPDATE SET {changed}"


@cache
def _copy(table: Table, columns: tuple[str, ...], schema: str | None) -> str:
    return f"COPY {_named(table, schema)} ({_names(columns)}) FROM STDIN"


def _incoming(columns: Sequence[Column[object]]) -> str:
    return f"json_to_recordset(%s::json) AS incoming ({typed(columns)})"


def typed(columns: Sequence[Column[Any]]) -> str:
    """The columns with their types, as `json_to_recordset` names them."""
    return ", ".join(f"{quoted(column.name)} {column.type.compile(_DIALECT)}" for column in columns)


def _named(table: Table, schema: str | None) -> str:
    return f"{quoted(schema)}.{quoted(table.name)}" if schema else quoted(table.name)


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))


def quoted(name: str) -> str:
    return str(_DIALECT.identifier_preparer.quote(name))
