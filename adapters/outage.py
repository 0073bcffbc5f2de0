"""An outage as one worker's loop sees it: what the loop waits for, since when, and one line in the log for each change.

A loop meets the same error twice a second for as long as a database is away. It says so when the outage begins, when
its reason becomes another one, and when it is over. In between, `status` tells of it (heartbeats.py).
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


class Outage:
    """Of one loop, which alone changes it; `waits` may be read by any thread."""

    def __init__(self, who: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._who = who
        self._clock = clock
        self._why: str | None = None
        self._began = 0.0
        self._told: dict[str, str] | None = None

    @property
    def waits(self) -> dict[str, str] | None:
        """Who waits, why (a short stable name), the sentence, and since when (ISO 8601); None where nobody does."""
        return self._told

    def goes_on(self, error: TenantryError) -> None:
        """The loop has met this error, and is about to wait. A fault of ours is logged with its traceback, once."""
        why = error.why if isinstance(error, Unavailable) else FAULT if isinstance(error, Fault) else "conflict"
        if why == self._why:
            return
        if self._why is None:
            self._began = time.monotonic()
        since = self._told["since"] if self._told else self._clock().isoformat()
        self._why = why
        self._told = {"who": self._who, "why": why, "text": str(error), "since": since}
        line = f"{self._who} waits"
        if isinstance(error, Fault):
            log.error(line, why=why, reason=str(error), exc_info=error)
        else:
            log.warning(line, why=why, reason=str(error))

    def is_over(self) -> None:
        """The loop has got through."""
        if self._why is not None:
            line = f"{self._who} goes on after {time.monotonic() - self._began:.1f} s"
            log.info(line, waited_for=self._why)
            self._why = self._told = None
