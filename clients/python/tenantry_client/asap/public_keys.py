"""Public keys of callers: where a verifier finds them.

A `KeySource` answers with a key and until when it may be used without another look. A source that learns of changes by
itself (the context stream) raises its `version`, which makes every cached token be looked at again: so a revoked key is
refused within the lease. Only names that have passed the allow-list are ever asked for.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tenantry_client.asap.algorithms import UnusableKey, VerifyingKey, load_verifying_key
from tenantry_client.asap.refusals import Refused

MAX_KEY_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A public key; `usable_until` is in seconds of the monotonic clock that was passed to `find`."""

    key: VerifyingKey
    usable_until: float


class KeySource(Protocol):
    """Where public keys are. Used by several threads."""

    @property
    def version(self) -> int:
        """Another number after each change that the source knows of."""

    def find(self, key_id: str, *, now: float) -> FoundKey:
        """The key of that name. Raises Refused: `key-unknown`, or `key-unavailable` where nobody can tell."""


class FixedKeys:
    """Keys in memory: for tests, and for what the context stream carries."""

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        self._keys = {name: load_verifying_key(pem) for name, pem in (keys or {}).items()}
        self.version = 0

    def replace(self, keys: Mapping[str, bytes]) -> None:
        """From now on these are all."""
        self._keys = {name: load_verifying_key(pem) for name, pem in keys.items()}
        self.version += 1

    def find(self, key_id: str, *, now: float) -> FoundKey:
        key = self._keys.get(key_id)
        if key is None:
            raise unknown_key()
        return FoundKey(key, usable_until=float("inf"))


class KeyFolder:
    """PEM files in a folder, `{kid}.pem`; each is read again after `max_age` seconds."""

    version: Final = 0

    def __init__(self, folder: Path, *, max_age: float = 10.0) -> None:
        self._folder = folder
        self._max_age = max_age
        self._found: dict[str, FoundKey] = {}

    def find(self, key_id: str, *, now: float) -> FoundKey:
        found = self._found.get(key_id)
        if found is None or now >= found.usable_until:
            self._found.pop(key_id, None)
            found = FoundKey(self._read(key_id), usable_until=now + self._max_age)
            self._found[key_id] = found
        return found

    def _read(self, key_id: str) -> VerifyingKey:
        path = self._folder / f"{key_id}.pem"
        try:
            if not path.is_file():
                raise unknown_key()
            with path.open("rb") as file:
                pem = file.read(MAX_KEY_BYTES + 1)
            if len(pem) > MAX_KEY_BYTES:
                raise UnusableKey("the file is too long")
            return load_verifying_key(pem)
        except (OSError, UnusableKey) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise unknown_key() from None
            raise Refused(
                "key-unavailable", "the key's file cannot be read: ask the operator of this service"
            ) from None


def unknown_key() -> Refused:
    """The refusal of a key that is not there."""
    return Refused("key-unknown", "the key is not known, or was revoked")
