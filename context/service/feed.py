"""The feed: what changes in the tenant contexts, as frames, for any number of streams.

    tables ──one look for all──▶ pieces (after, position] ──▶ each stream, from its own watermark on

One thread looks when the projector has moved, and keeps the last pieces. A stream whose watermark lies within them is
served from memory; one that is further behind gets one frame with all that has changed since, read in one snapshot of
the tables. A row holds only the newest document of a tenant, so such a frame reaches up to that very snapshot and never
ends before it: a reader that stopped half way would believe in a position without having all of it. Where that is too
much, the stream says Gone, and a snapshot is taken.

A frame that begins before a reader's watermark may be told to it as well, with its own `after`: what it has already is
only said again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from adapters.outage import Outage
from adapters.postgres.contexts import ContextReader, ContextRow, HostRow, KeyRow, LogPosition
from domain.errors import TenantryError
from tenantry_client.context.wire import (
    FORMAT,
    MAX_PAYLOAD,
    Changes,
    Frame,
    Gone,
    Heartbeat,
    Hello,
    HostChange,
    KeyChange,
    TenantChange,
    encode,
)

KEPT_PIECES: Final = 1_000
KEPT_TENANTS: Final = 50_000
IN_ONE_LOOK: Final = 10_000
FRAME_BYTES: Final = MAX_PAYLOAD // 4 * 3
"""What a frame may hold at most: it cannot be cut, for a reader that stopped half way would lack the rest."""
CATCH_UP: Final = 2_000
"""Changes that one frame may hold; a reader that lacks more takes a snapshot."""
POLL_SECONDS: Final = 0.25


class ServiceKeysInForce(NamedTuple):
    """The public keys (PEM) by their `kid`; another version after each change."""

    version: int
    by_id: Mapping[str, str]


class ContextListener(Protocol):
    """Wakes the feed when the contexts move."""

    def wait(self, seconds: float) -> None:
        """Until they have moved, or so many seconds."""


@dataclass(frozen=True, slots=True)
class Piece:
    """All that changed in (after, position]."""

    after: int
    position: int
    tenants: Sequence[TenantChange] = ()
    hosts: Sequence[HostChange] = ()
    keys: Sequence[KeyChange] = ()

    @property
    def fits(self) -> bool:
        """Whether it is small enough for a frame."""
        return (
            sum(len(each.document or b"") + 64 for each in self.tenants)
            + 300 * len(self.hosts)
            + 20_000 * len(self.keys)
            < FRAME_BYTES
        )

    def frame(self, after: int) -> bytes:
        """For a reader whose watermark is at `after`."""
        if not (self.tenants or self.hosts or self.keys):
            return encode(Heartbeat(after, self.position))
        return encode(Changes(after, self.position, list(self.tenants), list(self.hosts), list(self.keys)))


class Feed:
    """The thread and the pieces. `notify` is called in the thread after each move: it must not block."""

    def __init__(
        self, reader: ContextReader, listener: ContextListener, *, notify: Callable[[], None] = lambda: None
    ) -> None:
        self._reader = reader
        self._listener = listener
        self._notify = notify
        self._pieces: deque[Piece] = deque()
        self._kept = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="context-feed", daemon=True)
        self.at = LogPosition("", 0, -1)
        self.keys = ServiceKeysInForce(0, {})
        self.outage = Outage("the feed of contexts")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)

    def hello(self) -> bytes:
        return encode(Hello(self.at.log, self.at.epoch, FORMAT, self.at.position))

    def next(self, after: int) -> tuple[bytes, int] | None:
        """The next frame for that watermark, from memory, and the watermark behind it; None: not in memory.

        An empty frame and the same watermark: nothing is new.
        """
        pieces, position = tuple(self._pieces), self.at.position
        if after >= position:
            return b"", after
        for piece in pieces:
            if piece.position > after:
                if piece.after > after:
                    return None
                return piece.frame(after), piece.position
        return None

    def look(self) -> bool:
        """One look at the tables; whether anything moved. Raises Unavailable."""
        with self._reader.snapshot() as snapshot:
            now, before = snapshot.at, self.at
            is_same_log = (now.log, now.epoch) == (before.log, before.epoch)
            if is_same_log and now.position <= before.position:
                return False
            if is_same_log and before.position >= 0:
                rows, hosts, keys = snapshot.changed(before.position, IN_ONE_LOOK)
                piece = _piece(before.position, now.position, rows, hosts, keys)
                is_whole = IN_ONE_LOOK not in (len(rows), len(hosts), len(keys)) and piece.fits
            else:
                piece, is_whole, keys = None, False, []
            if keys or piece is None:
                in_force = {
                    each.key_id: each.public_key for each in snapshot.service_keys() if each.public_key is not None
                }
                self.keys = ServiceKeysInForce(self.keys.version + 1, in_force)
        if piece is not None and is_whole:
            self._keep(piece)
        else:
            self._pieces.clear()
            self._kept = 0
        self.at = now
        return True

    def _keep(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._kept += len(piece.tenants)
        while len(self._pieces) > KEPT_PIECES or self._kept > KEPT_TENANTS:
            self._kept -= len(self._pieces.popleft().tenants)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                moved = self.look()
                self.outage.is_over()
            except TenantryError as error:
                self.outage.goes_on(error)
                self._stopped.wait(POLL_SECONDS)
                continue
            if moved:
                self._notify()
            else:
                self._listener.wait(POLL_SECONDS)


def catch_up(reader: ContextReader, after: int) -> tuple[Frame, LogPosition]:
    """One frame with all that has changed after a position; Gone, where that is too much, or lies ahead of us."""
    with reader.snapshot() as snapshot:
        if after > snapshot.at.position:
            return Gone(), snapshot.at
        rows, hosts, keys = snapshot.changed(after, CATCH_UP)
        if CATCH_UP in (len(rows), len(hosts), len(keys)):
            return Gone(), snapshot.at
        piece = _piece(after, snapshot.at.position, rows, hosts, keys)
        if not piece.fits:
            return Gone(), snapshot.at
        return Changes(after, piece.position, list(piece.tenants), list(piece.hosts), list(piece.keys)), snapshot.at


def _piece(
    after: int, position: int, rows: Sequence[ContextRow], hosts: Sequence[HostRow], keys: Sequence[KeyRow]
) -> Piece:
    return Piece(
        after,
        position,
        [TenantChange(each.tenant_id, each.version, each.document) for each in rows],
        [HostChange(*each) for each in hosts],
        [KeyChange(*each) for each in keys],
    )
