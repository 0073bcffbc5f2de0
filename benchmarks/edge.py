"""What does the edge cost? The authorizer beside an ASGI application that does nothing, and Envoy with and without it.

    authorizer_ratio   questions for a second of processor time, beside a bare application that writes the same answer
    empty_ratio        the same, beside one that answers 200 and nothing else
    edge_ratio         what the authorizer adds to the p50 of a request through Envoy, as a share of that p50 without it

All servers are uvicorn with one process, the upstream behind Envoy too; the sides take turns in small rounds. Requests
of the first are sent sixteen at a time over one connection, so that the client costs little; of the second one after
the other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

from access.edge.app import EXT_AUTHZ, Receive, Scope, Send, lifespan
from access.edge.authorizer import Passed
from access.edge.process import edge_app, serve
from access.edge.settings import read_edge
from access.edge.upstream import UpstreamHeaders
from access.proxies.envoy import Json, text
from access.proxies.envoy_edge import edge_configuration
from benchmarks.harness import Result, progress
from tenantry_client.asap import Signer, SigningKey
from tenantry_client.context.tenancy import Tenancy
from tests.access.asking import request
from tests.access.cloud import PRODUCT, Edge, edge
from tests.access.proxies import envoy_path, free_port, running_envoy
from tests.fakes.memberships import FakeMemberships

BATCH: Final = 16
BATCHES: Final = 60
EMPTY: Final = [(b"content-length", b"0")]
AnswerHeaders = list[tuple[bytes, bytes]]
_SPAWN: Final = multiprocessing.get_context("spawn")


def measure(*, runs: int, quick: bool) -> Result:
    """Both ratios; `edge_ratio` is None where Envoy is not installed."""
    with tempfile.TemporaryDirectory(prefix="bench-edge-") as name, ExitStack() as stack:
        folder = Path(name)
        found = stack.enter_context(edge(folder))
        bare, empty, upstream = free_port(), free_port(), free_port()
        _point_at(folder / "edge.toml", found, upstream)
        pids = {
            port: stack.enter_context(_process(serving, *arguments))
            for port, serving, arguments in (
                (found.authorizer_port, _serve_authorizer, (folder,)),
                (bare, _serve_bare, (bare, _answer(found))),
                (empty, _serve_bare, (empty, EMPTY)),
                (upstream, _serve_bare, (upstream, EMPTY)),
            )
        }
        for port in (found.authorizer_port, bare, empty, upstream):
            _await(port)
        result = _authorizer(found, pids, (bare, empty), rounds=3 if quick else 10 * runs)
        if envoy_path() is None:
            return {**result, "edge_ratio": None, "edge_skipped": "Envoy is not installed: make test-edge"}
        return {**result, **_edge(found, folder, rounds=3 if quick else 10 * runs, stack=stack)}


# -- the authorizer beside nothing --------------------------------------------------------------------------------


def _authorizer(found: Edge, pids: Mapping[int, int], peers: tuple[int, int], *, rounds: int) -> Result:
    """Questions for a second of processor time: on a busy machine the clock on the wall tells of others."""
    asked = request(f"{EXT_AUTHZ}/wiki/page", "t-1.example", found.cookie(), "User-Agent: bench", "Accept: */*")
    progress(f"edge: {rounds} rounds of the authorizer and a bare application")
    ports = (found.authorizer_port, *peers)
    before = [_processor_seconds(pids[port]) for port in ports]
    for _ in range(rounds):
        for port in ports:
            _ask(port, asked)
    spent = [_processor_seconds(pids[port]) - since for port, since in zip(ports, before, strict=True)]
    ours, same, least = (rounds * BATCHES * BATCH / seconds for seconds in spent)
    return {
        "authorizer": round(ours),
        "bare_asgi": round(same),
        "authorizer_ratio": round(ours / same, 2),
        "empty_ratio": round(ours / least, 2),
    }


def _answer(found: Edge) -> AnswerHeaders:
    """The headers of the authorizer's answer to the question of the bench."""
    signer = Signer("edge", SigningKey.read("edge/1", found.folder / "edge.pem"))
    passed = Passed("t-1", "ada", "confluence", "eu", 5)
    return [*UpstreamHeaders(signer).of(passed, cookies=b"theme=dark; lang=en")]


def _ask(port: int, raw: bytes) -> None:
    """BATCHES times BATCH questions; all replies are 200."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(BATCHES):
            connection.sendall(raw * BATCH)
            content = b""
            while content.count(b"\r\n\r\n") < BATCH:
                content += connection.recv(65536)
            if content.count(b"HTTP/1.1 200 ") != BATCH:
                raise AssertionError(content[:500])


def _processor_seconds(pid: int) -> float:
    """What the process has used until now, in user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- Envoy with and without it ------------------------------------------------------------------------------------


def _edge(found: Edge, folder: Path, *, rounds: int, stack: ExitStack) -> Result:
    settings, plain = read_edge(folder / "edge.toml"), free_port()
    configuration = edge_configuration(settings)
    for port, name, content in (
        (found.listen, "with", text(configuration)),
        (plain, "without", _without_authorizer(text(configuration), found.listen, plain)),
    ):
        (folder / name).mkdir()
        stack.enter_context(running_envoy(content, folder / name, port=port))
    raw = request("/wiki/page", "t-1.example", found.cookie(), "User-Agent: bench", "Accept: */*")
    progress(f"edge: {rounds} rounds of Envoy with and without the authorizer")
    with_it, without = [], []
    for _ in range(rounds):
        with_it.append(_p50(found.listen, raw))
        without.append(_p50(plain, raw))
    asked, not_asked = median(with_it), median(without)
    return {
        "edge_p50_us": round(asked * 1e6),
        "proxy_p50_us": round(not_asked * 1e6),
        "edge_added_us": round((asked - not_asked) * 1e6),
        "edge_ratio": round((asked - not_asked) / not_asked, 2),
    }


def _without_authorizer(configuration: str, listen: int, plain: int) -> str:
    """The same proxy, which asks nobody and sends everything to the first region."""
    content = json.loads(configuration.replace(f'"port_value": {listen}', f'"port_value": {plain}'))
    manager = content["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [each for each in manager["http_filters"] if "ext_authz" not in each["name"]]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]
    del route["match"]["headers"]
    return text(cast("Json", content))


def _p50(port: int, raw: bytes, *, requests: int = 200) -> float:
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            started = time.perf_counter()
            connection.sendall(raw)
            content = b""
            while not content.endswith(b"\r\n\r\n"):
                content += connection.recv(65536)
            seconds.append(time.perf_counter() - started)
            if not content.startswith(b"HTTP/1.1 200 "):
                raise AssertionError(content[:500])
    return median(seconds)


# -- processes ----------------------------------------------------------------------------------------------------


@contextmanager
def _process(serving: Callable[..., None], *arguments: Any) -> Iterator[int]:
    """Yields its process id."""
    started = _SPAWN.Process(target=serving, args=arguments, daemon=True)
    started.start()
    try:
        yield started.pid or 0
    finally:
        started.terminate()
        started.join(10)


def _serve_authorizer(folder: Path) -> None:
    settings = read_edge(folder / "edge.toml")
    memberships = FakeMemberships({("t-1", each, "ada") for each in (PRODUCT, "confluence")})
    with Tenancy.open(folder / "tenancy") as tenancy:
        serve(edge_app(settings, tenancy=tenancy, memberships=memberships), settings.authorizer.address)


def _serve_bare(port: int, headers: AnswerHeaders) -> None:
    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [*headers]})
        await send({"type": "http.response.body"})

    serve(bare, f"127.0.0.1:{port}")


def _point_at(file: Path, found: Edge, upstream: int) -> None:
    """The first region's upstream is the process of the bench, not the thread of the test's."""
    file.write_text(re.sub(rf"127\.0\.0\.1:{found.upstreams['eu'].port}\b", f"127.0.0.1:{upstream}", file.read_text()))


def _await(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at {port}")
