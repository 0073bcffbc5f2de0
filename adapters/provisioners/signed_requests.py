"""Signed requests: calls of another team's service that need no trust in the network between.

Each request is signed as Standard Webhooks has it: an HMAC-SHA256 over key, time and body, in three headers. TLS is
verified against the machine's authorities (SSL_CERT_FILE names others). Nothing is followed, retried, unpacked or
taken from proxy variables; how long and how large an answer may be is bounded. Where there is no answer the error is
Retryable: it is not known whether the request arrived, and it may be sent again under its key.

With an egress proxy every request goes through it, by CONNECT and under TLS to the other end, so the proxy reads
nothing; what it refuses is no answer, and never taken for one of the provisioner's.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, Self

import urllib3
from urllib3 import exceptions
from urllib3.util import Timeout

from application.ports.measures import measure
from domain.errors import Retryable, UsageError, problem

LARGEST_ANSWER_BYTES: Final = 64 * 2**10

Method = Literal["GET", "POST"]

_LONGEST_CONNECT_SECONDS: Final = 5.0
_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """What both sides know. While it is being changed it is two keys: each request is signed with both."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """From `whsec_` and 24 to 64 bytes in base64, two of them with a blank between; UsageError names `name`."""
        try:
            keys = tuple(base64.b64decode(part.removeprefix(_PREFIX), validate=True) for part in text.split())
        except (binascii.Error, ValueError):
            keys = ()
        if not keys or not all(24 <= len(key) <= 64 for key in keys):
            raise UsageError(problem("webhook-secret-malformed", name=name, prefix=_PREFIX))
        return cls(keys)

    def sign(self, key: str, timestamp: int, body: bytes) -> str:
        """The header `webhook-signature`."""
        return " ".join(self._signatures(key, str(timestamp), body))

    def has_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the three headers (names in lower case) sign that body with one of the keys."""
        try:
            expected = self._signatures(headers["webhook-id"], headers["webhook-timestamp"], body)
            given = headers["webhook-signature"].encode().split()
        except (KeyError, UnicodeEncodeError):
            return False
        return any(hmac.compare_digest(each, ours.encode()) for each in given[:8] for ours in expected)

    def _signatures(self, key: str, timestamp: str, body: bytes) -> list[str]:
        signed = f"{key}.{timestamp}.".encode() + body
        return [f"v1,{base64.b64encode(hmac.digest(secret, signed, sha256)).decode()}" for secret in self.keys]


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class NoAnswer(Retryable):
    """No answer, or not a whole one, or one of a server that cannot be trusted."""


class _TooLarge(Exception):
    """An answer that is not read to its end."""


class SignedRequests:
    """Sends signed requests. For many threads."""

    def __init__(self, *, seconds: float, now: Callable[[], float] = time.time, proxy: str | None = None) -> None:
        """`proxy`: the egress proxy as http://host:port; None: directly."""
        self._seconds = seconds
        self._now = now
        self._has_proxy = proxy is not None
        self._pool = (
            urllib3.ProxyManager(proxy, num_pools=32, maxsize=64)
            if proxy is not None
            else urllib3.PoolManager(num_pools=32, maxsize=64)
        )

    def send(
        self,
        method: Method,
        address: str,
        *,
        key: str,
        secret: SigningSecret,
        body: bytes = b"",
        traceparent: str | None = None,
    ) -> SignedAnswer:
        """The answer, whatever its status; an error that is too large has no body. Raises NoAnswer where there is none
        within the time, Retryable where one that is no error is too large."""
        if self._has_proxy and not address.startswith("https://"):
            raise NoAnswer("is reached by http, which does not go through the egress proxy: name it by https")
        timestamp = int(self._now())
        headers = {
            "User-Agent": "tenantry",
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity",
            "Idempotency-Key": key,
            "webhook-id": key,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": secret.sign(key, timestamp, body),
        }
        if body:
            headers["Content-Type"] = "application/json"
        if traceparent is not None:
            headers["traceparent"] = traceparent
        began = time.monotonic()
        deadline, status = began + self._seconds, "none"
        try:
            response = self._pool.request(
                method,
                address,
                body=body or None,
                headers=headers,
                timeout=Timeout(connect=min(self._seconds, _LONGEST_CONNECT_SECONDS), total=self._seconds),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            status = f"{response.status // 100}xx"
            try:
                content = self._read(response, deadline)
            except _TooLarge as error:
                response.close()
                if response.status < 300:
                    raise Retryable(str(error)) from None
                content = b""
            except BaseException:
                response.close()  # what is left of it must not be taken for the next answer
                raise
            response.release_conn()
        except exceptions.HTTPError as error:
            raise NoAnswer(self._reason(error)) from error
        finally:
            measure("webhook", time.monotonic() - began, method, status)
        return SignedAnswer(response.status, {name.lower(): text for name, text in response.headers.items()}, content)

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while part := response.read1(8192):
            content += part
            if len(content) > LARGEST_ANSWER_BYTES:
                raise _TooLarge(f"answered with more than {LARGEST_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise NoAnswer(f"did not finish its answer within {self._seconds:g} s")
        return bytes(content)

    def _reason(self, error: exceptions.HTTPError) -> str:
        match error:
            case exceptions.ProxyError():
                return "cannot be reached through the egress proxy: is it running, and does egress.toml list the name?"
            case exceptions.NewConnectionError():  # counts as a TimeoutError, too
                return "cannot be reached"
            case exceptions.TimeoutError():
                return f"did not answer within {self._seconds:g} s"
            case exceptions.SSLError():
                return "has no certificate that this machine trusts"
            case exceptions.ProtocolError():
                return "broke off before its answer was whole"
            case _:
                return f"could not be asked ({type(error).__name__})"
