"""The limits service's HTTP: chunks of rates and of grants to export. A bare ASGI application, behind the middleware.

    POST /v1/limits/{name}/chunks                        {requests}                      {requests, again_seconds}
    POST /v1/export-grants/{grant}/chunks                {what, tenant_id, rows, bytes}  {chunk_id, rows, bytes}
    POST /v1/export-grants/{grant}/chunks/{chunk}/rest   {rows, bytes}
    GET  /livez /readyz

Who asks is known by the token. The rate of a limit is that of the allow-list here, never of the question; a service
gets chunks of the limits of its own routes, and of the grants that it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from application.export_grants import ExportGrants
from application.ports.export_budgets import Amounts
from application.problem_texts import sentence
from application.rates import Rate, RateCoordinator
from domain.errors import TenantryError, UsageError
from domain.export_grants import LARGEST, ExportRequest
from tenantry_client.access.allow_list import AllowList
from tenantry_client.access.middleware import CALLER, Receive, Scope, Send
from tenantry_client.access.paths import Template

MAX_BODY: Final = 4_096
PROBES: Final = (b"/livez", b"/readyz")

_LIMIT: Final = Template.parse("/v1/limits/{name}/chunks")
_GRANT: Final = Template.parse("/v1/export-grants/{grant}/chunks")
_REST: Final = Template.parse("/v1/export-grants/{grant}/chunks/{chunk}/rest")
ROUTES: Final = (("POST", _LIMIT), ("POST", _GRANT), ("POST", _REST))
"""Every route but the probes."""

T = TypeVar("T")
Answer = tuple[int, object]


class _Requests(msgspec.Struct, forbid_unknown_fields=True):
    requests: int


class _Export(msgspec.Struct, forbid_unknown_fields=True):
    what: str
    rows: int
    bytes: int
    tenant_id: str | None = None


class _Rest(msgspec.Struct, forbid_unknown_fields=True):
    rows: int
    bytes: int


class LimitsApp:
    """Answers services; `allow_list` is the one of this moment."""

    def __init__(self, *, rates: RateCoordinator, grants: ExportGrants, allow_list: Callable[[], AllowList]) -> None:
        self._rates = rates
        self._grants = grants
        self._allow_list = allow_list

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        try:
            status, answer = await self._answer(scope, receive)
        except msgspec.MsgspecError:
            status, answer = _refusal(400, "body-invalid", "the body is not the JSON object that this route takes")
        except UsageError as error:
            code = error.problem.code if error.problem is not None else "refused"
            status, answer = _refusal(403, code, sentence(error))
        except TenantryError as error:
            status, answer = _refusal(503, "database-unavailable", sentence(error))
        body = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["raw_path"] in PROBES:
            return 200, {"live": True}
        path = tuple(scope["path"].split("/")[1:])
        method, route = next((each for each in ROUTES if each[1].matches(path)), (None, None))
        if route is None or method != scope["method"]:
            return _refusal(404, "path-unknown", "there is no such path")
        if route is _LIMIT:
            return await asyncio.to_thread(self._admit, _caller(scope), path[2], await _body(receive, _Requests))
        if route is _GRANT:
            return await asyncio.to_thread(self._take, _caller(scope), path[2], await _body(receive, _Export))
        rest = await _body(receive, _Rest)
        return await asyncio.to_thread(self._give_back, _caller(scope), path[2], path[4], rest)

    def _admit(self, caller: str, name: str, asked: _Requests) -> Answer:
        limit, callee = self._allow_list().limits.get(name, (None, None))
        if limit is None or callee != caller or asked.requests < 1:
            return _refusal(404, "limit-unknown", "the allow-list has no such limit of this service")
        return 200, self._rates.admit(Rate(*limit), asked.requests)._asdict()

    def _take(self, caller: str, grant: str, asked: _Export) -> Answer:
        amounts = Amounts(min(asked.rows, LARGEST), min(asked.bytes, LARGEST))
        if min(amounts) < 1:
            raise msgspec.ValidationError("rows and bytes are at least 1")
        chunk = self._grants.take(ExportRequest(grant, caller, asked.what, asked.tenant_id), amounts)
        return 200, {"chunk_id": str(chunk.id), "rows": chunk.amounts.rows, "bytes": chunk.amounts.bytes}

    def _give_back(self, caller: str, grant: str, chunk: str, rest: _Rest) -> Answer:
        found = self._grants.all().get(grant)
        if found is None or found.granted.grantee != caller or not _is_uuid(chunk):
            return _refusal(404, "chunk-unknown", "this service has no such chunk")
        if not self._grants.budgets.give_back(grant, UUID(chunk), Amounts(rest.rows, rest.bytes)):
            return _refusal(409, "chunk-settled", "the rest was given back before, or is more than was taken")
        return 200, {"settled": True}


def _caller(scope: Scope) -> str:
    return str(scope[CALLER].issuer)


async def _body(receive: Receive, form: type[T]) -> T:
    body, more = b"", True
    while more and len(body) <= MAX_BODY:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            break
        body, more = body + message.get("body", b""), message.get("more_body", False)
    if len(body) > MAX_BODY:
        raise msgspec.ValidationError("the body is too long")
    return msgspec.json.decode(body, type=form)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _refusal(status: int, code: str, message: str) -> Answer:
    return status, {"code": code, "message": message}
