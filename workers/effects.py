"""How are effects brought about side by side, each within its time?

Threads of our own, as many as may be at work. Python cannot end a thread: one whose effect takes longer than its time
is left behind, and another takes its place, so that a step that hangs holds up no other. Its effect is told as failed,
to be tried again; what it comes to later is dropped, for whoever takes the effect out of `_running` first has the say.

    begin ──▶ thread ──▶ outcome ──────────────▶ finished
                 └── longer than the limit ────▶ finished, as Retryable; a new thread, the old one ends with its effect
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
        self._threads = threads
        self._limit = limit
        self._running: dict[Key, float] = {}
        self._inbox: SimpleQueue[tuple[Key, Callable[[], Result]] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[Key, Result | BaseException]] = SimpleQueue()
        self._late: set[threading.Thread] = set()
        self._at_work: dict[Key, threading.Thread] = {}
        for _ in range(threads):
            self._hire()

    @property
    def free(self) -> int:
        """How many more may begin now."""
        return self._threads - len(self._running)

    @property
    def running(self) -> tuple[Key, ...]:
        return tuple(self._running)

    @property
    def left_behind(self) -> int:
        """Threads whose effects took too long, and have not come to an end yet."""
        self._late = {thread for thread in self._late if thread.is_alive()}
        return len(self._late)

    def begin(self, key: Key, act: Callable[[], Result]) -> None:
        """Let a thread do it, if one is free; its time runs from now."""
        self._running[key] = time.monotonic()
        self._inbox.put((key, act))

    def finished(self, *, timeout: float) -> list[tuple[Key, Result | BaseException]]:
        """What came to an end, with its result or error; waits up to `timeout` seconds for the first."""
        found = []
        try:
            found.append(self._outcomes.get(timeout=timeout) if timeout else self._outcomes.get_nowait())
            while True:
                found.append(self._outcomes.get_nowait())
        except Empty:
            return found + self._overdue()

    def close(self) -> None:
        """Let the threads end; those that are still at something end with the process."""
        for _ in range(self._threads):
            self._inbox.put(None)

    def _overdue(self) -> list[tuple[Key, Result | BaseException]]:
        now, limit = time.monotonic(), self._limit.total_seconds()
        found: list[tuple[Key, Result | BaseException]] = []
        for key, began in list(self._running.items()):
            if now - began > limit and self._running.pop(key, None) is not None:
                thread = self._at_work.pop(key, None)
                if thread is not None:
                    self._late.add(thread)
                self._hire()
                found.append((key, Retryable(f"took longer than {limit:g} s")))
        return found

    def _hire(self) -> None:
        threading.Thread(target=self._serve, name="step", daemon=True).start()

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            key, act = job
            self._at_work[key] = threading.current_thread()
            result: Result | BaseException
            try:
                result = act()
            except BaseException as error:  # noqa: BLE001 - told to whoever asked
                result = error
            self._at_work.pop(key, None)
            if self._running.pop(key, None) is None:
                return  # too late: another thread has our place
            self._outcomes.put((key, result))
