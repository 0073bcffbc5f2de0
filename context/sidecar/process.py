"""The sidecar's threads: one link to each service, the lease, the snapshots and the digest.

    link, one a service    changes ─▶ follower        ends on a gap, silence or error; made anew from the own watermark
    lease                  a question to one service every T / 10; to the next one where it does not answer
    keeper                 snapshot where one is asked for; each minute the digest; frees the places of dead readers

No thread ends on an error: it says so in one line, waits (longer from time to time) and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import lmdb
import structlog

from context.sidecar.follower import Follower, Gap, LinkEnded, SnapshotNeeded
from context.sidecar.services import Service, ServiceUnavailable
from tenantry_client.context import wire
from tenantry_client.context.lease import LogId, now_ns
from tenantry_client.context.wire import Garbled

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
FAILURES_BEFORE_SNAPSHOT: Final = 3
DIGEST_SECONDS: Final = 60.0
READER_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Sidecar:
    """Follows the services until it is stopped."""

    def __init__(
        self,
        follower: Follower,
        services: Sequence[Service],
        *,
        digest_seconds: float = DIGEST_SECONDS,
        ping_seconds: float | None = None,
    ) -> None:
        self.follower = follower
        self._services = list(services)
        self._digest_seconds = digest_seconds
        term = follower.term_ns / 1e9
        self._ping_seconds = ping_seconds or min(term / 10, 3.0)
        self._ping_timeout = max(term / 4, 0.2)
        self._stopped = threading.Event()
        self._requested = threading.Event()
        self._trouble: dict[str, str] = {}
        self._threads = [
            *(threading.Thread(target=self._link_forever, args=(each,), name=f"link {each.url}") for each in services),
            threading.Thread(target=self._ping_forever, name="lease"),
            threading.Thread(target=self._keep_forever, name="keeper"),
        ]
        for thread in self._threads:
            thread.daemon = True

    def start(self) -> None:
        """Begin to follow."""
        if self.follower.store.log is None:
            self._requested.set()
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout: float = 5.0) -> None:
        """End, and leave a store that the next one takes on."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout)
        self.follower.store.close()

    # -- links

    def _link_forever(self, service: Service) -> None:
        pause, failures = FIRST_PAUSE, 0
        while not self._stopped.is_set():
            before = self.follower.store.position
            try:
                self._follow(service)
            except SnapshotNeeded as error:
                self._want_snapshot(service, error)
                failures = 0
            except (Gap, Garbled) as error:
                failures = 0 if self.follower.store.position > before else failures + 1
                self._say(service, error)
                if failures >= FAILURES_BEFORE_SNAPSHOT:
                    self._want_snapshot(service, error)
                    failures = 0
            except (ServiceUnavailable, LinkEnded) as error:
                self._say(service, error)
            except (lmdb.Error, OSError) as error:
                self._mend(error)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next link may do better
                self._say(service, error)
            pause = FIRST_PAUSE if self.follower.store.position > before else min(pause * 2, LONGEST_PAUSE)
            self._stopped.wait(pause)

    def _follow(self, service: Service) -> None:
        if self._requested.is_set():
            return
        link, own = self.follower.link()
        for frame in service.changes(after=link.position, log=own):
            self.follower.take(link, frame)
            self._well(service.url)
            if self._stopped.is_set():
                return
        raise ServiceUnavailable(f"{service.url} ended the stream")

    def _mend(self, error: Exception) -> None:
        self._note("store", f"cannot be written: {error}")
        with suppress(lmdb.Error, OSError):
            self.follower.mend()

    # -- the lease

    def _ping_forever(self) -> None:
        number = 0
        while not self._stopped.is_set():
            service = self._services[number % len(self._services)]
            try:
                self._ping(service)
                self._well(f"lease {service.url}")
            except SnapshotNeeded as error:
                self._want_snapshot(service, error)
            except Exception as error:  # noqa: BLE001 - the next service, the next time
                number += 1
                self._note(f"lease {service.url}", str(error))
                self._stopped.wait(min(FIRST_PAUSE, self._ping_seconds))
                continue
            if self.follower.forget_leases(now_ns()):
                self._note("lease", "answers are not applied in time: the changes come too late")
            self._stopped.wait(self._ping_seconds)

    def _ping(self, service: Service) -> None:
        asked = now_ns()
        self.follower.lease_answered(asked, service.lease(timeout=self._ping_timeout))

    # -- snapshots, digest, readers

    def _keep_forever(self) -> None:
        number, pause = 0, FIRST_PAUSE
        digest_at = now_ns() + int(self._digest_seconds * 1e9)
        while not self._stopped.is_set():
            if self._requested.is_set():
                if self._take_snapshot(self._services[number % len(self._services)]):
                    pause = FIRST_PAUSE
                    continue
                number, pause = number + 1, min(pause * 2, LONGEST_PAUSE)
                self._stopped.wait(pause)
                continue
            self._guarded("readers", self.follower.store.free_readers)
            if now_ns() >= digest_at:
                digest_at = now_ns() + int(self._digest_seconds * 1e9)
                self._guarded("digest", self._compare)
            self._requested.wait(min(READER_SECONDS, self._digest_seconds, 0.5))

    def _take_snapshot(self, service: Service) -> bool:
        self.follower.freeze()
        try:
            prepared = self.follower.store.load(
                self.follower.of_the_newest_epoch(wire.read_snapshot(service.snapshot()))
            )
            self.follower.switch(prepared)
        except Exception as error:  # noqa: BLE001 - a snapshot is all or nothing; the next one may be whole
            self._note(f"snapshot {service.url}", str(error))
            return False
        self._requested.clear()
        self._well(f"snapshot {service.url}")
        log.info("a snapshot is loaded", service=service.url, position=prepared.watermark.position)
        return True

    def _compare(self) -> None:
        if not self.follower.store.is_there():
            self._note("store", "its files are gone: a new snapshot is taken")
            self._requested.set()
            return
        for service in self._services:
            with suppress(ServiceUnavailable):
                digest = service.digest()
                same = self._settled(LogId(digest.log, digest.epoch), digest.position, digest.buckets)
                if same is False:
                    self._note("digest", f"differs from {service.url} at {digest.position}: a new snapshot is taken")
                    self._requested.set()
                if same is not None:
                    return

    def _settled(self, log_id: LogId, position: int, buckets: list[str]) -> bool | None:
        """Compare at that position, which may be a little ahead."""
        for _ in range(50):
            if self.follower.store.position >= position:
                break
            self._stopped.wait(0.02)
        return self.follower.is_like(log_id, position, buckets)

    # -- what is said

    def _want_snapshot(self, service: Service, error: Exception) -> None:
        self._say(service, error)
        self._requested.set()

    def _guarded(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - said, and tried again
            self._note(what, str(error))

    def _say(self, service: Service, error: Exception) -> None:
        self._note(service.url, f"{error}")

    def _note(self, what: str, text: str) -> None:
        """One line where it is news; a trouble that goes on is said once."""
        if self._trouble.get(what) != text:
            self._trouble[what] = text
            log.warning(f"{what}: {text}")  # noqa: G004

    def _well(self, what: str) -> None:
        if self._trouble.pop(what, None) is not None:
            log.info(f"{what}: well again")  # noqa: G004

    @property
    def troubles(self) -> dict[str, str]:
        """What is not well now, by what."""
        return dict(self._trouble)
