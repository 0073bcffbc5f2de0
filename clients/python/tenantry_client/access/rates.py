"""Rate limits in the process of a service: requests are admitted from chunks that a coordinator gives ahead.

    request ─▶ is a chunk here, and young? ─▶ admitted
                   └─ no ─▶ one question to the coordinator, for all that wait ─▶ a chunk ─▶ admitted
                                  │                                    └─ none: 429, and when to come again
                                  └─ away, slow, or it says nonsense: 503, and nobody is admitted without a chunk

A chunk counts for `CHUNK_SECONDS` from when it was asked for, so an answer that comes late is worth nothing, and what
one process does not use is not hoarded. Its size follows what came lately. All processes together so admit what the
coordinator has admitted, and never more. For one event loop; the coordinator is asked in a thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

CHUNK_SECONDS: Final = 0.5
AHEAD_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 0.5
"""After a question that failed: until the next one."""


class Limit(NamedTuple):
    """Requests a second, and how many at once after a pause; counted over all processes under its name."""

    name: str
    per_second: int
    burst: int


class Admitted(NamedTuple):
    """So many requests now; `again_seconds` until at least one more may be asked for."""

    requests: int
    again_seconds: float


_NONSENSE: Final = Admitted(-1, 0.0)


class CoordinatorUnavailable(Exception):
    """The coordinator gave no answer, or none that counts."""


class RateCoordinator(Protocol):
    """Admits chunks. Used by several threads."""

    def admit(self, limit: Limit, requests: int) -> Admitted:
        """At most `requests`. Raises CoordinatorUnavailable."""


class Verdict(NamedTuple):
    """Whether a request passes; `code` why not. `remaining` is what this process may admit without asking again."""

    limit: Limit
    code: str | None
    remaining: int
    again_seconds: float

    @property
    def status(self) -> int:
        return 429 if self.code == "limit-exceeded" else 503

    @property
    def message(self) -> str:
        name, rate, burst = self.limit
        if self.code == "limit-exceeded":
            return f"limit {name} of {rate} a second (burst {burst}) is reached: come again after Retry-After"
        return f"nobody can tell whether limit {name} is reached: come again after Retry-After"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers); Retry-After where it is refused."""
        name, rate, _ = self.limit
        again = math.ceil(self.again_seconds)
        found = [
            (b"ratelimit-policy", f'"{name}";q={rate};w=1'.encode()),
            (b"ratelimit", f'"{name}";r={self.remaining};t={max(1, again)}'.encode()),
        ]
        return found if self.code is None else [*found, (b"retry-after", str(max(1, again)).encode())]


@dataclass
class _Stock:
    """The chunks of one limit in this process, and what arrived lately."""

    chunks: deque[tuple[int, float]] = field(default_factory=deque)
    arrived: int = 0
    waiting: int = 0
    asked_at: float = 0.0
    a_second: float = 0.0
    chunk: int = 0
    again_at: float = 0.0
    code: str = "limit-exceeded"
    question: asyncio.Task[None] | None = None

    def count(self, now: float) -> int:
        while self.chunks and now >= self.chunks[0][1]:
            self.chunks.popleft()
        return sum(count for count, _ in self.chunks)

    def take(self) -> None:
        count, until = self.chunks[0]
        if count == 1:
            self.chunks.popleft()
        else:
            self.chunks[0] = count - 1, until


class RateLimits:
    """Admits requests of this process."""

    def __init__(self, coordinator: RateCoordinator, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._coordinator = coordinator
        self._monotonic = monotonic
        self._stocks: dict[str, _Stock] = {}

    async def admit(self, limit: Limit) -> Verdict:
        """Whether one more request may pass now; waits for the coordinator a moment at most."""
        stock = self._stocks.setdefault(limit.name, _Stock())
        stock.arrived += 1
        now = self._monotonic()
        end = now + PATIENCE_SECONDS
        while not (count := stock.count(now)):
            if stock.question is None or stock.question.done():
                if now < stock.again_at:
                    return Verdict(limit, stock.code, 0, stock.again_at - now)
                self._ask(limit, stock, now)
            if now >= end:
                return Verdict(limit, "limit-unavailable", 0, 1.0)
            assert stock.question is not None
            stock.waiting += 1
            try:
                await asyncio.wait({stock.question}, timeout=end - now)
            finally:
                stock.waiting -= 1
            now = self._monotonic()
        stock.take()
        is_low = count - 1 <= stock.chunk // 4 and now >= stock.again_at
        if is_low and (stock.question is None or stock.question.done()):
            self._ask(limit, stock, now)
        return Verdict(limit, None, count - 1, 0.0)

    def _ask(self, limit: Limit, stock: _Stock, now: float) -> None:
        lately = stock.arrived / max(now - stock.asked_at, 0.001)
        stock.a_second = lately if stock.chunk == 0 else (stock.a_second + lately) / 2
        requests = max(1, min(limit.burst, max(math.ceil(stock.a_second * AHEAD_SECONDS), stock.waiting)))
        stock.arrived, stock.asked_at, stock.chunk = 0, now, requests
        stock.question = asyncio.create_task(self._question(limit, stock, requests, asked=now))

    async def _question(self, limit: Limit, stock: _Stock, requests: int, *, asked: float) -> None:
        try:
            found = await asyncio.to_thread(self._coordinator.admit, limit, requests)
        except CoordinatorUnavailable:
            found = _NONSENSE
        if not 0 <= found.requests <= requests:
            stock.code, stock.again_at = "limit-unavailable", self._monotonic() + PAUSE_SECONDS
            return
        if found.requests:
            stock.chunks.append((found.requests, asked + CHUNK_SECONDS))
        pause = (
            0.0 if found.requests else max(found.again_seconds, min(AHEAD_SECONDS, limit.burst / limit.per_second) / 2)
        )
        stock.code, stock.again_at = "limit-exceeded", self._monotonic() + pause
