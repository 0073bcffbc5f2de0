"""The live stream: server-sent events that say how far the log has moved and which tenants that concerns.

    log ──NOTIFY──▶ one reader ──▶ the last movements, in memory ──▶ each stream, from its own position on

The id of an event is a position of the log. So a browser that comes back names the position that it has seen, and goes
on from there, whether the console ran meanwhile or not: what it missed is read from the log. A stream that is too slow
skips: its next event says that any tenant may have changed. One page has one stream; a page that is hidden has none.

A movement tells nothing of what changed. The page asks for itself again, and the read models answer.

While the database does not answer, each stream says so (`away`, with the reason and since when), and when it answers
again (`back`). These events have no id: a browser goes on at the position that it has seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from adapters.outage import Outage
from adapters.postgres.console_feed import Movement
from adapters.postgres.deadline import within
from domain.errors import TenantryError
from runtime.foreign_text import json_text

KEPT: Final = 256
PAUSE_SECONDS: Final = 0.1
"""Between two looks at a log that moves all the time: a stream gets at most ten events a second."""
POLL_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 4.0
"""After which a server that says nothing does not answer."""
HEARTBEAT_SECONDS: Final = 15.0
MOST_STREAMS: Final = 1_000


class Movements(Protocol):
    """Reads how far the log has moved."""

    def mark(self) -> int:
        """How far the log may be read. Raises Unavailable."""

    def after(self, position: int, upto: int) -> Movement:
        """What moved after a position. Raises Unavailable."""

    def close(self) -> None:
        """Give the session back."""


class Waits(Protocol):
    """Wakes the reader when the log moves."""

    def wait(self, seconds: float) -> None:
        """Until it has moved, or so many seconds."""

    def close(self) -> None:
        """Give the session back."""


class Live:
    """One reader for all streams. `start` and `stop` in the loop's thread; the reader has a thread of its own."""

    def __init__(self, movements: Callable[[], Movements], listener: Callable[[], Waits]) -> None:
        self._movements = movements()
        self._listener = listener()
        self._late = movements()
        self._reading_late = asyncio.Lock()
        self._kept: deque[Movement] = deque(maxlen=KEPT)
        self._at = -1
        self._moved = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-feed", daemon=True)
        self.streams = 0
        self.outage = Outage("the console's feed")

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """The streams end as well: else the server would wait for their readers."""
        self._stopped.set()
        self._notified()
        self._thread.join(timeout=5)
        for each in (self._movements, self._listener, self._late):
            each.close()

    async def stream(self, request: Request) -> Response:
        """`?after=POSITION`, or the header Last-Event-ID; `?tenant=ID` for one tenant alone."""
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) <= 18 else self._at
        tenant = request.query_params.get("tenant") or None
        if self.streams >= MOST_STREAMS:
            return Response("", 503, headers={"retry-after": "5"})
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(self._events(after, tenant), media_type="text/event-stream", headers=headers)

    async def _events(self, after: int, tenant: str | None) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            yield b"retry: 1000\n\n"
            reported = None
            while not self._stopped.is_set():
                moved, waits = self._moved, self.outage.waits
                if waits is not reported:
                    reported = waits
                    yield _outage(waits)
                for movement in await self._since(after):
                    after = movement.position
                    if movement.concerns(tenant):
                        yield _event(movement)
                if self._at > after >= 0:
                    continue
                after = max(after, self._at) if after < 0 else after
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await moved.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.streams -= 1

    async def _since(self, after: int) -> list[Movement]:
        """The movements that a stream at `after` has not seen; read from the log where memory does not reach back."""
        if self._at < 0 or after >= self._at or after < 0:
            return []
        kept = [each for each in self._kept if each.position > after]
        if kept and kept[0].after <= after:
            return kept
        async with self._reading_late:
            upto = self._at
            with suppress(TenantryError):
                return [await asyncio.to_thread(self._read_late, after, upto)]
        return [Movement(after, upto, None)]

    def _read_late(self, after: int, upto: int) -> Movement:
        with within(LOOK_SECONDS):
            return self._late.after(after, upto)

    # -- the reader ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            waited = self.outage.waits
            with within(LOOK_SECONDS):
                pause = self._turn()
            if self.outage.waits is not waited:
                self._tell()
            self._stopped.wait(pause)

    def _turn(self) -> float:
        """One look, and what is waited for after it; the seconds until the next."""
        try:
            moved = self._look()
        except TenantryError as error:
            self.outage.goes_on(error)
            self._listener.close()  # its session may be one of a server that hangs, while another one answers
            return POLL_SECONDS
        self.outage.is_over()
        if moved:
            return PAUSE_SECONDS
        self._listener.wait(POLL_SECONDS)
        return 0

    def _look(self) -> bool:
        mark = self._movements.mark()
        if mark == self._at:
            return False
        if 0 <= self._at < mark:
            self._kept.append(self._movements.after(self._at, mark))
        else:
            self._kept.clear()  # the first look, or another log
        self._at = mark
        self._tell()
        return True

    def _tell(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._notified)

    def _notified(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _outage(waits: Mapping[str, str] | None) -> bytes:
    if waits is None:
        return b"event: back\ndata: {}\n\n"
    data = {name: waits[name] for name in ("why", "text", "since")}
    return f"event: away\ndata: {json_text(data)}\n\n".encode()


@lru_cache(maxsize=16)
def _event(movement: Movement) -> bytes:
    """Made once for all streams."""
    tenants = sorted(movement.tenants) if movement.tenants is not None else None
    data = json_text({"position": movement.position, "tenants": tenants})
    return f"id: {movement.position}\nevent: moved\ndata: {data}\n\n".encode()
