"""Topology: the shards that can hold families.

A topology is the list of shards: databases, each on some PostgreSQL server (16 or later), that hold the
families of many tenants. Several may be on one server; roles and databases are shared by all of a server,
schemas are not.

What `prepare` makes on a shard, and keeps to ourselves:

    database of the shard       PUBLIC may neither connect nor make temporary tables
    ├── schema public           nothing for PUBLIC
    ├── schema tenantry         ours alone
    │   └── fences              scope -> the newest generation that was here; whether its database was made
    └── role tenantry_reach_*   NOLOGIN; CONNECT here and nothing else. Each family's group is its member, so
                                that the database's own list of rights stays short

The administrator of `Shard.url` is a superuser (the embedded server), or a role with CREATEROLE that owns
the shard's database, with CREATEDB as well under database isolation. Rights that a role without superuser
needs over the roles it makes come from `createrole_self_grant`, set for each session.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import psycopg
from psycopg import sql

from adapters.postgres.connection import Limits, connect, elsewhere, parsed
from adapters.postgres.errors import server_message, state_of, translated
from adapters.postgres.sessions import Sessions
from domain.configuration import shard_obstacle
from domain.errors import Contended, Obstacle, Retryable, Unavailable, Unreachable, UsageError, problem

log = logging.getLogger(__name__)

OURS: Final = "tenantry"
"""The schema on each shard (and in each database of its own) that no product role can look into."""

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Shard:
    """A database that holds many families. `url` is its administrator's; `capacity` counts families.

    `public_host` and `public_port` are where product roles reach it; None: as in `url`. `unreachable` says why it
    cannot be reached from here; `left`, that it was a shard once: its families are closed and removed, none is added.
    """

    name: str
    region: str
    url: str = field(repr=False)
    capacity: int = 10_000
    state: Literal["open", "draining", "closed"] = "open"
    isolation: Literal["schema", "database"] = "schema"
    public_host: str | None = None
    public_port: int | None = None
    unreachable: str | None = None
    left: bool = False

    def reached_at(self) -> tuple[str, int | str]:
        """Host and port at which product roles reach it: as set, else as in `url`, never by a socket.

        Of several hosts in the url, all are named, with commas between them as libpq takes them; so are several ports.
        """
        place = parsed(self.url)
        hosts = str(place.get("host") or place.get("hostaddr") or "").split(",")
        ports = str(place.get("port") or 5432).split(",")
        host = ",".join("127.0.0.1" if not each or each.startswith("/") else each for each in hosts)
        port = int(ports[0] or 5432) if len(set(ports)) == 1 else ",".join(each or "5432" for each in ports)
        return self.public_host or host, self.public_port or port


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long an effect waits: seconds for a statement, for a lock, for a connection.

    DROP DATABASE waits for a checkpoint: on a busy disk that takes seconds. `idle`: a session that says nothing for so
    long is ended by the server, for its worker sleeps, and others wait for what the session has locked.
    """

    statement: float = 20.0
    lock: float = 3.0
    connect: float = 5.0
    idle: float = 40.0


class Topology:
    """The shards by name, and at most `keep` open sessions of each. Every method may be called by many threads.

    `use` takes other shards while effects run: what they hold on to they keep until they are done.
    """

    def __init__(
        self, shards: Iterable[Shard], *, default_region: str, patience: Patience | None = None, keep: int = 0
    ) -> None:
        self._keep = keep
        self.shards: Mapping[str, Shard] = {}
        self._sessions: Mapping[str, Sessions] = {}
        self.use(shards, default_region=default_region, patience=patience or Patience())

    def use(self, shards: Iterable[Shard], *, default_region: str, patience: Patience) -> None:
        """These are the shards from here on. Raises UsageError, with nothing changed, for a region without any."""
        named = {shard.name: shard for shard in shards}
        regions = tuple(sorted({shard.region for shard in named.values() if not shard.left}))
        if default_region not in regions:
            known = ", ".join(regions) or "none"
            raise UsageError(problem("default-region-without-shard", default_region=default_region, known=known))
        before, kept = self.shards, self._sessions
        self.patience = patience
        self._sessions = {
            name: kept[name]
            if before.get(name) == shard
            else Sessions(partial(self._open, shard, None), keep=self._keep)
            for name, shard in named.items()
        }
        self.shards, self.regions, self.default_region = named, regions, default_region
        for name, sessions in kept.items():
            if self._sessions.get(name) is not sessions:
                sessions.close()

    def shard(self, name: str) -> Shard:
        """Raises Obstacle where a family lives on a shard that is not named any more, or not to be reached from here.

        It is waited for, without using up an attempt, until a configuration is adopted that names it.
        """
        shard = self.shards.get(name)
        if shard is None:
            raise Obstacle(
                shard_obstacle(name),
                f"shard {name} is in no adopted topology, but a family lives there: name it again in [[shards]], then"
                " adopt the configuration",
            )
        if shard.unreachable is not None:
            raise Obstacle(shard_obstacle(name), f"shard {name}, where a family lives: {shard.unreachable}")
        return shard

    def offered(self) -> list[str]:
        """The shards that take families, and those that did and are still named."""
        return [name for name, shard in self.shards.items() if not shard.left]

    @contextmanager
    def connect(self, name: str, *, database: str | None = None) -> Iterator[psycopg.Connection]:
        """An administrator's session, autocommit, in the shard's database or another of its server.

        Whatever PostgreSQL says against us is Retryable. The search path holds nothing that a tenant can
        write to, so that no function of theirs can stand in for one that we call.
        """
        shard = self.shard(name)
        own = database in (None, parsed(shard.url, of=f"shard {name}").get("dbname"))
        session = self._sessions[name]() if own else self._connect(shard, database)
        with reaching(f"shard {name}"), session as connection:
            yield connection

    def close(self) -> None:
        """End the sessions that were kept."""
        for sessions in self._sessions.values():
            sessions.close()

    def sync(self, connection: psycopg.Connection) -> None:
        """Write the topology into the control database's `shards`; one that is not named any more is closed.

        Raises UsageError for a shard that holds families and is named in another region than theirs.
        """
        with connection.transaction():
            for shard in sorted(self.shards.values(), key=lambda shard: shard.name):
                written = connection.execute(
                    "INSERT INTO shards (name, region, state, capacity) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (name) DO UPDATE SET"
                    " region = excluded.region, state = excluded.state, capacity = excluded.capacity"
                    " WHERE shards.used = 0 OR shards.region = excluded.region RETURNING name",
                    [shard.name, shard.region, "closed" if shard.left else shard.state, shard.capacity],
                ).fetchone()
                if written is None:
                    raise UsageError(problem("shard-region-moved", shard=shard.name, region=shard.region))
            connection.execute(
                "UPDATE shards SET state = 'closed' WHERE name <> ALL (%s) AND state <> 'closed'",
                [list(self.shards)],
            )

    def prepare(self) -> None:
        """Make every shard ready to take families. Idempotent, and safe when several processes start at once.

        Raises Unavailable for a shard that does not answer, UsageError for one that cannot serve.
        """
        for shard in self.shards.values():
            if shard.left:
                continue  # it was prepared when it was one, and may be gone by now
            if shard.unreachable is not None:
                raise UsageError(problem("shard-unusable", shard=shard.name, unreachable=shard.unreachable))
            remedy = f"start its server, or correct the url of shard {shard.name}"
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    with self._connect(shard, None) as connection:
                        _check(connection, shard)
                        with connection.transaction():
                            _prepare(connection)
                        _warn_of_open_databases(connection, shard)
                    break
                except (psycopg.Error, Unavailable) as error:
                    # Two that start at once trip over each other: IF NOT EXISTS is not atomic.
                    if state_of(error) not in _RACES or attempt == _ATTEMPTS:
                        text = f"shard {shard.name} cannot be prepared ({server_message(error)}): {remedy}"
                        why = error.why if isinstance(error, Unavailable) else "unavailable"
                        raise Unavailable(text, why=why) from None
                    time.sleep(0.05 * attempt)

    @contextmanager
    def _connect(self, shard: Shard, database: str | None) -> Iterator[psycopg.Connection]:
        with self._open(shard, database) as connection:
            yield connection

    def _open(self, shard: Shard, database: str | None) -> psycopg.Connection:
        patience = self.patience
        return connect(
            elsewhere(shard.url, database, of=f"shard {shard.name}"),
            part=f"shard {shard.name}",
            limits=Limits(patience.statement, patience.lock, patience.idle, patience.idle),
            autocommit=True,
            seconds=patience.connect,
            settings={"search_path": "pg_catalog, pg_temp", "createrole_self_grant": "set, inherit"},
        )


def reach_role(database: str) -> str:
    """The role that may connect to a shard's database, and do nothing else."""
    return f"tenantry_reach_{hashlib.sha256(database.encode()).hexdigest()[:20]}"


def close_to_public(connection: psycopg.Connection) -> None:
    """In the database we are in: nothing for PUBLIC, and the schema of ours with its fences."""
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(connection.info.dbname)))
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    ours = sql.Identifier(OURS)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(ours))
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(ours))
    connection.execute(
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {}.fences (scope text PRIMARY KEY, generation bigint NOT NULL,"
            " made boolean NOT NULL DEFAULT false)"
        ).format(ours)
    )


# -- errors --------------------------------------------------------------------------------------------------


@contextmanager
def reaching(part: str) -> Iterator[None]:
    """What PostgreSQL says against us may pass: Retryable, one line that names the part and no secret.

    Unreachable where the server itself is away.
    """
    try:
        yield
    except (psycopg.Error, Unavailable) as error:
        raise _failure(part, error) from error


def _failure(part: str, error: psycopg.Error | Unavailable) -> Retryable:
    """Unreachable where the server is away, or accepts no session now: that is an outage, no failure of a statement."""
    meant = translated(error, part)
    message = str(meant) if isinstance(error, Unavailable) else server_message(error)
    text = message if message.startswith(part) else f"{part}: {message}"
    is_away = isinstance(meant, Unavailable) and not isinstance(meant, Contended) and meant.why not in _NOT_AWAY
    return Unreachable(part, text) if is_away and state_of(error) != "57014" else Retryable(text)


_NOT_AWAY: Final = {"no-right", "not-migrated"}


# -- one shard -----------------------------------------------------------------------------------------------

_RACES: Final = {
    "23505",  # unique_violation: in the catalogue
    "42710",  # duplicate_object
    "42P06",  # duplicate_schema
    "42P07",  # duplicate_table
    "XX000",  # internal_error: "tuple concurrently updated"
}


def _check(connection: psycopg.Connection, shard: Shard) -> None:
    row = connection.execute(
        "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    superuser, createrole, createdb = row or (False, False, False)
    if not superuser and not (createrole and (createdb or shard.isolation == "schema")):
        needed = "CREATEROLE" if shard.isolation == "schema" else "CREATEROLE and CREATEDB"
        raise UsageError(problem("shard-role-lacks", shard=shard.name, user=connection.info.user, needed=needed))


def _prepare(connection: psycopg.Connection) -> None:
    close_to_public(connection)
    database = connection.info.dbname
    role = reach_role(database)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
    connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), sql.Identifier(role))
    )


def _warn_of_open_databases(connection: psycopg.Connection, shard: Shard) -> None:
    """Databases of the server that are not ours to close, but that every product role could enter."""
    rows = connection.execute(
        "SELECT datname FROM pg_database"
        " WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT') ORDER BY datname"
    )
    for (database,) in rows.fetchall():
        log.warning(
            "shard %s: every role may connect to database %s: REVOKE CONNECT ON DATABASE %s FROM PUBLIC",
            shard.name,
            database,
            database,
        )
