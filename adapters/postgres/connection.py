"""Connections to PostgreSQL, all made here: every session setting that Tenantry relies on is set by Tenantry.

A server, a database and a role may each have defaults of their own for each setting of a session, and a pooler may hand
over a session that another part has changed. What a statement means must not depend on them:

    time zone, date style, interval style       how times come back as text; year 9999 overflows east of Greenwich
    isolation level                             a check after a lock is blind in a snapshot that is older than the lock
    search path                                 whose tables are meant, and that no foreign function replaces one
    encoding, literals, bytea, digits           how text, bytes and numbers travel
    parallel workers                            a reader beside the writers leaves the other processors to them
    time-outs of statements, locks, idleness    what a hung session holds is let go; what is long is not cut off
    synchronous_commit                          a commit that was confirmed survives the server, unless we say otherwise

`default_transaction_read_only` is left alone: it is how operators and clouds say that a server takes no writes, and a
server that takes none is `read-only` (errors.py), for as long as it lasts.

    connect(url)        one connection         Session(url)   one that is made anew whenever it broke
    engine.py           SQLAlchemy's           sessions.py    several, kept for many threads
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import RowFactory, tuple_row

from adapters.postgres.deadline import DeadlineConnection, seconds_left
from adapters.postgres.errors import answering
from domain.errors import UsageError, problem

OLDEST_SERVER: Final = 160000
CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many seconds the server ends what; 0 is never.

    `statement` runs, `lock` is waited for, `idle_in_transaction` a transaction says nothing, `idle` a session does.
    """

    statement: float = 60.0
    lock: float = 10.0
    idle_in_transaction: float = 60.0
    idle: float = 0.0


SHORT: Final = Limits()
"""For what answers at once: questions of commands, rows of a worker's own."""

LONG: Final = Limits(statement=0, lock=0, idle_in_transaction=0)
"""For what reads or builds the whole log: migrations, rebuilds, the seal, exports, imports."""

_FIXED: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "client_min_messages": "warning",
    "password_encryption": "scram-sha-256",
    "search_path": "public, pg_temp",
    "max_parallel_workers_per_gather": "0",
}

_ADDRESS: Final[Mapping[str, str]] = {
    "application_name": "tenantry",
    # A peer that vanished without a word is noticed in 25 seconds, not in two hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""What an address that does not say otherwise gets."""


def connect(
    url: str,
    *,
    part: str | None = None,
    limits: Limits = SHORT,
    autocommit: bool = False,
    row_factory: RowFactory[Any] = tuple_row,
    seconds: float = CONNECT_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> psycopg.Connection[Any]:
    """A connection with all settings of ours, and with `settings` beside them.

    `part` is what messages call the server. Raises Unavailable where it does not answer, UsageError where the address
    cannot be read or the server is too old. Under a deadline (deadline.py) it keeps to it.
    """
    address = parsed(url, of=part or "the database")
    part = part or named(url)
    left = seconds_left()
    opened = psycopg.connect if left is None else DeadlineConnection[Any].connect
    seconds = seconds if left is None else min(seconds, left)
    with answering(part):
        connection = opened(
            **{
                **_ADDRESS,
                "connect_timeout": max(2, round(seconds)),  # libpq knows no less than two seconds
                **address,
                "client_encoding": "UTF8",
            },
            autocommit=True,
            row_factory=row_factory,
        )
        try:
            _expect_new_enough(connection, part)
            _set(connection, limits, settings or {})
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
    return connection


def _expect_new_enough(connection: psycopg.Connection[Any], part: str) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        needed = OLDEST_SERVER // 10000
        raise UsageError(problem("postgresql-too-old", part=part, needed=needed, version=version // 10000))


def _set(connection: psycopg.Connection[Any], limits: Limits, settings: Mapping[str, str]) -> None:
    desired_state = {
        **_FIXED,
        "statement_timeout": milliseconds(limits.statement),
        "lock_timeout": milliseconds(limits.lock),
        "idle_in_transaction_session_timeout": milliseconds(limits.idle_in_transaction),
        "idle_session_timeout": milliseconds(limits.idle),
        **({"transaction_timeout": "0"} if connection.info.server_version >= 170000 else {}),
        **settings,
    }
    each = ", ".join(["set_config(%s, %s, false)"] * len(desired_state))
    kept = (
        ""
        if "synchronous_commit" in desired_state
        else ", set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)"
    )
    pairs = [text for pair in desired_state.items() for text in pair]
    connection.execute(f"SELECT {each}{kept}".encode(), pairs)


def milliseconds(seconds: float) -> str:
    """As PostgreSQL's time-outs want it: 0 is never, and nothing else becomes 0."""
    return f"{max(1, round(seconds * 1000))}ms" if seconds else "0"


# -- addresses -------------------------------------------------------------------------------------------------------


def parsed(url: str, *, of: str = "the database") -> dict[str, Any]:
    """The parts of an address. Raises UsageError, which repeats nothing of it: it may be a password."""
    try:
        address = {name: value for name, value in conninfo_to_dict(url).items() if value is not None}
    except (psycopg.ProgrammingError, UnicodeError):
        address = {"port": "unreadable"}  # not the cause of ours: its text quotes what it could not read
    # An unescaped @ or / in a password makes a host, a port or a name of the rest of it, which messages would show.
    misread = any("@" in str(address.get(name, "")) for name in ("host", "hostaddr", "dbname"))
    if misread or not re.fullmatch(r"[0-9,]*", str(address.get("port", ""))):
        raise _unreadable(of)
    return address


def _unreadable(of: str) -> UsageError:
    return UsageError(problem("address-unreadable", of=of))


def elsewhere(url: str, database: str | None, *, of: str = "the database") -> str:
    """The address of another database of the same server; None: as it is."""
    return make_conninfo("", **{**parsed(url, of=of), **({"dbname": database} if database is not None else {})})


def without_secrets(url: str) -> str:
    """The address for people: user, hosts and name, without a password and without its other parameters."""
    address = parsed(url)
    hosts, ports = (str(address.get(name) or "").split(",") for name in ("host", "port"))
    places = [
        quote(host, safe="") + (f":{port}" if port else "")
        for host, port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=False)
    ]
    user = f"{quote(str(address['user']), safe='')}@" if address.get("user") else ""
    return f"postgresql://{user}{','.join(places)}/{quote(str(address.get('dbname') or ''), safe='')}"


def named(url: str) -> str:
    """What messages call it: `the database NAME on HOST`."""
    address = parsed(url)
    host = address.get("host") or address.get("hostaddr") or "the local socket"
    return f"the database {address.get('dbname') or address.get('user') or 'postgres'} on {host}"


# -- one session, made anew ----------------------------------------------------------------------------------------


class Session:
    """One connection: made when it is first asked for, and anew after anything went wrong. Not for several threads."""

    def __init__(
        self,
        url: str,
        *,
        part: str = "the database",
        limits: Limits = SHORT,
        row_factory: RowFactory[Any] = tuple_row,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._part = part
        self._limits = limits
        self._row_factory = row_factory
        self._settings = settings
        self._connection: psycopg.Connection[Any] | None = None
        self.number = 0
        """Of the connection: a lock of the session is lost when the number is another one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    @contextmanager
    def __call__(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, in autocommit. Whatever is raised within closes it; PostgreSQL's errors come as ours."""
        try:
            with answering(self._part):
                yield self._opened()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = connect(
                self._url,
                limits=self._limits,
                autocommit=True,
                row_factory=self._row_factory,
                settings=self._settings,
            )
            self.number += 1
        return self._connection
