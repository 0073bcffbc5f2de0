"""The store of tenant contexts on a host: LMDB, written by the sidecar, read by any process without a round trip.

    DIR/store.N/     tenants   tenant id -> version (8 bytes) | document, in its stored form
                     hosts     host -> position (8 bytes) | tenant id
                     meta      log, epoch, watermark
    DIR/lock         held by the one sidecar of the directory

A commit holds a batch of changes and the watermark. A snapshot is loaded into a generation with a higher N, and becomes
the current one only when it is whole; until then nobody sees it. The store is not synced at each commit: what the
machine did not write down before it lost power is not believed after the next boot, unless the sidecar closed it
cleanly.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
from lmdb import _Database as Database

from tenantry_client.context import environments
from tenantry_client.context.document import BUCKETS, bucket, fingerprint
from tenantry_client.context.lease import (
    GENERATION,
    KEYS_WORD,
    WATERMARK,
    LeaseWriter,
    LogId,
    now_ns,
    slot_of,
)
from tenantry_client.context.store_reader import is_key, store_path
from tenantry_client.context.stored import pack
from tenantry_client.context.wire import FORMAT, Changes, Garbled, Hello

CHUNKS_IN_A_COMMIT: Final = 20
CLEAN: Final = "clean"
_STORE: Final = re.compile(r"store\.(\d+)")
_WRAP: Final = 1 << 64


class StoreTaken(Exception):
    """Another sidecar works on this directory."""


class Watermark(NamedTuple):
    """Up to where the store holds everything, of which log."""

    log: LogId
    position: int


class Prepared(NamedTuple):
    """A generation that is whole, and not the current one yet."""

    env: lmdb.Environment
    generation: int
    watermark: Watermark
    sums: list[int]


class StoreWriter:
    """The store of one directory, to write. One process at a time; used by one thread at a time.

    `log` is None and `position` 0 while there is nothing to stand on: a snapshot is needed first.
    """

    def __init__(self, directory: Path, *, boot: str | None = None) -> None:
        """Takes on what the last sidecar left, where it can be believed. Raises StoreTaken, LeaseUnusable, OSError."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(directory / "lock")
        self.lease = LeaseWriter(directory, boot=boot)
        self.log: LogId | None = None
        self.position = 0
        self.sums = [0] * BUCKETS
        self._env: lmdb.Environment | None = None
        self._generation = 0
        self._resume()

    # -- reading

    @property
    def generation(self) -> int:
        """The current generation; 0 where there is none."""
        return self._generation if self._env is not None else 0

    def is_there(self) -> bool:
        """Whether the files are still where a reader looks for them."""
        return self._env is not None and (store_path(self.directory, self._generation) / "data.mdb").exists()

    def digest(self) -> list[str]:
        """The buckets by which two copies are compared, as hexadecimal numbers."""
        return [f"{each:016x}" for each in self.sums]

    def free_readers(self) -> int:
        """Frees the places of readers that died, and says how many there were."""
        return 0 if self._env is None else self._env.reader_check()

    # -- writing

    def apply(self, changes: Changes) -> None:
        """Changes that begin at or before the own position. What is older than what is there changes nothing.

        Raises lmdb.Error; nothing has changed then.
        """
        assert self._env is not None
        words: set[int] = set()
        added: dict[int, int] = {}
        self.lease.begin()
        try:
            with self._env.begin(write=True) as transaction:
                self._put_tenants(transaction, changes, words, added)
                self._put_hosts(transaction, changes, words)
                self._put_keys(transaction, changes, words)
                transaction.put(b"watermark", _number(changes.position), db=self._meta)
        except lmdb.Error:
            self.lease.end(changed=set(), watermark=self.position)
            raise
        for number, amount in added.items():
            self.sums[number] = (self.sums[number] + amount) % _WRAP
        self.position = changes.position
        self.lease.end(changed=words, watermark=changes.position)

    def advance(self, position: int) -> None:
        """Nothing changed up to `position`. Only in memory: after a restart the next frames say so again."""
        self.position = position
        self.lease.words[WATERMARK] = position

    def load(self, frames: Iterator[Hello | Changes]) -> Prepared:
        """Load a snapshot as the next generation, which is not the current one yet: see `switch`.

        Raises Garbled, lmdb.Error, OSError and what `frames` raises; nothing of it is left then.
        """
        hello = next(frames, None)
        if not isinstance(hello, Hello):
            raise Garbled("a snapshot without a beginning")
        generation = max(self._newest() + 1, now_ns())  # never used again while a reader of this boot may have it open
        path = store_path(self.directory, generation)
        try:
            env = environments.to_write(path)
            try:
                sums = _filled(env, hello, frames)
            except BaseException:
                env.close()
                raise
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return Prepared(env, generation, Watermark(LogId(hello.log, hello.epoch), hello.position), sums)

    def switch(self, prepared: Prepared) -> None:
        """What was loaded is the current generation now. Raises Garbled where it is older than what is here."""
        if prepared.watermark.log == self.log and prepared.watermark.position < self.position:
            prepared.env.close()
            shutil.rmtree(store_path(self.directory, prepared.generation), ignore_errors=True)
            raise Garbled(f"a snapshot as of {prepared.watermark.position}, older than what is here ({self.position})")
        self._take_on(prepared)

    def drop(self) -> None:
        """Nothing that is here counts any more."""
        self.lease.drop()
        self._forget()

    def reopen(self) -> None:
        """After an error of the disk: look again at what is there."""
        if self._env is not None:
            self._env.close()
            self._env = None
        self._resume()

    def close(self) -> None:
        """Leave a store that is believed after a reboot, too. The lease stands until its end."""
        if self._env is not None:
            with suppress(lmdb.Error, OSError):
                self._commit_position()
                self._env.sync(True)
                (store_path(self.directory, self._generation) / CLEAN).touch()
            self._env.close()
            self._env = None
        os.close(self._lock)

    # -- inside

    def _resume(self) -> None:
        """Open the newest generation that is whole, where the machine has not lost power since."""
        for number in sorted(self._numbers(), reverse=True):
            path = store_path(self.directory, number)
            believed = self.lease.words[GENERATION] == number or (path / CLEAN).exists()
            (path / CLEAN).unlink(missing_ok=True)
            with suppress(lmdb.Error, OSError):
                if believed and self._env is None:
                    env = environments.to_write(path)
                    found = _watermark(env)
                    if found is not None:
                        self._take_on(Prepared(env, number, self._furthest(number, found), _sums(env)))
                        continue
                    env.close()
            if number != self.generation:  # a remainder, or of a boot that ended without a word
                shutil.rmtree(path, ignore_errors=True)
        if self._env is None:
            self.lease.drop()

    def _furthest(self, number: int, stored: Watermark) -> Watermark:
        """Where nothing changed, the watermark moved in shared memory only: it does not go back after a restart."""
        page = self.lease
        if page.words[GENERATION] == number and page.log == stored.log:
            return stored._replace(position=max(stored.position, page.words[WATERMARK]))
        return stored

    def _take_on(self, prepared: Prepared) -> None:
        before, old = self._env, self._generation
        self._env, self._generation, watermark, self.sums = prepared
        self._tenants, self._hosts, self._keys, self._meta = _databases(prepared.env)
        self.log, self.position = watermark
        self.lease.switch(generation=prepared.generation, log=watermark.log, watermark=watermark.position)
        if before is not None:  # not closed here: a reader in this process may be at work in it
            shutil.rmtree(store_path(self.directory, old), ignore_errors=True)

    def _forget(self) -> None:
        if self._env is not None:
            self._env.close()
            shutil.rmtree(store_path(self.directory, self._generation), ignore_errors=True)
        self._env, self.log, self.position, self.sums = None, None, 0, [0] * BUCKETS

    def _commit_position(self) -> None:
        assert self._env is not None
        with self._env.begin(write=True) as transaction:
            transaction.put(b"watermark", _number(self.position), db=self._meta)

    def _put_tenants(
        self, transaction: lmdb.Transaction, changes: Changes, words: set[int], added: dict[int, int]
    ) -> None:
        for tenant_id, version, document in changes.tenants:
            if not is_key(tenant_id):
                continue
            key = tenant_id.encode()
            found = transaction.get(key, db=self._tenants)
            before = None if found is None else int.from_bytes(found[:8], "big")
            if before is not None and before > version:
                continue
            number = bucket(tenant_id)
            if before is not None:
                added[number] = added.get(number, 0) - fingerprint(tenant_id, before)
            if document is None:
                transaction.delete(key, db=self._tenants)
            else:
                transaction.put(key, _number(version) + pack(tenant_id, version, document), db=self._tenants)
                added[number] = added.get(number, 0) + fingerprint(tenant_id, version)
            words.add(slot_of(tenant_id))

    def _put_hosts(self, transaction: lmdb.Transaction, changes: Changes, words: set[int]) -> None:
        for host, tenant_id, position in changes.hosts:
            if not is_key(host):
                continue
            key = host.encode()
            found = transaction.get(key, db=self._hosts)
            if found is not None and int.from_bytes(found[:8], "big") > position:
                continue
            if tenant_id is None:
                transaction.delete(key, db=self._hosts)
            else:
                transaction.put(key, _number(position) + tenant_id.encode(), db=self._hosts)
            words.add(slot_of(host))

    def _put_keys(self, transaction: lmdb.Transaction, changes: Changes, words: set[int]) -> None:
        """A revoked key stays as an empty one: what was published before it does not bring it back."""
        for key_id, public_key, position in changes.keys:
            if not is_key(key_id):
                continue
            key = key_id.encode()
            found = transaction.get(key, db=self._keys)
            if found is not None and int.from_bytes(found[:8], "big") > position:
                continue
            transaction.put(key, _number(position) + (public_key or "").encode(), db=self._keys)
            words.add(KEYS_WORD)

    def _numbers(self) -> list[int]:
        return [int(found[1]) for each in self.directory.iterdir() if (found := _STORE.fullmatch(each.name))]

    def _newest(self) -> int:
        return max([self._generation, *self._numbers()])


def _databases(env: lmdb.Environment) -> tuple[Database, Database, Database, Database]:
    return env.open_db(b"tenants"), env.open_db(b"hosts"), env.open_db(b"keys"), env.open_db(b"meta")


def _watermark(env: lmdb.Environment) -> Watermark | None:
    """None where the generation is not whole, or of another format."""
    *_, meta = _databases(env)
    with env.begin(db=meta) as transaction:
        names = (b"log", b"epoch", b"watermark", b"format")
        log, epoch, watermark, form = (transaction.get(name) for name in names)
    if log is None or epoch is None or watermark is None or form != _number(FORMAT):
        return None
    return Watermark(LogId(log.decode(), int.from_bytes(epoch, "big")), int.from_bytes(watermark, "big"))


def _sums(env: lmdb.Environment) -> list[int]:
    tenants, *_ = _databases(env)
    sums = [0] * BUCKETS
    with env.begin(db=tenants) as transaction:
        for key, value in transaction.cursor():
            tenant_id = key.decode()
            sums[bucket(tenant_id)] += fingerprint(tenant_id, int.from_bytes(value[:8], "big"))
    return [each % _WRAP for each in sums]


def _filled(env: lmdb.Environment, hello: Hello, frames: Iterator[Hello | Changes]) -> list[int]:
    """Fill an empty generation; the watermark comes last, with which it is whole."""
    tenants, hosts, keys, meta = _databases(env)
    sums = [0] * BUCKETS
    last = {id(each): b"" for each in (tenants, hosts, keys)}

    def put(transaction: lmdb.Transaction, database: Database, key: bytes, value: bytes) -> None:
        in_order = key > last[id(database)]
        transaction.put(key, value, db=database, append=in_order)
        last[id(database)] = max(key, last[id(database)])

    for chunks in _batches(frames, CHUNKS_IN_A_COMMIT):
        with env.begin(write=True) as transaction:
            for chunk in chunks:
                for tenant_id, version, document in chunk.tenants:
                    if document is None or not is_key(tenant_id):
                        continue
                    put(transaction, tenants, tenant_id.encode(), _number(version) + pack(tenant_id, version, document))
                    sums[bucket(tenant_id)] += fingerprint(tenant_id, version)
                for host, owner, position in chunk.hosts:
                    if owner is not None and is_key(host):
                        put(transaction, hosts, host.encode(), _number(position) + owner.encode())
                for key_id, public_key, position in chunk.keys:
                    if is_key(key_id):
                        put(transaction, keys, key_id.encode(), _number(position) + (public_key or "").encode())
    with env.begin(write=True, db=meta) as transaction:
        transaction.put(b"log", hello.log.encode())
        transaction.put(b"epoch", _number(hello.epoch))
        transaction.put(b"format", _number(FORMAT))
        transaction.put(b"watermark", _number(hello.position))
    return [each % _WRAP for each in sums]


def _batches(frames: Iterator[Hello | Changes], size: int) -> Iterator[list[Changes]]:
    while batch := [each for each in islice(frames, size) if isinstance(each, Changes)]:
        yield batch


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreTaken(f"another sidecar works on {path.parent}: stop it, or name another directory") from None
    return descriptor
