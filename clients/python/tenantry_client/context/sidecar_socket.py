"""The sidecar's Unix socket, seen by a process on the host: HTTP for what shared memory cannot answer.

Other languages look up tenants here. A Python process comes only when its freshness token is ahead of this host: the
sidecar then asks a service.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from tenantry_client.context.document import TenantContext, from_json
from tenantry_client.context.hosts import normal_host
from tenantry_client.context.refusals import STATUS, ContextRefused

SOCKET: Final = "sidecar.sock"
AT_LEAST: Final = "Tenancy-At-Least"
POSITION: Final = "Tenancy-Position"
TENANT_KEY: Final = "\0"
"""What a key of a look-up begins with where it is a tenant id, and not a host."""
TIMEOUT: Final = 2.0


class Refusal(msgspec.Struct):
    """The body of an answer that is not 200."""

    code: str
    message: str = ""
    position: int | None = None


class SidecarSocket:
    """Asks the sidecar of a directory for one tenant."""

    def __init__(self, directory: Path, *, timeout: float = TIMEOUT) -> None:
        self._path = str(directory / SOCKET)
        self._timeout = timeout

    def __call__(self, key: str, at_least: int) -> TenantContext:
        """The tenant of `key`, as fresh as the token. Raises ContextRefused."""
        connection = _Connection(self._path, self._timeout)
        try:
            connection.request("GET", path_of(key), headers={AT_LEAST: str(at_least)})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            raise not_fresh_enough(at_least) from None
        finally:
            connection.close()
        return context_of(answer.status, body, at_least)


def path_of(key: str) -> str:
    """The path of a look-up."""
    if key.startswith(TENANT_KEY):
        return f"/v1/tenants/{quote(key[1:], safe='')}"
    return f"/v1/hosts/{normal_host(key)}"


def context_of(status: int, body: bytes, at_least: int) -> TenantContext:
    """What an answer means. Raises ContextRefused; an answer that says nothing is `not-fresh-enough`."""
    try:
        if status == http.HTTPStatus.OK:
            return from_json(body)
        refusal = msgspec.json.decode(body, type=Refusal)
    except msgspec.MsgspecError:
        raise not_fresh_enough(at_least) from None
    if refusal.code not in STATUS:
        raise not_fresh_enough(at_least)
    raise ContextRefused(refusal.code, refusal.message, position=refusal.position)


def not_fresh_enough(at_least: int) -> ContextRefused:
    """The refusal of a token that nobody could satisfy in time."""
    return ContextRefused("not-fresh-enough", f"no answer as fresh as {at_least} in time: ask again")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("sidecar", timeout=timeout)
        self._unix_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._unix_path)
