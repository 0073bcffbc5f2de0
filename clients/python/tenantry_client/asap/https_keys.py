"""Public keys from key repositories: `GET {repository}/{kid}` as PEM over HTTPS, the next repository where one fails.

Refused, silent, slow, 5xx and answers that are no key count alike: the next repository is asked. A 404 (or 410) of one
that answers is final: the key is not there. A repository that fails is left alone for a while, so that a dead one costs
one time-out and not one for each request. An answer is kept for `max_age` seconds, a "not there" for a few, since
anybody may ask for names that do not exist.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from http.client import HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from tenantry_client.asap.algorithms import UnusableKey, load_verifying_key
from tenantry_client.asap.public_keys import MAX_KEY_BYTES, FoundKey
from tenantry_client.asap.refusals import Refused

PEM_TYPE: Final = "application/x-pem-file"
KEPT_KEYS: Final = 1_000


class HttpsKeys:
    """Keys of one or more repositories, kept in memory."""

    version: Final = 0

    def __init__(
        self,
        repositories: Sequence[str],
        *,
        max_age: float = 60.0,
        missing_age: float = 5.0,
        rest_seconds: float = 10.0,
        timeout: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises ValueError where a repository is no https URL."""
        self._repositories = tuple(_repository(each) for each in repositories)
        if not self._repositories:
            raise ValueError("name at least one key repository")
        self._max_age = max_age
        self._missing_age = missing_age
        self._rest = rest_seconds
        self._timeout = timeout
        self._tls = tls or ssl.create_default_context()
        self._lock = threading.Lock()
        self._found: dict[str, FoundKey | float] = {}
        self._resting: dict[tuple[str, int, str], float] = {}

    def find(self, key_id: str, *, now: float) -> FoundKey:
        with self._lock:
            kept = self._found.get(key_id)
        if isinstance(kept, FoundKey) and now < kept.usable_until:
            return kept
        if isinstance(kept, float) and now < kept:
            raise _unknown()
        answer = self._ask(key_id, now)
        with self._lock:
            if len(self._found) >= KEPT_KEYS:
                self._found = {}
            self._found[key_id] = answer if answer is not None else now + self._missing_age
        if answer is None:
            raise _unknown()
        return answer

    def _ask(self, key_id: str, now: float) -> FoundKey | None:
        """The key, or None where a repository says that there is none. Raises Refused where none can tell."""
        ready = [each for each in self._repositories if self._resting.get(each, 0.0) <= now]
        for repository in ready or self._repositories:
            try:
                status, pem = self._get(repository, key_id)
                if status in (404, 410):
                    return None
                if status == 200:
                    return FoundKey(load_verifying_key(pem), usable_until=now + self._max_age)
            except (OSError, HTTPException, UnusableKey):
                pass
            self._resting[repository] = now + self._rest
        raise Refused("key-unavailable", "no key repository answers with the key: try again later")

    def _get(self, repository: tuple[str, int, str], key_id: str) -> tuple[int, bytes]:
        """Redirects are not followed: a key comes from where it was asked for."""
        host, port, path = repository
        connection = HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        try:
            connection.request("GET", f"{path}/{key_id}", headers={"accept": PEM_TYPE})
            response = connection.getresponse()
            body = response.read(MAX_KEY_BYTES + 1)
            media_type = (response.getheader("content-type") or "").partition(";")[0].strip().lower()
            if response.status == 200 and (media_type != PEM_TYPE or len(body) > MAX_KEY_BYTES):
                raise UnusableKey("the answer is no PEM file")
            return response.status, body
        finally:
            connection.close()


def _repository(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("a key repository is https://host/path, without user, query or fragment")
    return parts.hostname, parts.port or 443, parts.path.rstrip("/")


def _unknown() -> Refused:
    return Refused("key-unknown", "the key is not known, or was revoked")
