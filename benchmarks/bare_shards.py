"""Bare script of a shard: the schema, the roles and the rights of a tenant by psycopg alone, one transaction each.

The peer of the provisioner with the executors of the embedded topology. It makes the same things on the same server and
with as many connections, and does nothing else: no log, no fence, no queue, no look at what is there already.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.resources.passwords import verifier_of

OBJECTS = ("TABLES", "SEQUENCES", "ROUTINES", "TYPES")
ENTITLEMENT = (
    "subject text PRIMARY KEY, edition text NOT NULL, users bigint NOT NULL, active boolean NOT NULL,"
    " expires_at timestamptz, features text[] NOT NULL, generation bigint NOT NULL,"
    " updated_at timestamptz NOT NULL DEFAULT now()"
)


def rate(postgres: EmbeddedPostgres, tenants: int, *, connections: int, shards: int) -> float:
    """Tenants a second, spread over as many databases as there are shards."""
    names = [f"bare_{uuid4().hex[:8]}" for _ in range(shards)]
    reach = f"bare_{uuid4().hex[:8]}"
    for name in names:
        postgres.create_database(name)
    try:
        with psycopg.connect(postgres.url(names[0]), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {reach} NOLOGIN".encode())
        shares = [
            partial(_provision, postgres.url(names[each % len(names)]), range(each, tenants, connections), reach)
            for each in range(connections)
        ]
        start = time.monotonic()
        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(lambda share: share(), shares))
        return tenants / (time.monotonic() - start)
    finally:
        for name in names:
            postgres.drop_database(name)


def _provision(url: str, numbers: range, reach: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number in numbers:
            connection.execute(_script(f"{reach}_{number}", reach).encode(), prepare=False)


def _script(name: str, reach: str) -> str:
    group, role, place = f"g_{name}", f"r_{name}", f"t_{name}"
    statements = [
        "BEGIN",
        f"CREATE ROLE {group} NOLOGIN",
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 50 PASSWORD '{verifier_of(name)}'",
        f"ALTER ROLE {role} SET search_path = {place}",
        f"GRANT {group} TO {role} WITH INHERIT TRUE, SET FALSE",
        f"GRANT {reach} TO {group} WITH INHERIT TRUE, SET FALSE",
        f"CREATE SCHEMA {place}",
        f"GRANT USAGE, CREATE ON SCHEMA {place} TO {group}",
        *(f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} IN SCHEMA {place} GRANT ALL ON {o} TO {group}" for o in OBJECTS),
        f"CREATE TABLE {place}.entitlement ({ENTITLEMENT})",
        f"GRANT SELECT ON {place}.entitlement TO {role}",
        "COMMIT",
    ]
    return ";".join(statements)
