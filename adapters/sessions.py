"""Who needs a session of a database again and again, and need not open it each time?

To open one takes the server longer than most effects do. `Sessions` keeps a few that ended well for the next who asks;
one in which anything went wrong is closed. A kept session whose server has gone shows in its socket, and is not used.
Whoever uses one leaves it as it was: no transaction, no lock, no setting of its own.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus


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
        if len(self._ready) < self._keep and connection.info.transaction_status is TransactionStatus.IDLE:
            self._ready.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close those that lie ready, and keep none any more."""
        self._keep = 0
        while self._ready:
            self._ready.pop().close()

    def _take(self) -> psycopg.Connection:
        while self._ready:
            try:
                connection = self._ready.pop()
            except IndexError:  # another thread was quicker
                break
            if not connection.closed and not select.select([connection.fileno()], [], [], 0)[0]:
                return connection
            connection.close()  # nobody asked, and the server says something: that it goes
        return self._connect()
