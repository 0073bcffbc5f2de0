"""A small cloud of real processes: projector of contexts, context service, sidecar, and services behind the middleware.

The log is a test's (`Desk`), with one tenant. Each service verifies its callers by the keys that the sidecar tells it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from access.protection import Protection
from domain import service_keys
from domain.operator import Operator
from runtime.compose.operators import service_keys_of
from tenantry_client.access.allow_list import AllowList
from tenantry_client.access.middleware import Receive, Scope, Send
from tenantry_client.asap import Signer, SigningKey
from tenantry_client.context.keys import ContextKeys
from tenantry_client.context.lease import lease_path
from tenantry_client.context.tenancy import Tenancy
from tests.access.proxies import free_port
from tests.cli.conftest import Desk
from tests.context.processes import Process, wait_until

TERM = 3.0
ADA = Operator.parse("ada@host")
ALLOWED = """
[[allow]]
caller = "sidecar"
callee = "context-service"
routes = ["GET /v1/lease", "GET /v1/changes", "GET /v1/snapshot", "GET /v1/digest"]

[[allow]]
caller = "billing"
callee = "context-service"
routes = ["GET /v1/lease"]

[[allow]]
caller = "billing"
callee = "shop"
routes = ["GET /orders", "GET /slow"]

[[allow]]
caller = "edge"
callee = "jira-software"
routes = ["GET /orders", "GET /slow"]
"""


@dataclass
class RealCloud:
    """Its addresses, its keys, and its processes by name."""

    desk: Desk
    folder: Path
    processes: dict[str, Process] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    signers: dict[str, Signer] = field(default_factory=dict)

    @property
    def tenancy_dir(self) -> Path:
        return self.folder / "tenancy"

    def publish(self, service: str) -> None:
        """A key of that service, in the log, and its signer here."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{service}.pem").write_bytes(pem)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        decide = partial(
            service_keys.publish, key_id=f"{service}/1", public_key=public.decode(), operator=str(ADA), reason="a test"
        )
        service_keys_of(self.desk.parts).record(decide, by=ADA)
        self.signers[service] = Signer(service, SigningKey.load(f"{service}/1", pem), lifetime=600)

    def revoke(self, service: str) -> float:
        """The time (monotonic) at which the revocation was committed at the latest."""
        decide = partial(service_keys.revoke, key_id=f"{service}/1", operator=str(ADA), reason="it was stolen")
        service_keys_of(self.desk.parts).record(decide, by=ADA)
        return time.monotonic()

    def ask(self, caller: str, callee: str, path: str, *, at: str = "") -> tuple[int, str]:
        """Status and code of the answer; `at` names the server where it is not the audience."""
        token = self.signers[caller].token(callee)
        answer = urllib3.request(
            "GET", self.urls[at or callee] + path, headers={"authorization": f"Bearer {token}"}, timeout=10.0,
            retries=False,
        )  # fmt: skip
        found = answer.json() if answer.status != 200 else {}
        return answer.status, str(found.get("code", ""))

    def start(self, name: str, command: list[str], *, ready: str = "/livez", port: int = 0) -> None:
        self.processes[name] = Process(command, self.folder / f"{name}.txt").start()
        if port:
            self.urls[name] = f"http://127.0.0.1:{port}"
            wait_until(lambda: is_up(self.urls[name] + ready), seconds=100, what=name)


def is_up(url: str) -> bool:
    try:
        return urllib3.request("GET", url, timeout=2.0, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


@contextmanager
def real_cloud(desk: Desk, folder: Path, *, services: tuple[str, ...]) -> Iterator[RealCloud]:
    """Everything runs, and the services (each with its own name as audience) answer."""
    cloud, tenantry = RealCloud(desk, folder), str(Path(sys.executable).with_name("tenantry"))
    allow_list, port = folder / "access.toml", free_port()
    allow_list.write_text(ALLOWED)
    for service in ("sidecar", "billing", "edge"):
        cloud.publish(service)
    before = dict(os.environ)
    os.environ |= {
        "TENANTRY_APPEND_TIMEOUT_SECONDS": "1",
        "TENANTRY_DATABASE_FAILOVER_SECONDS": "0",
        "TENANTRY_CONTEXT_LEASE_SECONDS": str(TERM),
        "ASAP_KEY_ID": "sidecar/1",
        "ASAP_PRIVATE_KEY_FILE": str(folder / "sidecar.pem"),
    }
    try:
        cloud.start("contexts", [tenantry, "contexts"])
        options = ["--port", str(port), "--allow-list", str(allow_list)]
        cloud.start("context-service", [tenantry, "context-service", *options], ready="/readyz", port=port)
        options = ["--service", cloud.urls["context-service"], "--dir", str(cloud.tenancy_dir), "--term", str(TERM)]
        cloud.start("sidecar", [tenantry, "context-sidecar", *options, "--issuer", "sidecar"])
        for service in services:
            port = free_port()
            command = [sys.executable, "-m", "tests.access.real_cloud", service, str(folder), str(port)]
            cloud.start(service, command, ready="/readyz", port=port)
        yield cloud
    finally:
        for process in reversed(cloud.processes.values()):
            process.end()
        lease_path(cloud.tenancy_dir).unlink(missing_ok=True)
        os.environ.clear()
        os.environ |= before


class Shop:
    """A service of the cloud: a request to `/slow` takes two seconds."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status: int = 200
        if scope["raw_path"] == b"/readyz":
            status = 200 if self._tenancy.is_ready else 503
        elif scope["raw_path"] == b"/slow":
            await asyncio.sleep(2.0)
        headers: list[Any] = [(b"content-length", b"2"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


def main(service: str, folder: Path, port: int) -> None:
    """One service, in its own process."""
    tenancy = Tenancy.open(folder / "tenancy")
    allowed = AllowList.read(folder / "access.toml")
    app = Protection(service, ContextKeys(tenancy), lambda: allowed)(Shop(tenancy))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
