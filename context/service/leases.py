"""Leases: the greatest committed position on the primary, with the high-water mark moved past it.

A cache notes its own time t, asks here, and is answered S. Everything committed before t is at or below S: the question
is put to the database after it came in, however many ask at once. The service moves the mark itself until it has
passed S, so a dead agent delays nobody. When the cache has applied S, what it knows is valid until t + T; no clock is
compared.

    questions ──▶ all that wait now are answered by one look ──▶ S

A standby may be behind, so it gives no lease. An append that stays open keeps the mark back, and with it every lease:
after a moment the service says so, and the cache asks another, or fails closed at the end of its lease.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from adapters.postgres.contexts import Committed, ContextReader, LogPosition
from domain.errors import Contended, TenantryError, Unavailable

PATIENCE_SECONDS: Final = 3.0
"""How long a question waits for the mark: longer than an append may stay open."""


class NoLease(Exception):
    """Why there is none now: `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Leases:
    """Answers questions for leases. `reader` is used by one thread at a time."""

    def __init__(self, reader: ContextReader, *, now: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._now = now
        self._waiting: list[asyncio.Future[LogPosition]] = []
        self._task: asyncio.Task[None] | None = None
        self.asked = 0

    async def ask(self) -> LogPosition:
        """S, of a look that begins after this was called. Raises NoLease."""
        answer: asyncio.Future[LogPosition] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.asked += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer())
        return await answer

    async def _answer(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self.look)
            except NoLease as refused:
                for each in waiting:
                    if not each.done():
                        each.set_exception(refused)
            except Exception as error:  # noqa: BLE001 - the caller must hear of it
                for each in waiting:
                    if not each.done():
                        each.set_exception(error)
            else:
                for each in waiting:
                    if not each.done():
                        each.set_result(found)

    def look(self) -> LogPosition:
        """One question to the database. Raises NoLease."""
        end = self._now() + PATIENCE_SECONDS
        try:
            found = self._reader.committed()
            _expect_primary(found)
            mark = found.mark
            while mark < found.upto.position:
                mark = self._advanced(mark)
                if mark < found.upto.position and self._now() > end:
                    raise NoLease(
                        "append-open", "an append stays open, so the log cannot be read up to its end: ask again"
                    )
        except TenantryError as error:
            raise NoLease("database-unavailable", str(error)) from error
        return found.upto

    def _advanced(self, mark: int) -> int:
        try:
            return self._reader.advance_mark()
        except Contended:
            return mark
        except Unavailable:
            raise


def _expect_primary(found: Committed) -> None:
    if not found.is_primary:
        raise NoLease("not-primary", "this service reads a standby, which may be behind: ask another service")
