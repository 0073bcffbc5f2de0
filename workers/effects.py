"""How are effects brought about side by side, each within its time?

Threads of our own, as many as may be at work. Python cannot end a thread: one whose effect takes longer than its time
is left behind, and another takes its place, so that a step that hangs holds up no other. Its effect is told as failed,
to be tried again; what it comes to later is dropped.

    begin ──▶ queue ──▶ thread ──▶ outcome ──────────▶ finished
                │          └── longer than the limit ──▶ finished, as Retryable; a new thread, the old one ends itself
                └── withdrawn

Whoever takes an effect out of `_queued`, or out of `_running`, is the one who goes on with it: both are dictionaries,
and taking out of one happens in one go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from domain.errors import Retryable

Key = TypeVar("Key")
Result = TypeVar("Result")


class Effects(Generic[Key, Result]):
    """Effects under way, each by a key of its own. For use by one thread."""

    def __init__(self, *, threads: int, limit: timedelta) -> None:
        self._limit = limit.total_seconds()
        self._threads = threads
        self._under_way: dict[Key, None] = {}
        self._queued: dict[Key, Callable[[], Result]] = {}
        self._running: dict[Key, tuple[float, threading.Thread]] = {}
        self._left_behind: list[threading.Thread] = []
        self._inbox: SimpleQueue[Key | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[Key, Result | BaseException]] = SimpleQueue()
        for _ in range(threads):
            self._hire()

    @property
    def under_way(self) -> tuple[Key, ...]:
        """Those that were begun, and were neither withdrawn nor told as finished."""
        return tuple(self._under_way)

    @property
    def queued(self) -> tuple[Key, ...]:
        """Those that wait for a thread, in order."""
        return tuple(self._queued.copy())

    @property
    def left_behind(self) -> int:
        """Threads whose effects took too long, and have not come to an end yet."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        return len(self._left_behind)

    def begin(self, key: Key, act: Callable[[], Result]) -> None:
        """Let a thread do it as soon as one is free; its time runs from then."""
        self._under_way[key] = None
        self._queued[key] = act
        self._inbox.put(key)

    def withdraw(self, key: Key) -> bool:
        """Take it back, if no thread has begun it; whether that was so."""
        was_queued = self._queued.pop(key, None) is not None
        if was_queued:
            del self._under_way[key]
        return was_queued

    def finished(self, *, timeout: float) -> list[tuple[Key, Result | BaseException]]:
        """What came to an end, with its result or error; waits up to `timeout` seconds for the first."""
        found: list[tuple[Key, Result | BaseException]] = []
        try:
            found.append(self._outcomes.get(timeout=timeout) if timeout else self._outcomes.get_nowait())
            while True:
                found.append(self._outcomes.get_nowait())
        except Empty:
            found += self._overdue()
        for key, _ in found:
            del self._under_way[key]
        return found

    def close(self) -> None:
        """Let the threads end; those that are still at something end with the process."""
        for _ in range(self._threads):
            self._inbox.put(None)

    def _overdue(self) -> list[tuple[Key, Result | BaseException]]:
        found: list[tuple[Key, Result | BaseException]] = []
        before = time.monotonic() - self._limit
        for key, (began, thread) in self._running.copy().items():
            if began < before and self._running.pop(key, None) is not None:
                self._left_behind.append(thread)
                self._hire()
                found.append((key, Retryable(f"took longer than {self._limit:g} s")))
        return found

    def _hire(self) -> None:
        threading.Thread(target=self._serve, name="step", daemon=True).start()

    def _serve(self) -> None:
        while (key := self._inbox.get()) is not None:
            act = self._queued.pop(key, None)
            if act is None:
                continue  # withdrawn
            self._running[key] = (time.monotonic(), threading.current_thread())
            result: Result | BaseException
            try:
                result = act()
            except BaseException as error:  # noqa: BLE001 - told to whoever asked
                result = error
            if self._running.pop(key, None) is None:
                return  # too late: another thread has our place
            self._outcomes.put((key, result))
