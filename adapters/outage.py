"""Outage of one worker's loop: what the loop waits for, since when, and one line in the log for each change.

A loop meets the same error twice a second for as long as a database is away. It logs a line when the outage
begins, when its reason changes, and when it is over. In between, `status` reports it (heartbeats.py).

An outage that comes back within `STEADY_SECONDS` is the same one (a full disk has space for a small row now and then):
it is not logged again, and its end is logged when the loop has succeeded for that long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from domain.errors import Fault, TenantryError, Unavailable

log = structlog.get_logger(__name__)

FAULT: Final = "fault"

STEADY_SECONDS: Final = 10.0


class Outage:
    """Of one loop, which alone changes it; `waits` may be read by any thread."""

    def __init__(
        self,
        who: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._who = who
        self._clock = clock
        self._seconds = seconds
        self._why: str | None = None
        self._began = 0.0
        self._since = ""
        self._well_since: float | None = None
        self._comes_back = False
        self._reported: dict[str, str] | None = None
        self.moved_at = seconds()
        """When the loop last came round, by `seconds`: whether it met an error or got through."""

    @property
    def waits(self) -> dict[str, str] | None:
        """Who waits, why (a short stable name), the sentence, and since when (ISO 8601); None while none waits."""
        return self._reported

    def goes_on(self, error: TenantryError) -> None:
        """The loop has met this error, and waits next. A fault of ours is logged with its traceback, once."""
        self.moves()
        self._ends_when_steady()
        why = error.why if isinstance(error, Unavailable) else FAULT if isinstance(error, Fault) else "conflict"
        is_new = why != self._why
        if self._why is None:
            self._began, self._since = self._seconds(), self._clock().isoformat()
        elif self._well_since is not None:
            self._comes_back, self._well_since = True, None
        if is_new or self._reported is None:
            self._reported = {"who": self._who, "why": why, "text": str(error), "since": self._since}
        self._why = why
        line = f"{self._who} waits"
        if is_new and isinstance(error, Fault):
            log.error(line, why=why, reason=str(error), exc_info=error)
        elif is_new:
            log.warning(line, why=why, reason=str(error))

    def is_over(self) -> None:
        """The loop has succeeded."""
        self.moves()
        if self._why is None:
            return
        if self._well_since is None:
            self._well_since, self._reported = self._seconds(), None
            if not self._comes_back:
                self._say_that_it_goes_on()
        self._ends_when_steady()

    def moves(self) -> None:
        """The loop has come round."""
        self.moved_at = self._seconds()

    def _ends_when_steady(self) -> None:
        if self._well_since is not None and self._seconds() - self._well_since >= STEADY_SECONDS:
            if self._comes_back:
                self._say_that_it_goes_on()
            self._why, self._well_since, self._comes_back = None, None, False

    def _say_that_it_goes_on(self) -> None:
        lasted = (self._well_since or self._began) - self._began
        line = f"{self._who} goes on after {lasted:.1f} s"
        log.info(line, waited_for=self._why)
