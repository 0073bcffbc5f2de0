"""Public keys of callers: where a verifier finds them.

A `KeySource` returns a key and the time until which it may be used without another request. A source that gets changes
by itself (the context stream) raises its `version`, and then every cached token is checked again: so a revoked key is
refused within the lease. Only names that have passed the allow-list are requested.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tenantry_client.asap.algorithms import UnusableKey, VerifyingKey, load_verifying_key
from tenantry_client.asap.refusals import Refused

MAX_KEY_BYTES: Final = 16 * 1024


class FoundKey(NamedTuple):
    """A public key; `usable_until` is in seconds of the monotonic clock that was passed to `find`."""

    key: VerifyingKey
    usable_until: float


class KeySource(Protocol):
    """Where public keys are. Used by several threads."""

    @property
    def version(self) -> int:
        """Another number after each change that the source knows of."""

    def find(self, key_id: str, *, now: float) -> FoundKey:
        """The key of that name. Raises Refused: `key-unknown`, or `key-unavailable` where no source answers."""


class FixedKeys:
    """Keys in memory: for tests, and for the keys of the context stream."""

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        self.version = 0
        self._keys = _loaded(keys or {})

    def replace(self, keys: Mapping[str, bytes]) -> None:
        """Replace all keys with these."""
        self._keys = _loaded(keys)
        self.version += 1

    def find(self, key_id: str, *, now: float) -> FoundKey:  # noqa: ARG002 - these do not age
        found = self._keys.get(key_id)
        if found is None:
            raise unknown_key()
        return found


def _loaded(keys: Mapping[str, bytes]) -> dict[str, FoundKey]:
    return {name: FoundKey(load_verifying_key(pem), usable_until=float("inf")) for name, pem in keys.items()}


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
        try:
            return load_verifying_key(_content(self._folder / f"{key_id}.pem"))
        except (OSError, UnusableKey) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise unknown_key() from None
            raise Refused(
                "key-unavailable", "the key's file cannot be read: ask the operator of this service"
            ) from None


def _content(file: Path) -> bytes:
    """Raises OSError and UnusableKey."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise UnusableKey("it is no file")  # a pipe would be read for ever
    with file.open("rb") as opened:
        content = opened.read(MAX_KEY_BYTES + 1)
    if len(content) > MAX_KEY_BYTES:
        raise UnusableKey("it is too long")
    return content


def unknown_key() -> Refused:
    """The refusal of a key that is not there."""
    return Refused("key-unknown", "the key is not known, or was revoked")
