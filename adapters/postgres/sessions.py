"""Session pool: open sessions of a database, kept for the next use.

To open one takes the server longer than most effects do. `Sessions` keeps a few that ended well for the next who asks;
one in which anything went wrong is closed. A kept session whose server has gone shows in its socket, and is not used.
Each use leaves it as it was: no transaction, no lock, no setting of its own.

Nothing is opened ahead and nothing in the background: a server that is away is an error at once, with the server's own
reason, and one that is back is used at once. A pool that tries again after pauses that grow comes late by the last.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from adapters.postgres.errors import is_worth_keeping


class Sessions:
    """Sessions that `connect` opens, of which at most `keep` lie ready. For many threads."""

    def __init__(self, connect: Callable[[], psycopg.Connection], *, keep: int) -> None:
        self._connect = connect
        self._keep = keep
        self._ready: deque[psycopg.Connection] = deque()

    @contextmanager
    def __call__(self) -> Iterator[psycopg.Connection]:
        """A session for as long as the block lasts. Raises what `connect` raises."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def close(self) -> None:
        """Close those that lie ready, and keep none any more."""
        self._keep = 0
        while self._ready:
            self._ready.pop().close()

    def _give_back(self, connection: psycopg.Connection) -> None:
        if len(self._ready) < self._keep and connection.info.transaction_status is TransactionStatus.IDLE:
            self._ready.append(connection)
        else:
            connection.close()

    def _take(self) -> psycopg.Connection:
        while self._ready:
            try:
                connection = self._ready.pop()
            except IndexError:  # another thread was quicker
                break
            if not connection.closed and not _says_something(connection):
                return connection
            connection.close()  # a message without a query: the server ends the session
        return self._connect()


class Pool(Sessions):
    """Sessions as the eventsourcing library asks for them: by the names of psycopg's pool.

    A session in which a statement was refused because another transaction was first is kept: that happens all the time.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], *, keep: int) -> None:
        super().__init__(connect, keep=keep)
        self.max_size = keep
        self.closed = False

    def open(self, wait: bool = False, timeout: float = 0) -> None:
        """There is nothing to open ahead."""

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._take()
        try:
            yield connection
        except BaseException as error:
            if is_worth_keeping(error):
                self._give_back(connection)
            else:
                connection.close()
            raise
        self._give_back(connection)

    def getconn(self) -> psycopg.Connection[Any]:
        return self._take()

    def putconn(self, connection: psycopg.Connection[Any]) -> None:
        if connection.closed:
            return
        self._give_back(connection)


def _says_something(connection: psycopg.Connection[Any]) -> bool:
    """A message of the server without a query means that it ends the session."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
