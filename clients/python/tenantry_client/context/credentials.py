"""Credentials: the passwords of tenants' login roles, fetched from the credential service and kept in memory.

    connections = TenantConnections(Tenancy.open(), "confluence", Credentials("https://credentials:8443", signer))

    kept, and young enough? ─▶ the password
           └─ no ─▶ GET /v1/credentials/{tenant}/{product}, with a service token ─▶ kept for minutes ─▶ the password

A password is rotated now and then: a login that the database refuses is fetched once more (databases.py does it). A
password is in no context, no log line, no error and no text form of these objects.
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit
from weakref import WeakSet

import msgspec

from tenantry_client.asap.signer import Signer
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.targets import Target

SERVICE: Final = "credential-service"
KEPT: Final = 1_000
KEPT_SECONDS: Final = 300.0
RENEWED_AT_MOST_EACH: Final = 1.0
"""Seconds between two fetches of one role because its password was refused: a closed role must not become a storm."""
TIMEOUT: Final = 5.0
LONGEST_ANSWER: Final = 65_536

_all: WeakSet[Credentials] = WeakSet()


class _Answer(msgspec.Struct):
    role: str
    password: str


class _Refusal(msgspec.Struct):
    code: str = ""
    message: str = ""


class Credentials:
    """Gives the password of a target's role. Safe for threads, and after a fork."""

    def __init__(
        self,
        url: str,
        signer: Signer,
        *,
        tls: ssl.SSLContext | None = None,
        kept: int = KEPT,
        kept_seconds: float = KEPT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url` of the service: https, or http on the loopback. At most `kept` passwords, each for `kept_seconds`.

        Raises ValueError.
        """
        place = urlsplit(url)
        is_local = place.scheme == "http" and place.hostname in {"127.0.0.1", "::1", "localhost"}
        if not place.hostname or place.username or place.query or not (place.scheme == "https" or is_local):
            raise ValueError("the credential service is https://host:port, or http on the loopback")
        self._place = place
        self._signer = signer
        self._tls = tls or (ssl.create_default_context() if place.scheme == "https" else None)
        self._limit = kept
        self._seconds = kept_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: OrderedDict[Target, tuple[str, float]] = OrderedDict()
        _all.add(self)

    def __call__(self, target: Target) -> str:
        """The password. Raises ContextRefused (`credentials-refused` 403, `credentials-unavailable` 503)."""
        with self._lock:
            found = self._kept.get(target)
            if found is not None and self._monotonic() < found[1] + self._seconds:
                self._kept.move_to_end(target)
                return found[0]
        return self._fetched(target)

    def renewed(self, target: Target, *, refused: str) -> str:
        """The password after the database has refused that one: perhaps the same, where it is young."""
        with self._lock:
            found = self._kept.get(target)
            if found is not None and (
                found[0] != refused or self._monotonic() < found[1] + min(RENEWED_AT_MOST_EACH, self._seconds)
            ):
                return found[0]
        return self._fetched(target)

    @property
    def kept(self) -> int:
        """How many passwords are kept."""
        return len(self._kept)

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _fetched(self, target: Target) -> str:
        status, body = self._asked(
            f"/v1/credentials/{quote(target.tenant_id, safe='')}/{quote(target.product, safe='')}"
        )
        try:
            if status != http.HTTPStatus.OK:
                raise _refused(status, msgspec.json.decode(body, type=_Refusal))
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError:
            raise _unavailable("its answer cannot be read") from None
        if answer.role != target.role:
            raise ContextRefused("product-not-placed", f"{target.role} is replaced by another role: look up again")
        with self._lock:
            self._kept[target] = answer.password, self._monotonic()
            self._kept.move_to_end(target)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return answer.password

    def _asked(self, path: str) -> tuple[int, bytes]:
        place, port = str(self._place.hostname), self._place.port
        connection = (
            http.client.HTTPSConnection(place, port, timeout=TIMEOUT, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(place, port, timeout=TIMEOUT)
        )
        try:
            token = self._signer.token(SERVICE)
            connection.request("GET", self._place.path.rstrip("/") + path, headers={"authorization": f"Bearer {token}"})
            with connection.getresponse() as response:
                return response.status, response.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(type(error).__name__) from None
        finally:
            connection.close()


def _refused(status: int, refusal: _Refusal) -> ContextRefused:
    if status in {401, 403, 404}:
        return ContextRefused(
            "credentials-refused", f"the credential service refuses ({refusal.code}): {refusal.message}"
        )
    return _unavailable(f"status {status}, {refusal.code}")


def _unavailable(reason: str) -> ContextRefused:
    return ContextRefused("credentials-unavailable", f"the credential service gives no answer: {reason}")


def _after_fork() -> None:
    for each in list(_all):
        each.after_fork()


os.register_at_fork(after_in_child=_after_fork)
