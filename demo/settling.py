"""Settling: the wait until all work of a stream is done.

A stream has settled when all published messages are taken in, no scope is due, leased or about to be tried again, and
every projection is at the end of the log. All of this must be true twice in a row, because between two queries work may
pass from one place to the next. Timers far ahead (retention, expiry) and scopes that wait for something that is named
do not count as work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from domain.errors import Unavailable

_LOOK = """
SELECT (SELECT coalesce(sum(next_offset), 0) FROM kafka_positions)::bigint,
       (SELECT count(*) FROM wakes WHERE due_at <= now()),
       (SELECT count(*) FROM leases),
       (SELECT count(*) FROM provisionings WHERE state = 'in_progress' AND retry_at IS NOT NULL),
       (SELECT coalesce(max(notification_id), 0) FROM stored_events)
           - (SELECT coalesce(min(position), 0) FROM projection_positions),
       (SELECT string_agg(name || ': ' || coalesce(halted_reason, '?'), '; ') FROM projection_positions
        WHERE halted_at IS NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Unrest:
    """Unfinished work: messages taken in so far; scopes due, leased, to be tried again; events to project."""

    taken_in: int
    due: int
    leased: int
    retrying: int
    to_project: int
    halted: str | None

    def over(self, published: int) -> bool:
        return self.taken_in >= published and not (self.due or self.leased or self.retrying or self.to_project)

    def __str__(self) -> str:
        return (
            f"{self.taken_in} messages taken in, {self.due} scopes due, {self.leased} at work,"
            f" {self.retrying} to be tried again, {self.to_project} events to project"
        )


def look(connection: Connection) -> Unrest:
    return Unrest(*connection.execute(text(_LOOK)).one())


def settled(
    engine: Engine,
    *,
    published: int,
    timeout_seconds: float = 120.0,
    poll_seconds: float = 0.1,
    meanwhile: Callable[[Connection], None] = lambda _: None,
) -> float:
    """Wait until everything has settled; the seconds that it took. `meanwhile` is called at each check.

    `published` counts all messages ever sent to both topics: `look(...).taken_in` from before, and those sent since.
    Raises Unavailable when a projection is halted, or when it takes too long.
    """
    started = time.monotonic()
    quiet = 0
    while True:
        with engine.connect() as connection:
            unrest = look(connection)
            meanwhile(connection)
        quiet = quiet + 1 if unrest.over(published) else 0
        if quiet == 2:
            return time.monotonic() - started
        if unrest.halted:
            raise Unavailable(f"a projection is halted ({unrest.halted}): see the log of the projector")
        if time.monotonic() - started > timeout_seconds:
            raise Unavailable(f"not settled after {timeout_seconds:g} s of {published} messages: {unrest}")
        time.sleep(poll_seconds)
