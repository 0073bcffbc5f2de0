"""Tenancy: the look-up of an application, in its own process, from the store that the sidecar keeps on this host.

    by_host ─▶ kept in this process? ─▶ token, lease, counters unchanged ─▶ the document       half a microsecond
                     └─ no ─▶ lease, counters ─▶ LMDB ─▶ decode ─▶ keep ─▶ the document        a few microseconds
                                   └─ not fresh enough ─▶ wait 50 ms ─▶ ask a service, through the sidecar ─▶ 503

An answer is given only under a valid lease, and holds for the look-up, not for longer: look up once a request. The
order of the reads matters: first watermark and lease, then the counters, then the document. So whatever the lease
vouches for is in what is read afterwards.

Threads share a Tenancy. A page of shared memory and what was kept by its counters are one value, which is put in place
of the one before in one step: a document is never judged by the counters of another page. Pages and stores are opened
under a lock, so that a thread that comes second finds what the first one has opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self
from weakref import WeakSet

import lmdb
import msgspec

from tenantry_client.context.document import TenantContext
from tenantry_client.context.hosts import MAX_LENGTH, normal_host
from tenantry_client.context.lease import (
    GENERATION,
    KEYS_WORD,
    LEASE_END,
    SEQUENCE,
    WATERMARK,
    LeaseReader,
    LeaseUnusable,
    LogId,
    Words,
    slot_of,
    word_of,
)
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.sidecar_socket import AT_LEAST, TENANT_KEY, SidecarSocket
from tenantry_client.context.store_reader import NUMBER, StoreReader, is_key
from tenantry_client.context.stored import unpack

DIRECTORY_VARIABLE: Final = "TENANCY_DIR"
DEFAULT_DIRECTORY: Final = Path("/run/tenancy")
WAIT_SECONDS: Final = 0.050
KEPT: Final = 10_000
REOPEN_NS: Final = 100_000_000

_BOOT_CLOCK: Final = time.CLOCK_BOOTTIME
_open: WeakSet[Tenancy] = WeakSet()


_Kept = tuple[TenantContext, int, int, int, int]
"""A document, and from before it was read: word and count of its host, word and count of its tenant."""
_Page = tuple[Words, dict[str, _Kept], LeaseReader | None]
"""The words of a lease, what was kept by them, and the lease."""


class Tenancy:
    """The tenants of the cloud as this host knows them. Safe for threads, and after a fork."""

    def __init__(
        self,
        directory: Path,
        *,
        wait: float = WAIT_SECONDS,
        configuration_for: float = 0.0,
        kept: int = KEPT,
        ask: Callable[[str, int], TenantContext] | None = None,
    ) -> None:
        """`ask` answers where the watermark does not pass a token in time; by default it is the sidecar's socket."""
        self.directory = directory
        self._ask = ask or SidecarSocket(directory)
        self._wait = wait
        self._configuration_ns = int(configuration_for * 1e9)
        self._limit = kept
        self._page: _Page = (_NOTHING, {}, None)
        self._lock = threading.Lock()
        self._lease_tried = 0
        self._store: StoreReader | None = None
        self._closed = False
        _open.add(self)

    @classmethod
    def open(
        cls,
        directory: str | Path | None = None,
        *,
        wait: float = WAIT_SECONDS,
        configuration_for: float = 0.0,
        kept: int = KEPT,
    ) -> Self:
        """The directory of the sidecar: as given, or TENANCY_DIR, or /run/tenancy.

        `wait`: seconds that a look-up waits for its freshness token. `configuration_for`: seconds for which
        `configuration` goes on to answer after the lease has ended. `kept`: documents kept in this process.

        There may be no sidecar yet: each look-up is refused until there is one.
        """
        chosen = directory or os.environ.get(DIRECTORY_VARIABLE) or DEFAULT_DIRECTORY
        return cls(Path(chosen), wait=wait, configuration_for=configuration_for, kept=kept)

    # -- look-ups

    def by_host(self, host: str, at_least: int = 0) -> TenantContext:
        """The tenant to which the host belongs, as fresh as `at_least` (a log position).

        Raises ContextRefused: `host-invalid` 400, `host-unknown` 404, `lease-expired`, `not-fresh-enough`,
        `tenant-halted` 503.
        """
        words, kept, _ = self._page
        found = kept.get(host)
        if found is not None:
            context, host_word, host_count, tenant_word, tenant_count = found
            if (
                at_least <= words[WATERMARK]
                and time.clock_gettime_ns(_BOOT_CLOCK) < words[LEASE_END]
                and words[host_word] == host_count
                and words[tenant_word] == tenant_count
            ):
                return context
        return self._look(host, self._host_entry, at_least)

    def by_id(self, tenant_id: str, at_least: int = 0) -> TenantContext:
        """The tenant of that id. Raises ContextRefused as `by_host`, with `tenant-unknown`."""
        words, kept, _ = self._page
        found = kept.get(TENANT_KEY + tenant_id)
        if (
            found is not None
            and at_least <= words[WATERMARK]
            and time.clock_gettime_ns(_BOOT_CLOCK) < words[LEASE_END]
            and words[found[3]] == found[4]
        ):
            return found[0]
        return self._look(TENANT_KEY + tenant_id, self._tenant_entry, at_least)

    def configuration(self, host: str, product: str) -> Mapping[str, Any]:
        """The configuration of a product, which may be older than access may be: see `configuration_for`."""
        try:
            context = self.by_host(host)
        except ContextRefused as refused:
            end = self._page[0][LEASE_END]
            if refused.code != "lease-expired" or not end or _now() >= end + self._configuration_ns:
                raise
            context = self._read(self._page[0], host, self._host_entry)[0]
        found = context.products.get(product)
        return {} if found is None else found.configuration

    # -- service keys

    @property
    def keys_version(self) -> int:
        """Another number after each change of service keys that this host has heard of."""
        words, _, lease = self._page
        return -1 if lease is None else words[KEYS_WORD]

    def service_key(self, key_id: str) -> tuple[str | None, float]:
        """The public key (PEM; None: there is none in force), and for how many seconds that counts.

        Raises ContextRefused (`lease-expired`, `context-unreadable`).
        """
        words = self._attached()[0]
        if _now() >= words[LEASE_END]:
            words = self._attached(again=True)[0]
        left = words[LEASE_END] - _now()
        if left <= 0:
            raise ContextRefused("lease-expired", f"no valid lease in {self.directory}: is its sidecar cut off?")
        if not is_key(key_id):
            return None, left / 1e9
        try:
            found = self._current(words).of_key(key_id.encode())
        except (lmdb.Error, OSError) as error:  # the generation may have changed in between
            self._store = None
            raise _unreadable(self.directory, error) from None
        return (found[NUMBER:].decode() or None) if found is not None else None, left / 1e9

    # -- state

    @property
    def position(self) -> int:
        """Up to where this host knows the log: the freshness token of what is answered now."""
        return self._attached()[0][WATERMARK]

    @property
    def log(self) -> LogId | None:
        """Which log is told here."""
        lease = self._attached()[2]
        return None if lease is None else lease.log

    @property
    def is_ready(self) -> bool:
        """Whether a look-up can be answered now."""
        return _now() < self._attached()[0][LEASE_END]

    def forward(self, at_least: int = 0) -> dict[str, str]:
        """The header for the next service, so that it works on no older a context than this one does."""
        return {AT_LEAST: str(max(at_least, self.position))}

    def close(self) -> None:
        """Free the place in the table of readers."""
        with self._lock:
            self._closed = True
            self._page, self._store = (_NOTHING, {}, None), None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _look(self, key: str, entry: Callable[[Words, str], _Kept], at_least: int) -> TenantContext:
        words, kept, _ = self._attached()
        if at_least > words[WATERMARK] and not self._arrived(words, at_least):
            return self._ask(key, at_least)
        if time.clock_gettime_ns(_BOOT_CLOCK) >= words[LEASE_END]:
            words, kept, _ = self._attached(again=True)
            if at_least > words[WATERMARK] or _now() >= words[LEASE_END]:
                raise ContextRefused("lease-expired", f"no valid lease in {self.directory}: is its sidecar cut off?")
        sequence = words[SEQUENCE]
        found = self._read(words, key, entry)
        if not sequence & 1 and words[SEQUENCE] == sequence:
            self._keep(kept, key, found)
        return found[0]

    def _keep(self, kept: dict[str, _Kept], key: str, found: _Kept) -> None:
        with self._lock:  # one thread would change it under another one's search for the oldest
            if len(kept) >= self._limit:
                kept.pop(next(iter(kept), ""), None)
            kept[key] = found

    def _read(self, words: Words, key: str, entry: Callable[[Words, str], _Kept]) -> _Kept:
        try:
            found = entry(words, key)
        except (lmdb.Error, OSError):  # the generation may have changed in between
            self._store = None
            found = self._read_again(words, key, entry)
        except msgspec.MsgspecError as error:
            raise _unreadable(self.directory, error) from None
        context = found[0]
        if context.halted is not None:
            raise ContextRefused("tenant-halted", f"tenant {context.tenant_id} is halted: {context.halted}")
        return found

    def _read_again(self, words: Words, key: str, entry: Callable[[Words, str], _Kept]) -> _Kept:
        try:
            return entry(words, key)
        except (lmdb.Error, msgspec.MsgspecError, OSError) as error:
            self._store = None
            raise _unreadable(self.directory, error) from None

    def _host_entry(self, words: Words, host: str) -> _Kept:
        if not host.isascii() or not 0 < len(host) <= MAX_LENGTH:
            host = normal_host(host)
        name = host.encode()
        word = word_of(name)
        count = words[word]
        found = self._current(words).of_host(name, words)
        if found is None:  # it may be spelt in another way
            return self._respelt(words, host)
        document, tenant_word, tenant_count = found
        if document is None:
            raise ContextRefused("host-unknown", f"no tenant has the host {host}", position=words[WATERMARK])
        return unpack(document[NUMBER:]), word, count, tenant_word, tenant_count

    def _respelt(self, words: Words, host: str) -> _Kept:
        name = normal_host(host)
        if name != host:
            return self._host_entry(words, name)
        raise ContextRefused("host-unknown", f"no tenant has the host {name}", position=words[WATERMARK])

    def _tenant_entry(self, words: Words, key: str) -> _Kept:
        tenant_id = key[1:]
        if not is_key(tenant_id):
            raise ContextRefused("tenant-unknown", "there is no tenant with such an id")
        word = slot_of(tenant_id)
        count = words[word]
        document = self._current(words).of_tenant(tenant_id.encode())
        if document is None:
            raise ContextRefused("tenant-unknown", f"there is no tenant {tenant_id}", position=words[WATERMARK])
        return unpack(document[NUMBER:]), word, count, word, count

    def _arrived(self, words: Words, at_least: int) -> bool:
        """Wait until the watermark has passed the token, for a short time."""
        end = time.monotonic() + self._wait
        while time.monotonic() < end:
            time.sleep(0.001)
            if at_least <= words[WATERMARK]:
                return True
        return False

    def _current(self, words: Words) -> StoreReader:
        """The store of the generation that counts now."""
        store = self._store
        if store is not None and store.generation == words[GENERATION]:
            return store
        with self._lock:
            store, generation = self._store, words[GENERATION]
            if not generation:
                raise ContextRefused("lease-expired", f"the sidecar of {self.directory} has no tenants yet")
            if store is None or store.generation != generation:
                store = self._store = StoreReader(self.directory, generation)
            return store

    def _attached(self, *, again: bool = False) -> _Page:
        """The page, mapped where that was not done yet, or where its lease ended: it may be another one by now."""
        page = self._page
        if page[2] is not None and not again:
            return page
        with self._lock:
            page, lease = self._page, self._page[2]
            if self._closed or (lease is not None and not again) or _now() < self._lease_tried + REOPEN_NS:
                return page
            self._lease_tried = _now()
            try:
                found = LeaseReader(self.directory)
            except (LeaseUnusable, OSError):
                self._page, self._store = (_NOTHING, {}, None), None
            else:
                if lease is None or lease.file != found.file:
                    self._page, self._store = (found.words, {}, found), None
            return self._page

    def after_fork(self) -> None:
        """In a child: the parent's LMDB must not be used, and is not ours to close. The lease is, and stays."""
        self._lock, self._lease_tried = threading.Lock(), 0  # a thread that there is no more may have held it
        self._store = None
        self._page = (self._page[0], {}, self._page[2])


_NOTHING: Final[list[int]] = [0] * 8
"""What a process sees that has no lease: the watermark is 0, the lease ended at the boot."""


def _unreadable(directory: Path, error: Exception) -> ContextRefused:
    return ContextRefused("context-unreadable", f"the store in {directory} cannot be read: {error}")


def _now() -> int:
    return time.clock_gettime_ns(_BOOT_CLOCK)


def _after_fork() -> None:
    for each in list(_open):
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
