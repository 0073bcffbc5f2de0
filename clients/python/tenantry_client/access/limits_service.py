"""Client of the limits service: chunks of rates, and of grants to export.

Each question is a command with a token of its own, within `timeout` seconds. No answer, a slow one and one that cannot
be read are all `CoordinatorUnavailable`: nothing is admitted, nothing is exported.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from tenantry_client.access.exports import ExportChunk, ExportRefused
from tenantry_client.access.rates import Admitted, CoordinatorUnavailable, Limit

SERVICE: Final = "limits-service"
"""The audience of the tokens, and the callee in `access.toml`."""

TIMEOUT: Final = 0.5
MAX_ANSWER: Final = 64 * 1024


T = TypeVar("T")


class _Chunk(msgspec.Struct):
    requests: int
    again_seconds: float


class _Refusal(msgspec.Struct):
    code: str
    message: str = ""


class LimitsService:
    """Asks the service at `url`. Safe for threads: each question has a connection of its own."""

    def __init__(
        self, url: str, token: Callable[[], str], *, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT
    ) -> None:
        """`token` makes a fresh token for the audience `limits-service`. Raises ValueError for what is no URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"{url} is no address of the limits service: write https://host:port")
        self._host = parts.hostname
        self._port = parts.port
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._token = token
        self._timeout = timeout

    def admit(self, limit: Limit, requests: int) -> Admitted:
        """A chunk of a rate. Raises CoordinatorUnavailable."""
        status, body = self._post(f"/v1/limits/{limit.name}/chunks", {"requests": requests})
        if status != http.HTTPStatus.OK:
            raise CoordinatorUnavailable(f"the limits service answered {status}")
        found = _read(body, _Chunk)
        return Admitted(found.requests, found.again_seconds)

    def take(self, grant_id: str, *, what: str, tenant_id: str | None, rows: int, size: int) -> ExportChunk:
        """A chunk of a grant. Raises ExportRefused, CoordinatorUnavailable."""
        asked = {"what": what, "tenant_id": tenant_id, "rows": rows, "bytes": size}
        status, body = self._post(f"/v1/export-grants/{quote(grant_id, safe='')}/chunks", asked)
        if status == http.HTTPStatus.OK:
            return _read(body, ExportChunk)
        if status == http.HTTPStatus.FORBIDDEN:
            refused = _read(body, _Refusal)
            raise ExportRefused(refused.code, refused.message)
        raise CoordinatorUnavailable(f"the limits service answered {status}")

    def give_back(self, grant_id: str, chunk: ExportChunk, *, rows: int, size: int) -> None:
        """What was not used of a chunk; where it cannot be given back it stays spent."""
        path = f"/v1/export-grants/{quote(grant_id, safe='')}/chunks/{chunk.chunk_id}/rest"
        self._post(path, {"rows": rows, "bytes": size})

    def _post(self, path: str, content: Mapping[str, Any]) -> tuple[int, bytes]:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        headers = {"authorization": f"Bearer {self._token()}", "content-type": "application/json"}
        try:
            connection.request("POST", path, body=msgspec.json.encode(content), headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise CoordinatorUnavailable(f"the limits service does not answer: {type(error).__name__}") from None
        finally:
            connection.close()


def _read(body: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError:
        raise CoordinatorUnavailable("the limits service answered what cannot be read") from None
