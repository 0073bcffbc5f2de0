"""Places: where a family's data lies on a shard, and which of the names of ours are there.

Under schema isolation it is a schema of the shard's database, under database isolation a database of its own. The group
of those that may use it is named after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, LiteralString, NamedTuple

import psycopg

from adapters.resources.fences import families
from domain.scope.steps import DatabaseResult
from domain.stream_name import RESOURCE_PATTERN, ResourceName

OUR_NAMES: Final = RESOURCE_PATTERN
"""What the names of ours look like, for PostgreSQL's `~`."""

_NAMED: Final[Mapping[str, LiteralString]] = {
    "schema": "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)",
    "role": "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)",
    "database": "SELECT datname FROM pg_database WHERE datname = ANY (%s)",
    "whole database": "SELECT datname FROM pg_database WHERE datname = ANY (%s) AND datconnlimit <> -2",
}


class Place(NamedTuple):
    """Where a family's data lies."""

    shard: str
    database: str
    schema: str

    @classmethod
    def of(cls, result: DatabaseResult) -> Place:
        return cls(result.shard, result.database, result.schema_name)


def name_of(result: DatabaseResult) -> str:
    """The name of ours: the schema's, or the database's."""
    return result.schema_name if result.isolation == "schema" else result.database


def group_of(result: DatabaseResult) -> str:
    """The group of those that may use the place."""
    return str(ResourceName.parse(name_of(result)).group)


def named(
    connection: psycopg.Connection, kind: Literal["schema", "role", "database", "whole database"], names: Iterable[str]
) -> list[str]:
    """Those of the names that are there, in the order given; whole is what no DROP DATABASE was cut short in."""
    asked = list(names)
    there = {name for (name,) in connection.execute(_NAMED[kind], [asked]).fetchall()} if asked else set()
    return [name for name in asked if name in there]


def there(connection: psycopg.Connection, known: Sequence[DatabaseResult]) -> frozenset[Place]:
    """Those of a shard's families whose data is there. `connection` is in the shard's database."""
    here = connection.info.dbname
    schemas = set(named(connection, "schema", (result.schema_name for result in known if result.database == here)))
    databases = set(named(connection, "whole database", (each.database for each in known if each.database != here)))
    return frozenset(
        Place.of(result)
        for result in known
        if (result.schema_name in schemas if result.database == here else result.database in databases)
    )


def schemas_of_ours(connection: psycopg.Connection) -> list[str]:
    """The schemas of the shard's database that are named as ours."""
    query = "SELECT nspname FROM pg_namespace WHERE nspname ~ %s"
    return [name for (name,) in connection.execute(query, [OUR_NAMES]).fetchall()]


def databases_of_ours(connection: psycopg.Connection) -> dict[str, bool]:
    """The databases of this very shard's families, and whether each can be entered."""
    query = "SELECT datname, datallowconn AND datconnlimit <> -2 FROM pg_database WHERE datname ~ %s"
    rows, ours = connection.execute(query, [OUR_NAMES]).fetchall(), families(connection)
    return {name: is_open for name, is_open in rows if ResourceName.parse(name).digest in ours}
