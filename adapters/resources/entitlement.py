"""Where does a product learn what it is licensed for? (step 7)

In its own database: `entitlement_<product>` in the family's schema, one row for the product and one for
each of its apps. The table is our administrator's; the product's login role may read it and nothing more,
its siblings not even that. An app without a family of its own has its row in its host's table.

Products may make tables in that schema, so the name could be taken before we come. A table that is not ours
may have triggers of its maker, which would run with our rights: it is never written to.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Final

import psycopg
from psycopg import errors, sql

from adapters.resources.fences import pass_fence, spec_of
from adapters.resources.topology import Topology
from application.ports.resources import Order
from domain.catalog import Catalog
from domain.errors import Permanent, Retryable
from domain.scope.steps import DatabaseResult, LicenseResult, LicenseSpec

_LONGEST_NAME: Final = 63


def table_of(product: str) -> str:
    """The name of the product's table, at most 63 bytes; keys hold no `_`, so no two are alike."""
    name = f"entitlement_{product.replace('-', '_')}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:46]}_{hashlib.sha256(product.encode()).hexdigest()[:16]}"


class Licenses:
    """Lays down and takes away entitlements in the families' databases."""

    def __init__(self, topology: Topology, catalog: Catalog) -> None:
        self._topology = topology
        self._catalog = catalog

    def ensure(self, order: Order) -> LicenseResult:
        spec = spec_of(order, LicenseSpec)
        reader = self._reader(order)
        place = order.database
        role = place.role_of(reader) if place else None
        if place is None or role is None:
            raise Retryable(f"{order.scope} has no database with a role for {reader} yet: step 6 comes first")
        table = sql.Identifier(place.schema_name, table_of(reader))
        with self._connect(place) as connection, connection.transaction():
            pass_fence(connection, order)
            _ensure_table(connection, place.schema_name, table_of(reader))
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, sql.Identifier(role.role)))
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (subject, edition, users, active, expires_at, features, generation)"
                    " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (subject) DO UPDATE SET"
                    " edition = excluded.edition, users = excluded.users, active = excluded.active,"
                    " expires_at = excluded.expires_at, features = excluded.features,"
                    " generation = excluded.generation, updated_at = now()"
                ).format(table),
                [
                    spec.product,
                    spec.edition,
                    spec.users,
                    spec.active,
                    spec.expires_at,
                    list(spec.features),
                    order.generation,
                ],
            )
        return LicenseResult(
            product=spec.product,
            edition=spec.edition,
            users=spec.users,
            active=spec.active,
            expires_at=spec.expires_at,
            features=spec.features,
            location=f"{place.schema_name}.{table_of(reader)}",
        )

    def remove(self, order: Order) -> None:
        place = order.database
        if place is None or not self._is_there(place):
            return
        schema, table = place.schema_name, table_of(self._reader(order))
        with self._connect(place) as connection, connection.transaction():
            pass_fence(connection, order)
            if not _is_ours(connection, schema, table):
                return
            name = sql.Identifier(schema, table)
            connection.execute(sql.SQL("DELETE FROM {} WHERE subject = %s").format(name), [order.scope.key])
            drop_if_empty(connection, name)

    def _reader(self, order: Order) -> str:
        """Whose table the entitlement is in: the product's own, or its host's where an app lives with it."""
        entry = self._catalog[order.scope.key]
        return entry.host if entry.host is not None and entry.family is None else order.scope.key

    def _connect(self, place: DatabaseResult) -> AbstractContextManager[psycopg.Connection]:
        return self._topology.connect(place.shard, database=place.database)

    def _is_there(self, place: DatabaseResult) -> bool:
        with self._topology.connect(place.shard) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return connection.execute(query, [place.database]).fetchone() is not None


def _ensure_table(connection: psycopg.Connection, schema: str, table: str) -> None:
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (subject text PRIMARY KEY, edition text NOT NULL,"
            " users bigint NOT NULL, active boolean NOT NULL, expires_at timestamptz,"
            " features text[] NOT NULL, generation bigint NOT NULL,"
            " updated_at timestamptz NOT NULL DEFAULT now())"
        ).format(sql.Identifier(schema, table))
    )
    if not _is_ours(connection, schema, table):
        raise Permanent(f"{schema}.{table} was made by a product: rename it, the entitlement needs that name")


def _is_ours(connection: psycopg.Connection, schema: str, table: str) -> bool:
    row = connection.execute(
        "SELECT c.relkind = 'r' AND r.rolname = current_user FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner"
        " WHERE n.nspname = %s AND c.relname = %s",
        [schema, table],
    ).fetchone()
    return row is not None and bool(row[0])


def drop_if_empty(connection: psycopg.Connection, table: sql.Identifier) -> None:
    """Drop the table after its last row.

    A product that reads it in an open transaction keeps it: an empty table says "not licensed" just as well,
    and goes with the schema. We do not wait for a transaction that a product can hold open.
    """
    try:
        with connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(table))
            if connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(table)).fetchone() is None:
                connection.execute(sql.SQL("DROP TABLE {}").format(table))
    except errors.LockNotAvailable:
        return
