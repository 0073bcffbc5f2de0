"""How does an event become rows?

    Recorded ──handle──▶ changes ──Fold──▶ what is left of them, key by key ──apply──▶ a few statements

Handlers are pure: they see one event and name changes, which are data. A fold keeps of a batch of changes
only what a reader would see in the end, so thousands of events cost a few statements. The same fold, of a
whole log, holds all rows of a table: that is a rebuild.

    change           meaning                                              folded
    Set(key, cols)   these columns of this row, made if it is missing     merged into the row
    Delete(prefix)   all rows whose key begins so; a whole key: one row   drops what was folded so far

Deletes are applied first, then rows are written. That is right whatever came first: a Set before a Delete is
dropped by it, and a Set after it makes a new row, without the columns of the old one.

How far a projection has come, and what stops it, is kept by positions.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from sqlalchemy import Column, Connection, MetaData, Select, Table, Text, cast, delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import JSON, insert
from sqlalchemy.sql.selectable import TableValuedAlias

from domain.event import Event, Recorded

METADATA: Final = MetaData()
"""Every table and view of the read models, without a schema: `schema_translate_map` builds them elsewhere."""

WRITE_ONCE: Final[dict[object, object]] = {"write_once": True}
"""The `info` of a table whose rows stay as they were first written."""

Key = tuple[object, ...]
Row = dict[str, object]


# -- changes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Set:
    """These columns of the row `key` (values in the order of the primary key)."""

    table: Table
    key: Key
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delete:
    """All rows of which `key` is the whole key, or its beginning: at least its first column."""

    table: Table
    key: Key


Change = Set | Delete


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model. `query` gives a tenant's part of it as JSON-able rows."""

    name: str
    tables: tuple[Table, ...]
    handles: frozenset[type[Event]]
    handle: Callable[[Recorded], Iterable[Change]]
    query: Callable[[Connection, str], list[Row] | dict[str, list[Row]]]


# -- folding -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TableFold:
    """What is left of a batch for one table: prefixes to delete, then rows to write.

    Rows lie by the first column of their key (the tenant, as a rule): a Delete of a prefix looks at few.
    """

    table: Table
    deleted: set[Key] = field(default_factory=set)
    rows: dict[object, dict[Key, Row]] = field(default_factory=dict)

    def set(self, key: Key, columns: Mapping[str, object]) -> None:
        rows = self.rows.setdefault(key[0], {})
        if key in rows and self.table.info.get("write_once"):
            return
        rows.setdefault(key, {}).update(columns)

    def delete(self, prefix: Key) -> None:
        self.deleted.add(prefix)
        rows = self.rows.get(prefix[0], {})
        for key in [key for key in rows if key[: len(prefix)] == prefix]:
            del rows[key]

    def __iter__(self) -> Iterator[tuple[Key, Row]]:
        for rows in self.rows.values():
            yield from rows.items()


class Fold:
    """A batch of changes, key by key."""

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.tables: dict[Table, TableFold] = {}
        for change in changes:
            self.add(change)

    def add(self, change: Change) -> None:
        key = tuple(storable(value) for value in change.key)
        fold = self.tables.setdefault(change.table, TableFold(change.table))
        match change:
            case Set(columns=columns):
                fold.set(key, {name: storable(value) for name, value in columns.items()})
            case Delete():
                fold.delete(key)


_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(value: object) -> object:
    """The value as PostgreSQL can keep it: what comes from outside must not halt a projection.

    Text has no NUL and no half of a surrogate pair (they become U+FFFD), JSON has no infinite numbers, and a
    time is UTC. Keys are cleaned before they are folded: two that become equal are one row.
    """
    match value:
        case str():
            return value if value.isascii() and "\x00" not in value else _UNSTORABLE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return str(value)
        case datetime():
            return _utc(value)
        case Mapping():
            return {storable(name): storable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [storable(inner) for inner in value]
        case _:
            return value


def _utc(time: datetime) -> datetime:
    if time.tzinfo is UTC:
        return time
    try:
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError:  # within hours of year 1 or year 9999
        return datetime.min.replace(tzinfo=UTC) if time.year == 1 else datetime.max.replace(tzinfo=UTC)


# -- writing -------------------------------------------------------------------------------------------------


def apply(connection: Connection, fold: Fold) -> None:
    """Write the fold: for each table one DELETE a length of prefix, and one upsert a set of columns."""
    for table, folded in fold.tables.items():
        for _, prefixes in groupby(sorted(folded.deleted, key=len), key=len):
            _delete(connection, table, list(prefixes))
        groups: dict[frozenset[str], list[tuple[Key, Row]]] = {}
        for key, row in folded:
            groups.setdefault(frozenset(row), []).append((key, row))
        for names, together in groups.items():
            _upsert(connection, table, sorted(names), together)


def _delete(connection: Connection, table: Table, prefixes: list[Key]) -> None:
    columns = table.primary_key.columns.values()[: len(prefixes[0])]
    connection.execute(delete(table).where(tuple_(*columns).in_(select(_incoming(columns, prefixes)))))


def _upsert(connection: Connection, table: Table, names: list[str], keyed: list[tuple[Key, Row]]) -> None:
    key = table.primary_key.columns.values()
    columns = [*key, *(table.columns[name] for name in names)]
    values = [(*key_values, *(row[name] for name in names)) for key_values, row in keyed]
    statement = insert(table).from_select(columns, select(_incoming(columns, values)))
    if names and not table.info.get("write_once"):
        statement = statement.on_conflict_do_update(
            index_elements=key, set_={name: statement.excluded[name] for name in names}
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    connection.execute(statement)


def _incoming(columns: Sequence[Column[object]], rows: Iterable[Sequence[object]]) -> TableValuedAlias:
    """The rows as one JSON parameter, so that the statement is the same however many they are.

    One array a column (`unnest`) is the usual way, but psycopg quotes JSON inside of arrays mark by mark:
    measured with the outbox, most of the time went there.
    """
    names = [column.name for column in columns]
    document = json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False, default=str)
    named = (Column(column.name, column.type) for column in columns)
    recordset = func.json_to_recordset(cast(literal(document, Text), JSON))
    return recordset.table_valued(*named, name="incoming").render_derived(with_types=True)


# -- reading -------------------------------------------------------------------------------------------------


def rows(connection: Connection, query: Select[tuple[object, ...]]) -> list[Row]:
    """The rows of the query as JSON-able objects: times as ISO 8601 in UTC, ids as text."""
    found = connection.execute(query).mappings()
    return [{name: _readable(value) for name, value in row.items()} for row in found]


def _readable(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID():
            return str(value)
        case _:
            return value
