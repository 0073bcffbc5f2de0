"""Projection: how an event becomes rows.

    Recorded ──handle──▶ changes ──Fold──▶ what is left of them, key by key ──writing.py──▶ a few statements

Handlers are pure: they see one event and name changes, which are data. A fold keeps of a batch of changes
only what a reader would see in the end, so thousands of events cost a few statements. The same fold, of a
whole log, holds all rows of a table: that is a rebuild.

    change           meaning                                              folded
    Set(key, cols)   these columns of this row, made if it is missing     merged into the row
    Delete(prefix)   all rows whose key begins so; a whole key: one row   drops what was folded so far

Deletes are applied first, then rows are written. That is right whatever came first: a Set before a Delete is
dropped by it, and a Set after it makes a new row, without the columns of the old one.

How far a projection has come, and what stops it, is kept by positions.py. It has a position for each of its buckets:
a tenant is in one of them for ever, so that several processes can share the tenants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import NoneType
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Connection, MetaData, Select, Table

from domain.errors import TenantryError
from domain.event import Event, Recorded
from domain.times import in_utc

METADATA: Final = MetaData()
"""Every table and view of the read models, without a schema: `schema_translate_map` builds them elsewhere."""

FREE_SPACE: Final = {"fillfactor": 90}
"""Of a table whose rows are written again and again: the new version finds room on the old one's page, and no index
has to be written (docs/adr/0022)."""

WRITE_ONCE: Final[dict[object, object]] = {"write_once": True}
"""The `info` of a table whose rows stay as they were first written."""

VIEW: Final = "query"
"""The name, in the `info` of a view, of the query that it stands for."""

BUCKETS: Final = 16
"""Into how many parts the tenants are divided; a power of two, for ever: positions are kept by bucket."""

Key = tuple[object, ...]
Row = dict[str, object]


# -- changes -------------------------------------------------------------------------------------------------


class Set(Struct, frozen=True):
    """These columns of the row `key` (values in the order of the primary key)."""

    table: Table
    key: Key
    columns: Mapping[str, object] = {}


class Delete(Struct, frozen=True):
    """All rows of which `key` is the whole key, or its beginning: at least its first column."""

    table: Table
    key: Key


Change = Set | Delete


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model. `query` gives a tenant's part of it as JSON-able rows.

    `buckets` is BUCKETS where the rows of two tenants never meet, and 1 where everything must come in the log's order.
    `personal` names the columns with persons: reports show them only where an act is recorded for it.
    """

    name: str
    tables: tuple[Table, ...]
    handles: frozenset[type[Event]]
    handle: Callable[[Recorded], Iterable[Change]]
    query: Callable[[Connection, str], list[Row] | dict[str, list[Row]]]
    buckets: int = BUCKETS
    personal: frozenset[str] = frozenset()

    def changes_of(self, recorded: Recorded) -> Sequence[Change]:
        """What the event changes; nothing where its kind is not handled. Raises HandlerFailed."""
        if type(recorded.event) not in self.handles:
            return ()
        try:
            return list(self.handle(recorded))
        except Exception as error:
            raise HandlerFailed(self.name, recorded, error) from error


class HandlerFailed(TenantryError):
    """A handler cannot make rows of an event; the cause is chained."""

    def __init__(self, projection: str, event: Recorded, error: Exception) -> None:
        what = f"event {event.id} ({type(event.event).__name__}) at position {event.position}"
        super().__init__(
            f"projection {projection} cannot handle {what}: {type(error).__name__};"
            " install a version that can, and it goes on by itself"
        )
        self.event = event


# -- folding -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TableFold:
    """What is left of a batch for one table: prefixes to delete, then rows to write, as the handlers gave them.

    Rows lie by the first column of their key (the tenant, as a rule): a Delete of a prefix looks at few.
    """

    table: Table
    deleted: set[Key] = field(default_factory=set)
    rows: dict[object, dict[Key, Row]] = field(default_factory=dict)

    def set(self, key: Key, columns: Mapping[str, object]) -> None:
        rows = self.rows.get(key[0])
        row = rows.get(key) if rows is not None else None
        if row is None:  # only clean keys are there: one that is found needs no cleaning
            key = _clean(key)
            rows = self.rows.setdefault(key[0], {})
            row = rows.get(key)
            if row is None:
                rows[key] = dict(columns)
                return
        if not self.table.info.get("write_once"):
            row.update(columns)

    def delete(self, prefix: Key) -> None:
        prefix = _clean(prefix)
        self.deleted.add(prefix)
        rows = self.rows.get(prefix[0])
        if rows:
            for key in [key for key in rows if key[: len(prefix)] == prefix]:
                del rows[key]

    def __iter__(self) -> Iterator[tuple[Key, Row]]:
        for rows in self.rows.values():
            yield from rows.items()


class Fold:
    """A batch of changes, key by key."""

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.tables: dict[Table, TableFold] = {}
        self.extend(changes)

    def extend(self, changes: Iterable[Change]) -> None:
        for change in changes:
            fold = self.tables.get(change.table)
            if fold is None:
                fold = self.tables[change.table] = TableFold(change.table)
            if isinstance(change, Set):
                fold.set(change.key, change.columns)
            else:
                fold.delete(change.key)


def _clean(key: Key) -> Key:
    for part in key:
        if type(part) is not int and not (type(part) is str and part.isascii() and "\x00" not in part):
            return tuple(storable(value) for value in key)
    return key


_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_AS_IT_IS: Final = frozenset({NoneType, bool, int, UUID})
_NONE: Final = timedelta(0)


def storable(value: object) -> object:
    """The value as PostgreSQL can keep it: what comes from outside must not halt a projection.

    Text has no NUL and no half of a surrogate pair (they become U+FFFD), JSON has no infinite numbers, and a
    time is UTC. Keys are cleaned before they are folded, for two that become equal are one row; columns when they are
    written, for most values that are folded are overwritten before that.
    """
    kind = type(value)
    if kind in _AS_IT_IS or (kind is str and value.isascii() and "\x00" not in value):  # type: ignore[attr-defined, operator]
        return value
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
    return time if time.utcoffset() == _NONE else in_utc(time)


# -- reading -------------------------------------------------------------------------------------------------


def rows(connection: Connection, query: Select[tuple[object, ...]]) -> list[Row]:
    """The rows of the query as JSON-able objects: times as ISO 8601 in UTC, ids as text."""
    found = connection.execute(query).mappings()
    return [{name: _readable(value) for name, value in row.items()} for row in found]


def _readable(value: object) -> object:
    match value:
        case datetime():
            return in_utc(value).isoformat()
        case UUID():
            return str(value)
        case _:
            return value
