"""Deadline of what a person waits for: the connection to a server that says nothing by then is closed.

The server ends a statement by its own clock (`Limits` of connection.py). A server that hangs, or whose disk does, ends
nothing, and its kernel goes on to confirm what is sent: no time-out of TCP helps either. So the client looks at its own
clock. That costs a little for each statement, and workers need it not: they wait for as long as it takes. It is done by
connections that were opened under a deadline, which are the console's.

    with within(6.0):            all that this thread asks for in the block, together
    with within(20.0, each=True) each statement by itself
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import psycopg

Row = TypeVar("Row")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Deadline:
    """`seconds` from when a statement begins, or an `end` by the monotonic clock."""

    seconds: float
    end: float | None

    @property
    def next_end(self) -> float:
        return time.monotonic() + self.seconds if self.end is None else self.end


_DEADLINE: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float, *, each: bool = False) -> Iterator[None]:
    """The deadline of this thread, for as long as the block lasts: of all of it, or of `each` statement."""
    token = _DEADLINE.set(_Deadline(seconds, None if each else time.monotonic() + seconds))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def seconds_left() -> float | None:
    """Until the deadline, at least 0; None where there is none."""
    deadline = _DEADLINE.get()
    return None if deadline is None else max(0.0, deadline.next_end - time.monotonic())


class DeadlineConnection(psycopg.Connection[Row]):
    """Raises OperationalError at the deadline of the thread that waits, and is closed then."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **named: Any) -> T:
        deadline = _DEADLINE.get()
        if deadline is None:
            return super().wait(gen, *arguments, **named)
        try:
            return super().wait(_until(gen, deadline.next_end), *arguments, **named)
        except _Late:
            self.pgconn.finish()  # what it says later is nobody's answer
            raise


class _Late(psycopg.OperationalError):
    pass


_TEXT: Final = "timeout expired: the server has said nothing until the deadline"


def _until(gen: Generator[Any, Any, T], end: float) -> Generator[Any, Any, T]:
    """psycopg resumes a generator when its socket is ready, and every 0.1 s where it is not."""
    try:
        asks = next(gen)
        while True:
            ready = yield asks
            asks = gen.send(ready)
            if time.monotonic() >= end:
                raise _Late(_TEXT)
    except StopIteration as done:
        result: T = done.value
        return result
