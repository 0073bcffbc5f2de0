"""Effect pool: threads that execute effects in parallel, each within its time.

The pool has a fixed number of threads. A free thread takes the first effect that has a place in each of its bulkheads
(bulkheads.py): an effect that waits for a place does not delay those behind it. Python cannot end a thread. A thread
whose effect takes longer than its time is left behind, and a new thread takes its place, so that a step that hangs
delays no other. Its effect is reported as failed, to be tried again; a later result of it is dropped.

    begin ──▶ queue ──▶ thread ──▶ outcome ──────────▶ finished
                │          └── longer than the limit ──▶ finished, as Retryable; a new thread, the old one ends itself
                └── withdrawn

The thread that takes an effect out of `_queued`, or out of `_running`, goes on with it; both, and the places in the
bulkheads, change under one lock.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from domain.errors import Retryable

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Queued(Generic[Result]):
    act: Callable[[], Result]
    bulkheads: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Running:
    began: float
    thread: threading.Thread
    bulkheads: Sequence[str]


class Effects(Generic[Key, Result]):
    """Effects under way, each by a key of its own; `places` gives the places of a bulkhead. For one thread."""

    def __init__(self, *, threads: int, limit: timedelta, places: Callable[[str], int] | None = None) -> None:
        self._limit = limit.total_seconds()
        self._threads = threads
        self._places = places or (lambda _: threads)
        self._under_way: dict[Key, None] = {}
        self._queued: dict[Key, _Queued[Result]] = {}
        self._running: dict[Key, _Running] = {}
        self._places_taken: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        self._left_behind: list[threading.Thread] = []
        self._outcomes: SimpleQueue[tuple[Key, Result | BaseException] | None] = SimpleQueue()
        for _ in range(threads):
            self._hire()

    @property
    def under_way(self) -> tuple[Key, ...]:
        """The effects that were begun, and are not yet withdrawn or reported as finished."""
        return tuple(self._under_way)

    @property
    def queued(self) -> tuple[Key, ...]:
        """The effects that wait for a thread, in order."""
        with self._changed:
            return tuple(self._queued)

    @property
    def left_behind(self) -> int:
        """Threads whose effects took too long, and have not come to an end yet."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        return len(self._left_behind)

    def begin(self, key: Key, act: Callable[[], Result], bulkheads: Sequence[str] = ()) -> None:
        """Queue the effect for the next free thread with a place in each bulkhead; its time runs from then."""
        self._under_way[key] = None
        with self._changed:
            self._queued[key] = _Queued(act, bulkheads)
            self._changed.notify()

    def withdraw(self, key: Key) -> bool:
        """Take the effect back; False if a thread has begun it."""
        with self._changed:
            was_queued = self._queued.pop(key, None) is not None
        if was_queued:
            del self._under_way[key]
        return was_queued

    def nudge(self) -> None:
        """End the wait for outcomes: there may be something else to do. For another thread."""
        self._outcomes.put(None)

    def finished(self, *, timeout: float) -> list[tuple[Key, Result | BaseException]]:
        """The effects that ended, with result or error; waits up to `timeout` seconds for the first, or a nudge."""
        found: list[tuple[Key, Result | BaseException]] = []
        try:
            outcome = self._outcomes.get(timeout=timeout) if timeout else self._outcomes.get_nowait()
            while True:
                if outcome is not None:
                    found.append(outcome)
                outcome = self._outcomes.get_nowait()
        except Empty:
            found += self._overdue()
        for key, _ in found:
            del self._under_way[key]
        return found

    def close(self) -> None:
        """Let the threads end; a thread with a running effect ends with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _overdue(self) -> list[tuple[Key, Result | BaseException]]:
        before = time.monotonic() - self._limit
        with self._changed:
            late = [(key, running) for key, running in self._running.items() if running.began < before]
            for key, running in late:
                self._leave(key, running)
                self._left_behind.append(running.thread)
        for _ in late:
            self._hire()
        return [(key, Retryable(f"took longer than {self._limit:g} s")) for key, _ in late]

    def _hire(self) -> None:
        threading.Thread(target=self._serve, name="step", daemon=True).start()

    def _serve(self) -> None:
        while (taken := self._take()) is not None:
            key, act = taken
            result = result_of(act)
            with self._changed:
                running = self._running.get(key)
                if running is None:
                    return  # too late: another thread has our place
                self._leave(key, running)
            self._outcomes.put((key, result))

    def _take(self) -> tuple[Key, Callable[[], Result]] | None:
        """Wait for the first effect that has a place in each of its bulkheads; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                for key, queued in self._queued.items():
                    if all(self._places_taken[bulkhead] < self._places(bulkhead) for bulkhead in queued.bulkheads):
                        del self._queued[key]
                        self._places_taken.update(queued.bulkheads)
                        self._running[key] = _Running(time.monotonic(), threading.current_thread(), queued.bulkheads)
                        return key, queued.act
                self._changed.wait()
        return None

    def _leave(self, key: Key, running: _Running) -> None:
        """Give the places back. Under the lock."""
        del self._running[key]
        if running.bulkheads:
            self._places_taken.subtract(running.bulkheads)
            self._changed.notify_all()


def result_of(act: Callable[[], Result]) -> Result | BaseException:
    """Its result, or the error that it raised."""
    try:
        return act()
    except BaseException as error:  # noqa: BLE001 - the caller of `finished` gets it
        return error
