"""Public keys from key repositories: `GET {repository}/{kid}` as PEM over HTTPS, the next repository where one fails.

    200 with a key ─▶ kept for `max_age`           404, 410 ─▶ final: not there, kept for `missing_age`
    5xx, refused, no answer, slow ─▶ the next; this one is skipped for a while        anything else ─▶ the next

After half of `max_age` a key is requested again; if that fails, the old key is used until `max_age` is over, and no
longer. So a revoked key is refused after `max_age` at the latest, and a short outage makes no call fail. Every caller
can name keys that do not exist, so all names that were never found share one budget of requests.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from http.client import HTTPException
from typing import Final

from tenantry_client.asap.algorithms import UnusableKey, load_verifying_key
from tenantry_client.asap.https import Location, get, location
from tenantry_client.asap.public_keys import MAX_KEY_BYTES, FoundKey, unknown_key
from tenantry_client.asap.refusals import Refused

PEM_TYPE: Final = "application/x-pem-file"
KEPT_KEYS: Final = 1_000
UNKNOWN_KEYS: Final = 20
"""Requests for names that were never found, in `missing_age` seconds."""


class HttpsKeys:
    """Keys of one or more repositories, kept in memory. Blocks for `timeout` seconds a repository at most, beside the
    resolution of its name."""

    version: Final = 0

    def __init__(
        self,
        repositories: Sequence[str],
        *,
        max_age: float = 30.0,
        missing_age: float = 5.0,
        rest_seconds: float = 5.0,
        timeout: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises ValueError where a repository is no https URL."""
        self._repositories = tuple(location(each, "a key repository") for each in repositories)
        if not self._repositories:
            raise ValueError("name at least one key repository")
        self._max_age = max_age
        self._missing_age = missing_age
        self._rest = rest_seconds
        self._timeout = timeout
        self._tls = tls or ssl.create_default_context()
        self._lock = threading.Lock()
        self._found: dict[str, FoundKey] = {}
        self._missing: dict[str, float] = {}
        self._resting: dict[Location, float] = {}
        self._asking: set[str] = set()
        self._budget = (0.0, 0)

    def find(self, key_id: str, *, now: float) -> FoundKey:
        kept = self._found.get(key_id)
        if kept is not None and now < kept.usable_until - self._max_age / 2:
            return kept
        if kept is None:
            self._check_unknown(key_id, now)
        elif now < kept.usable_until and not self._begin(key_id):
            return kept
        try:
            answer = self._ask(key_id, now)
        except Refused:
            if kept is not None and now < kept.usable_until:
                return kept
            raise
        finally:
            self._asking.discard(key_id)
        self._keep(key_id, answer, now)
        if answer is None:
            raise unknown_key()
        return answer

    def _begin(self, key_id: str) -> bool:
        """Whether no other thread requests the key at the moment: for a key that is still valid, one is enough."""
        with self._lock:
            if key_id in self._asking:
                return False
            self._asking.add(key_id)
            return True

    def _check_unknown(self, key_id: str, now: float) -> None:
        with self._lock:
            if now < self._missing.get(key_id, 0.0):
                raise unknown_key()
            since, asked = self._budget
            if now - since >= self._missing_age:
                since, asked = now, 0
            if asked >= UNKNOWN_KEYS:
                raise _unavailable()
            self._budget = (since, asked + 1)

    def _keep(self, key_id: str, answer: FoundKey | None, now: float) -> None:
        with self._lock:
            kept: dict[str, FoundKey] | dict[str, float] = self._missing if answer is None else self._found
            if len(kept) >= KEPT_KEYS and key_id not in kept:
                del kept[next(iter(kept))]
            if answer is not None:
                self._found[key_id] = answer
            else:
                self._found.pop(key_id, None)
                self._missing[key_id] = now + self._missing_age

    def _ask(self, key_id: str, now: float) -> FoundKey | None:
        """The key, or None where a repository says that there is none. Raises Refused where none can tell."""
        for repository in self._repositories:
            if now < self._resting.get(repository, 0.0):
                continue
            try:
                status, media_type, body = get(
                    repository,
                    f"{repository.path}/{key_id}",
                    accept=PEM_TYPE,
                    limit=MAX_KEY_BYTES,
                    timeout=self._timeout,
                    tls=self._tls,
                )
                if status in (404, 410):
                    return None
                if status == 200 and media_type == PEM_TYPE and len(body) <= MAX_KEY_BYTES:
                    return FoundKey(load_verifying_key(body), usable_until=now + self._max_age)
            except UnusableKey:
                continue
            except (OSError, HTTPException):
                status = 500
            if status >= 500:
                self._resting[repository] = now + self._rest
        raise _unavailable()


def _unavailable() -> Refused:
    return Refused("key-unavailable", "no key repository answers with the key: try again later")
