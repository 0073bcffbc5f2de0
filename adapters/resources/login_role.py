"""Login roles: who may enter a family's database (step 6).

    r_<product>_g<born>  LOGIN, SCRAM    one for each product: a password, a search path, no right of its own
         │ INHERIT, never SET            what it has comes through the group; it cannot become it
    g_<family>_g<born>   NOLOGIN         USAGE and CREATE on the schema, and whatever its members left behind
         │
    CONNECT on one database              through the shard's reach role, or on the family's own database

The schema itself belongs to our administrator: a product can make and drop its own tables in it, not ours
and not the schema. Names are derived from what the order says, so that a worker that repeats an order finds what
a killed worker left.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from adapters.resources import passwords
from adapters.resources.fences import families, unclaimed
from adapters.resources.passwords import verifier_of
from adapters.resources.places import OUR_NAMES, Place, group_of, name_of, named, there
from adapters.resources.topology import Topology, reach_role
from application.ports.resources import IsClaimed, Order, Resource
from domain.drift import Expected, Finding, Look, Seen, Thing, by_place, completed
from domain.errors import Permanent, Retryable
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, RoleResult, Scope, Step
from domain.stream_name import ResourceName

_PAUSE_SECONDS: Final = 0.025


def role_password(master_key: bytes, scope: Scope | str, product: str, generation: int, *, rotation: int = 0) -> str:
    """The password of a product's login role; it is derived from the master key, and stored nowhere.

    `scope` is the family's; `generation` the one that the role is named after (`RoleResult.generation`). `rotation` is
    the version of its last rotation; 0 where there was none.
    """
    derived_from = f"{scope}/{product}/{generation}" + (f"/{rotation}" if rotation else "")
    return base64.urlsafe_b64encode(hmac.new(master_key, derived_from.encode(), hashlib.sha256).digest()).decode()


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


POWERS: Final = sql.SQL(
    "array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,"
    " CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,"
    " CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL)"
)
"""What the role `r` may do everywhere, in SQL: a login role of ours has nothing of it."""

GRANTEE: Final = sql.SQL("coalesce(g.rolname, 'PUBLIC')")
"""To whom a right was granted, in SQL, where `g` is joined to the grantee: no grantee is everybody."""


class LoginRoles(Resource):
    """Sees and clears away the roles of the families' databases, which make them (database.py)."""

    kinds = ("role",)
    lies_on = "shard"

    def __init__(self, topology: Topology, *, master_key: bytes, closing_seconds: float = 5.0) -> None:
        self._topology = topology
        self._master_key = master_key
        self._closing_seconds = closing_seconds

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Mapping[str, Look]:
        made = completed(snapshots, Step.DATABASE, DatabaseResult)
        return by_place((Expected(actual, result.shard, result) for _, actual, result in made), self.look)

    def look(self, shard: str, made: Sequence[Expected[DatabaseResult]]) -> Iterator[Seen]:
        with self._topology.connect(shard) as connection:
            places = there(connection, [family.result for family in made])
            open_ = [family for family in made if Place.of(family.result) in places]  # data_missing tells of the others
            roles = _roles(connection, [family.result for family in open_])
            derived = {
                role.role: role_password(
                    self._master_key, family.actual.scope, role.product, role.generation, rotation=role.rotation
                )
                for family in open_
                for role in family.result.roles
            }
            for role in passwords.changed(connection, derived, url=self._topology.shards[shard].url) & roles.keys():
                roles[role] = roles[role]._replace(locked_out="has another password than the one derived for it")
        for family in open_:
            yield family.seen(findings(family.result, roles))

    def things(self, where: str) -> Iterator[Thing]:
        """Also a role that is a member of a family's group, whatever its name."""
        with self._topology.connect(where) as connection:
            ours = families(connection)
            rows = connection.execute(
                "SELECT r.rolname, array(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
                " WHERE m.member = r.oid AND g.rolname ~ %s) FROM pg_roles r WHERE r.rolname ~ %s",
                [OUR_NAMES, OUR_NAMES],
            ).fetchall()
        for name, groups in rows:
            if any(ResourceName.parse(each).digest in ours for each in (name, *groups)):
                yield Thing(where, "role", name)

    def owned(self, actual: Provisioning) -> Iterator[Thing]:
        if database := actual.steps.get(Step.DATABASE):
            names = Names.created_as(actual.scope, database.created_generations)
            for role in (names.group, *names.logins.values()):
                yield from (Thing(shard, "role", role) for shard in self._topology.shards)

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        """It may not log in any more before its sessions are ended, and goes only if it owns nothing: what it made may
        be somebody's."""
        role = thing.name
        with self._topology.connect(thing.where) as connection:
            with unclaimed(connection, is_claimed) as free:
                if not free or not named(connection, "role", [role]):
                    return [] if free else None
                _expect_ours(connection, role)
                forbid_login(connection, [role])
            end_sessions(connection, [role], seconds=self._closing_seconds)
            with unclaimed(connection, is_claimed) as free:
                if free and named(connection, "role", [role]):
                    _expect_to_own_nothing(connection, role)
                    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))  # its rights alone
                    drop_roles(connection, [role])
        return [] if free else None


class Role(NamedTuple):
    """A login role. `opens`: it can use the family's place; `beyond`: what it was never given.

    `locked_out`: why no product gets in by it, though it may log in (another password, an end that is over).
    """

    login: bool
    opens: bool
    beyond: Sequence[str] = ()
    locked_out: str | None = None


def findings(result: DatabaseResult, roles: Mapping[str, Role]) -> Iterator[Finding]:
    """What differs, where these roles are there."""
    for made in result.roles:
        name, role = f"login role {made.role} of {made.product}", roles.get(made.role)
        if role is None:
            yield Finding(Step.DATABASE, "missing", f"{name} is not there")
        elif (difference := _difference(made, role, name_of(result))) is not None:
            yield Finding(Step.DATABASE, "differs", f"{name} {difference}")


def _difference(made: RoleResult, role: Role, place: str) -> str | None:
    if role.login != made.login:
        return "can log in, and must not" if role.login else "cannot log in, and should"
    if role.locked_out is not None or not role.opens:
        return role.locked_out or f"may not use {place}"
    return f"has what it was never given: {', '.join(role.beyond)}" if role.beyond else None


def _roles(connection: psycopg.Connection, made: Sequence[DatabaseResult]) -> dict[str, Role]:
    """Each login role is of one group, named like the place that it opens but for the first letter. A group that has
    lost its rights opens nothing."""
    asked = [(role.role, group_of(result), name_of(result)) for result in made for role in result.roles]
    look = sql.SQL(
        "SELECT r.rolname, r.rolcanlogin, EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
        "  LEFT JOIN pg_namespace n ON n.nspname = k.place LEFT JOIN pg_database d ON d.datname = k.place"
        "  WHERE m.member = r.oid AND g.rolname = k.own"
        "  AND has_database_privilege(g.oid, coalesce(d.datname, current_database()), 'CONNECT') AND (n.oid IS NULL OR"
        "  has_schema_privilege(g.oid, n.oid, 'USAGE') AND has_schema_privilege(g.oid, n.oid, 'CREATE'))),"
        " {} || array(SELECT 'membership of ' || g.rolname FROM pg_auth_members m"
        "  JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles b ON b.oid = m.member"
        "  WHERE b.rolname IN (k.role, k.own) AND g.rolname NOT IN (k.own, %s) ORDER BY 1)"
        ", CASE WHEN r.rolvaliduntil <= now() THEN 'cannot log in: the end of its password is over'"
        "  WHEN r.rolconnlimit = 0 THEN 'cannot log in: its connection limit is 0' END"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (role, own, place) JOIN pg_roles r ON r.rolname = k.role"
    ).format(POWERS)
    columns = [list(column) for column in zip(*asked, strict=True)] or [[], [], []]
    rows = connection.execute(look, [reach_role(connection.info.dbname), *columns]).fetchall()
    return {name: Role(*seen) for name, *seen in rows}


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


# -- what is true of all databases of a server ---------------------------------------------------------------


def ensuring_group(connection: psycopg.Connection, group: str, *, there: Collection[str]) -> list[sql.Composable]:
    """The statements that make the NOLOGIN role that a family's rights hang on; `there` has the roles that are there
    already. One that is there is rid of what it was never given."""
    if group not in there:
        return [sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(group))]
    _take_back(connection, group, keep=reach_role(connection.info.dbname))
    return []


def ensuring_login(
    connection: psycopg.Connection,
    role: str,
    *,
    group: str,
    password: str,
    login: bool,
    schema: str,
    sessions: int,
    there: Collection[str],
) -> list[sql.Composable]:
    """The statements by which the role is a member of its group and may log in, or not, with at most so many sessions
    at a time."""
    name = sql.Identifier(role)
    verb = "ALTER ROLE {} {}"
    if role in there:
        _take_back(connection, role, keep=group)
    else:
        verb = "CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS {}"
    # The verifier is computed here: the password itself never reaches the server, nor its log of statements.
    opened = sql.SQL(f"{verb} CONNECTION LIMIT {{}} PASSWORD {{}} VALID UNTIL 'infinity'").format(
        name, sql.SQL("LOGIN" if login else "NOLOGIN"), sql.Literal(sessions), sql.Literal(verifier_of(password))
    )
    path = sql.SQL("ALTER ROLE {} SET search_path = {}").format(name, sql.Identifier(schema))
    member = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE").format(sql.Identifier(group), name)
    return [opened, path, member]


def _take_back(connection: psycopg.Connection, role: str, *, keep: str) -> None:
    """Unexpected grants of the role; `keep` is the group that it belongs to. No word of what is not so:
    not every administrator may say `NOSUPERUSER`."""
    name = sql.Identifier(role)
    row = connection.execute(
        sql.SQL("SELECT {} FROM pg_roles r WHERE r.rolname = %s").format(POWERS), [role]
    ).fetchone()
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
    between them must find no session. Raises Retryable when a session is still open after `seconds`.
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


def granting_rights(
    connection: psycopg.Connection, schema: str, *, group: str, logins: Collection[str], is_new: bool
) -> list[sql.Composable]:
    """The statements by which only the group may use the schema; what one of the logins makes in it, the others may use
    as well.

    Of a schema that was just made (`is_new`) nobody has a right yet.
    """
    place, everybody = sql.Identifier(schema), sql.Identifier(group)
    found = [] if is_new else connection.execute(_UNEXPECTED_GRANTS, [schema, group]).fetchall()
    revoked: list[sql.Composable] = [
        sql.SQL("REVOKE ALL ON SCHEMA {} FROM {} CASCADE").format(
            place, sql.SQL("PUBLIC") if grantee == "PUBLIC" else sql.Identifier(grantee)
        )
        for (grantee,) in found
    ]
    granted = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(place, everybody)
    makers = sql.SQL(", ").join(map(sql.Identifier, logins))
    shared = [
        sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT ALL ON {} TO {}").format(
            makers, place, sql.SQL(objects), everybody
        )
        for objects in ("TABLES", "SEQUENCES", "ROUTINES", "TYPES")
        if logins
    ]
    return [*revoked, granted, *shared]


_UNEXPECTED_GRANTS: Final = sql.SQL(
    "SELECT DISTINCT {} FROM pg_namespace n, aclexplode(n.nspacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee"
    " WHERE n.nspname = %s AND a.grantee <> n.nspowner AND g.rolname IS DISTINCT FROM %s"
).format(GRANTEE)


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
