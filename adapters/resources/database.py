"""Is the family's database there, and who may log in to it? (step 6)

Under schema isolation it is a schema in the shard's database, under database isolation a database of its
own on the shard's server. Either way each product has a login role (login_role.py) that reaches it and
nothing else.

    ensure   1  one transaction: pass the fence, roles and rights as wished, leaving roles may not log in
             2  end the sessions of all roles that may not log in
             3  one transaction: pass the fence, hand over what the leaving roles made, drop them
    remove   1  one transaction: pass the fence, nobody may log in any more
             2  end their sessions: an open one could hold locks for ever
             3  one transaction a portion (portions.py): pass the fence, drop what lies in the schema
             4  one transaction: pass the fence, drop everything. The fence stays, and refuses what comes late

A worker can be killed between any two statements; whoever repeats the order starts at 1 and finds each
thing done or not.

CREATE and DROP DATABASE are in no transaction. Under database isolation the worker therefore holds an
advisory lock on the scope, in the session that also runs those two: a sleeper that was overtaken finds the
fence when it gets the lock, and one whose session is gone cannot drop anything. The lock is taken in the
shard's own database, where no product can connect and take it instead. A new database admits nobody until
PUBLIC's rights in it are revoked.

`fences.made` says that the data was made. Where it says so and there is none, somebody else has dropped it:
it is never made again, empty, as if nothing had happened. Its login roles are closed. Only a removal, by a purge or by
the act of an operator who accepts the loss, makes room for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from adapters.resources import login_role as login_roles
from adapters.resources.fences import pass_fence, spec_of
from adapters.resources.login_role import OUR_NAMES, Names, role_password
from adapters.resources.portions import drop_portion, hand_over_portion
from adapters.resources.topology import OURS, Shard, Topology, close_to_public, reach_role
from application.ports.resources import Order
from domain.errors import Permanent, Retryable
from domain.scope.steps import DatabaseResult, DatabaseSpec, RoleResult


class _DataMissing(Permanent):
    """There was data, and it is not there."""


class Databases:
    """Makes, opens, closes and drops families' databases on the shards of a topology."""

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
                self._close(connection, order, names)
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
                )
                for role in sorted(spec.roles, key=lambda role: role.product)
            ),
        )

    def remove(self, order: Order) -> None:
        shard, names = self._shard_of(order), Names.of(order)
        with self._topology.connect(shard.name) as connection:
            if _isolation(order, shard) == "schema":
                self._remove_schema(connection, order, names)
            else:
                with _alone(connection, order):
                    self._remove_database(connection, order, names)

    # -- schema isolation

    def _ensure_schema(self, connection: psycopg.Connection, order: Order, spec: DatabaseSpec, names: Names) -> None:
        schema = sql.Identifier(names.place)
        with connection.transaction():
            _expect_data(connection, order, names, look=_has_schema)
            leavers = self._ensure_roles(connection, order, spec, names, schema=names.place)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            _grant_rights(connection, names.place, spec, names)
            reach = sql.Identifier(reach_role(connection.info.dbname))
            connection.execute(
                sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE").format(reach, sql.Identifier(names.group))
            )
            _mark(connection, order, made=True)
        self._end_sessions(connection, spec, names)
        if leavers:
            self._hand_over_portions(connection, order, leavers, names)
            with connection.transaction():
                pass_fence(connection, order)
                login_roles.hand_over(connection, leavers, group=names.group)
                login_roles.drop_roles(connection, leavers)

    def _hand_over_portions(
        self, connection: psycopg.Connection, order: Order, leavers: Iterable[str], names: Names
    ) -> None:
        for leaver in leavers:
            is_more = True
            while is_more:
                with connection.transaction():
                    pass_fence(connection, order)
                    is_more = hand_over_portion(connection, leaver, to=names.group)

    def _remove_schema(self, connection: psycopg.Connection, order: Order, names: Names) -> None:
        self._shut(connection, order, names)
        is_more = True
        while is_more:
            with connection.transaction():
                pass_fence(connection, order)
                is_more = drop_portion(connection, names.place)
        with connection.transaction():
            pass_fence(connection, order)
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(names.place)))
            left = login_roles.existing(connection, [*names.logins.values(), names.group])
            login_roles.drop_owned(connection, left)
            login_roles.drop_roles(connection, left)

    # -- database isolation; all of it under the lock of `_alone`

    def _ensure_database(self, connection: psycopg.Connection, order: Order, spec: DatabaseSpec, names: Names) -> None:
        with connection.transaction():
            _expect_data(connection, order, names, look=_has_database)
            leavers = self._ensure_roles(connection, order, spec, names, schema="public")
        _open_database(connection, names)
        with connection.transaction():
            pass_fence(connection, order)
            _mark(connection, order, made=True)
        with self._topology.connect(order_shard(order), database=names.place) as inside:
            with inside.transaction():
                close_to_public(inside)
                _grant_rights(inside, "public", spec, names)
            self._end_sessions(connection, spec, names)
            for leaver in leavers:
                while hand_over_portion(inside, leaver, to=names.group):
                    pass
            with inside.transaction():
                login_roles.hand_over(inside, leavers, group=names.group)
        with connection.transaction():
            pass_fence(connection, order)
            login_roles.drop_roles(connection, leavers)

    def _remove_database(self, connection: psycopg.Connection, order: Order, names: Names) -> None:
        self._shut(connection, order, names)
        with connection.transaction():
            pass_fence(connection, order)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(names.place)))
        with connection.transaction():
            pass_fence(connection, order)
            left = login_roles.existing(connection, [*names.logins.values(), names.group])
            login_roles.drop_owned(connection, left)
            login_roles.drop_roles(connection, left)

    # -- both

    def _shard_of(self, order: Order) -> Shard:
        return self._topology.shard(order_shard(order))

    def _ensure_roles(
        self,
        connection: psycopg.Connection,
        order: Order,
        spec: DatabaseSpec,
        names: Names,
        *,
        schema: str,
    ) -> list[str]:
        """The wished roles. Returns those that are there and leave: they may not log in any more."""
        login_roles.ensure_group(connection, names.group)
        for role in spec.roles:
            generation = order.created_generations[role.product]
            login_roles.ensure_login(
                connection,
                names.logins[role.product],
                group=names.group,
                password=role_password(self._master_key, order.scope, role.product, generation),
                login=role.login,
                schema=schema,
                sessions=self._sessions_per_role,
            )
        leavers = login_roles.existing(connection, _leaving(spec, names))
        login_roles.forbid_login(connection, leavers)
        return leavers

    def _shut(self, connection: psycopg.Connection, order: Order, names: Names) -> None:
        logins = list(names.logins.values())
        with connection.transaction():
            pass_fence(connection, order)
            _mark(connection, order, made=False)
            login_roles.forbid_login(connection, login_roles.existing(connection, logins))
        login_roles.end_sessions(connection, logins, seconds=self._closing_seconds)

    def _close(self, connection: psycopg.Connection, order: Order, names: Names) -> None:
        """Nobody may log in to what is missing, whatever is wished; and it stays known that there was something."""
        logins = login_roles.existing(connection, names.logins.values())
        with connection.transaction():
            pass_fence(connection, order)
            _mark(connection, order, made=True)
            login_roles.forbid_login(connection, logins)
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


def _isolation(order: Order, shard: Shard) -> Literal["schema", "database"]:
    """As the family was made; what the shard's setting says now is for new ones."""
    return order.database.isolation if order.database else shard.isolation


def _leaving(spec: DatabaseSpec, names: Names) -> list[str]:
    staying = {role.product for role in spec.roles}
    return [role for product, role in names.logins.items() if product not in staying]


def _grant_rights(connection: psycopg.Connection, schema: str, spec: DatabaseSpec, names: Names) -> None:
    staying = [names.logins[role.product] for role in spec.roles]
    login_roles.grant_rights(connection, schema, group=names.group, logins=staying)


def _has_schema(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [name]).fetchone() is not None


def _has_database(connection: psycopg.Connection, name: str) -> bool:
    return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _expect_data(
    connection: psycopg.Connection,
    order: Order,
    names: Names,
    *,
    look: Callable[[psycopg.Connection, str], bool],
) -> None:
    """Pass the fence, then look. Raises Permanent where data was made and is gone.

    A shard that knows nothing of a scope whose database the log knows was itself lost, or restored from
    before.
    """
    new_here = pass_fence(connection, order)
    row = connection.execute(
        sql.SQL("SELECT made FROM {}.fences WHERE scope = %s").format(sql.Identifier(OURS)),
        [str(order.scope)],
    ).fetchone()
    made = (row is not None and row[0]) or (new_here and order.database is not None)
    if made and not look(connection, names.place):
        raise _DataMissing(
            f"data_missing: the database of {order.scope} is missing on shard {order_shard(order)}:"
            " restore it, then retry the run; it is not made again empty"
        )


def _mark(connection: psycopg.Connection, order: Order, *, made: bool) -> None:
    connection.execute(
        sql.SQL("UPDATE {}.fences SET made = %s WHERE scope = %s AND made <> %s").format(sql.Identifier(OURS)),
        [made, str(order.scope), made],
    )


@contextmanager
def _alone(connection: psycopg.Connection, order: Order) -> Iterator[None]:
    """Nobody else works on the scope under database isolation; the lock ends with our session at last."""
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


# -- looking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """What of ours is there: schemas of the shard's database; databases and roles of its whole server.

    `roles`: name -> may log in. Shards on one server see the same databases and roles.
    """

    schemas: frozenset[str]
    databases: frozenset[str]
    roles: Mapping[str, bool]


def observe(topology: Topology, shard: str) -> Observed:
    """Look at the shard itself, not at what we believe of it. Raises Retryable when it does not answer."""
    with topology.connect(shard) as connection:
        schemas = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s", [OUR_NAMES]).fetchall()
        databases = connection.execute("SELECT datname FROM pg_database WHERE datname ~ %s", [OUR_NAMES]).fetchall()
        roles = connection.execute(
            "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ %s", [OUR_NAMES]
        ).fetchall()
    return Observed(
        schemas=frozenset(name for (name,) in schemas),
        databases=frozenset(name for (name,) in databases),
        roles=dict(roles),
    )
