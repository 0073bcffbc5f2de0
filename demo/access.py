"""Requests of the demo from outside: one from the edge to the tenant's database and back, and three that are refused.

    request ─▶ proxy ─▶ edge authorizer: session, tenant, member ─▶ application: token, allow-list ─▶ tenant's database

The parts are the real ones: the sidecar as a process, the authorizer, the middleware and the connections of the client.
The proxy here is the smallest that asks an authorizer (`forward_auth`); `make test-edge` has Envoy and nginx instead.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from access.edge.local_issuer import LocalIssuer
from access.edge.process import edge_app
from access.edge.settings import EdgeSettings, ProductRoute, Region, ServiceIdentity, SessionIssuer
from access.protection import Protection
from adapters.postgres.memberships import PostgresMemberships
from adapters.resources.login_role import role_password
from domain import service_keys
from domain.errors import Unavailable
from domain.operator import Operator
from domain.scope.steps import Scope
from domain.stream_name import ResourceName
from runtime.compose import Parts
from runtime.compose.operators import service_keys_of
from tenantry_client.access.allow_list import AllowList
from tenantry_client.access.middleware import CALLER, Receive, Send
from tenantry_client.access.middleware import Scope as Request
from tenantry_client.context.databases import TenantConnections
from tenantry_client.context.document import TenantContext, decode
from tenantry_client.context.keys import ContextKeys
from tenantry_client.context.lease import lease_path
from tenantry_client.context.targets import Target
from tenantry_client.context.tenancy import Tenancy

OPERATOR: Final = Operator.parse("demo@demo")
ALLOWED: Final = """
[[allow]]
caller = "edge"
callee = "{product}"
routes = ["GET /"]
"""
START_SECONDS: Final = 20.0


class Seen(NamedTuple):
    """A request of a user, and what came back: the application's answer, or the code of the refusal and its reason."""

    what: str
    status: int
    answer: str
    milliseconds: float

    @property
    def is_as_expected(self) -> bool:
        """Whether the one that may pass has passed, and the others have not."""
        return (self.status == 200) == self.what.startswith("a member")


class _Cast(NamedTuple):
    """Who the story is about: an open tenant with a member, a suspended one with a member, and somebody else."""

    product: str
    open: TenantContext
    member: str
    closed: TenantContext
    closed_member: str


def requests(parts: Parts, context_url: str, folder: Path) -> list[Seen]:
    """The four requests. Raises Unavailable where a part does not start."""
    cast = _cast(parts)
    issuer = LocalIssuer("https://id.demo", "edge")
    with ExitStack() as stack:
        tenancy = stack.enter_context(_sidecar(context_url, folder / "tenancy"))
        key = _edge_key(parts, folder)
        (folder / "jwks.json").write_bytes(issuer.jwks())
        connections = TenantConnections(tenancy, cast.product, partial(_password, parts, cast.product))
        stack.callback(connections.close)
        upstream = stack.enter_context(_served(_application(tenancy, connections, cast.product)))
        settings = _edge(cast, upstream, key, folder / "jwks.json")
        memberships = parts.closing(PostgresMemberships(parts.endpoints.database_url))
        authorizer = stack.enter_context(_served(edge_app(settings, tenancy=tenancy, memberships=memberships)))
        proxy = stack.enter_context(_served(_Proxy(authorizer, upstream)))
        _await(lambda: _ask(proxy, cast.open.host, issuer.session(cast.member))[0] == 200)
        member, other = issuer.session(cast.member), issuer.session("somebody-else")
        return [
            _seen("a member, at an open tenant", proxy, cast.open.host, member),
            _seen("nobody: no session", proxy, cast.open.host, None),
            _seen("another's session: no member there", proxy, cast.open.host, other),
            _seen("its own member, at a suspended tenant", proxy, cast.closed.host, issuer.session(cast.closed_member)),
        ]


# -- who it is about -----------------------------------------------------------------------------------------------


def _cast(parts: Parts) -> _Cast:
    """From the contexts and the read model of memberships, as the stream has left them. Raises Unavailable."""
    with parts.engine.connect() as connection:
        contexts = [decode(bytes(document)) for (document,) in connection.execute(text(_CONTEXTS))]
        members = {(tenant, product): account for tenant, product, account in connection.execute(text(_MEMBERS))}
    suspended = {
        (product, context.tenant_id): context
        for context in contexts
        for product, found in context.products.items()
        if found.level == "closed" and context.host and (context.tenant_id, product) in members
    }
    for context in contexts:
        for product, found in context.products.items():
            member = members.get((context.tenant_id, product))
            if not (context.is_open(product) and found.role and context.host and member):
                continue
            for (other_product, _), other in suspended.items():
                if other_product == product:
                    return _Cast(product, context, member, other, members[other.tenant_id, product])
    raise Unavailable("the stream has left no open and no suspended tenant of one product: play another seed")


_CONTEXTS: Final = "SELECT document FROM contexts WHERE document IS NOT NULL ORDER BY tenant_id"
_MEMBERS: Final = "SELECT tenant_id, product, account_id FROM identity_memberships ORDER BY 1, 2, 3"


def _password(parts: Parts, product: str, target: Target) -> str:
    generation = ResourceName.parse(target.role).generation
    family = parts.catalog.family_of(product)
    return role_password(parts.master_key, Scope("family", target.tenant_id, family), product, generation)


# -- the parts -----------------------------------------------------------------------------------------------------


@contextmanager
def _sidecar(url: str, directory: Path) -> Iterator[Tenancy]:
    command = [sys.executable, "-m", "cli.main", "context-sidecar", "--service", url, "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    tenancy = Tenancy.open(directory)
    try:
        _await(lambda: tenancy.is_ready)
        yield tenancy
    finally:
        tenancy.close()
        process.terminate()
        process.wait(10)
        lease_path(directory).unlink(missing_ok=True)


def _edge_key(parts: Parts, folder: Path) -> Path:
    """A key of the edge, published in the log; the sidecar tells it to the application."""
    key, file = ec.generate_private_key(ec.SECP256R1()), folder / "edge.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    decide = partial(
        service_keys.publish,
        key_id="edge/1",
        public_key=public.decode(),
        operator=str(OPERATOR),
        reason="the demo's edge",
    )
    service_keys_of(parts).record(decide, by=OPERATOR)
    return file


def _edge(cast: _Cast, upstream: int, key: Path, jwks: Path) -> EdgeSettings:
    regions = {each.placement(cast.product).region for each in (cast.open, cast.closed)}
    return EdgeSettings.model_validate(
        {
            "listen": {"address": "127.0.0.1:1"},
            "region": tuple(Region(name=name, upstreams=(f"127.0.0.1:{upstream}",)) for name in sorted(regions)),
            "product": (ProductRoute(prefix="/", product=cast.product),),
            "session": (
                SessionIssuer(issuer="https://id.demo", audience="edge", jwks=str(jwks), carried_in="authorization"),
            ),
            "identity": ServiceIdentity(issuer="edge", key_id="edge/1", private_key=key),
        }
    )


def _application(tenancy: Tenancy, connections: TenantConnections, product: str) -> Any:
    """Says which database and which role the tenant of the request has; behind the middleware of the client."""

    async def application(scope: Request, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI has it
        if scope["type"] != "http":
            return
        found = await asyncio.to_thread(_from_the_database, connections, str(scope[CALLER].tenant))
        await _answer(send, 200, [], found.encode())

    allowed = AllowList.parse(ALLOWED.format(product=product))
    return Protection(product, ContextKeys(tenancy), lambda: allowed)(application)


def _from_the_database(connections: TenantConnections, tenant_id: str) -> str:
    with connections.connection(tenant_id) as connection:
        row = connection.execute("SELECT current_database(), current_schema, current_user").fetchone()
    assert row is not None
    return f"database {row[0]}, schema {row[1]}, role {row[2]}"


class _Proxy:
    """Asks the authorizer of each request, and forwards it to the upstream with the headers of the answer."""

    def __init__(self, authorizer: int, upstream: int) -> None:
        self._authorizer = authorizer
        self._upstream = upstream

    async def __call__(self, scope: Request, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI has it
        if scope["type"] == "http":
            status, headers, body = await asyncio.to_thread(self._forwarded, scope)
            await _answer(send, status, headers, body)

    def _forwarded(self, scope: Request) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        about = {"x-forwarded-host": sent.get("host", ""), "x-forwarded-uri": scope["path"]}
        if "authorization" in sent:
            about["authorization"] = sent["authorization"]
        status, headers, body = _get(self._authorizer, "/forward_auth", about)
        if status == 200:
            given = {name: value for name, value in headers.items() if name.startswith(("tenancy-", "authorization"))}
            status, headers, body = _get(self._upstream, scope["path"], given)
        return status, [(b"tenancy-refusal", headers.get("tenancy-refusal", "").encode())], body


@contextmanager
def _served(app: Any) -> Iterator[int]:
    """The application at a free port of this machine, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    _await(lambda: server.started)
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(5)


# -- asking --------------------------------------------------------------------------------------------------------


def _seen(what: str, proxy: int, host: str, session: str | None) -> Seen:
    began = time.perf_counter()
    status, body = _ask(proxy, host, session)
    took = (time.perf_counter() - began) * 1000
    refusal = json.loads(body) if status != 200 else {}
    answer = f"{refusal['code']}: {refusal['message']}" if refusal else body.decode()
    return Seen(what, status, answer, round(took, 1))


def _ask(proxy: int, host: str, session: str | None) -> tuple[int, bytes]:
    headers = {"host": host, **({"authorization": f"Bearer {session}"} if session else {})}
    status, _, body = _get(proxy, "/", headers)
    return status, body


def _get(port: int, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _await(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Unavailable(f"a part of the demo's edge did not start within {START_SECONDS:g} s: look into its logs")
        time.sleep(0.05)
