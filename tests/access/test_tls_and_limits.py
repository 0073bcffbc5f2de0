"""The edge's TLS and its limits, on real proxies."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.access.asking import ask, request
from tests.access.cloud import Edge, edge, running_authorizer
from tests.access.test_edge import PROXIES, enter_proxy
from tests.clients.asap.repositories import Authority

pytestmark = pytest.mark.slow


@pytest.fixture(params=PROXIES)
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Edge, Authority]]:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path))
        authority = Authority.make(tmp_path, ["t-1.example"])
        settings = tmp_path / "edge.toml"
        files = f'certificate = "{tmp_path / "leaf.pem"}"\nkey = "{tmp_path / "leaf.pem"}"\n'
        settings.write_text(settings.read_text().replace("[authorizer]\n", f"{files}[authorizer]\n", 1))
        stack.enter_context(running_authorizer(found))
        enter_proxy(stack, request.param, found)
        yield found, authority


def handshake(found: Edge, context: ssl.SSLContext) -> tuple[str, str]:
    """Version and cipher suite. Raises OSError."""
    with (
        socket.create_connection(("127.0.0.1", found.listen), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="t-1.example") as connection,
    ):
        connection.sendall(request("/", "t-1.example", found.cookie()))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        cipher = connection.cipher()
        assert cipher is not None
        return connection.version() or "", cipher[0]


def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy_and_nothing_older(tls: tuple[Edge, Authority]) -> None:
    found, authority = tls
    assert handshake(found, authority.client)[0] == "TLSv1.3"
    context = authority.client
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    version, suite = handshake(found, context)
    assert version == "TLSv1.2"
    assert suite.startswith("ECDHE-")
    context.set_ciphers("AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:@SECLEVEL=0")
    with pytest.raises(OSError, match=r"(?i)handshake|eof|reset|alert"):
        handshake(found, context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)version|protocol|eof|reset|alert|suitable"):
        handshake(found, context)


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_client_that_asks_too_often_is_told_so(proxy: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path, per_second=5))
        stack.enter_context(running_authorizer(found))
        enter_proxy(stack, proxy, found)
        raw = request("/", "t-1.example", found.cookie())
        statuses = [ask(found.listen, raw).status for _ in range(40)]
        assert 200 in statuses
        assert 429 in statuses
        assert found.reached == statuses.count(200)
