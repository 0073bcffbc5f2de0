"""Desks: what pages read with, a few for all; and the one desk at which acts are carried out.

A desk is used by one thread at a time. Its session is opened with its first page, its parts with the first page that
needs the log; the loop that serves the browsers never waits for a database. A database that hangs keeps a desk until
the page's deadline, and pages that find no free desk meanwhile say so instead of waiting for theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from adapters.postgres.deadline import within
from console.samples import Samples
from domain.errors import Unavailable, problem
from runtime.compose.console import ConsoleParts

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

T = TypeVar("T")

PAGE_SECONDS: Final = 6.0
"""Of all that a page reads, together. A statement has less (console_reads.PAGE)."""
WAIT_SECONDS: Final = 3.0
"""For a free desk. With the page's own time it is less than what a browser waits for."""
ACT_SECONDS: Final = 20.0
"""Of each statement of an act. An act on many scopes may take longer, as long as the database answers."""


class ReadingDesk:
    """What one page reads with."""

    def __init__(self, made_of: ConsoleParts, samples: Samples) -> None:
        self._made_of = made_of
        self.reads = made_of.reader()
        self.samples = samples
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """With the configuration that is adopted now."""
        if self._parts is None:
            self._parts = self._made_of.reading()
        else:
            self._parts.learn()
        return self._parts

    def close(self) -> None:
        self.reads.close()
        if self._parts is not None:
            self._parts.__exit__(None, None, None)


class Desks:
    """`count` desks to read at, and one to act at."""

    def __init__(self, made_of: ConsoleParts, samples: Samples, *, count: int = 3) -> None:
        self._made_of = made_of
        self._free: asyncio.LifoQueue[ReadingDesk] = asyncio.LifoQueue()
        self._all = [ReadingDesk(made_of, samples) for _ in range(count)]
        for each in self._all:
            self._free.put_nowait(each)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="console-page")
        self._acting = ThreadPoolExecutor(1, thread_name_prefix="console-act")
        self._parts: Parts | None = None

    async def read(self, page: Callable[[ReadingDesk], T]) -> T:
        """What the page makes of a desk. Raises what it raises, and Unavailable where no desk becomes free."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                desk = await self._free.get()
        except TimeoutError:
            raise Unavailable(problem("console-busy", seconds=WAIT_SECONDS), why="time-out") from None
        work = self._threads.submit(_read, desk, page)
        # The desk is free when its thread is: a browser that went away does not end the page.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.put_nowait, desk))
        return await asyncio.wrap_future(work)

    async def act(self, act: Callable[[Parts], T]) -> T:
        """What the act comes to; one at a time. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._acting, self._act, act)

    def _act(self, act: Callable[[Parts], T]) -> T:
        with within(ACT_SECONDS, each=True):
            if self._parts is None:
                self._parts = self._made_of.acting()
            else:
                self._parts.learn()
            return act(self._parts)

    def close(self) -> None:
        self._threads.shutdown()
        self._acting.shutdown()
        for each in self._all:
            each.close()
        if self._parts is not None:
            self._parts.__exit__(None, None, None)


def _read(desk: ReadingDesk, page: Callable[[ReadingDesk], T]) -> T:
    with within(PAGE_SECONDS):
        return page(desk)
