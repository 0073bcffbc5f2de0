"""Service keys of the context service itself: by which it verifies those who ask it, from its own feed.

It believes them for as long as its own lease holds, as it does everything that it has read. In a snapshot of moments
ago a key may be in force that was revoked since; under the lease that is at most T ago.
"""

from __future__ import annotations

from collections.abc import Callable

from context.service.feed import Feed
from tenantry_client.asap.algorithms import UnusableKey, VerifyingKey, load_verifying_key
from tenantry_client.asap.public_keys import FoundKey, unknown_key
from tenantry_client.asap.refusals import Refused


class FeedKeys:
    """`fresh_until` is the end of the service's lease, in seconds of the monotonic clock."""

    def __init__(self, feed: Feed, fresh_until: Callable[[], float]) -> None:
        self._feed = feed
        self._fresh_until = fresh_until
        self._parsed: dict[str, VerifyingKey] = {}

    @property
    def version(self) -> int:
        return self._feed.keys.version

    def find(self, key_id: str, *, now: float) -> FoundKey:
        until = self._fresh_until()
        if now >= until:
            raise Refused("key-unavailable", "this service has no lease, so nobody can tell which keys are in force")
        pem = self._feed.keys.by_id.get(key_id)
        if pem is None:
            raise unknown_key()
        if pem not in self._parsed:
            try:
                self._parsed[pem] = load_verifying_key(pem.encode())
            except UnusableKey:
                raise Refused("key-unavailable", "the key's text is none: publish it again") from None
        return FoundKey(self._parsed[pem], usable_until=until)
