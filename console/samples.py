"""Samples of the installation for the plots of the last hours: how far behind each part was, and what was due.

They are kept in the console's memory, from its start on: for longer than that there are the metrics of the workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from adapters.outage import Outage
from adapters.postgres.deadline import within
from domain.errors import TenantryError

EVERY_SECONDS: Final = 15.0
SAMPLE_SECONDS: Final = 4.0
"""After which a server that says nothing does not answer."""
KEPT: Final = 1_440
"""Six hours."""


class Sampled(Protocol):
    """Takes one sample."""

    def sample(self) -> Mapping[str, float]:
        """The numbers of now, by name. Raises Unavailable."""

    def close(self) -> None:
        """Give the session back."""


class Samples:
    """A thread that takes a sample from time to time, for as long as the block lasts."""

    def __init__(self, reader: Callable[[], Sampled], *, every_seconds: float = EVERY_SECONDS) -> None:
        self._reader = reader()
        self._every = every_seconds
        self._kept: deque[tuple[datetime, Mapping[str, float]]] = deque(maxlen=KEPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-samples", daemon=True)
        self.outage = Outage("the console's samples")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)
        self._reader.close()

    def plot(self, title: str, *names: str) -> dict[str, Any]:
        """Times in seconds since 1970, and the values of each name at them."""
        kept = list(self._kept)
        return {
            "title": title,
            "names": list(names),
            "times": [round(time.timestamp()) for time, _ in kept],
            "values": [[sample[name] for _, sample in kept] for name in names],
            "since": kept[0][0] if kept else None,
        }

    def take(self) -> None:
        """One sample, now. Raises Unavailable."""
        self._kept.append((datetime.now(UTC), self._reader.sample()))

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with within(SAMPLE_SECONDS):
                    self.take()
                self.outage.is_over()
            except TenantryError as error:
                self.outage.goes_on(error)
            self._stopped.wait(self._every)
