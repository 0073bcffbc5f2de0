"""What stands in for the provisioner of somebody else?

A real HTTP server on loopback that keeps in memory what it was asked for, as the protocol wants it: it refuses wrong
signatures and lower generations, and does the same order twice without a change. `script` holds answers to be given
first, so that a test can have it fail in any way; what raises or never answers is a function of the handler.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from adapters.provisioners.foreign import webhooks
from adapters.provisioners.orders import Draft
from adapters.provisioners.signed_requests import SignedRequests, SigningSecret
from adapters.resources.configuration import Configurations
from adapters.resources.entitlement import licensed
from adapters.resources.identities import Identities
from adapters.resources.membership import MembershipSet
from application.ports.resources import Executor
from domain.catalog import Catalog, ForeignExecutor, default_catalog
from domain.scope.steps import Step

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
SIGNING = SigningSecret.parse(SECRET, name="test")


@dataclass(frozen=True)
class Reply:
    """An answer as it goes over the wire."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def says(status: int, body: object, **headers: str) -> Reply:
    """A JSON answer; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json", **named})


Scripted = Reply | Callable[["Handler"], None]


@dataclass
class Provisioner:
    """All that it was asked, and what is there."""

    port: int = 0
    scheme: str = "http"
    script: deque[Scripted] = field(default_factory=deque)
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    there: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    effects: int = 0
    down: bool = False
    """Whether it answers 503 to everything."""
    lock: Lock = field(default_factory=Lock)

    @property
    def address(self) -> str:
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.port}/tenantry"

    @property
    def orders(self) -> list[Any]:
        return [json.loads(body) for method, _, _, body in self.requests if method == "POST"]

    def carry_out(self, order: Any) -> Reply:
        scope = (order["tenant_id"], order["product"])
        if order["generation"] < self.newest.get(scope, 0):
            return says(409, {"detail": "a newer generation was here"})
        self.newest[scope] = order["generation"]
        place = (*scope, order["step"])
        if order["direction"] == "remove":
            self.effects += self.there.pop(place, None) is not None
            return Reply(204)
        self.effects += self.there.get(place) != order["wish"]
        self.there[place] = order["wish"]
        return says(200, {})


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    provisioner: Provisioner

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["content-length"])))

    def do_GET(self) -> None:
        self._serve(b"")

    def _serve(self, body: bytes) -> None:
        with self.provisioner.lock:
            headers = {name.lower(): text for name, text in self.headers.items()}
            self.provisioner.requests.append((self.command, self.path, headers, body))
            scripted = self.provisioner.script.popleft() if self.provisioner.script else None
            if self.provisioner.down:
                scripted = says(503, {"detail": "down for maintenance"})
            if scripted is None:
                scripted = self._honestly(headers, body)
        if isinstance(scripted, Reply):
            self.reply(scripted)
        else:
            self.close_connection = True
            scripted(self)

    def _honestly(self, headers: Mapping[str, str], body: bytes) -> Reply:
        expected = SIGNING.sign(headers["webhook-id"], int(headers["webhook-timestamp"]), body)
        if headers["webhook-signature"] != expected:
            return says(401, {"detail": "the signature is wrong"})
        return self.provisioner.carry_out(json.loads(body)) if body else Reply(404)

    def reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, text in {"content-length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing to stderr."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone: that is what some tests are about."""


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Provisioner]:
    """A provisioner that answers until the block ends; by https where it has a certificate (and key) of localhost."""
    provisioner = Provisioner(scheme="https" if certificate else "http")
    handler = type("BoundHandler", (Handler,), {"provisioner": provisioner})
    with _Server(("127.0.0.1", 0), handler) as server:
        provisioner.port = server.server_port
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield provisioner
        finally:
            server.shutdown()
            thread.join()


def webhook(provisioner: Provisioner, product: str, step: Step, *, seconds: float = 5) -> Executor:
    """Our side of it, as the catalogue and the secrets would make it."""
    entry = default_catalog()[product]
    foreign = {step: ForeignExecutor(webhook=provisioner.address, secret="test")}
    catalog = Catalog(products={product: entry.model_copy(update={"executors": foreign})})
    drafts: Mapping[Step, Draft] = {
        Step.SITE: MembershipSet().ensure,
        Step.CONFIGURATION: Configurations(catalog, site_domain="tenantry.example").ensure,
        Step.IDENTITY: Identities().ensure,
        Step.LICENSE: licensed,
    }
    requests = SignedRequests(seconds=seconds)
    return webhooks(step, drafts[step], catalog=catalog, secrets={"test": SIGNING}, requests=requests)[product]
