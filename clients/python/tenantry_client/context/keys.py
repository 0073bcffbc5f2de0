"""Service keys from the stream of contexts: the source for verifiers on a host that has a sidecar.

A revocation is an event of the log. It comes with the changes of tenants, within moments, and the lease bounds it: a
sidecar that is cut off vouches for no key when its lease is over, and no token is accepted until it has another.
"""

from __future__ import annotations

import time
from typing import Final

from tenantry_client.asap.algorithms import UnusableKey, VerifyingKey, load_verifying_key
from tenantry_client.asap.public_keys import FoundKey, unknown_key
from tenantry_client.asap.refusals import Refused
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy

PARSED: Final = 1_000


class ContextKeys:
    """The keys in force as this host knows them. Safe for threads."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._parsed: dict[str, VerifyingKey] = {}

    @property
    def version(self) -> int:
        return self._tenancy.keys_version

    def find(self, key_id: str, *, now: float) -> FoundKey:  # noqa: ARG002 - the lease has a clock of its own
        asked = time.monotonic()
        try:
            pem, seconds = self._tenancy.service_key(key_id)
        except ContextRefused as refused:
            raise Refused("key-unavailable", f"nobody can tell which keys are in force: {refused}") from None
        if pem is None:
            raise unknown_key()
        return FoundKey(self._key(pem), usable_until=asked + seconds)

    def _key(self, pem: str) -> VerifyingKey:
        found = self._parsed.get(pem)
        if found is None:
            try:
                found = load_verifying_key(pem.encode())
            except UnusableKey:
                raise Refused("key-unavailable", "the key's text is none: publish it again") from None
            if len(self._parsed) >= PARSED:
                self._parsed.clear()
            self._parsed[pem] = found
        return found
