"""The follower: which frames and answers of the services count, and what follows from them for store and lease.

    frame  ── its link continues where it stood? ── no ─▶ Gap: the link is made anew
                    └─ yes ─▶ newer than the store? ─▶ applied ─▶ leases whose S is applied by now are granted
    lease  ── same log? ─▶ remembered with S and t ─────────────────────┘  (until t + T)

Two services tell the same log side by side, each on a link of its own. Each link is complete by itself from where it
began, so whatever is further on may be applied, and what is older is skipped. A lease is granted by one thing alone: an
answer to a question that was asked at t, once everything up to its S is applied. Frames do not renew it.

Another log is believed only where nothing is known yet, or where the epoch of the same log is higher; a
lower epoch is a service that missed the restore.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog

from context.sidecar.services import LeaseAnswer
from tenantry_client.context.lease import LogId
from tenantry_client.context.store import Prepared, StoreWriter
from tenantry_client.context.wire import FORMAT, Changes, End, Frame, Garbled, Gone, Heartbeat, Hello

REMEMBERED_DIGESTS: Final = 256

log = structlog.get_logger(__name__)


class Gap(Exception):
    """A link lost, doubled or reordered a frame."""


class SnapshotNeeded(Exception):
    """What is here cannot be continued by changes."""


class LinkEnded(Exception):
    """The store was exchanged under a link, or its service tells something else: make a new one."""


@dataclass(slots=True)
class Link:
    """One stream of changes: `position` is where it stands, `session` which exchange of the store it belongs to."""

    session: int
    position: int
    service_at: int | None = None
    """Where its service stood when it greeted."""


@dataclass(slots=True)
class Counters:
    """What has happened so far, for /metrics."""

    frames: int = 0
    gaps: int = 0
    snapshots: int = 0
    leases: int = 0
    other_logs: int = 0
    digests_compared: int = 0
    digests_different: int = 0
    disk_errors: int = 0


@dataclass(slots=True)
class Follower:
    """Store and lease of one directory, brought forward by frames and answers. Safe for threads."""

    store: StoreWriter
    term_ns: int
    counters: Counters = field(default_factory=Counters)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _session: int = 0
    _asked: deque[tuple[int, int]] = field(default_factory=deque)
    _digests: dict[int, list[int]] = field(default_factory=dict)
    _newest: LogId | None = None
    """The log that was told of last, in the newest of its epochs: a standby tells an older one than its primary."""

    # -- frames

    def link(self) -> tuple[Link, LogId]:
        """A new link from where the store stands. Raises SnapshotNeeded where there is nothing to stand on."""
        with self._lock:
            if self.store.log is None:
                raise SnapshotNeeded("there is nothing here yet")
            return Link(self._session, self.store.position), self.store.log

    def take(self, link: Link, frame: Frame) -> None:
        """One frame of a link. Raises Gap, Garbled, SnapshotNeeded, LinkEnded, lmdb.Error; nothing has changed then."""
        with self._lock:
            if link.session != self._session:
                raise LinkEnded("the store was exchanged")
            self.counters.frames += 1
            match frame:
                case Hello():
                    self._greet(link, frame)
                case Gone():
                    if link.service_at is not None and link.service_at < link.position:
                        raise LinkEnded(f"the service is at {link.service_at}, behind {link.position} here")
                    raise SnapshotNeeded(f"the service cannot tell what came after {link.position}")
                case Changes() | Heartbeat():
                    self._continue(link, frame)
                case End():
                    raise Garbled("an end in a stream")

    def _greet(self, link: Link, hello: Hello) -> None:
        if link.service_at is not None:
            raise Gap("a second Hello")
        if hello.format != FORMAT:
            raise Garbled(f"the service speaks format {hello.format}, this sidecar {FORMAT}")
        self._check(LogId(hello.log, hello.epoch))
        link.service_at = hello.position

    def _continue(self, link: Link, frame: Changes | Heartbeat) -> None:
        if link.service_at is None:
            raise Gap("a frame before Hello")
        if frame.after != link.position or frame.position < frame.after:
            self.counters.gaps += 1
            raise Gap(f"the link stands at {link.position}, the frame goes on from {frame.after}")
        if frame.position > self.store.position:
            if isinstance(frame, Changes) and (frame.tenants or frame.hosts or frame.keys):
                self.store.apply(frame)
            else:
                self.store.advance(frame.position)
            self._remember_digest()
            self._grant()
        link.position = frame.position

    # -- the log

    def _check(self, theirs: LogId) -> None:
        """Raises LinkEnded where the teller is to be left alone, SnapshotNeeded where it is to be believed."""
        newest, own = self._newest, self.store.log
        if newest is not None and theirs.log == newest.log and theirs.epoch < newest.epoch:
            raise LinkEnded(f"the service tells epoch {theirs.epoch} of the log, and another one {newest.epoch}")
        self._newest = theirs
        if own is None or theirs == own:
            return
        self.counters.other_logs += 1
        if theirs.log == own.log and theirs.epoch < own.epoch:
            raise LinkEnded(f"the service tells epoch {theirs.epoch} of the log, older than {own.epoch} here")
        log.warning("another log: everything here is dropped", theirs=f"{theirs.log}/{theirs.epoch}")
        self.drop()
        raise SnapshotNeeded("the service tells another log")

    def drop(self) -> None:
        """Nothing counts any more."""
        with self._lock:
            self._session += 1
            self._asked.clear()
            self._digests.clear()
            self.store.drop()

    def freeze(self) -> None:
        """No link counts from now on, until a snapshot is switched to; what is here goes on to be served."""
        with self._lock:
            self._session += 1

    def of_the_newest_epoch(self, frames: Iterator[Hello | Changes]) -> Iterator[Hello | Changes]:
        """The frames of a snapshot. Raises LinkEnded where another service tells a later epoch of the same log."""
        for frame in frames:
            if isinstance(frame, Hello):
                with self._lock:
                    newest = self._newest
                if newest is not None and frame.log == newest.log and frame.epoch < newest.epoch:
                    raise LinkEnded(f"the snapshot is of epoch {frame.epoch}, older than {newest.epoch}")
            yield frame

    def switch(self, prepared: Prepared) -> None:
        """Stand on a snapshot from now on. Raises Garbled where it is older than what is here."""
        with self._lock:
            self._session += 1
            self.store.switch(prepared)
            self.counters.snapshots += 1
            self._digests.clear()
            self._remember_digest()
            self._grant()

    def mend(self) -> None:
        """After an error of the disk: look again at what is there. Raises lmdb.Error, OSError."""
        with self._lock:
            self.counters.disk_errors += 1
            self._session += 1
            self.store.reopen()

    # -- the lease

    def lease_answered(self, asked_ns: int, answer: LeaseAnswer) -> None:
        """The answer to a question that was sent at `asked_ns`. Raises LinkEnded, SnapshotNeeded."""
        with self._lock:
            self._check(LogId(answer.log, answer.epoch))
            if self.store.log is not None:
                lease_ns = self.term_ns if answer.lease_seconds is None else int(answer.lease_seconds * 1e9)
                self._asked.append((answer.position, asked_ns + min(lease_ns, self.term_ns)))
                self._grant()

    def _grant(self) -> None:
        """Every lease whose S is applied by now."""
        ends = [end for position, end in self._asked if position <= self.store.position]
        if ends:
            self.counters.leases += len(ends)
            self.store.lease.renew(max(ends))
            self._asked = deque(each for each in self._asked if each[0] > self.store.position)

    def forget_leases(self, before_ns: int) -> int:
        """Answers whose lease would have ended already; how many there were."""
        with self._lock:
            kept = deque(each for each in self._asked if each[1] > before_ns)
            lost = len(self._asked) - len(kept)
            self._asked = kept
            return lost

    # -- the digest

    def _remember_digest(self) -> None:
        self._digests[self.store.position] = self.store.sums.copy()
        while len(self._digests) > REMEMBERED_DIGESTS:
            del self._digests[next(iter(self._digests))]

    def is_like(self, theirs: LogId, position: int, buckets: list[str]) -> bool | None:
        """Whether the copy here was the same at that position; None where that cannot be told."""
        with self._lock:
            if theirs != self.store.log:
                return None
            own = self._digests.get(position)
            if own is None and position == self.store.position:
                own = self.store.sums
            if own is None:
                return None
            self.counters.digests_compared += 1
            same = [f"{each:016x}" for each in own] == buckets
            self.counters.digests_different += not same
            return same
