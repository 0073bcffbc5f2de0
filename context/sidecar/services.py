"""The context service, as the sidecar calls it: lease, changes, snapshot, digest, and single look-ups.

Every answer is read with a time-out: a stream that is silent for longer than three heartbeats has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from tenantry_client.context.document import TenantContext
from tenantry_client.context.lease import LogId
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.sidecar_socket import AT_LEAST, context_of, path_of
from tenantry_client.context.wire import Frame, FrameReader, Garbled, decode_payload

SILENCE: Final = 3.5
CONNECT: Final = 2.0
ASK: Final = 1.0
MAX_ANSWER: Final = 4 * 1024 * 1024

T = TypeVar("T")
Authorize = Callable[[], Mapping[str, str]]


class ServiceUnavailable(Exception):
    """The service did not answer, or not with what was asked for. The text names it, and says why."""


class LeaseAnswer(msgspec.Struct, frozen=True):
    """Every event that was committed before the question is at or before `position`.

    `lease_seconds` is the service's T, on which it records what is in force; the sidecar's own may only be shorter.
    """

    log: str
    epoch: int
    position: int
    lease_seconds: float | None = None


class Digest(msgspec.Struct, frozen=True):
    """The buckets of the service's own copy, as of `position`."""

    log: str
    epoch: int
    position: int
    buckets: list[str]


def _anonymous() -> Mapping[str, str]:
    return {}


class Service:
    """One address of the context service. Safe for threads."""

    def __init__(self, url: str, *, authorize: Authorize = _anonymous) -> None:
        """`authorize` gives the headers that say who asks, for each request."""
        self.url = url.rstrip("/")
        self._authorize = authorize
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=4, retries=False)

    def lease(self, *, timeout: float) -> LeaseAnswer:
        """Raises ServiceUnavailable."""
        return self._decoded("/v1/lease", LeaseAnswer, timeout=timeout)

    def digest(self) -> Digest:
        """Raises ServiceUnavailable."""
        return self._decoded("/v1/digest", Digest, timeout=30.0)

    def changes(self, *, after: int, log: LogId) -> Iterator[Frame]:
        """The frames of the stream, until it ends or is silent. Raises ServiceUnavailable, Garbled."""
        reader = FrameReader()
        for piece in self._pieces(f"/v1/changes?{urlencode({'after': after, 'log': log.log, 'epoch': log.epoch})}"):
            for payload in reader.feed(piece):
                yield decode_payload(payload)
        if not reader.is_empty:
            raise Garbled("the stream ended in the middle of a frame")

    def snapshot(self) -> Iterator[bytes]:
        """The bytes of a snapshot. Raises ServiceUnavailable."""
        return self._pieces("/v1/snapshot")

    def document(self, key: str, at_least: int) -> TenantContext:
        """One tenant, as fresh as the token. Raises ServiceUnavailable, ContextRefused."""
        status, body = self._get(path_of(key), timeout=ASK, headers={AT_LEAST: str(at_least)})
        return context_of(status, body, at_least)

    # -- inside

    def _decoded(self, path: str, form: type[T], *, timeout: float) -> T:
        status, body = self._get(path, timeout=timeout)
        if status != 200:
            raise ServiceUnavailable(f"{self.url}{path} answered {status}")
        try:
            return msgspec.json.decode(body, type=form)
        except msgspec.MsgspecError as error:
            raise ServiceUnavailable(f"{self.url}{path} answered nonsense: {error}") from None

    def _get(self, path: str, *, timeout: float, headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
        with self._request(path, timeout=urllib3.Timeout(timeout), headers=headers) as answer:
            try:
                return answer.status, answer.read(MAX_ANSWER)
            except (HTTPError, OSError) as error:
                raise ServiceUnavailable(f"{self.url}{path} broke off: {_short(error)}") from None

    def _pieces(self, path: str) -> Iterator[bytes]:
        timeout = urllib3.Timeout(connect=CONNECT, read=SILENCE)
        with self._request(path, timeout=timeout, headers={}) as answer:
            try:
                if answer.status != 200:
                    raise ServiceUnavailable(f"{self.url}{path} answered {answer.status}")
                yield from answer.stream(65536)
            except (HTTPError, OSError) as error:
                raise ServiceUnavailable(f"{self.url}{path} broke off: {_short(error)}") from None
            finally:
                answer.close()

    def _request(self, path: str, *, timeout: urllib3.Timeout, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                "GET",
                self.url + path,
                headers={**self._authorize(), **headers},
                timeout=timeout,
                preload_content=False,
                redirect=False,
            )
        except (HTTPError, OSError) as error:
            raise ServiceUnavailable(f"{self.url} cannot be reached: {_short(error)}") from None


def first_answer(services: list[Service], key: str, at_least: int) -> TenantContext:
    """Ask one service after another. Raises ContextRefused: that of the last one, or `not-fresh-enough`."""
    refused = ContextRefused("not-fresh-enough", f"no service answers as fresh as {at_least}: ask again")
    for service in services:
        try:
            return service.document(key, at_least)
        except ContextRefused as error:
            if error.status != 503:
                raise
            refused = error
        except ServiceUnavailable:
            continue
    raise refused


def _short(error: Exception) -> str:
    return type(error).__name__
