"""Samples of the installation for the plots of the last hours: how far behind each part was, and what was due.

They are kept in the console's memory, from its start on: for longer than that there are the metrics of the workers.

Beside them stands what takes too long for a page: the number of scopes in trouble by cause, where these scopes are more
than a page looks at. A page that shows the numbers says when they were counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, Protocol

from adapters.outage import Outage
from adapters.postgres.deadline import within
from domain.errors import TenantryError

EVERY_SECONDS: Final = 15.0
COUNT_EVERY: Final = 4
"""Of so many samples one counts the troubles as well: that reads each scope in trouble."""
SAMPLE_SECONDS: Final = 4.0
COUNT_SECONDS: Final = 6.0
"""After which a server that says nothing does not answer."""
KEPT: Final = 1_440
"""Six hours."""


class Sampled(Protocol):
    """Takes one sample."""

    def sample(self) -> Mapping[str, float]:
        """The numbers of now, by name. Raises Unavailable."""

    def trouble_counts(self) -> Sequence[Mapping[str, Any]]:
        """The scopes in trouble by cause; none where they are few enough for a page. Raises Unavailable."""

    def close(self) -> None:
        """Give the session back."""


@dataclass(frozen=True, slots=True)
class TroubleCounts:
    """The scopes in trouble `at` a time, by cause."""

    at: datetime
    rows: Sequence[Mapping[str, Any]]


class Samples:
    """A thread that takes a sample from time to time, for as long as the block lasts."""

    def __init__(self, reader: Callable[[], Sampled], *, every_seconds: float = EVERY_SECONDS) -> None:
        self._reader = reader()
        self._every = every_seconds
        self._kept: deque[tuple[datetime, Mapping[str, float]]] = deque(maxlen=KEPT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-samples", daemon=True)
        self.outage = Outage("the console's samples")
        self.troubles: TroubleCounts | None = None
        """None where they were not counted yet, or not in time."""

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

    def count(self) -> None:
        """The troubles, now. Raises Unavailable."""
        try:
            self.troubles = TroubleCounts(datetime.now(UTC), self._reader.trouble_counts())
        except TenantryError:
            self.troubles = None
            raise

    def _run(self) -> None:
        for number in count():
            if self._stopped.is_set():
                break
            try:
                with within(SAMPLE_SECONDS):
                    self.take()
                if number % COUNT_EVERY == 0:
                    with within(COUNT_SECONDS):
                        self.count()
                self.outage.is_over()
            except TenantryError as error:
                self.outage.goes_on(error)
            self._stopped.wait(self._every)
