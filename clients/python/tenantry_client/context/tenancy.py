"""Tenancy: the look-up of an application, in its own process, from the store that the sidecar keeps on this host.

    by_host ─▶ kept in this process? ─▶ token, lease, counters unchanged ─▶ the document       half a microsecond
                     └─ no ─▶ lease, counters ─▶ LMDB ─▶ decode ─▶ keep ─▶ the document        a few microseconds
                                   └─ not fresh enough ─▶ wait 50 ms ─▶ ask a service, through the sidecar ─▶ 503

An answer is given only under a valid lease, and holds for the look-up, not for longer: look up once a request. The
order of the reads matters: first watermark and lease, then the counters, then the document. So whatever the lease
vouches for is in what is read afterwards.
"""

from __future__ import annotations

import os
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
    slot_of,
    word_of,
)
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.sidecar_socket import AT_LEAST, TENANT_KEY, SidecarSocket
from tenantry_client.context.store import NUMBER, StoreReader, is_key
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
        self._kept: dict[str, _Kept] = {}
        self._words: memoryview | list[int] = _NOTHING
        self._lease: LeaseReader | None = None
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
        found = self._kept.get(host)
        if found is not None:
            context, host_word, host_count, tenant_word, tenant_count = found
            words = self._words
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
        found = self._kept.get(TENANT_KEY + tenant_id)
        if found is not None:
            words = self._words
            if (
                at_least <= words[WATERMARK]
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
            end = self._words[LEASE_END]
            if refused.code != "lease-expired" or not end or _now() >= end + self._configuration_ns:
                raise
            context = self._read(host, self._host_entry)
        found = context.products.get(product)
        return {} if found is None else found.configuration

    # -- service keys

    @property
    def keys_version(self) -> int:
        """Another number after each change of service keys that this host has heard of."""
        words = self._words
        return -1 if self._lease is None else words[KEYS_WORD]

    def service_key(self, key_id: str) -> tuple[str | None, float]:
        """The public key (PEM; None: there is none in force), and for how many seconds that counts.

        Raises ContextRefused (`lease-expired`, `context-unreadable`).
        """
        self._attach()
        if _now() >= self._words[LEASE_END]:
            self._attach(again=True)
        words = self._words
        left = words[LEASE_END] - _now()
        if left <= 0:
            raise ContextRefused("lease-expired", f"no valid lease in {self.directory}: is its sidecar cut off?")
        if not is_key(key_id):
            return None, left / 1e9
        try:
            store = self._current()
            with store.env.begin() as transaction:
                found = transaction.get(key_id.encode(), db=store.keys)
        except (lmdb.Error, OSError) as error:  # the generation may have changed in between
            self._store = None
            raise _unreadable(self.directory, error) from None
        return (found[NUMBER:].decode() or None) if found is not None else None, left / 1e9

    # -- state

    @property
    def position(self) -> int:
        """Up to where this host knows the log: the freshness token of what is answered now."""
        self._attach()
        return self._words[WATERMARK]

    @property
    def log(self) -> LogId | None:
        """Which log is told here."""
        self._attach()
        return None if self._lease is None else self._lease.log

    @property
    def is_ready(self) -> bool:
        """Whether a look-up can be answered now."""
        self._attach()
        return _now() < self._words[LEASE_END]

    def forward(self, at_least: int = 0) -> dict[str, str]:
        """The header for the next service, so that it works on no older a context than this one does."""
        return {AT_LEAST: str(max(at_least, self.position))}

    def close(self) -> None:
        """Free the place in the table of readers."""
        self._closed = True
        self._detach()
        self._store = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _look(self, key: str, entry: Callable[[str], _Kept], at_least: int) -> TenantContext:
        if self._lease is None:
            self._attach()
        words = self._words
        if at_least > words[WATERMARK] and not self._arrived(at_least):
            return self._ask(key, at_least)
        if time.clock_gettime_ns(_BOOT_CLOCK) >= words[LEASE_END]:
            self._attach(again=True)
            if at_least > self._words[WATERMARK] or _now() >= self._words[LEASE_END]:
                raise ContextRefused("lease-expired", f"no valid lease in {self.directory}: is its sidecar cut off?")
        return self._read(key, entry)

    def _read(self, key: str, entry: Callable[[str], _Kept]) -> TenantContext:
        words = self._words
        sequence = words[SEQUENCE]
        try:
            found = entry(key)
        except (lmdb.Error, OSError):  # the generation may have changed in between
            self._store = None
            found = self._read_again(key, entry)
        except msgspec.MsgspecError as error:
            raise _unreadable(self.directory, error) from None
        context = found[0]
        if context.halted is not None:
            raise ContextRefused("tenant-halted", f"tenant {context.tenant_id} is halted: {context.halted}")
        if not sequence & 1 and words[SEQUENCE] == sequence and words is self._words:
            if len(self._kept) >= self._limit:
                self._kept.pop(next(iter(self._kept), ""), None)
            self._kept[key] = found
        return context

    def _read_again(self, key: str, entry: Callable[[str], _Kept]) -> _Kept:
        try:
            return entry(key)
        except (lmdb.Error, msgspec.MsgspecError, OSError) as error:
            self._store = None
            raise _unreadable(self.directory, error) from None

    def _host_entry(self, host: str) -> _Kept:
        if not host.isascii() or not 0 < len(host) <= MAX_LENGTH:
            host = normal_host(host)
        words, word = self._words, word_of(host.encode())
        count = words[word]
        store = self._current()
        with store.env.begin() as transaction:
            owner = transaction.get(host.encode(), db=store.hosts)
            if owner is None:  # it may be spelt in another way
                return self._respelt(host)
            tenant_id = owner[NUMBER:]
            tenant_word = word_of(tenant_id)
            tenant_count = words[tenant_word]
            document = transaction.get(tenant_id, db=store.tenants)
        if document is None:
            raise ContextRefused("host-unknown", f"no tenant has the host {host}", position=words[WATERMARK])
        return unpack(document[NUMBER:]), word, count, tenant_word, tenant_count

    def _respelt(self, host: str) -> _Kept:
        name = normal_host(host)
        if name != host:
            return self._host_entry(name)
        raise ContextRefused("host-unknown", f"no tenant has the host {name}", position=self._words[WATERMARK])

    def _tenant_entry(self, key: str) -> _Kept:
        tenant_id = key[1:]
        if not is_key(tenant_id):
            raise ContextRefused("tenant-unknown", "there is no tenant with such an id")
        words, word = self._words, slot_of(tenant_id)
        count = words[word]
        store = self._current()
        with store.env.begin() as transaction:
            document = transaction.get(tenant_id.encode(), db=store.tenants)
        if document is None:
            raise ContextRefused("tenant-unknown", f"there is no tenant {tenant_id}", position=words[WATERMARK])
        return unpack(document[NUMBER:]), word, count, word, count

    def _arrived(self, at_least: int) -> bool:
        """Wait until the watermark has passed the token, for a short time."""
        end = time.monotonic() + self._wait
        while time.monotonic() < end:
            time.sleep(0.001)
            if at_least <= self._words[WATERMARK]:
                return True
        return False

    def _current(self) -> StoreReader:
        """The store of the generation that counts now."""
        generation = self._words[GENERATION]
        store = self._store
        if store is None or store.generation != generation:
            if not generation:
                raise ContextRefused("lease-expired", f"the sidecar of {self.directory} has no tenants yet")
            store = self._store = StoreReader(self.directory, generation)
        return store

    def _attach(self, *, again: bool = False) -> None:
        """Map the lease, where that was not done yet, or where it ended: the page may be another one by now."""
        if self._closed or (self._lease is not None and not again):
            return
        if _now() < self._lease_tried + REOPEN_NS:
            return
        self._lease_tried = _now()
        try:
            lease = LeaseReader(self.directory)
        except (LeaseUnusable, OSError):
            self._detach()
        else:
            if self._lease is None or self._lease.file != lease.file:
                self._detach()
                self._lease, self._words = lease, lease.words

    def _detach(self) -> None:
        self._kept, self._store = {}, None
        self._lease, self._words = None, _NOTHING

    def after_fork(self) -> None:
        """In a child: the parent's LMDB must not be used, and is not ours to close. The lease is, and stays."""
        self._store = None
        self._kept = {}


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
