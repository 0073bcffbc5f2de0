"""What is really there of what the executors made?

One look answers for many tenants: a query or two for each shard, whatever their number; only a family with a database
of its own (database isolation) costs a session more, for its entitlements. Nothing is locked and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import psycopg
from psycopg import errors, sql

from adapters.resources import passwords
from adapters.resources.fences import Connect
from adapters.resources.login_role import GRANTEE, OUR_NAMES, POWERS, Names, role_password
from adapters.resources.topology import OURS, Topology, reach_role, reaching
from application.orphan_removal import entitlement
from domain.catalog import Catalog
from domain.drift import (
    CONTROL,
    Entitlement,
    Inventory,
    Observed,
    Place,
    Role,
    Thing,
    entitled,
    place_of,
)
from domain.errors import Obstacle, Retryable
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, Scope, SiteResult, SiteSpec, Step
from domain.stream_name import ResourceName, SiteReservation

_LOOKS: Final = 3
"""How often entitlements are read again when a table goes while they are read."""

_TOGETHER: Final = 500
"""Schemas whose entitlements are read by one query."""

_ENTERABLE: Final = "SELECT datname FROM pg_database WHERE datname = ANY (%s) AND datallowconn AND datconnlimit <> -2"
"""Without those that are just being made, or whose DROP was cut short."""

UnexpectedGrants = dict[Place, tuple[str, ...]]
Entitlements = dict[tuple[str, str, str], Entitlement]


class Observer:
    """Looks at the control database and at the shards of a topology."""

    def __init__(self, control: Connect, topology: Topology, catalog: Catalog, *, master_key: bytes) -> None:
        self._control = control
        self._topology = topology
        self._catalog = catalog
        self._master_key = master_key

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Observed:
        """What is there of these tenants' things. A part that does not answer is named in `silent`."""
        unreachable: dict[str, str] = {}
        names: dict[str, str] = {}
        rooms: dict[str, str] = {}
        try:
            names, rooms = self._reservations(snapshots)
        except Retryable as error:
            unreachable[CONTROL] = str(error)
        by_shard: dict[str, list[DatabaseResult]] = {}
        for facts in self._databases(snapshots):
            by_shard.setdefault(facts.shard, []).append(facts)
        places: set[Place] = set()
        unexpected_grants: UnexpectedGrants = {}
        roles: dict[tuple[str, str], Role] = {}
        entitlements: Entitlements = {}
        for shard, families in sorted(by_shard.items()):
            try:
                there, others, logins, licensed = self._look(shard, families, self._passwords(shard, snapshots))
            except (Retryable, Obstacle) as error:
                unreachable[shard] = str(error)
            else:
                places |= there
                unexpected_grants |= others
                roles |= {(shard, name): role for name, role in logins.items()}
                entitlements |= licensed
        return Observed(names, rooms, frozenset(places), unexpected_grants, roles, entitlements, unreachable)

    def inventory(self) -> Inventory:
        """Everything that is named as the executors name it.

        Roles and databases are shared by all shards of a server, and another Tenantry's may be there as well:
        only what belongs to a family that passed a fence of this very shard is listed.
        """
        unreachable: dict[str, str] = {}
        things: set[Thing] = set()
        try:
            with reaching(CONTROL), self._control() as connection:
                names = connection.execute("SELECT site_name, tenant_id FROM site_names").fetchall()
                rooms = connection.execute("SELECT scope FROM placements_reserved").fetchall()
            things |= {Thing(CONTROL, "site name", str(SiteReservation(name, tenant_id))) for name, tenant_id in names}
            things |= {Thing(CONTROL, "room", scope) for (scope,) in rooms}
        except Retryable as error:
            unreachable[CONTROL] = str(error)
        for shard in self._inhabited(unreachable):
            try:
                with self._topology.connect(shard) as connection:
                    found = set(_inventory(connection, shard))
                    found |= set(
                        _entitled(connection, shard, [thing.name for thing in found if thing.kind == "schema"])
                    )
                for thing in sorted(found):
                    if thing.kind == "database":
                        with self._topology.connect(shard, database=thing.name) as inside:
                            found |= set(_entitled(inside, shard, ["public"]))
                things |= found
            except (Retryable, Obstacle) as error:
                unreachable[shard] = str(error)
        return Inventory(frozenset(things), unreachable)

    def _inhabited(self, unreachable: Mapping[str, str]) -> Iterator[str]:
        """The shards where something may lie: those of the topology, and those that have left with families on them."""
        used: set[str] = set()
        if CONTROL not in unreachable:
            with reaching(CONTROL), self._control() as connection:
                used = {name for (name,) in connection.execute("SELECT name FROM shards WHERE used > 0").fetchall()}
        offered = {name for name, shard in self._topology.shards.items() if not shard.left}
        yield from sorted(offered | used)

    def owned(self, actual: Provisioning) -> set[Thing]:
        """What of that is the scope's, or perhaps is: a step that was started counts, whatever its outcome."""
        scope, found = actual.scope, set[Thing]()
        if scope.kind == "site" and (site := actual.steps.get(Step.SITE)):
            for known in (site.spec, site.facts):
                if isinstance(known, SiteSpec | SiteResult):
                    found.add(Thing(CONTROL, "site name", str(SiteReservation(known.site_name, scope.tenant_id))))
        if scope.kind == "family" and Step.REGION in actual.steps:
            found.add(Thing(CONTROL, "room", str(scope)))
        if scope.kind == "family" and (database := actual.steps.get(Step.DATABASE)):
            names = Names.created_as(scope, database.created_generations)
            for shard in self._topology.shards:
                found |= {Thing(shard, "schema", names.place), Thing(shard, "database", names.place)}
                found |= {Thing(shard, "role", role) for role in (names.group, *names.logins.values())}
        return found

    def _databases(self, snapshots: Iterable[TenantSnapshot]) -> Iterable[DatabaseResult]:
        """Each family's database once, as its step 6 found it."""
        found: dict[Place, DatabaseResult] = {}
        for snapshot in snapshots:
            for scope, actual in snapshot.scopes.items():
                for ensured in actual.steps.values():
                    if isinstance(ensured.facts, DatabaseResult):
                        found[place_of(ensured.facts)] = ensured.facts
                if scope.kind == "product" and (home := entitled(scope, snapshot, catalog=self._catalog)[1]):
                    found[place_of(home)] = home
        return found.values()

    def _reservations(self, snapshots: Sequence[TenantSnapshot]) -> tuple[dict[str, str], dict[str, str]]:
        tenants = [snapshot.tenant.id for snapshot in snapshots]
        wished = [
            snapshot.tenant.attributes.value.site_name
            for snapshot in snapshots
            if snapshot.tenant.attributes is not None
        ]
        families = [str(scope) for snapshot in snapshots for scope in snapshot.scopes if scope.kind == "family"]
        with reaching(CONTROL), self._control() as connection:
            names = connection.execute(
                "SELECT site_name, tenant_id FROM site_names WHERE tenant_id = ANY (%s) OR site_name = ANY (%s)",
                [tenants, wished],
            ).fetchall()
            rooms = connection.execute(
                "SELECT scope, shard FROM placements_reserved WHERE scope = ANY (%s)", [families]
            ).fetchall()
        return dict(names), dict(rooms)

    def _passwords(self, shard: str, snapshots: Iterable[TenantSnapshot]) -> dict[str, str]:
        """What the master key derives for each login role on the shard."""
        return {
            role.role: role_password(self._master_key, scope, role.product, role.generation)
            for snapshot in snapshots
            for scope, actual in snapshot.scopes.items()
            for ensured in actual.steps.values()
            if isinstance(ensured.facts, DatabaseResult) and ensured.facts.shard == shard
            for role in ensured.facts.roles
        }

    def _look(
        self, shard: str, families: Sequence[DatabaseResult], derived: Mapping[str, str]
    ) -> tuple[set[Place], UnexpectedGrants, dict[str, Role], Entitlements]:
        with self._topology.connect(shard) as connection:
            here = connection.info.dbname
            schemas = _names(
                connection,
                "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)",
                [facts.schema_name for facts in families if facts.database == here],
            )
            databases = _names(
                connection,
                "SELECT datname FROM pg_database WHERE datname = ANY (%s) AND datconnlimit <> -2",
                [facts.database for facts in families if facts.database != here],
            )
            roles = _roles(connection, families)
            for role in passwords.changed(connection, derived, url=self._topology.shards[shard].url) & roles.keys():
                roles[role] = replace(roles[role], locked_out="has another password than the one derived for it")
            entitlements = _entitlements(connection, shard, sorted(schemas))
            groups = {facts.schema_name: _group(facts) for facts in families if facts.schema_name in schemas}
            unexpected_grants = _unexpected_grants(connection, shard, groups)
        for database in sorted(databases):
            with self._topology.connect(shard, database=database) as inside:
                entitlements |= _entitlements(inside, shard, ["public"])
                unexpected_grants |= _unexpected_grants(inside, shard, {"public": _group_of(database)})
        places = {
            place_of(facts)
            for facts in families
            if (facts.schema_name in schemas if facts.database == here else facts.database in databases)
        }
        return places, unexpected_grants, roles, entitlements


def _inventory(connection: psycopg.Connection, shard: str) -> Iterator[Thing]:
    fenced = connection.execute(
        sql.SQL("SELECT scope FROM {}.fences WHERE scope LIKE 'family:%'").format(sql.Identifier(OURS))
    ).fetchall()
    ours = {ResourceName.of("t", Scope.parse(scope), 0).digest for (scope,) in fenced}

    def is_ours(place: str) -> bool:
        try:
            return ResourceName.parse(place).digest in ours
        except ValueError:  # a role may be a member of any other
            return False

    for (name,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s", [OUR_NAMES]).fetchall():
        yield Thing(shard, "schema", name)
    databases = "SELECT datname FROM pg_database WHERE datname ~ %s"
    for (name,) in connection.execute(databases, [OUR_NAMES]).fetchall():
        if is_ours(name):
            yield Thing(shard, "database", name)
    roles = connection.execute(
        "SELECT r.rolname, array(SELECT 't' || substr(g.rolname, 2) FROM pg_auth_members m"
        " JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) FROM pg_roles r WHERE r.rolname ~ %s",
        [OUR_NAMES],
    ).fetchall()
    for name, places in roles:
        if is_ours(f"t{name[1:]}") or any(is_ours(place) for place in places):
            yield Thing(shard, "role", name)


def _entitled(connection: psycopg.Connection, shard: str, schemas: list[str]) -> Iterator[Thing]:
    """The entitlements in the schemas, or in the database that we are in."""
    for start in range(0, len(schemas), _TOGETHER):
        for _, location, product in _entitlements(connection, shard, schemas[start : start + _TOGETHER]):
            database, schema, _ = location.rsplit(".", 2)
            yield entitlement(shard, product, database if schema == "public" else schema)


def _names(connection: psycopg.Connection, query: str, asked: list[str]) -> set[str]:
    return {name for (name,) in connection.execute(query.encode(), [asked]).fetchall()}


def _roles(connection: psycopg.Connection, families: Sequence[DatabaseResult]) -> dict[str, Role]:
    """Each login role is of one group, named like the place that it opens but for the first letter (login_role.py). A
    group that has lost its rights opens nothing."""
    asked = [(role.role, _group(facts), _name(facts)) for facts in families for role in facts.roles]
    look = sql.SQL(
        "SELECT r.rolname, r.rolcanlogin, EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
        "  LEFT JOIN pg_namespace n ON n.nspname = k.place LEFT JOIN pg_database d ON d.datname = k.place"
        "  WHERE m.member = r.oid AND g.rolname = k.own"
        "  AND has_database_privilege(g.oid, coalesce(d.datname, current_database()), 'CONNECT') AND (n.oid IS NULL OR"
        "  has_schema_privilege(g.oid, n.oid, 'USAGE') AND has_schema_privilege(g.oid, n.oid, 'CREATE'))),"
        " {} || array(SELECT 'membership of ' || g.rolname FROM pg_auth_members m"
        "  JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles b ON b.oid = m.member"
        "  WHERE b.rolname IN (k.role, k.own) AND g.rolname NOT IN (k.own, %s) ORDER BY 1), k.place"
        ", CASE WHEN r.rolvaliduntil <= now() THEN 'cannot log in: the end of its password is over'"
        "  WHEN r.rolconnlimit = 0 THEN 'cannot log in: its connection limit is 0' END"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS k (role, own, place) JOIN pg_roles r ON r.rolname = k.role"
    ).format(POWERS)
    columns = [list(column) for column in zip(*asked, strict=True)] or [[], [], []]
    rows = connection.execute(look, [reach_role(connection.info.dbname), *columns]).fetchall()
    return {
        name: Role(login, frozenset([place] if opens else []), tuple(beyond), locked_out)
        for name, login, opens, beyond, place, locked_out in rows
    }


def _unexpected_grants(connection: psycopg.Connection, shard: str, groups: Mapping[str, str]) -> UnexpectedGrants:
    """Who may use these schemas, given with the group of each, besides that and the owner."""
    look = sql.SQL(
        "SELECT n.nspname, array_agg(DISTINCT {who} ORDER BY {who})"
        " FROM unnest(%s::text[], %s::text[]) AS k (schema, own)"
        " JOIN pg_namespace n ON n.nspname = k.schema CROSS JOIN aclexplode(n.nspacl) a"
        " LEFT JOIN pg_roles g ON g.oid = a.grantee"
        " WHERE a.grantee <> n.nspowner AND g.rolname IS DISTINCT FROM k.own GROUP BY n.nspname"
    ).format(who=GRANTEE)
    rows = connection.execute(look, [list(groups), list(groups.values())]).fetchall()
    return {Place(shard, connection.info.dbname, schema): tuple(others) for schema, others in rows}


def _name(facts: DatabaseResult) -> str:
    return facts.schema_name if facts.isolation == "schema" else facts.database


def _group(facts: DatabaseResult) -> str:
    return _group_of(_name(facts))


def _group_of(place: str) -> str:
    return str(ResourceName.parse(place).group)


def _entitlements(connection: psycopg.Connection, shard: str, schemas: list[str]) -> Entitlements:
    """Every row of the tables that are ours in these schemas, in two queries."""
    for _ in range(_LOOKS):
        tables = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = ANY (%s) AND c.relname LIKE 'entitlement\\_%%' AND c.relkind = 'r'"
            " AND pg_get_userbyid(c.relowner) = current_user",
            [schemas],
        ).fetchall()
        if not tables:
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
        return {
            (shard, location, subject): Entitlement(edition, users, active, expires_at, tuple(features))
            for location, subject, edition, users, active, expires_at, features in rows
        }
    raise Retryable(f"shard {shard}: entitlements come and go while they are read: look again later")
