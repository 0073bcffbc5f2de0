"""The databases of tenants: connections to each tenant's own database, with its own role and search_path.

Each product of each tenant has a login role of its own, so connections are never shared between tenants. The helpers
keep what is idle in a bounded LRU, and look the tenant up again at each checkout: who is suspended gets no connection,
kept or new. That is the first fence. The second is the database's: the saga has closed the role by then.

Behind PgBouncer: pool by session, or let it track `search_path` (`track_extra_parameters`), since a connection sets it
when it begins; and give it a pool for each role (`auth_query`), since the role is what tells tenants apart.
"""

from __future__ import annotations

import os
import select
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from weakref import WeakSet

import psycopg
from psycopg.pq import TransactionStatus

from tenantry_client.context.credentials import Credentials
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.targets import Password, Target, target_of
from tenantry_client.context.tenancy import Tenancy

IDLE_CONNECTIONS: Final = 100
IDLE_PER_TENANT: Final = 4
CONNECT_SECONDS: Final = 5


_all: WeakSet[TenantConnections] = WeakSet()


def connect(target: Target, password: Password) -> psycopg.Connection:
    """A new connection with the role's search_path. Raises ContextRefused where the database lets the role not in.

    A password that is refused may have been rotated: where Credentials gave it, it is fetched once more.
    """
    given = password(target)
    try:
        return _connected(target, given)
    except psycopg.OperationalError as error:
        if "not permitted to log in" not in str(error) and "authentication failed" not in str(error):
            raise
        if isinstance(password, Credentials) and (again := password.renewed(target, refused=given)) != given:
            with suppress(psycopg.OperationalError):
                return _connected(target, again)
        raise ContextRefused("database-refused", f"the database does not let {target.role} in") from None


def _connected(target: Target, password: str) -> psycopg.Connection:
    return psycopg.connect(
        host=target.host,
        port=target.port,
        dbname=target.database,
        user=target.role,
        password=password,
        options=f"-c search_path={_option(target.schema)}",
        connect_timeout=CONNECT_SECONDS,
    )


def _option(schema: str) -> str:
    """A schema's name as libpq's options take it: quoted as an identifier, with backslashes before spaces."""
    quoted = '"' + schema.replace('"', '""') + '"'
    return quoted.replace("\\", "\\\\").replace(" ", "\\ ")


class TenantConnections:
    """Connections (psycopg) for one product. Safe for threads, and after a fork."""

    def __init__(self, tenancy: Tenancy, product: str, password: Password, *, idle: int = IDLE_CONNECTIONS) -> None:
        """`password` gives the password of a target's role; `idle` bounds what is kept, over all tenants."""
        self._tenancy = tenancy
        self._product = product
        self._password = password
        self._limit = idle
        self._lock = threading.Lock()
        self._idle: OrderedDict[Target, list[psycopg.Connection]] = OrderedDict()
        self._parents: list[object] = []
        _all.add(self)

    @contextmanager
    def connection(self, tenant_id: str, *, at_least: int = 0) -> Iterator[psycopg.Connection]:
        """A connection for a block: committed at its end, rolled back on an error. Raises ContextRefused."""
        target = target_of(self._tenancy.by_id(tenant_id, at_least), self._product)
        connection = self._take(target) or connect(target, self._password)
        try:
            yield connection
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise
        else:
            connection.commit()
        finally:
            self._give_back(target, connection)

    @property
    def kept(self) -> int:
        """How many connections are idle."""
        with self._lock:
            return sum(map(len, self._idle.values()))

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            kept, self._idle = self._idle, OrderedDict()
        for each in (connection for connections in kept.values() for connection in connections):
            each.close()

    def after_fork(self) -> None:
        """In a child: the connections are the parent's. Neither used nor closed here, which would end them there."""
        self._lock = threading.Lock()
        self._parents.append(self._idle)
        self._idle = OrderedDict()

    # -- inside

    def _take(self, target: Target) -> psycopg.Connection | None:
        while True:
            with self._lock:
                connections = self._idle.get(target)
                if not connections:
                    return None
                connection = connections.pop()
            if _is_quiet(connection):
                return connection
            connection.close()

    def _give_back(self, target: Target, connection: psycopg.Connection) -> None:
        if connection.closed or connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
            return
        surplus: list[psycopg.Connection] = []
        with self._lock:
            connections = self._idle.setdefault(target, [])
            self._idle.move_to_end(target)
            connections.append(connection)
            if len(connections) > IDLE_PER_TENANT:
                surplus.append(connections.pop(0))
            while sum(map(len, self._idle.values())) > self._limit:
                oldest = next(iter(self._idle))
                surplus += self._idle.pop(oldest)
        for each in surplus:
            each.close()


def _is_quiet(connection: psycopg.Connection) -> bool:
    """Whether the server has said nothing since: what it says unasked is that the session has ended."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return not poll.poll(0)


def _after_fork() -> None:
    for each in list(_all):
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
