"""Actual state after a stream, for the comparison with the oracle.

It is read from the read models, the saga's log and the servers, as facts `(tenant, subject, aspect) -> value`. Each
resource is read from its server: a database from pg_namespace or pg_database, a login from pg_roles, an entitlement
from its row. A resource that belongs to no tenant is a fact too, about tenant `?`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, create_engine, text

from adapters.resources.entitlement import table_of
from adapters.resources.places import OUR_NAMES
from adapters.resources.topology import Topology
from domain.times import in_utc

Key = tuple[str, str, str]
Found = dict[Key, Any]
Subject = tuple[str, str, str]
"""Tenant, family, product."""

ORPHAN: Final = "?"


def find(database_url: str, topology: Topology, subjects: Collection[Subject]) -> Found:
    """All facts. `subjects` are the products that may be behind the hashed names on the shards."""
    engine = create_engine(database_url.replace("postgres://", "postgresql://").replace("postgresql:", _DIALECT, 1))
    try:
        with engine.connect() as connection:
            made = {**_read_models(connection), **_messages(connection), **_log(connection)}
            placements = _rows(connection, "SELECT * FROM placements WHERE schema_name IS NOT NULL")
    finally:
        engine.dispose()
    placed = {(row["tenant_id"], row["family"]): row for row in placements}
    known = {*subjects, *((tenant, family, "") for tenant, family in placed)}
    return {**made, **_servers(topology, placed, known)}


_DIALECT: Final = "postgresql+psycopg:"


def _rows(connection: Connection, query: str) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(text(query)).mappings()]


# -- the control database ------------------------------------------------------------------------------------------


def _read_models(connection: Connection) -> Found:
    made: Found = {}
    for row in _rows(connection, "SELECT * FROM sites"):
        if row["state"] != "absent":
            made[row["tenant_id"], "site", "name"] = row["site_name"]
            made[row["tenant_id"], "site", "customer"] = row["customer_id"]
            made[row["tenant_id"], "site", "state"] = row["state"]
            made[row["tenant_id"], "site", "access"] = row["access"]
    for row in _rows(connection, "SELECT * FROM site_products"):
        made[row["tenant_id"], row["product"], "in the site's set"] = row["access"]
    for row in _rows(connection, "SELECT tenant_id, product FROM configurations"):
        made[row["tenant_id"], row["product"] or "site", "configuration"] = True
    for row in _rows(connection, "SELECT * FROM identity_users"):
        users = made.setdefault((row["tenant_id"], row["product"] or "site", "users"), [])
        users.append((row["account_id"], row["name"], row["email"], tuple(row["roles"] or ())))
    for users in (value for (_, _, aspect), value in made.items() if aspect == "users"):
        users.sort()
    for row in _rows(connection, "SELECT DISTINCT tenant_id, product FROM identity_permissions"):
        made[row["tenant_id"], row["product"] or "site", "permissions"] = "in force"
    for row in _rows(connection, "SELECT * FROM licenses"):
        made[row["tenant_id"], row["product"], "license"] = _license(row)
    for row in _rows(connection, "SELECT * FROM placements"):
        made[row["tenant_id"], f"family {row['family']}", "region"] = row["region"]
    for row in _rows(connection, "SELECT tenant_id, kind, key, state, level FROM provisionings"):
        subject = {"site": "site", "family": f"family {row['key']}"}.get(row["kind"], row["key"])
        state = f"converged {row['level']}" if row["state"] == "converged" else row["state"]
        if state != "converged absent":
            made[row["tenant_id"], subject, "saga"] = state
    return made


def _license(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["edition"], row["users"], row["active"], _utc(row["expires_at"]), tuple(row["features"] or ()))


def _utc(time: datetime | None) -> datetime | None:
    return in_utc(time) if time else None


def _messages(connection: Connection) -> Found:
    made: Found = {}
    query = "SELECT rule, sum(1 + repeats)::int AS count FROM quarantine WHERE state = 'open' GROUP BY rule"
    for row in _rows(connection, query):
        made["", "quarantine", row["rule"]] = row["count"]
    for row in _rows(connection, "SELECT tenant_id, source, id FROM waiting"):
        made[row["tenant_id"], f"{row['source']} {row['id']}", "waits"] = True
    (row,) = _rows(
        connection,
        "SELECT coalesce(sum(duplicates), 0)::int AS duplicates,"
        " count(*) FILTER (WHERE outcome = 'stale') AS stale FROM incoming",
    )
    made["", "messages", "duplicates"], made["", "messages", "stale"] = row["duplicates"], row["stale"]
    return made


def _log(connection: Connection) -> Found:
    """Completions of one generation that were recorded more than once; there must be none."""
    query = """
        SELECT stream, generation, count(*) AS count FROM (
            SELECT originator_id AS stream, convert_from(state, 'UTF8')::json -> 'data' ->> 'generation' AS generation
            FROM stored_events WHERE topic = 'tenantry.step-completed') completed
        GROUP BY stream, generation HAVING count(*) > 1
    """
    return {
        ("", f"{row['stream']}, generation {row['generation']}", "completions"): row["count"]
        for row in _rows(connection, query)
    }


# -- the shards ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """Tenantry's resources on a shard: schemas of its database; databases and roles of its whole server.

    `roles`: name -> may log in. Shards on one server see the same databases and roles.
    """

    schemas: frozenset[str]
    databases: frozenset[str]
    roles: Mapping[str, bool]


def observe(topology: Topology, shard: str) -> Observed:
    """Read the resources from the shard itself, not from the log. Raises Retryable when it does not answer."""
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


def _servers(topology: Topology, placed: Mapping[tuple[str, str], Mapping[str, Any]], known: set[Subject]) -> Found:
    seen = {shard: observe(topology, shard) for shard in sorted(topology.shards)}
    families = {_hash(f"{tenant}/{family}"): (tenant, family) for tenant, family, _ in known}
    logins = {_hash(f"{tenant}/{family}/{key}"): (tenant, key) for tenant, family, key in known if key}
    made: Found = {}
    for name, places in _places(seen).items():
        owner = families.get(_hash_in(name))
        if owner is None:
            made[ORPHAN, name, "database"] = ", ".join(places)
        else:
            _once(made, (owner[0], f"family {owner[1]}", "database"), _where(topology, placed.get(owner), name, places))
    for name, may_log_in in {name: login for each in seen.values() for name, login in each.roles.items()}.items():
        hashed = _hash_in(name)
        if name.startswith("g_") and hashed in families:
            tenant, family = families[hashed]
            _once(made, (tenant, f"family {family}", "group role"), "may log in" if may_log_in else "there")
        elif name.startswith("r_") and hashed in logins:
            _once(made, (*logins[hashed], "login role"), "may log in" if may_log_in else "may not log in")
        else:
            made[ORPHAN, name, "role"] = "may log in" if may_log_in else "there"
    roles = {logins[_hash_in(name)]: name for each in seen.values() for name in each.roles if _hash_in(name) in logins}
    for key, value in _entitlements(topology, placed, roles, known):
        made[key] = value
    return made


def _hash(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()[:20]


def _hash_in(name: str) -> str:
    return name.split("_")[1]


def _places(seen: Mapping[str, Observed]) -> dict[str, list[str]]:
    """Schema or database -> the shards that have it. A database is seen from every shard of its server."""
    made: dict[str, list[str]] = {}
    for shard, observed in seen.items():
        for name in (*observed.schemas, *observed.databases):
            made.setdefault(name, []).append(shard)
    return made


def _where(topology: Topology, placement: Mapping[str, Any] | None, name: str, places: list[str]) -> str:
    if placement is None or name not in (placement["schema_name"], placement["database"]):
        return f"{name} on {', '.join(places)}, which no placement names"
    if placement["shard"] not in places:
        return f"on {', '.join(places)}, not on {placement['shard']} as placements say"
    return f"where placements say, in {topology.shards[placement['shard']].region}"


def _once(made: Found, key: Key, value: str) -> None:
    """Add a value; a second value for the same key is shown beside the first."""
    made[key] = f"{made[key]} and {value}" if key in made else value


def _entitlements(
    topology: Topology,
    placed: Mapping[tuple[str, str], Mapping[str, Any]],
    roles: Mapping[tuple[str, str], str],
    known: set[Subject],
) -> Iterator[tuple[Key, Any]]:
    """Each row of each entitlement table, and whether the role of the product that it is for can read it."""
    readers = {table_of(key): key for _, _, key in known if key}
    by_database: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for owner, row in placed.items():
        by_database.setdefault((row["shard"], row["database"]), []).append(owner)
    for (shard, database), owners in by_database.items():
        homes = {placed[owner]["schema_name"]: owner for owner in owners}
        with topology.connect(shard, database=database) as connection:
            tables = connection.execute(
                "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = ANY (%s) AND c.relname LIKE 'entitlement%%' AND c.relkind = 'r'",
                [list(homes)],
            ).fetchall()
            for schema, table in tables:
                tenant, _ = homes[schema]
                role = roles.get((tenant, readers.get(table, "")))
                rows = connection.execute(
                    "SELECT subject, edition, users, active, expires_at, features,"  # noqa: S608 - names that Tenantry made
                    " has_schema_privilege(%(role)s::name, %(schema)s, 'USAGE')"
                    " AND has_table_privilege(%(role)s::name, %(table)s, 'SELECT')"
                    " AND has_database_privilege(%(role)s::name, current_database(), 'CONNECT')"
                    f' FROM "{schema}"."{table}"'.encode(),
                    {"role": role, "schema": schema, "table": f'"{schema}"."{table}"'},
                ).fetchall()
                for subject, edition, users, active, expires_at, features, readable in rows:
                    entitlement = (edition, users, active, _utc(expires_at), tuple(features))
                    yield (tenant, subject, "entitlement on the shard"), entitlement
                    yield (tenant, subject, "entitlement is readable"), readable
