"""The mutants of sidecar and client: each takes one thing away that the freshness of answers rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from context.sidecar.follower import Follower, Link
from context.sidecar.process import Sidecar
from context.sidecar.services import LeaseAnswer, Service
from tenantry_client.context import tenancy, wire
from tenantry_client.context.lease import LeaseReader, LeaseWriter, lease_path, now_ns
from tenantry_client.context.wire import Changes, Frame, FrameReader, Garbled, Heartbeat, Hello, decode_payload

T: Any = Follower


def no_barrier() -> None:
    """A lease is granted when it is answered, whether its S is applied or not."""

    def grant(self: Follower) -> None:
        for _, end in self._asked:
            self.store.lease.renew(end)

    T._grant = grant


def renewed_by_any_frame() -> None:
    """A frame that arrives renews the lease."""
    take = Follower.take

    def taking(self: Follower, link: Link, frame: Frame) -> None:
        take(self, link, frame)
        self.store.lease.renew(now_ns() + self.term_ns)

    T.take = taking


def lease_of_another_boot() -> None:
    """A lease that was left from before a reboot is believed."""
    reading = LeaseReader.__init__

    def believing(self: LeaseReader, directory: Path, *, boot: str | None = None) -> None:
        page = lease_path(directory)
        reading(self, directory, boot=page.read_bytes()[64:100].decode() if page.exists() else boot)

    LeaseReader.__init__ = believing  # type: ignore[method-assign]


def position_of_another_log() -> None:
    """What another log answers grants a lease of this one."""

    def answered(self: Follower, asked_ns: int, answer: LeaseAnswer) -> None:
        with self._lock:
            self._asked.append((answer.position, asked_ns + self.term_ns))
            self._grant()

    T.lease_answered = answered


def lease_from_the_answer() -> None:
    """T is counted from the answer, and not from the question."""

    def ping(self: Sidecar, service: Service) -> None:
        answer = service.lease(timeout=self._ping_timeout)
        self.follower.lease_answered(now_ns(), answer)

    Sidecar._ping = ping  # type: ignore[method-assign]


def gaps_are_passed_over() -> None:
    """A frame need not continue where the link stands."""
    following = T._continue

    def going_on(self: Follower, link: Link, frame: Changes | Heartbeat) -> None:
        link.position = frame.after
        following(self, link, frame)

    T._continue = going_on


def counters_stand_still() -> None:
    """What a process has kept is not told from what has changed."""
    end = LeaseWriter.end

    def ending(self: LeaseWriter, *, changed: set[int], watermark: int) -> None:
        end(self, changed=set(), watermark=watermark)

    LeaseWriter.end = ending  # type: ignore[method-assign]


def token_is_not_asked_for() -> None:
    """A look-up is answered whatever its token is."""
    by_host = tenancy.Tenancy.by_host

    def looking(self: tenancy.Tenancy, host: str, at_least: int = 0) -> Any:
        return by_host(self, host, 0)

    tenancy.Tenancy.by_host = looking  # type: ignore[method-assign]


def snapshot_before_it_is_whole() -> None:
    """A snapshot counts, though it was cut off."""

    def reading(pieces: Iterator[bytes]) -> Iterator[Hello | Changes]:
        reader = FrameReader()
        first = next(pieces)
        try:
            for piece in (first[8:], *pieces):
                for payload in reader.feed(piece):
                    frame = decode_payload(payload)
                    if isinstance(frame, Hello | Changes):
                        yield frame
        except Garbled:
            return

    wire.read_snapshot = reading  # type: ignore[assignment]


def older_frames_are_applied() -> None:
    """What a service that is behind tells is written over what is newer."""

    def going_on(self: Follower, link: Link, frame: Changes | Heartbeat) -> None:
        if isinstance(frame, Changes):
            newest = self.store.position
            assert self.store._env is not None
            with self.store._env.begin(write=True) as transaction:
                for tenant_id, *_ in frame.tenants:
                    transaction.delete(tenant_id.encode(), db=self.store._tenants)
            self.store.apply(frame)
            self.store.advance(max(newest, frame.position))
        elif frame.position > self.store.position:
            self.store.advance(frame.position)
        self._grant()
        link.position = frame.position

    T._continue = going_on


SIDECAR: Final[dict[str, Callable[[], None]]] = {
    each.__name__: each
    for each in (
        no_barrier,
        renewed_by_any_frame,
        position_of_another_log,
        lease_from_the_answer,
        gaps_are_passed_over,
        counters_stand_still,
        snapshot_before_it_is_whole,
        older_frames_are_applied,
    )
}
CLIENT: Final[dict[str, Callable[[], None]]] = {
    each.__name__: each for each in (lease_of_another_boot, token_is_not_asked_for)
}


def plant(name: str) -> None:
    """Take that one thing away in this process."""
    (SIDECAR | CLIENT)[name]()
