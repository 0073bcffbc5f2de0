"""The lease: a page of shared memory in which the sidecar says up to when, and up to where, its answers count.

    sidecar   t := CLOCK_BOOTTIME ─▶ ping ─▶ S ─▶ applied S ─▶ lease end := t + T
    reader    watermark, lease end, then the document: valid where the lease was valid before the document was read

No clocks are compared: the end is on the clock of the machine since its boot, which all of its processes share and
which goes on while it sleeps. The page names the boot, the log and its epoch. It lies in memory and never on a disk,
so nothing of it outlives the boot; a page of another boot, or of another owner than the store, is not believed.

Beside the lease lie `SLOTS` counters. The sidecar raises those of all tenants and hosts that it has changed; a process
keeps a document that it has read for as long as both of its counters stand still. The word `SEQUENCE` is odd while a
commit is under way: what is read meanwhile is answered, but not kept.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import time
import zlib
from pathlib import Path
from typing import Final, NamedTuple

FORMAT: Final = int.from_bytes(b"TNTYLSE1", "little")
SLOTS: Final = 4096
FIRST_SLOT: Final = 32
SIZE: Final = (FIRST_SLOT + SLOTS) * 8
KEYS_WORD: Final = FIRST_SLOT + zlib.crc32(b"\0service-keys") % SLOTS
"""The word that counts the changes of service keys."""
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - one name for each directory, checked for its owner

FORMAT_WORD, SEQUENCE, GENERATION, WATERMARK, LEASE_END, EPOCH, WRITER = range(7)
_BOOT: Final = slice(8 * 8, 8 * 8 + 36)
_LOG: Final = slice(16 * 8, 16 * 8 + 64)

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

Words = memoryview | list[int]
"""The words of a page, as a reader sees them."""


class LeaseUnusable(Exception):
    """There is no page of shared memory that can be believed. The text says what to look at."""


class LogId(NamedTuple):
    """A log, and which telling of it: after a restore the epoch is another one."""

    log: str
    epoch: int


def boot_id() -> str:
    """The id of this boot of the machine."""
    return _BOOT_ID.read_text().strip()


def now_ns() -> int:
    """Nanoseconds since the boot, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def slot_of(name: str) -> int:
    """The word that counts the changes of a tenant id or host (and of those that share it by chance)."""
    return word_of(name.encode())


def word_of(name: bytes) -> int:
    """The same, of the name as it is stored."""
    return FIRST_SLOT + zlib.crc32(name) % SLOTS


def lease_path(directory: Path) -> Path:
    """Where the page of a sidecar's directory lies: in it, where that is memory, otherwise under /dev/shm."""
    real = directory.resolve()
    if _is_memory(real):
        return real / "lease"
    return SHARED_MEMORY / f"tenancy-{hashlib.sha256(str(real).encode()).hexdigest()[:24]}"


def _is_memory(directory: Path) -> bool:
    """Whether the file system of the directory is memory, by the table of mounts."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        inside = str(directory) == point or str(directory).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind in {"tmpfs", "ramfs"}


class LeaseReader:
    """What a process of an application sees. `words` is read without a lock: each word is whole by itself."""

    def __init__(self, directory: Path, *, boot: str | None = None) -> None:
        """Raises LeaseUnusable."""
        path = lease_path(directory)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise LeaseUnusable(f"no sidecar serves {directory}: start one there ({error.strerror})") from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != SIZE or found.st_uid != directory.stat().st_uid:
                raise LeaseUnusable(f"{path} is not the lease of {directory}: its owner or size is another")
            self._page = mmap.mmap(descriptor, SIZE, access=mmap.ACCESS_READ)
            self.file = (found.st_dev, found.st_ino)
        finally:
            os.close(descriptor)
        self.words = memoryview(self._page).cast("Q")
        if self.words[FORMAT_WORD] != FORMAT or _text(self._page, _BOOT) != (boot or boot_id()):
            raise LeaseUnusable(f"the lease of {directory} is of another boot or format: wait for the sidecar")

    @property
    def log(self) -> LogId:
        """Which log is told here."""
        return LogId(_text(self._page, _LOG), self.words[EPOCH])


class LeaseWriter:
    """The sidecar's side. Only one process at a time may write: the store's directory is locked by it."""

    def __init__(self, directory: Path, *, boot: str | None = None) -> None:
        """Takes on a page of this boot as it stands. Raises LeaseUnusable, OSError."""
        self.path = lease_path(directory)
        self.boot = boot or boot_id()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise LeaseUnusable(f"{self.path} belongs to another user: remove it")
            if directory.stat().st_uid != os.geteuid():
                raise LeaseUnusable(f"{directory} belongs to another user than this sidecar: change its owner")
            os.ftruncate(descriptor, SIZE)
            os.posix_fallocate(descriptor, 0, SIZE)  # a full /dev/shm is an error here, and not a SIGBUS later
            self._page = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self.words = memoryview(self._page).cast("Q")
        if self.words[FORMAT_WORD] != FORMAT or _text(self._page, _BOOT) != self.boot:
            self.drop()
            _write(self._page, _BOOT, self.boot)
            self.words[FORMAT_WORD] = FORMAT
        self.words[WRITER] = os.getpid()

    @property
    def log(self) -> LogId:
        """Which log is told here."""
        return LogId(_text(self._page, _LOG), self.words[EPOCH])

    def drop(self) -> None:
        """Nothing counts any more: the lease has ended, and no generation of the store is the current one."""
        self.words[LEASE_END] = 0
        self.words[GENERATION] = 0
        self.words[WATERMARK] = 0
        self.touch_all()

    def switch(self, *, generation: int, log: LogId, watermark: int) -> None:
        """Readers open another store from now on. The lease goes on only where it is the same log."""
        if log != self.log:
            self.drop()
            _write(self._page, _LOG, log.log)
            self.words[EPOCH] = log.epoch
        self.words[GENERATION] = generation
        self.touch_all()
        self.words[WATERMARK] = watermark

    def begin(self) -> None:
        """A commit begins: what is read from now on is not kept."""
        self.words[SEQUENCE] |= 1

    def end(self, *, changed: set[int], watermark: int) -> None:
        """The commit is in: whatever was kept of `changed` (words) is read again, then the watermark moves."""
        for word in changed:
            self.words[word] += 1
        self.words[WATERMARK] = watermark
        self.words[SEQUENCE] += self.words[SEQUENCE] & 1

    def touch_all(self) -> None:
        """All that was kept is read again."""
        for word in range(FIRST_SLOT, FIRST_SLOT + SLOTS):
            self.words[word] += 1
        self.words[SEQUENCE] += self.words[SEQUENCE] & 1

    def renew(self, end: int) -> None:
        """The lease is valid until `end` at least, in nanoseconds since the boot."""
        self.words[LEASE_END] = max(end, self.words[LEASE_END])

    @property
    def end_ns(self) -> int:
        """When the lease ends, in nanoseconds since the boot; 0 where there is none."""
        return self.words[LEASE_END]


def _text(page: mmap.mmap, place: slice) -> str:
    return bytes(page[place]).rstrip(b"\0").decode()


def _write(page: mmap.mmap, place: slice, text: str) -> None:
    size, data = place.stop - place.start, text.encode()
    if len(data) > size:
        raise ValueError(f"the id of a log has at most {size} bytes")
    page[place] = data.ljust(size, b"\0")
