"""Snapshots: everything at one position, as one checksummed file; and the digest by which copies are compared.

A snapshot is written to a file first, from one state of the tables, so that a slow reader holds no transaction open.
Sidecars that start together share one: a file that is a few seconds old is as good, for the stream goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from adapters.postgres.contexts import ContextReader, ContextSnapshot, LogPosition
from context.service.readers import Readers
from tenantry_client.context.document import BUCKETS, bucket, fingerprint
from tenantry_client.context.wire import (
    CHUNK,
    FORMAT,
    Changes,
    Hello,
    HostChange,
    KeyChange,
    TenantChange,
    write_snapshot,
)

SHARED_SECONDS: Final = 10.0
READ_BYTES: Final = 256 * 1024


class SnapshotFile:
    """One reader's place in a snapshot."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._file = os.fdopen(descriptor, "rb")
        self.size = size
        self._at = 0

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        piece = os.pread(self._file.fileno(), READ_BYTES, self._at)
        self._at += len(piece)
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Written:
    descriptor: int
    size: int
    at: LogPosition
    since: float


class Snapshots:
    """The newest snapshot, written when somebody asks and the last one is too old, into `folder`."""

    def __init__(self, readers: Readers, *, folder: Path | None = None, shared_seconds: float = SHARED_SECONDS) -> None:
        self._readers = readers
        self._folder = folder
        self._shared = shared_seconds
        self._lock = threading.Lock()
        self._newest: _Written | None = None

    async def current(self) -> SnapshotFile:
        """Raises Unavailable."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> SnapshotFile:
        with self._lock:
            newest = self._newest
            asked = time.monotonic()
            if newest is not None and asked - newest.since < self._shared:
                now = self._readers.ask_now(ContextReader.position)
                if (now.log, now.epoch) == (newest.at.log, newest.at.epoch):
                    return SnapshotFile(os.dup(newest.descriptor), newest.size)
            written = self._readers.ask_now(self._write)
            if newest is not None:
                os.close(newest.descriptor)
            self._newest = written
            return SnapshotFile(os.dup(written.descriptor), written.size)

    def _write(self, reader: ContextReader) -> _Written:
        with tempfile.TemporaryFile(dir=self._folder) as file, reader.snapshot() as snapshot:
            at = snapshot.at
            for piece in write_snapshot(Hello(at.log, at.epoch, FORMAT, at.position), _chunks(snapshot)):
                file.write(piece)
            file.flush()
            return _Written(os.dup(file.fileno()), file.tell(), at, time.monotonic())

    def close(self) -> None:
        if self._newest is not None:
            os.close(self._newest.descriptor)
            self._newest = None


def _chunks(snapshot: ContextSnapshot) -> Iterator[Changes]:
    position = snapshot.at.position
    for rows in snapshot.tenants(CHUNK):
        tenants = [TenantChange(each.tenant_id, each.version, each.document) for each in rows]
        yield Changes(position, position, tenants, [])
    for hosts in snapshot.hosts(CHUNK):
        yield Changes(position, position, [], [HostChange(*each) for each in hosts])
    keys = [KeyChange(*each) for each in snapshot.service_keys()]
    for at in range(0, len(keys), CHUNK):
        yield Changes(position, position, [], [], keys[at : at + CHUNK])


def digest_of(reader: ContextReader) -> dict[str, Any]:
    """The digest of all documents at one position."""
    sums = [0] * BUCKETS
    with reader.snapshot() as snapshot:
        for rows in snapshot.versions(10_000):
            for tenant_id, version in rows:
                sums[bucket(tenant_id)] += fingerprint(tenant_id, version)
        return {**snapshot.at._asdict(), "buckets": [f"{each % 2**64:016x}" for each in sums]}
