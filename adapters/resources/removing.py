"""How does a thing that belongs to nobody go?

Every effect of an executor begins by writing its scope's fence. So all is done with the fences locked against
writers: in the database where the executors of such a thing have theirs.

    1  lock the fences (nobody passes), ask once more whether somebody claims the thing
    2  remove it, in the same transaction
    3  commit: whoever waited for the lock goes on, and makes anew what its own intent says

A schema goes in portions (portions.py), each of them such a transaction.

DROP DATABASE is in no transaction: it runs in a second session while the first one keeps the lock. A login role may
not log in any more before its sessions are ended, and goes only if it owns nothing: what it made may be somebody's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from adapters.postgres.connection import milliseconds
from adapters.resources import login_role as login_roles
from adapters.resources.entitlement import drop_if_empty
from adapters.resources.fences import Connect
from adapters.resources.portions import drop_portion
from adapters.resources.topology import OURS, Topology, reach_role, reaching
from domain.drift import CONTROL, Thing
from domain.errors import Permanent
from domain.stream_name import EntitlementName, ObstacleName, SiteReservation

IsClaimed = Callable[[], bool]


class Remover:
    """Removes things from the control database and from the shards of a topology."""

    def __init__(self, control: Connect, topology: Topology, *, closing_seconds: float = 5.0) -> None:
        self._control = control
        self._topology = topology
        self._closing_seconds = closing_seconds

    def freed(self, thing: Thing) -> str | None:
        """The obstacle that ends with the thing."""
        match thing.kind:
            case "site name":
                return str(ObstacleName("site name", SiteReservation.parse(thing.name).site_name))
            case "room":
                with reaching(CONTROL), self._control() as connection:
                    row = connection.execute(
                        "SELECT region FROM placements_reserved JOIN shards ON name = shard WHERE scope = %s",
                        [thing.name],
                    ).fetchone()
                return str(ObstacleName("capacity", row[0])) if row else None
            case _:
                return None

    def remove(self, thing: Thing, *, is_claimed: IsClaimed) -> bool:
        """Make sure that the thing is not there; False where somebody claims it. Raises ExecutorError."""
        match thing.kind:
            case "site name" | "room":
                return self._remove_reservation(thing, is_claimed)
            case "schema":
                return self._remove_schema(thing, is_claimed)
            case "database":
                return self._remove_database(thing, is_claimed)
            case "entitlement":
                return self._remove_entitlement(thing, is_claimed)
            case "role":
                return self._remove_role(thing, is_claimed)

    def _remove_reservation(self, thing: Thing, is_claimed: IsClaimed) -> bool:
        patience = self._topology.patience
        with reaching(CONTROL), self._control() as connection, connection.transaction():
            connection.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)",
                [milliseconds(patience.statement), milliseconds(patience.lock)],
            )
            connection.execute("LOCK TABLE public.fences IN SHARE ROW EXCLUSIVE MODE")
            if is_claimed():
                return False
            if thing.kind == "room":
                connection.execute(
                    "WITH gone AS (DELETE FROM placements_reserved WHERE scope = %s RETURNING shard)"
                    " UPDATE shards SET used = used - 1 FROM gone WHERE name = gone.shard",
                    [thing.name],
                )
            else:
                name, tenant_id = SiteReservation.parse(thing.name)
                connection.execute("DELETE FROM site_names WHERE site_name = %s AND tenant_id = %s", [name, tenant_id])
            return True

    def _remove_schema(self, thing: Thing, is_claimed: IsClaimed) -> bool:
        with self._topology.connect(thing.where) as connection:
            while True:
                with _fenced(connection, is_claimed) as free:
                    if not free:
                        return False
                    if not drop_portion(connection, thing.name):
                        name = sql.Identifier(thing.name)
                        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
                        return True

    def _remove_database(self, thing: Thing, is_claimed: IsClaimed) -> bool:
        with self._topology.connect(thing.where) as connection, _fenced(connection, is_claimed) as free:
            if free:
                with self._topology.connect(thing.where) as beside:
                    name = sql.Identifier(thing.name)
                    beside.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            return free

    def _remove_entitlement(self, thing: Thing, is_claimed: IsClaimed) -> bool:
        product, place = EntitlementName.parse(thing.name)
        with self._topology.connect(thing.where) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            is_database = connection.execute(query, [place]).fetchone() is not None
        schema, database = ("public", place) if is_database else (place, None)
        with (
            self._topology.connect(thing.where, database=database) as connection,
            _fenced(connection, is_claimed) as free,
        ):
            for table in _entitlement_tables(connection, schema) if free else ():
                name = sql.Identifier(schema, table)
                connection.execute(sql.SQL("DELETE FROM {} WHERE subject = %s").format(name), [product])
                drop_if_empty(connection, name)
            return free

    def _remove_role(self, thing: Thing, is_claimed: IsClaimed) -> bool:
        role = thing.name
        with self._topology.connect(thing.where) as connection:
            with _fenced(connection, is_claimed) as free:
                if not free or not login_roles.existing(connection, [role]):
                    return free
                _expect_ours(connection, role)
                login_roles.forbid_login(connection, [role])
            login_roles.end_sessions(connection, [role], seconds=self._closing_seconds)
            with _fenced(connection, is_claimed) as free:
                if free and login_roles.existing(connection, [role]):
                    _expect_to_own_nothing(connection, role)
                    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))  # its rights alone
                    login_roles.drop_roles(connection, [role])
            return free


@contextmanager
def _fenced(connection: psycopg.Connection, is_claimed: IsClaimed) -> Iterator[bool]:
    """A transaction in which no executor passes a fence; whether nobody claims the thing."""
    with connection.transaction():
        connection.execute(sql.SQL("LOCK TABLE {}.fences IN SHARE ROW EXCLUSIVE MODE").format(sql.Identifier(OURS)))
        yield not is_claimed()


def _entitlement_tables(connection: psycopg.Connection, schema: str) -> list[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname LIKE 'entitlement\\_%%' AND c.relkind = 'r'"
        " AND pg_get_userbyid(c.relowner) = current_user",
        [schema],
    ).fetchall()
    return [name for (name,) in rows]


def _expect_ours(connection: psycopg.Connection, role: str) -> None:
    """Roles are shared by a whole server: one that reaches another database than this shard's is not this shard's."""
    row = connection.execute(
        "WITH RECURSIVE above AS (SELECT oid FROM pg_roles WHERE rolname = %s UNION"
        " SELECT m.roleid FROM pg_auth_members m JOIN above ON m.member = above.oid)"
        " SELECT r.rolname FROM above JOIN pg_roles r USING (oid)"
        " WHERE r.rolname LIKE 'tenantry\\_reach\\_%%' AND r.rolname <> %s LIMIT 1",
        [role, reach_role(connection.info.dbname)],
    ).fetchone()
    if row is not None:
        raise Permanent(f"role {role} is a member of {row[0]}, so it is another shard's of this server: it stays")


def _expect_to_own_nothing(connection: psycopg.Connection, role: str) -> None:
    row = connection.execute(
        "SELECT count(*) FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid"
        " WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND r.rolname = %s",
        [role],
    ).fetchone()
    if row is not None and row[0]:
        raise Permanent(f"role {role} owns {row[0]} objects: see whose they are, then REASSIGN OWNED BY it")
