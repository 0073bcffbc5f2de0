"""One generation of the store of tenant contexts, as a process of an application reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tenantry_client.context import environments
from tenantry_client.context.environments import READING
from tenantry_client.context.lease import Words, word_of

LONGEST_KEY: Final = 511
NUMBER: Final = 8
"""Bytes of the version or position before each value."""


def store_path(directory: Path, generation: int) -> Path:
    """The LMDB of one generation."""
    return directory / f"store.{generation}"


def is_key(name: str) -> bool:
    """Whether LMDB can have it as a key; nothing that is longer, or no text, is ever stored."""
    try:
        return 0 < len(name.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:
        return False


class StoreReader:
    """One generation of the store, to read. In a forked child it is closed: open another one there."""

    def __init__(self, directory: Path, generation: int) -> None:
        """Raises lmdb.Error."""
        self.generation = generation
        with READING:  # to open a table is a transaction as well
            self.env = environments.to_read(store_path(directory, generation))
            self.tenants = self.env.open_db(b"tenants", create=False)
            self.hosts = self.env.open_db(b"hosts", create=False)
            self.keys = self.env.open_db(b"keys", create=False)

    def of_tenant(self, tenant_id: bytes) -> bytes | None:
        """The version and the document of the tenant. Raises lmdb.Error."""
        with READING:
            transaction = self.env.begin()
            try:
                return transaction.get(tenant_id, db=self.tenants)
            finally:
                del transaction  # it ends here, and not with the frame, which may live longer than the lock is held

    def of_key(self, key_id: bytes) -> bytes | None:
        """The position and the public key of that name. Raises lmdb.Error."""
        with READING:
            transaction = self.env.begin()
            try:
                return transaction.get(key_id, db=self.keys)
            finally:
                del transaction

    def of_host(self, host: bytes, words: Words) -> tuple[bytes | None, int, int] | None:
        """Version and document of the tenant that has the host; its word, and the count before it was read.

        Raises lmdb.Error.
        """
        with READING:
            transaction = self.env.begin()
            try:
                owner = transaction.get(host, db=self.hosts)
                if owner is None:
                    return None
                tenant_id = owner[NUMBER:]
                word = word_of(tenant_id)
                count = words[word]
                return transaction.get(tenant_id, db=self.tenants), word, count
            finally:
                del transaction
