"""An edge for tests: tenant contexts as a sidecar keeps them, issuers of sessions, upstreams in two regions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from access.edge.app import EdgeApp
from access.edge.local_issuer import LocalIssuer
from access.edge.process import edge_app
from access.edge.settings import EdgeSettings, read_edge
from tenantry_client.asap import FixedKeys, Verifier
from tenantry_client.context.document import Level, Placement, Product, TenantContext, encode
from tenantry_client.context.lease import lease_path, now_ns
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.tenancy import Tenancy
from tenantry_client.context.wire import FORMAT, Changes, Hello, HostChange, TenantChange
from tests.access.proxies import free_port
from tests.access.upstreams import Upstream, listening
from tests.fakes.memberships import FakeMemberships

PRODUCT = "jira-software"
ISSUER, COOKIES, AUDIENCE = "https://id.example", "https://login.example", "edge"
LONG_LEASE = 3_600_000_000_000


def tenant(
    tenant_id: str, *, region: str = "eu", access: Any = "open", level: Level = "open", version: int = 5
) -> TenantContext:
    """A tenant with one product, whose host is its id under example."""
    return TenantContext(
        tenant_id=tenant_id,
        customer_id="c-1",
        site_name=tenant_id,
        host=f"{tenant_id}.example",
        lifecycle="active",
        access=access,
        version=version,
        products={
            PRODUCT: Product(level=level, family="jira"),
            "confluence": Product(level="open", family="confluence"),
            "compass": Product(level="open", family="nowhere"),
        },
        placements={
            family: Placement(region=region, shard=f"{region}-1", address="127.0.0.1:1", database="d", schema="s")
            for family in ("jira", "confluence")
        },
    )


TENANTS = (
    tenant("t-1"),
    tenant("t-2", region="us"),
    tenant("t-closed", access="closed"),
    tenant("t-suspended", level="closed"),
    tenant("t-far", region="moon"),
)


@dataclass
class Edge:
    """All of it. `listen` is where the proxy listens, `authorizer_port` where it asks."""

    folder: Path
    listen: int
    authorizer_port: int
    writer: StoreWriter
    tenancy: Tenancy
    issuer: LocalIssuer
    cookies: LocalIssuer
    memberships: FakeMemberships = field(default_factory=FakeMemberships)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    app: EdgeApp | None = None

    @property
    def settings(self) -> EdgeSettings:
        return read_edge(self.folder / "edge.toml")

    @property
    def reached(self) -> int:
        """How many requests reached any upstream."""
        return sum(each.served for each in self.upstreams.values())

    def cookie(self, account_id: str = "ada", **claims: Any) -> str:
        """The header line of a session cookie."""
        return f"Cookie: theme=dark; session={self.cookies.session(account_id, **claims)}; lang=en"

    def bearer(self, account_id: str = "ada", **claims: Any) -> str:
        """The header line of an ID token."""
        return f"Authorization: Bearer {self.issuer.session(account_id, **claims)}"

    def change(self, context: TenantContext, position: int, *, after: int) -> None:
        """What the stream of changes would bring."""
        self.writer.apply(Changes(after, position, [TenantChange(context.tenant_id, position, encode(context))], []))

    def service_token(self, authorization: str, audience: str = PRODUCT) -> Any:
        """The caller of the edge's own token. Raises Refused."""
        verifier = Verifier(audience, FixedKeys({"edge/1": self._public_pem()}), may_call={"edge"}.__contains__)
        return verifier.verify(authorization.removeprefix("Bearer "))

    def _public_pem(self) -> bytes:
        return (self.folder / "edge.public.pem").read_bytes()


@contextmanager
def edge(
    folder: Path,
    *,
    membership_seconds: float = 30,
    lease_ns: int = LONG_LEASE,
    per_second: int = 10**6,
    timeout_milliseconds: int = 5_000,
) -> Iterator[Edge]:
    """The parts without proxy and authorizer; `running_authorizer` adds one of them."""
    issuer, cookies = LocalIssuer(ISSUER, AUDIENCE), LocalIssuer(COOKIES, AUDIENCE)
    (folder / "jwks.json").write_bytes(issuer.jwks())
    (folder / "cookies.json").write_bytes(cookies.jwks())
    _write_key(folder)
    directory = folder / "tenancy"
    with ExitStack() as stack:
        writer = StoreWriter(directory)
        stack.callback(lambda: lease_path(directory).unlink(missing_ok=True))
        stack.callback(writer.close)
        _load(writer)
        writer.lease.renew(now_ns() + lease_ns)
        found = Edge(
            folder, free_port(), free_port(), writer, stack.enter_context(Tenancy.open(directory)), issuer, cookies
        )
        for region in ("eu", "us"):
            upstream = Upstream()
            upstream.port = stack.enter_context(listening(upstream.serve))
            found.upstreams[region] = upstream
        found.memberships.members |= {(t.tenant_id, p, "ada") for t in TENANTS for p in (PRODUCT, "confluence")}
        (folder / "edge.toml").write_text(_settings(found, membership_seconds, per_second, timeout_milliseconds))
        yield found


@contextmanager
def running_authorizer(found: Edge) -> Iterator[None]:
    """The authorizer, served by uvicorn in a thread."""
    found.app = edge_app(found.settings, tenancy=found.tenancy, memberships=found.memberships)
    config = uvicorn.Config(
        found.app, host="127.0.0.1", port=found.authorizer_port, log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def _load(writer: StoreWriter) -> None:
    names = sorted(TENANTS, key=lambda each: each.tenant_id)
    frames: list[Hello | Changes] = [
        Hello("log-1", 0, FORMAT, 10),
        Changes(
            10,
            10,
            [TenantChange(each.tenant_id, each.version, encode(each)) for each in names],
            [HostChange(each.host, each.tenant_id, each.version) for each in names],
        ),
    ]
    writer.switch(writer.load(iter(frames)))


def _write_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "edge.pem").write_bytes(private)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "edge.public.pem").write_bytes(public)


def _settings(found: Edge, membership_seconds: float, per_second: int, timeout_milliseconds: int) -> str:
    regions = "".join(
        f'[[region]]\nname = "{name}"\nupstreams = ["127.0.0.1:{each.port}"]\n'
        for name, each in found.upstreams.items()
    )
    return f"""\
cookie = "session"
[listen]
address = "127.0.0.1:{found.listen}"
[authorizer]
address = "127.0.0.1:{found.authorizer_port}"
membership_seconds = {membership_seconds}
timeout_milliseconds = {timeout_milliseconds}
{regions}
[[product]]
prefix = "/"
product = "{PRODUCT}"
[[product]]
prefix = "/wiki"
product = "confluence"
[[product]]
prefix = "/compass"
product = "compass"
[[session]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "{found.folder / "jwks.json"}"
carried_in = "authorization"
[[session]]
issuer = "{COOKIES}"
audience = "{AUDIENCE}"
jwks = "{found.folder / "cookies.json"}"
carried_in = "cookie"
[identity]
issuer = "edge"
key_id = "edge/1"
private_key = "{found.folder / "edge.pem"}"
[limits]
client_per_second = {per_second}
client_burst = {per_second}
total_per_second = {10**6}
"""
