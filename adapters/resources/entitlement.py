"""Entitlement: the row by which a product learns what it is licensed for (step 7).

In its own database: `entitlement_<product>` in the family's schema, one row for the product and one for
each of its apps. The table is our administrator's; the product's login role may read it and nothing more,
its siblings not even that. An app without a family of its own has its row in its host's table.

Products may make tables in that schema, so the name could be taken before we come. A table that is not ours
may have triggers of its maker, which would run with our rights: it is never written to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final

import psycopg
from msgspec.structs import asdict
from psycopg import errors, sql

from adapters.resources.fences import fenced, passed, passing_fence, spec_of, unclaimed
from adapters.resources.places import Place, databases_of_ours, named, schemas_of_ours, there
from adapters.resources.scripts import run_script
from adapters.resources.topology import Topology
from application.ports.resources import IsClaimed, Order, Resource, StepExecutor
from domain.catalog import Catalog
from domain.drift import Expected, Finding, Look, Seen, Thing, by_place, completed
from domain.errors import Permanent, Retryable
from domain.scope.next_action import database_of
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, LicenseResult, LicenseSpec, Scope, Step
from domain.stream_name import EntitlementName, ResourceName

_LONGEST_NAME: Final = 63

_IS_WITH_US: Final = re.compile(r"[a-z0-9_]+\.entitlement_[a-z0-9_]+")
"""A table in a schema. Another team's provisioner says where it lays an entitlement down in words of its own."""

_LOOKS: Final = 3
"""How often entitlements are read again when a table goes while they are read."""

_TOGETHER: Final = 500
"""Schemas whose entitlements are read by one query."""


Entitlement = tuple[str, int, bool, datetime | None, tuple[str, ...]]
"""What a product can read of its license: edition, users, whether it is active, its end, features."""

Laid = tuple[LicenseResult, DatabaseResult]
"""An entitlement that step 7 laid down with us, and the database that it lies in."""

Rows = Mapping[tuple[str, str], Entitlement]
"""By location (database.schema.table) and subject."""


def table_of(product: str) -> str:
    """The name of the product's table, at most 63 bytes; keys hold no `_`, so no two are alike."""
    name = f"entitlement_{product.replace('-', '_')}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:46]}_{hashlib.sha256(product.encode()).hexdigest()[:16]}"


class Entitlements(StepExecutor, Resource):
    """Lays down and takes away entitlements in the families' databases."""

    serves = (("product", Step.LICENSE),)
    kinds = ("entitlement",)
    lies_on = "shard"

    def __init__(self, topology: Topology, catalog: Catalog) -> None:
        self._topology = topology
        self._catalog = catalog

    def draft(self, order: Order) -> LicenseResult:
        return licensed(order)

    def ensure(self, order: Order) -> LicenseResult:
        spec = spec_of(order, LicenseSpec)
        reader = self._reader(order)
        place = order.database
        role = place.role_of(reader) if place else None
        if place is None or role is None:
            raise Retryable(f"{order.scope} has no database with a role for {reader} yet: step 6 comes first")
        schema, table = place.schema_name, table_of(reader)
        name = sql.Identifier(schema, table)
        with self._connect(place) as connection, connection.transaction():
            with connection.pipeline():
                passing = passing_fence(connection, order)
                looking = connection.execute(_OURS, [schema, table])
                passed(passing, order)
                found = looking.fetchone()
            if found is not None and not found[0]:
                raise Permanent(f"{schema}.{table} was made by a product: rename it, the entitlement needs that name")
            # Where it was not there and a product makes it meanwhile, this fails, and no trigger of theirs runs for us.
            made = [] if found is not None else [sql.SQL("CREATE TABLE {} {}").format(name, _COLUMNS)]
            grant = sql.SQL("GRANT SELECT ON {} TO {}").format(name, sql.Identifier(role.role))
            run_script(connection, *made, grant, _laying(name, spec, order.generation))
        return _result(spec, f"{place.schema_name}.{table_of(reader)}")

    def remove(self, order: Order) -> None:
        place = order.database
        if place is None or not self._is_there(place):
            return
        schema, table = place.schema_name, table_of(self._reader(order))
        with self._connect(place) as connection, fenced(connection, order):
            if not _is_ours(connection, schema, table):
                return
            name = sql.Identifier(schema, table)
            connection.execute(sql.SQL("DELETE FROM {} WHERE subject = %s").format(name), [order.scope.key])
            drop_if_empty(connection, name)

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        return by_place(self.expected(snapshots), self.look)

    def expected(self, snapshots: Iterable[TenantSnapshot]) -> Iterator[Expected[Laid]]:
        """The entitlements that were laid down with us. What the catalogue says now is not enough: it may have changed
        since, or be another one than that of the workers."""
        for snapshot, actual, result in completed(snapshots, Step.LICENSE, LicenseResult):
            key = actual.scope.key
            is_ours = key in self._catalog and Step.LICENSE not in self._catalog[key].executors
            if is_ours and _IS_WITH_US.fullmatch(result.location):
                database = database_of(snapshot, self._catalog.family_of(key))
                if database is not None:
                    yield Expected(actual, database.shard, (result, database))

    def look(self, shard: str, products: Sequence[Expected[Laid]]) -> Iterator[Seen]:
        with self._topology.connect(shard) as connection:
            places = there(connection, [database for _, database in (product.result for product in products)])
            own = sorted({place.database for place in places if place.database != connection.info.dbname})
            schemas = sorted({place.schema for place in places if place.database == connection.info.dbname})
            rows = dict(_rows(connection, schemas))
        for database in own:
            with self._topology.connect(shard, database=database) as inside:
                rows |= _rows(inside, ["public"])
        for product in products:
            if Place.of(product.result[1]) in places:  # otherwise the family's database tells of it
                yield product.seen(findings(product, rows))

    def things(self, where: str) -> Iterator[Thing]:
        with self._topology.connect(where) as connection:
            schemas, databases = schemas_of_ours(connection), databases_of_ours(connection)
            for start in range(0, len(schemas), _TOGETHER):
                yield from _things(where, _rows(connection, schemas[start : start + _TOGETHER]))
        for database in (name for name, is_open in databases.items() if is_open):
            with self._topology.connect(where, database=database) as inside:
                yield from _things(where, _rows(inside, ["public"]))

    def owned(self, actual: Provisioning) -> Iterator[Thing]:
        """In whichever family of the tenant: the catalogue may have been another one when it was laid down."""
        if actual.scope.kind == "product" and Step.LICENSE in actual.steps:
            for family in {self._catalog.family_of(key) for key in self._catalog.known}:
                home = ResourceName.of("t", Scope("family", actual.scope.tenant_id, family), 0)
                yield Thing("", "entitlement", str(EntitlementName(actual.scope.key, home.digest)))

    def identity(self, thing: Thing) -> Thing:
        product, place = EntitlementName.parse(thing.name)
        return Thing("", "entitlement", str(EntitlementName(product, ResourceName.parse(place).digest)))

    def goes_with(self, thing: Thing) -> tuple[str, str]:
        return thing.where, EntitlementName.parse(thing.name).place

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        product, place = EntitlementName.parse(thing.name)
        with self._topology.connect(thing.where) as connection:
            is_database = place in named(connection, "database", [place])
        schema, database = ("public", place) if is_database else (place, None)
        with (
            self._topology.connect(thing.where, database=database) as connection,
            unclaimed(connection, is_claimed) as free,
        ):
            for _, table in _tables(connection, [schema]) if free else ():
                name = sql.Identifier(schema, table)
                connection.execute(sql.SQL("DELETE FROM {} WHERE subject = %s").format(name), [product])
                drop_if_empty(connection, name)
        return [] if free else None

    def _reader(self, order: Order) -> str:
        """Whose table the entitlement is in: the product's own, or its host's where an app lives with it."""
        entry = self._catalog[order.scope.key]
        return entry.host if entry.host is not None and entry.family is None else order.scope.key

    def _connect(self, place: DatabaseResult) -> AbstractContextManager[psycopg.Connection]:
        return self._topology.connect(place.shard, database=place.database)

    def _is_there(self, place: DatabaseResult) -> bool:
        with self._topology.connect(place.shard) as connection:
            return bool(named(connection, "database", [place.database]))


def licensed(order: Order) -> LicenseResult:
    """The entitlement as it is desired; where it lies is the provisioner's to say."""
    spec = spec_of(order, LicenseSpec)
    return _result(spec, f"with the provisioner of {spec.product}")


def entitlement_of(known: LicenseSpec | LicenseResult) -> Entitlement:
    """What the product can read of it."""
    return known.edition, known.users, known.active, known.expires_at, known.features


def findings(product: Expected[Laid], rows: Rows) -> Iterator[Finding]:
    """What differs, where these rows are there."""
    laid, database = product.result
    found = rows.get((f"{database.database}.{laid.location}", product.actual.scope.key))
    if found is None:
        yield Finding(Step.LICENSE, "missing", f"the entitlement is not in {laid.location}")
    elif found != entitlement_of(laid):
        yield Finding(Step.LICENSE, "differs", f"the entitlement in {laid.location} is not what was laid down")


def _result(spec: LicenseSpec, location: str) -> LicenseResult:
    return LicenseResult(**asdict(spec), location=location)


def _things(where: str, rows: Rows) -> Iterator[Thing]:
    for location, product in rows:
        database, schema, _ = location.rsplit(".", 2)
        place = database if schema == "public" else schema
        yield Thing(where, "entitlement", str(EntitlementName(product, place)))


def _tables(connection: psycopg.Connection, schemas: list[str]) -> list[tuple[str, str]]:
    """The tables in these schemas that are ours: schema and name."""
    return connection.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY (%s) AND c.relname LIKE 'entitlement\\_%%' AND c.relkind = 'r'"
        " AND pg_get_userbyid(c.relowner) = current_user",
        [schemas],
    ).fetchall()


def _rows(connection: psycopg.Connection, schemas: list[str]) -> Rows:
    """Every row of the tables that are ours in these schemas, in two queries."""
    for _ in range(_LOOKS):
        if not (tables := _tables(connection, schemas)):
            return {}
        each = (
            sql.SQL("SELECT {}, subject, edition, users, active, expires_at, features FROM {}").format(
                sql.Literal(f"{connection.info.dbname}.{schema}.{table}"), sql.Identifier(schema, table)
            )
            for schema, table in tables
        )
        try:
            rows = connection.execute(sql.SQL(" UNION ALL ").join(each)).fetchall()
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            continue  # a removal was faster: look again at what is left
        return {(at, of): (*license_, tuple(features)) for at, of, *license_, features in rows}
    raise Retryable(f"entitlements in {connection.info.dbname} come and go while they are read: look again later")


_COLUMNS: Final = sql.SQL(
    "(subject text PRIMARY KEY, edition text NOT NULL, users bigint NOT NULL, active boolean NOT NULL,"
    " expires_at timestamptz, features text[] NOT NULL, generation bigint NOT NULL,"
    " updated_at timestamptz NOT NULL DEFAULT now())"
)

_OURS: Final = (
    "SELECT c.relkind = 'r' AND r.rolname = current_user FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner"
    " WHERE n.nspname = %s AND c.relname = %s"
)
"""Whether the table of that name is ours; no row where there is none."""


def _laying(table: sql.Identifier, spec: LicenseSpec, generation: int) -> sql.Composable:
    values = (spec.product, *entitlement_of(spec)[:4], list(spec.features), generation)
    return sql.SQL(
        "INSERT INTO {} (subject, edition, users, active, expires_at, features, generation) VALUES ({})"
        " ON CONFLICT (subject) DO UPDATE SET edition = excluded.edition, users = excluded.users,"
        " active = excluded.active, expires_at = excluded.expires_at, features = excluded.features,"
        " generation = excluded.generation, updated_at = now()"
    ).format(table, sql.SQL(", ").join(map(sql.Literal, values)))


def _is_ours(connection: psycopg.Connection, schema: str, table: str) -> bool:
    row = connection.execute(_OURS, [schema, table]).fetchone()
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
