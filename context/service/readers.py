"""Sessions for look-ups: a few, each used by one thread at a time; the event loop never waits for a database."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapters.postgres.contexts import ContextReader

T = TypeVar("T")


class Readers:
    """`count` sessions of the database at `url`, opened when they are first used."""

    def __init__(self, url: str, *, count: int = 4) -> None:
        self._free: queue.LifoQueue[ContextReader] = queue.LifoQueue()
        self._all = [ContextReader(url) for _ in range(count)]
        for each in self._all:
            self._free.put(each)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="context-reader")

    async def ask(self, question: Callable[[ContextReader], T]) -> T:
        """The answer of one of the sessions. Raises what the question raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.ask_now, question)

    def ask_now(self, question: Callable[[ContextReader], T]) -> T:
        """The same, in this thread."""
        reader = self._free.get()
        try:
            return question(reader)
        finally:
            self._free.put(reader)

    def close(self) -> None:
        self._threads.shutdown()
        for each in self._all:
            each.close()
