"""The credential service's HTTP: the password of one product of one tenant. A bare ASGI application.

    /v1/credentials/{tenant}/{product} ─▶ the login from the log ─▶ granted? ─▶ may it log in? ─▶ recorded ─▶ password
    /livez /readyz

It stands behind the access middleware alone, which knows the caller. Nothing is given that was not recorded before. An
answer names the role, so that a client with an older context sees that it was another one's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from adapters.postgres.credential_fetches import CredentialFetch
from application.ports.clock import Clock
from context.credentials.grants import Grants
from domain.errors import TenantryError, UsageError
from runtime.compose.credentials import DatabaseLogin
from tenantry_client.access.middleware import CALLER, Receive, Scope, Send
from tenantry_client.asap import Caller

PREFIX: Final = "/v1/credentials/"
_UNKNOWN: Final = frozenset({"tenant-unknown", "product-not-in-catalogue", "credentials-no-role"})

log = logging.getLogger(__name__)


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CredentialService:
    """`login` finds a product's login, from the log as it is now; `record` returns when the fetch is committed."""

    def __init__(
        self,
        *,
        login: Callable[[str, str], DatabaseLogin],
        record: Callable[[CredentialFetch], None],
        grants: Callable[[], Grants],
        clock: Clock,
    ) -> None:
        self._login = login
        self._record = record
        self._grants = grants
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """One request."""
        if scope["type"] != "http":
            return
        try:
            status, body = 200, await self._answer(scope)
        except _Refusal as refused:
            status, body = refused.status, {"code": refused.code, "message": str(refused)}
        encoded = msgspec.json.encode(body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(encoded)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": encoded})

    async def _answer(self, scope: Scope) -> dict[str, Any]:
        if scope["method"] != "GET":
            raise _Refusal(405, "method-not-allowed", "only GET is answered here")
        raw = scope["raw_path"].decode("latin-1")
        if raw in {"/livez", "/readyz"}:
            return {"ready": True}
        names = [unquote(each) for each in raw.removeprefix(PREFIX).split("/")]
        caller = scope.get(CALLER)
        if not raw.startswith(PREFIX) or len(names) != 2:
            raise _Refusal(404, "path-unknown", "there is no such path")
        if not isinstance(caller, Caller):
            raise _Refusal(401, "token-missing", "no caller was verified")
        return await asyncio.to_thread(self._given, caller, *names)

    def _given(self, caller: Caller, tenant_id: str, product: str) -> dict[str, Any]:
        login = self._found(tenant_id, product)
        if not self._grants().allow(caller.issuer, login.family, login.region):
            log.warning("credentials refused: %s has no grant for %s in %s", caller.issuer, login.family, login.region)
            raise _Refusal(
                403,
                "credentials-not-granted",
                f"no grant gives {caller.issuer} the family {login.family} in {login.region}",
            )
        if not login.may_log_in:
            raise _Refusal(403, "product-closed", f"the role of {product} may not log in now")
        fetch = CredentialFetch(
            self._clock(), caller.issuer, tenant_id, product, login.role, login.generation, login.rotation,
            caller.token_id,
        )  # fmt: skip
        try:
            self._record(fetch)
        except TenantryError as error:
            raise _Refusal(503, "fetch-not-recorded", f"a fetch that cannot be recorded is refused: {error}") from None
        log.info("credentials of %s given to %s", login.role, caller.issuer)
        return {
            "tenant_id": tenant_id, "product": product, "role": login.role, "password": login.password,
            "generation": login.generation, "rotation": login.rotation,
        }  # fmt: skip

    def _found(self, tenant_id: str, product: str) -> DatabaseLogin:
        try:
            return self._login(tenant_id, product)
        except UsageError as error:
            if error.problem is not None and error.problem.code in _UNKNOWN:
                raise _Refusal(404, "credentials-unknown", "there is no such login") from None
            raise _Refusal(503, "login-not-found", "the service's configuration lacks what the login needs") from None
        except TenantryError as error:
            raise _Refusal(503, "database-unavailable", str(error)) from None
