"""Every HTTP surface of the engine: its routes, each refused without a token, or open for a reason that is named here.

A new listener, and a new route of one that is known, fails here until it is in the table below.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from access.edge import app as edge_app
from access.limits.app import PROBES, ROUTES
from console.pages import PAGES
from context.service.openapi import openapi
from runtime.compose.console import console_parts_of
from runtime.settings import Settings
from tests.access.asking import ask, request
from tests.access.cloud import edge, running_authorizer
from tests.access.limits import Running, limits_service
from tests.access.proxies import free_port
from tests.cli.conftest import Desk, desk
from tests.console.asking import Browser
from tests.console.asking import access as console_access
from tests.console.conftest import drop_role
from tests.context.processes import Process, wait_until

__all__ = ["desk"]

ROOT = Path(__file__).parents[2]
ROOMS = ("access", "adapters", "application", "audit", "cli", "console", "context", "demo", "domain", "history")
MORE_ROOMS = ("projections", "runtime", "workers")

PROBE = "a probe: it says alive or ready, and nothing of any tenant"
SURFACES = {
    "context service": {
        "/v1/tenants/{id}": "token",
        "/v1/hosts/{host}": "token",
        "/v1/changes": "token",
        "/v1/snapshot": "token",
        "/v1/lease": "token",
        "/v1/digest": "token",
        "/v1/positions": "token",
        "/v1/openapi.json": "token",
        "/metrics": "token",
        "/livez": PROBE,
        "/readyz": PROBE,
    },
    "credential service": {
        "/v1/credentials/{tenant}/{product}": "token",
        "/livez": PROBE,
        "/readyz": PROBE,
    },
    "limits service": {
        "/v1/limits/{name}/chunks": "token",
        "/v1/export-grants/{grant}/chunks": "token",
        "/v1/export-grants/{grant}/chunks/{chunk}/rest": "token",
        "/livez": PROBE,
        "/readyz": PROBE,
    },
    "edge authorizer": {
        "/ext_authz": "session",
        "/auth_request": "session",
        "/forward_auth": "session",
        "/livez": PROBE,
        "/readyz": PROBE,
    },
    "console": {
        "/static/{name}": "files of the browser, the same for everybody",
        "/events": "person",
        "/act/{kind}": "person",
        **{path: "person" for path, _ in PAGES},
        **{f"{path}.json": "person" for path, _ in PAGES},
    },
}

LISTENERS = {
    "access/edge/process.py": "edge authorizer: on this machine alone, as edge.toml is checked for",
    "cli/console.py": "console",
    "cli/context_service.py": "context service",
    "cli/credential_service.py": "credential service: behind Protection; tests/context holds its refusals",
    "cli/edge.py": "edge authorizer",
    "cli/limits_service.py": "limits service",
    "console/run.py": "console",
    "context/service/run.py": "context service, with its metrics on a listener of their own, and credential service",
    "context/sidecar/run.py": "context sidecar: a Unix socket, for processes of this host alone",
    "demo/access.py": "the demo's proxy, authorizer and application: on this machine alone, while it runs",
    "demo/watching.py": "console of the demo, on this machine alone, while it runs",
    "workers/roles.py": "context service of `up`, on this machine alone",
    "workers/probes.py": "metrics and probes of a worker or service: on this machine, unless it is set otherwise",
}
"""Callbacks of provisioners have no listener of ours: they come as signed messages on Kafka (ADR 11)."""

SERVING = {"HTTPServer", "ThreadingHTTPServer", "TCPServer", "UnixStreamServer", "start_server", "start_unix_server"}


def serves(tree: ast.AST) -> bool:
    """Whether the module makes a server."""
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        is_uvicorn = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "uvicorn"
        if isinstance(node, ast.ImportFrom) and {each.name for each in node.names} & {"run_app", "serve"}:
            return True
        if name in SERVING or (is_uvicorn and name in {"run", "Server", "Config"}):
            return True
    return False


def listeners() -> set[str]:
    files = (file for room in (*ROOMS, *MORE_ROOMS) for file in (ROOT / room).rglob("*.py"))
    return {str(file.relative_to(ROOT)) for file in files if serves(ast.parse(file.read_text()))}


def test_every_listener_of_the_engine_is_known_here() -> None:
    assert listeners() <= LISTENERS.keys(), "a new listener: name it here, and prove that it refuses"
    assert listeners() >= {"context/service/run.py", "cli/limits_service.py", "workers/probes.py"}


@pytest.mark.parametrize("planted", ["import uvicorn\nuvicorn.run(app)", "class Mine(ThreadingHTTPServer): ..."])
def test_a_listener_that_is_not_known_would_be_seen(planted: str) -> None:
    assert serves(ast.parse(planted))


def paths_in(file: str) -> set[str]:
    """Texts of the module that look like a path of ours; docstrings do not count."""
    tree = ast.parse((ROOT / file).read_text())
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (
        node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in documented
    )
    return {text for text in texts if text.startswith("/") and len(text) > 1 and " " not in text}


def test_every_route_of_each_surface_is_known_here(desk: Desk) -> None:
    known = SURFACES["context service"].keys()
    assert openapi()["paths"].keys() == known
    assert {path.rstrip("/") for path in paths_in("context/service/app.py")} <= {
        path.partition("/{")[0] for path in known
    }
    assert paths_in("context/credentials/app.py") == {
        path.removesuffix("{tenant}/{product}") for path in SURFACES["credential service"]
    }
    limits = {template.text for _, template in ROUTES} | {path.decode() for path in PROBES}
    assert limits == SURFACES["limits service"].keys()
    assert {
        *(edge_app.EXT_AUTHZ, edge_app.AUTH_REQUEST, edge_app.FORWARD_AUTH),
        *(path for path in paths_in("access/edge/app.py") if path.endswith("z")),
    } == SURFACES["edge authorizer"].keys()
    assert paths_in("workers/probes.py") == {"/metrics", "/livez", "/readyz"}
    console = paths_in("console/app.py") - {"/now.json"}
    assert console <= SURFACES["console"].keys(), "the pages are in PAGES"


@pytest.fixture
def running(migrated_database: str, tmp_path: Path) -> Iterator[Running]:
    with limits_service(migrated_database, tmp_path) as found:
        yield found


def filled(path: str) -> str:
    return "/".join("x" if part.startswith("{") else part for part in path.split("/"))


def code_of(answer: urllib3.BaseHTTPResponse) -> str:
    return str(answer.json().get("code", ""))


def test_every_route_of_the_limits_service_is_refused_without_a_token(running: Running) -> None:
    for path, how in SURFACES["limits service"].items():
        answer = urllib3.request("GET" if how == PROBE else "POST", running.url + filled(path), retries=False)
        assert answer.status == (200 if how == PROBE else 401), path
        assert how == PROBE or code_of(answer) == "token-missing"


def test_every_route_of_the_context_service_is_refused_without_a_token_and_metrics_have_their_own_listener(
    migrated_database: str, tmp_path: Path
) -> None:
    (tmp_path / "access.toml").write_text("")
    port, metrics = free_port(), free_port()
    os.environ["TENANTRY_METRICS_PORT"] = str(metrics)
    os.environ["TENANTRY_DATABASE_URL"] = migrated_database
    os.environ["TENANTRY_KAFKA_BOOTSTRAP"] = "127.0.0.1:1"
    command = [str(Path(sys.executable).with_name("tenantry")), "context-service", "--port", str(port)]
    server = Process([*command, "--allow-list", str(tmp_path / "access.toml")], tmp_path / "service.txt").start()
    try:
        wait_until(lambda: is_alive(port), seconds=40, what=server.said)
        for path, how in SURFACES["context service"].items():
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}{filled(path)}", retries=False)
            assert answer.status in ((200, 503) if how == PROBE else (401,)), path
            assert how == PROBE or code_of(answer) == "token-missing"
        there = f"http://127.0.0.1:{metrics}"
        assert b"tenancy_service_position" in urllib3.request("GET", f"{there}/metrics", retries=False).data
        for path in ("/v1/lease", "/v1/snapshot", "/v1/tenants/t-1"):
            assert urllib3.request("GET", there + path, retries=False).status == 404, path
    finally:
        server.end()
        for name in ("TENANTRY_METRICS_PORT", "TENANTRY_DATABASE_URL", "TENANTRY_KAFKA_BOOTSTRAP"):
            del os.environ[name]


def is_alive(port: int) -> bool:
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/livez", retries=False, timeout=2.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def test_every_question_at_the_edge_without_a_session_is_refused(tmp_path: Path) -> None:
    with edge(tmp_path) as found, running_authorizer(found):
        for path, how in SURFACES["edge authorizer"].items():
            about = ("X-Original-Host: t-1.example", "X-Original-Uri: /wiki") if path == "/auth_request" else ()
            if path == "/forward_auth":
                about = ("X-Forwarded-Host: t-1.example", "X-Forwarded-Uri: /wiki")
            asked = f"{path}/wiki" if path == "/ext_authz" else path
            reply = ask(found.authorizer_port, request(asked, "t-1.example", *about))
            assert reply.status == (200 if how == PROBE else 401), path
            assert how == PROBE or reply.code == "session-missing"


def test_every_page_of_the_console_is_refused_to_nobody(desk: Desk) -> None:
    browser = Browser(console_parts_of(desk.parts), console_access())
    browser.headers = {"host": "127.0.0.1"}
    try:
        for path in SURFACES["console"]:
            answer = browser.post(filled(path), {}) if path.startswith("/act") else browser.get(filled(path))
            if SURFACES["console"][path] == "person":
                assert answer.status in (303, 401, 403), (path, answer.status)
    finally:
        browser.close()
        drop_role(desk.parts.endpoints.database_url)


def test_probes_and_metrics_of_workers_listen_on_this_machine_unless_it_is_set_otherwise() -> None:
    assert Settings.model_fields["metrics_address"].default == "127.0.0.1"
    assert Settings.model_fields["metrics_port"].default is None


def test_the_sidecar_listens_on_a_unix_socket_alone() -> None:
    source = (ROOT / "context/sidecar/run.py").read_text()
    assert "uds=" in source
    assert "port=" not in source
