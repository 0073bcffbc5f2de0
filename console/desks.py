"""Desks: what pages read with, a few for all; and the one desk at which acts are carried out.

A desk is used by one thread at a time. Its session is opened with its first page, its parts with the first page that
needs the log; the loop that serves the browsers never waits for a database.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from console.samples import Samples
from runtime.compose.console import ConsoleParts

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

T = TypeVar("T")


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
        self._free: queue.LifoQueue[ReadingDesk] = queue.LifoQueue()
        self._all = [ReadingDesk(made_of, samples) for _ in range(count)]
        for each in self._all:
            self._free.put(each)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="console-page")
        self._acting = ThreadPoolExecutor(1, thread_name_prefix="console-act")
        self._parts: Parts | None = None

    async def read(self, page: Callable[[ReadingDesk], T]) -> T:
        """What the page makes of a desk. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, page)

    async def act(self, act: Callable[[Parts], T]) -> T:
        """What the act comes to; one at a time. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._acting, self._act, act)

    def _read(self, page: Callable[[ReadingDesk], T]) -> T:
        desk = self._free.get()
        try:
            return page(desk)
        finally:
            self._free.put(desk)

    def _act(self, act: Callable[[Parts], T]) -> T:
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
