"""Who may enter a family's database?

    r_<product>_g<born>  LOGIN, SCRAM    one for each product: a password, a search path, no right of its own
         │ INHERIT, never SET            what it has comes through the group; it cannot become it
    g_<family>_g<born>   NOLOGIN         USAGE and CREATE on the schema, and whatever its members left behind
         │
    CONNECT on one database              through the shard's reach role, or on the family's own database

The schema itself belongs to our administrator: a product can make and drop its own tables in it, not ours
and not the schema. Names are derived from what the order says, so that whoever repeats an order finds what
a killed worker left.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql

from adapters.resources.topology import reach_role
from application.ports import Order
from domain.errors import Retryable
from domain.scope.steps import Scope
from domain.stream_name import RESOURCE_PATTERN, ResourceName

_PAUSE_SECONDS: Final = 0.025


def role_password(master_key: bytes, scope: Scope | str, product: str, generation: int) -> str:
    """The password of a product's login role; whoever has the master key derives it, it is stored nowhere.

    `scope` is the family's; `generation` the one that the role is named after (`RoleFacts.generation`).
    """
    mac = hmac.new(master_key, f"{scope}/{product}/{generation}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).decode()


@dataclass(frozen=True, slots=True)
class Names:
    """What a family's things are called on a shard: a schema or database, a group, logins for its products.

    At most 63 bytes, and unique on a server: tenant ids, families and products hold no `/`.
    """

    place: str
    group: str
    logins: Mapping[str, str]

    @classmethod
    def of(cls, order: Order) -> Names:
        """The names of everything that is perhaps there (`order.born`)."""
        return cls.created_as(order.scope, order.created_generations)

    @classmethod
    def created_as(cls, scope: Scope, parts: Mapping[str, int]) -> Names:
        """The names of the family's parts, each with the generation that it is named after."""
        place = ResourceName.of("t", scope, parts[""])
        return cls(
            place=str(place),
            group=str(place.group),
            logins={
                product: str(ResourceName.of("r", scope, generation, product=product))
                for product, generation in sorted(parts.items())
                if product
            },
        )


OUR_NAMES: Final = RESOURCE_PATTERN
"""What all such names look like, for PostgreSQL's `~`."""


POWERS: Final = sql.SQL(
    "array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,"
    " CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,"
    " CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL)"
)
"""What the role `r` may do everywhere, in SQL: a login role of ours has nothing of it."""

GRANTEE: Final = sql.SQL("coalesce(g.rolname, 'PUBLIC')")
"""To whom a right was granted, in SQL, where `g` is joined to the grantee: nobody is everybody."""


# -- what is true of all databases of a server ---------------------------------------------------------------


def existing(connection: psycopg.Connection, roles: Iterable[str]) -> list[str]:
    """Those of the roles that are there, in the order given."""
    desired_state = list(roles)
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [desired_state])
    there = {name for (name,) in rows.fetchall()}
    return [role for role in desired_state if role in there]


def ensure_group(connection: psycopg.Connection, group: str) -> None:
    """The NOLOGIN role that a family's rights hang on."""
    if not existing(connection, [group]):
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(group)))
    else:
        _take_back(connection, group, keep=reach_role(connection.info.dbname))


def ensure_login(
    connection: psycopg.Connection,
    role: str,
    *,
    group: str,
    password: str,
    login: bool,
    schema: str,
    sessions: int,
) -> None:
    """The role is a member of its group and may log in, or not, with at most so many sessions at a time."""
    name = sql.Identifier(role)
    if not existing(connection, [role]):
        connection.execute(
            sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS").format(name)
        )
    else:
        _take_back(connection, role, keep=group)
    # The verifier is computed here: the password itself never reaches the server, nor its log of statements.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("ALTER ROLE {} {} CONNECTION LIMIT {} PASSWORD {} VALID UNTIL 'infinity'").format(
            name, sql.SQL("LOGIN" if login else "NOLOGIN"), sql.Literal(sessions), sql.Literal(verifier)
        )
    )
    connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(name, sql.Identifier(schema)))
    connection.execute(sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE").format(sql.Identifier(group), name))


def _take_back(connection: psycopg.Connection, role: str, *, keep: str) -> None:
    """What somebody gave the role behind our back; `keep` is the group that it belongs to. No word of what is not so:
    not every administrator may say `NOSUPERUSER`."""
    name = sql.Identifier(role)
    powers = sql.SQL("SELECT {} FROM pg_roles r WHERE r.rolname = %s").format(POWERS)
    row = connection.execute(powers, [role]).fetchone()
    for power in row[0] if row else ():
        connection.execute(sql.SQL("ALTER ROLE {} {}").format(name, sql.SQL(f"NO{power}")))
    others = connection.execute(
        "SELECT g.rolname, b.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        " JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles b ON b.oid = m.grantor"
        " WHERE r.rolname = %s AND g.rolname <> %s",
        [role, keep],
    ).fetchall()
    for other, grantor in others:
        connection.execute(
            sql.SQL("REVOKE {} FROM {} GRANTED BY {} CASCADE").format(
                sql.Identifier(other), name, sql.Identifier(grantor)
            )
        )


def forbid_login(connection: psycopg.Connection, roles: Iterable[str]) -> None:
    """No new session of theirs, from the commit on."""
    for role in roles:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))


def end_sessions(connection: psycopg.Connection, roles: Collection[str], *, seconds: float) -> None:
    """End the roles' sessions until none is left; call it after the commit that forbids them to log in.

    A session that was let in just before that commit shows up a moment after it: two looks with a pause
    between them must find nobody. Raises Retryable when somebody is still there after `seconds`.
    """
    if not roles:
        return
    deadline = time.monotonic() + seconds
    quiet = 0
    while True:
        row = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = ANY (%s)",
            [list(roles)],
        ).fetchone()
        quiet = 0 if row and row[0] else quiet + 1
        if quiet == 2:
            return
        if time.monotonic() > deadline:
            raise Retryable(f"sessions of {', '.join(sorted(roles))} do not end: look for what holds them")
        time.sleep(_PAUSE_SECONDS)


def drop_roles(connection: psycopg.Connection, roles: Iterable[str]) -> None:
    """Remove roles that own nothing any more."""
    for role in roles:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


# -- what is true inside one database ------------------------------------------------------------------------


def grant_rights(connection: psycopg.Connection, schema: str, *, group: str, logins: Iterable[str]) -> None:
    """The group may use the schema, and nobody else; what one of the logins makes in it, the others may use as well."""
    place, everybody = sql.Identifier(schema), sql.Identifier(group)
    unexpected_grants = sql.SQL(
        "SELECT DISTINCT {} FROM pg_namespace n, aclexplode(n.nspacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee"
        " WHERE n.nspname = %s AND a.grantee <> n.nspowner AND g.rolname IS DISTINCT FROM %s"
    ).format(GRANTEE)
    for (stranger,) in connection.execute(unexpected_grants, [schema, group]).fetchall():
        who = sql.SQL("PUBLIC") if stranger == "PUBLIC" else sql.Identifier(stranger)
        connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM {} CASCADE").format(place, who))
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(place, everybody))
    for login in logins:
        for objects in ("TABLES", "SEQUENCES", "ROUTINES", "TYPES"):
            connection.execute(
                sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT ALL ON {} TO {}").format(
                    sql.Identifier(login), place, sql.SQL(objects), everybody
                )
            )


def hand_over(connection: psycopg.Connection, logins: Iterable[str], *, group: str) -> None:
    """What the logins made is the group's from here on; all that they were granted goes."""
    for login in logins:
        role = sql.Identifier(login)
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(role, sql.Identifier(group)))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))


def drop_owned(connection: psycopg.Connection, roles: Iterable[str]) -> None:
    """What the roles made, and what they were granted, in this database and on shared objects."""
    for role in roles:
        connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
