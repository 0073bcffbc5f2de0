"""Database of a family: made, opened, closed, dropped (step 6).

Under schema isolation it is a schema in the shard's database, under database isolation a database of its
own on the shard's server. Either way each product has a login role (login_role.py) that reaches it and
nothing else.

    ensure   1  one transaction: pass the fence, roles and rights as wished, leaving roles may not log in
             2  end the sessions of all roles that may not log in
             3  one transaction: pass the fence, hand over what the leaving roles made, drop them
    remove   1  one transaction: pass the fence, no role may log in any more
             2  end their sessions: an open one could hold locks for ever
             3  one transaction a portion (portions.py): pass the fence, drop what lies in the schema
             4  one transaction: pass the fence, drop everything. The fence stays, and refuses what comes late

A worker can be killed between any two statements; the worker that repeats the order starts at 1 and finds each
thing done or not.

CREATE and DROP DATABASE are in no transaction. Under database isolation the worker therefore holds an
advisory lock on the scope, in the session that also runs those two: a sleeper that was overtaken finds the
fence when it gets the lock, and one whose session is gone cannot drop anything. The lock is taken in the
shard's own database, where no product can connect and take it instead. A new database admits no role until
PUBLIC's rights in it are revoked.

`fences.made` says that the data was made. Where it says so and there is none, it was dropped from outside:
it is never made again, empty, as if nothing had happened. Its login roles are closed. Only a removal, by a purge or by
the act of an operator who accepts the loss, permits a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

import psycopg
from psycopg import sql

from adapters.resources import login_role as login_roles
from adapters.resources.fences import fenced, passed, passing_fence, spec_of, unclaimed
from adapters.resources.login_role import GRANTEE, Names, role_password
from adapters.resources.places import Place, databases_of_ours, group_of, name_of, named, schemas_of_ours, there
from adapters.resources.portions import drop_portion, hand_over_portion
from adapters.resources.scripts import run_script
from adapters.resources.topology import OURS, Shard, Topology, close_to_public, reach_role
from application.ports.resources import IsClaimed, Order, Resource, StepExecutor
from domain.drift import Expected, Finding, Look, Seen, Thing, by_place, completed
from domain.errors import Permanent, Retryable
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, DatabaseSpec, RoleResult, Step

Isolation = Literal["schema", "database"]


class _DataMissing(Permanent):
    """There was data, and it is not there."""


class Databases(StepExecutor, Resource):
    """Makes, opens, closes and drops families' databases on the shards of a topology."""

    serves = (("family", Step.DATABASE),)
    kinds = ("database", "schema")
    lies_on = "shard"
    tells_of_the_log = True

    def __init__(
        self,
        topology: Topology,
        *,
        master_key: bytes,
        sessions_per_role: int = 50,
        closing_seconds: float = 5.0,
    ) -> None:
        self._topology = topology
        self._master_key = master_key
        self._sessions_per_role = sessions_per_role
        self._closing_seconds = closing_seconds

    def ensure(self, order: Order) -> DatabaseResult:
        spec, shard, names = spec_of(order, DatabaseSpec), self._shard_of(order), Names.of(order)
        isolation = _isolation(order, shard)
        with self._topology.connect(shard.name) as connection:
            try:
                if isolation == "schema":
                    self._ensure_schema(connection, order, spec, names)
                    database, schema = connection.info.dbname, names.place
                else:
                    with _alone(connection, order):
                        self._ensure_database(connection, order, spec, names)
                    database, schema = names.place, "public"
            except _DataMissing:
                self._shut(connection, order, names, made=True)  # whatever is desired
                raise
        return DatabaseResult(
            family=spec.family,
            region=shard.region,
            shard=shard.name,
            isolation=isolation,
            database=database,
            schema_name=schema,
            roles=tuple(
                RoleResult(
                    product=role.product,
                    role=names.logins[role.product],
                    generation=order.created_generations[role.product],
                    login=role.login,
                    rotation=role.rotation,
                )
                for role in sorted(spec.roles, key=lambda role: role.product)
            ),
        )

    def remove(self, order: Order) -> None:
        shard, names = self._shard_of(order), Names.of(order)
        with self._topology.connect(shard.name) as connection:
            if (isolation := _isolation(order, shard)) == "schema":
                self._remove(connection, order, names, kind=isolation)
            else:
                with _alone(connection, order):
                    self._remove(connection, order, names, kind=isolation)

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        made = completed(snapshots, Step.DATABASE, DatabaseResult)
        return by_place((Expected(actual, result.shard, result) for _, actual, result in made), self.look)

    def look(self, shard: str, made: Sequence[Expected[DatabaseResult]]) -> Iterator[Seen]:
        with self._topology.connect(shard) as connection:
            places = there(connection, [family.result for family in made])
            here = [
                each.result for each in made if each.result.isolation == "schema" and Place.of(each.result) in places
            ]
            grants = _unexpected_grants(connection, here)
        for result in (each.result for each in made if each.result.isolation == "database"):
            if Place.of(result) in places:
                with self._topology.connect(shard, database=result.database) as inside:
                    grants |= _unexpected_grants(inside, [result])
        for family in made:
            yield family.seen(findings(family.result, places, grants))

    def is_there(self, result: DatabaseResult) -> bool:
        """Whether the family's data is there. Raises Retryable, or Obstacle, where the shard does not answer."""
        with self._topology.connect(result.shard) as connection:
            return bool(there(connection, [result]))

    def things(self, where: str) -> Iterator[Thing]:
        with self._topology.connect(where) as connection:
            found = {"schema": schemas_of_ours(connection), "database": databases_of_ours(connection)}
        yield from (Thing(where, kind, name) for kind, names in found.items() for name in names)

    def owned(self, actual: Provisioning) -> Iterator[Thing]:
        if database := actual.steps.get(Step.DATABASE):
            place = Names.created_as(actual.scope, database.created_generations).place
            for shard in self._topology.shards:
                yield from (Thing(shard, kind, place) for kind in self.kinds)

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        """A schema goes in portions, each in a transaction of its own. DROP DATABASE is in no transaction: it runs in a
        second session while the first one keeps the fences locked."""
        name, is_more = sql.Identifier(thing.name), True
        with self._topology.connect(thing.where) as connection:
            while is_more:
                with unclaimed(connection, is_claimed) as free:
                    if not free:
                        return None
                    is_more = thing.kind == "schema" and drop_portion(connection, thing.name)
                    if thing.kind == "database":
                        with self._topology.connect(thing.where) as beside:
                            beside.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
                    elif not is_more:
                        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
        return []

    # -- schema isolation

    def _ensure_schema(self, connection: psycopg.Connection, order: Order, spec: DatabaseSpec, names: Names) -> None:
        with connection.transaction():
            found = _expect_data(connection, order, names, kind="schema")
            roles, leavers = self._roles(connection, order, spec, names, found=found, schema=names.place)
            schema = sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(names.place))
            reach = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE").format(
                sql.Identifier(reach_role(connection.info.dbname)), sql.Identifier(names.group)
            )
            rights = _rights(connection, names.place, spec, names, is_new=not found.is_there)
            run_script(connection, *roles, schema, reach, *rights, _marking(order, made=True))
        self._end_sessions(connection, spec, names)
        for leaver in leavers:
            is_more = True
            while is_more:
                with fenced(connection, order):
                    is_more = hand_over_portion(connection, leaver, to=names.group)
        if leavers:
            with fenced(connection, order):
                login_roles.hand_over(connection, leavers, group=names.group)
                login_roles.drop_roles(connection, leavers)

    # -- database isolation; all of it under the lock of `_alone`

    def _ensure_database(self, connection: psycopg.Connection, order: Order, spec: DatabaseSpec, names: Names) -> None:
        with connection.transaction():
            found = _expect_data(connection, order, names, kind="database")
            roles, leavers = self._roles(connection, order, spec, names, found=found, schema="public")
            run_script(connection, *roles)
        _open_database(connection, names)
        with fenced(connection, order):
            connection.execute(_marking(order, made=True))
        with self._topology.connect(order_shard(order), database=names.place) as inside:
            with inside.transaction():
                close_to_public(inside)
                run_script(inside, *_rights(inside, "public", spec, names, is_new=False))
            self._end_sessions(connection, spec, names)
            for leaver in leavers:
                while hand_over_portion(inside, leaver, to=names.group):
                    pass
            with inside.transaction():
                login_roles.hand_over(inside, leavers, group=names.group)
        with fenced(connection, order):
            login_roles.drop_roles(connection, leavers)

    # -- both

    def _remove(self, connection: psycopg.Connection, order: Order, names: Names, *, kind: Isolation) -> None:
        self._shut(connection, order, names, made=False)
        name, is_more = sql.Identifier(names.place), True
        while is_more:
            with fenced(connection, order):
                is_more = kind == "schema" and drop_portion(connection, names.place)
        if kind == "database":
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        with fenced(connection, order):
            if kind == "schema":
                connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
            left = named(connection, "role", [*names.logins.values(), names.group])
            login_roles.drop_owned(connection, left)
            login_roles.drop_roles(connection, left)

    def _shard_of(self, order: Order) -> Shard:
        return self._topology.shard(order_shard(order))

    def _roles(
        self,
        connection: psycopg.Connection,
        order: Order,
        spec: DatabaseSpec,
        names: Names,
        *,
        found: _Found,
        schema: str,
    ) -> tuple[list[sql.Composable], list[str]]:
        """The statements that make the desired roles, and the roles that are there and leave: they may not log in any
        more."""
        made = login_roles.ensuring_group(connection, names.group, there=found.roles)
        for role in spec.roles:
            generation = order.created_generations[role.product]
            made += login_roles.ensuring_login(
                connection,
                names.logins[role.product],
                group=names.group,
                password=role_password(self._master_key, order.scope, role.product, generation, rotation=role.rotation),
                login=role.login,
                schema=schema,
                sessions=self._sessions_per_role,
                there=found.roles,
            )
        staying = {role.product for role in spec.roles}
        leavers = [role for product, role in names.logins.items() if product not in staying and role in found.roles]
        login_roles.forbid_login(connection, leavers)
        return made, leavers

    def _shut(self, connection: psycopg.Connection, order: Order, names: Names, *, made: bool) -> None:
        """No role may log in any more. `made`: whether it stays known that there was data."""
        logins = list(names.logins.values())
        with fenced(connection, order):
            connection.execute(_marking(order, made=made))
            login_roles.forbid_login(connection, named(connection, "role", logins))
        login_roles.end_sessions(connection, logins, seconds=self._closing_seconds)

    def _end_sessions(self, connection: psycopg.Connection, spec: DatabaseSpec, names: Names) -> None:
        open_ = {names.logins[role.product] for role in spec.roles if role.login}
        shut = [role for role in names.logins.values() if role not in open_]
        login_roles.end_sessions(connection, shut, seconds=self._closing_seconds)


def order_shard(order: Order) -> str:
    """The shard that the family was placed on."""
    if order.placement is None:
        raise Retryable(f"{order.scope} has no placement yet: its step 3 comes first")
    return order.placement.shard


def _isolation(order: Order, shard: Shard) -> Isolation:
    """As the family was made; what the shard's setting says now is for new ones."""
    return order.database.isolation if order.database else shard.isolation


def _rights(
    connection: psycopg.Connection, schema: str, spec: DatabaseSpec, names: Names, *, is_new: bool
) -> list[sql.Composable]:
    staying = [names.logins[role.product] for role in spec.roles]
    return login_roles.granting_rights(connection, schema, group=names.group, logins=staying, is_new=is_new)


def findings(
    result: DatabaseResult, places: frozenset[Place], grants: Mapping[Place, Sequence[str]]
) -> Iterator[Finding]:
    """What differs, where the data of these places is there, and others than its group may use some of them."""
    name, place = name_of(result), Place.of(result)
    if place not in places:
        yield Finding(Step.DATABASE, "data", f"data_missing: {result.isolation} {name} is not on shard {result.shard}")
    elif others := grants.get(place):
        yield Finding(Step.DATABASE, "differs", f"{name} is open to others: {', '.join(others)}")


def _unexpected_grants(connection: psycopg.Connection, made: Sequence[DatabaseResult]) -> dict[Place, Sequence[str]]:
    """Who may use the places in this database, besides the group of each and the owner."""
    look = sql.SQL(
        "SELECT n.nspname, array_agg(DISTINCT {who} ORDER BY {who})"
        " FROM unnest(%s::text[], %s::text[]) AS k (schema, own)"
        " JOIN pg_namespace n ON n.nspname = k.schema CROSS JOIN aclexplode(n.nspacl) a"
        " LEFT JOIN pg_roles g ON g.oid = a.grantee"
        " WHERE a.grantee <> n.nspowner AND g.rolname IS DISTINCT FROM k.own GROUP BY n.nspname"
    ).format(who=GRANTEE)
    rows = connection.execute(look, [[result.schema_name for result in made], [group_of(result) for result in made]])
    others: dict[str, list[str]] = dict(rows.fetchall())
    return {Place.of(result): others[result.schema_name] for result in made if result.schema_name in others}


class _Found(NamedTuple):
    """Whether the place is there, and the roles of ours that are."""

    is_there: bool
    roles: Sequence[str]


def _expect_data(connection: psycopg.Connection, order: Order, names: Names, *, kind: Isolation) -> _Found:
    """Pass the fence, then look at what is there, on one way to the server. Raises Permanent where data was made and is
    gone.

    A shard that knows nothing of a scope whose database the log knows was itself lost, or restored from
    before.
    """
    look = sql.SQL(
        "SELECT (SELECT made FROM {}.fences WHERE scope = %s), EXISTS (SELECT FROM {} WHERE {} = %s),"
        " ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s))"
    ).format(sql.Identifier(OURS), *_CATALOGUE[kind])
    with connection.pipeline():
        passing = passing_fence(connection, order)
        looking = connection.execute(
            look, [str(order.scope), names.place, [names.group, *names.logins.values()]], prepare=True
        )
        new_here = passed(passing, order)
        was_made, is_there, roles = looking.fetchone() or (None, False, [])
    if (was_made or (new_here and order.database is not None)) and not is_there:
        raise _DataMissing(
            f"data_missing: the database of {order.scope} is missing on shard {order_shard(order)}:"
            " restore it, then retry the run; it is not made again empty"
        )
    return _Found(is_there, roles)


_CATALOGUE: Final[Mapping[Isolation, tuple[sql.SQL, sql.SQL]]] = {
    "schema": (sql.SQL("pg_namespace"), sql.SQL("nspname")),
    "database": (sql.SQL("pg_database"), sql.SQL("datname")),
}


def _marking(order: Order, *, made: bool) -> sql.Composed:
    scope, is_made = sql.Literal(str(order.scope)), sql.Literal(made)
    return sql.SQL("UPDATE {}.fences SET made = {} WHERE scope = {} AND made <> {}").format(
        sql.Identifier(OURS), is_made, scope, is_made
    )


@contextmanager
def _alone(connection: psycopg.Connection, order: Order) -> Iterator[None]:
    """No other worker works on the scope under database isolation; the lock ends with our session at last."""
    key = [str(order.scope)]
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", key)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def _open_database(connection: psycopg.Connection, names: Names) -> None:
    """Make the database where it is missing; who may come in is settled before anybody can connect."""
    name = sql.Identifier(names.place)
    row = connection.execute("SELECT datconnlimit FROM pg_database WHERE datname = %s", [names.place]).fetchone()
    if row is not None and row[0] == -2:  # the mark of a DROP DATABASE that was cut short: it can only be dropped
        connection.execute(sql.SQL("DROP DATABASE {}").format(name))
        row = None
    if row is None:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false").format(name))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, sql.Identifier(names.group)))
    connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
