"""Circuit breaker of one provisioner of another team: while it is away, one probe at a time finds out.

Each product and step that the catalogue gives to another team has a breaker in each worker, as it has a bulkhead
(workers/bulkheads.py). While the breaker is open, an order fails at once, without a request: its scope waits for the
provisioner by name (`unreachable:provisioner:compass/7`) and uses up no attempt. The answer to a probe closes the
breaker, and the saga makes all scopes due that wait under that name.

    closed ── no answer, 5xx ──▶ open ── the pause is over ──▶ probing ── an answer, whatever it says ──▶ closed
                                  ▲                               │
                                  └──────── no answer, 5xx ───────┘    the pause grows with the outage, to four seconds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import Final, TypeVar

from adapters.provisioners.orders import about
from application.ports.resources import Executor, Order
from domain.errors import ExecutorError, Unreachable
from domain.scope.steps import StepResult

SHORTEST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 4.0
"""Seconds between two probes. What waits goes on so soon after the end of an outage, however long that was."""

Result = TypeVar("Result")


@dataclass(slots=True)
class CircuitBreaker:
    """An `Executor` that asks `asked` unless that is known to be away. For many threads."""

    asked: Executor
    now: Callable[[], float] = time.monotonic
    _away: Unreachable | None = None
    _open_since: float = 0.0
    _next_probe: float = 0.0
    _probing: bool = False
    _lock: Lock = field(default_factory=Lock)

    def ensure(self, order: Order) -> StepResult:
        return self._through(self.asked.ensure, order)

    def remove(self, order: Order) -> None:
        return self._through(self.asked.remove, order)

    def _through(self, act: Callable[[Order], Result], order: Order) -> Result:
        is_probe = self._enter(order)
        try:
            result = act(order)
        except Unreachable as error:
            raise self._opened(error) from error
        except ExecutorError:  # it is an answer, even if not the one that was hoped for
            self._close()
            raise
        except BaseException:
            if is_probe:
                self._probing = False
            raise
        self._close()
        return result

    def _enter(self, order: Order) -> bool:
        """Whether the order is a probe. Raises Unreachable where it must not be asked now."""
        with self._lock:
            if self._away is None:
                return False
            if self._probing or self.now() < self._next_probe:
                # Its answer to another order may name persons of that order.
                text = "has been away, and is asked by one probe at a time"
                raise Unreachable(self._away.away, about(order, "not asked", text))
            self._probing = True
            return True

    def _opened(self, error: Unreachable) -> Unreachable:
        """The error, with the pause after which its scope is the next probe."""
        with self._lock:
            now = self.now()
            if self._away is None:
                self._open_since = now
            pause = min(max(SHORTEST_PAUSE, now - self._open_since), LONGEST_PAUSE)
            if error.delay is not None:  # Retry-After
                pause = error.delay.total_seconds()
            self._away, self._next_probe, self._probing = error, now + pause, False
        return Unreachable(error.away, str(error), delay=timedelta(seconds=pause))

    def _close(self) -> None:
        with self._lock:
            self._away, self._probing = None, False
