"""Fences of generations: an order of an older generation than the newest one is refused.

A worker that slept past its lease may go on at any moment and carry out an order that is out of date. So
each effect is in one transaction with a row that keeps the newest generation of its scope: the row is
locked first, an older order finds no row that it may update and is refused, and of two orders at once one
waits for the other to commit.

The rows outlive what they guard: after a removal it is they that refuse a late ensure. An orphan, which no order names,
is removed while the rows are locked against every writer (`unclaimed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import psycopg
from psycopg import sql

from adapters.postgres.connection import milliseconds
from adapters.resources.topology import OURS, Patience, reaching
from application.ports.resources import IsClaimed, Order
from domain.drift import CONTROL
from domain.errors import Fenced
from domain.event import Value
from domain.stream_name import ResourceName, ScopeId

Connect = Callable[[], AbstractContextManager[psycopg.Connection]]
"""Opens a session of the control database; `ConnectionPool.connection` is one."""

W = TypeVar("W", bound=Value)


def pass_fence(connection: psycopg.Connection, order: Order, *, schema: str = OURS) -> bool:
    """Lock the scope's fence for this transaction; True where the scope is new here. Raises Fenced."""
    return passed(passing_fence(connection, order, schema=schema), order)


def passing_fence(connection: psycopg.Connection, order: Order, *, schema: str = OURS) -> psycopg.Cursor:
    """The statement that locks the fence; `passed` reads its answer. In a pipeline others may follow it on the same
    way, for in a transaction that is refused nothing of them stays."""
    return connection.execute(
        sql.SQL(
            "INSERT INTO {fences} AS f (scope, generation) VALUES (%s, %s)"
            " ON CONFLICT (scope) DO UPDATE SET generation = excluded.generation"
            " WHERE f.generation <= excluded.generation RETURNING f.xmax = 0"
        ).format(fences=sql.Identifier(schema, "fences")),
        [str(order.scope), order.generation],
    )


def passed(passing: psycopg.Cursor, order: Order) -> bool:
    """Whether the scope is new here. Raises Fenced."""
    row = passing.fetchone()
    if row is None:
        raise Fenced(f"{order.scope} has seen a newer generation than {order.generation}: this outcome does not count")
    return bool(row[0])


@contextmanager
def fenced(connection: psycopg.Connection, order: Order) -> Iterator[None]:
    """A transaction that has passed the fence."""
    with connection.transaction():
        pass_fence(connection, order)
        yield


@contextmanager
def control_session(control: Connect, patience: Patience) -> Iterator[psycopg.Connection]:
    """A short transaction in the control database."""
    with reaching(CONTROL), control() as connection, connection.transaction():
        _limit(connection, patience)
        yield connection


@contextmanager
def control_transaction(control: Connect, order: Order, patience: Patience) -> Iterator[psycopg.Connection]:
    """The same, which has passed the fence. In a pipeline: what nobody waits for goes with the next statement, and an
    error of it comes with that one, or with the commit."""
    with reaching(CONTROL), control() as connection, connection.pipeline(), connection.transaction():
        _limit(connection, patience)
        pass_fence(connection, order, schema="public")
        yield connection


def _limit(connection: psycopg.Connection, patience: Patience) -> None:
    connection.execute(
        "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
        " set_config('idle_in_transaction_session_timeout', %s, true)",
        [milliseconds(each) for each in (patience.statement, patience.lock, patience.idle)],
    )


@contextmanager
def unclaimed(connection: psycopg.Connection, is_claimed: IsClaimed, *, schema: str = OURS) -> Iterator[bool]:
    """A transaction in which no executor passes a fence; whether nothing claims the orphan that goes in it.

    1  lock the fences (no order passes), ask once more whether an intent claims the thing
    2  remove it, in the same transaction
    3  commit: an order that waited for the lock goes on, and makes anew what its own intent says
    """
    with connection.transaction():
        fences = sql.Identifier(schema, "fences")
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(fences))
        yield not is_claimed()


def families(connection: psycopg.Connection) -> frozenset[str]:
    """The digests in the names of all families that passed a fence of this very shard.

    Roles and databases are shared by all shards of a server, and another Tenantry's may be there as well.
    """
    query = sql.SQL("SELECT scope FROM {}.fences WHERE scope LIKE 'family:%'").format(sql.Identifier(OURS))
    return frozenset(ResourceName.of("t", ScopeId.parse(scope), 0).digest for (scope,) in connection.execute(query))


def spec_of(order: Order, kind: type[W]) -> W:
    """The order's spec, which must be of the kind that the executor serves."""
    if not isinstance(order.spec, kind):
        raise TypeError(f"{order.idempotency_key}: expected a {kind.__name__}, got a {type(order.spec).__name__}")
    return order.spec
