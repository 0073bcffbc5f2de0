"""What an egress proxy lets out, on real Envoy: twenty and more ways around it, none of which reaches anything."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import urllib3

from access.egress_policy import read_egress
from access.proxies.envoy import text
from access.proxies.envoy_egress import NOT_PUBLIC, egress_configuration
from adapters.provisioners.signed_requests import NoAnswer, SignedRequests
from tests.access.name_server import NameServer, name_server
from tests.access.proxies import free_port, needs_envoy, running_envoy
from tests.clients.asap.repositories import Authority
from tests.fakes.provisioner import SIGNING

pytestmark = [needs_envoy, pytest.mark.slow]

LISTED, PRIVATE, DEAD = "127.0.0.2", "127.0.0.1", "127.0.0.3"
"""Loopback all of them: the first is a network that the policy lists for some names, nobody listens at the last."""


@dataclass
class Outside:
    """TLS servers at one port of several addresses. `connected` counts connections by address, `served` requests."""

    port: int
    connected: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    location: str = ""


@dataclass
class Cloud:
    outside: Outside
    names: NameServer
    listen: int
    other: int
    authority: Authority
    folder: Path

    def connect(self, target: str, *, host: str | None = None, listen: int | None = None) -> tuple[int, socket.socket]:
        """The status of a CONNECT, and the tunnel."""
        raw = socket.create_connection(("127.0.0.1", listen or self.listen), timeout=5)
        raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {host or target}\r\n\r\n".encode())
        return _status(raw), raw

    def reach(self, name: str, *, sni: str | None, host: str | None = None, listen: int | None = None) -> str:
        """`served` where a request arrived behind the proxy, else what happened."""
        status, raw = self.connect(f"{name}:{self.outside.port}", host=host, listen=listen)
        with raw:
            if status != 200:
                return f"refused {status}"
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            try:
                with context.wrap_socket(raw, server_hostname=sni) as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    return "served" if _status(tls) == 200 else "no answer"
            except OSError:
                return "cut off"


def _status(connection: socket.socket) -> int:
    """0 where no answer came."""
    head = b""
    try:
        while b"\r\n\r\n" not in head and (part := connection.recv(4096)):
            head += part
    except OSError:
        return 0
    return int(head.split(b" ")[1]) if head.startswith(b"HTTP/1.") else 0


def _serve(listener: socket.socket, address: str, outside: Outside, tls: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        outside.connected[address] += 1
        with plain, suppress(OSError), tls.wrap_socket(plain, server_side=True) as connection:
            connection.settimeout(3)
            if b"\r\n\r\n" in connection.recv(4096):
                outside.served[address] += 1
                start = f"302 Found\r\nLocation: {outside.location}" if outside.location else "200 OK"
                connection.sendall(f"HTTP/1.1 {start}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                while connection.recv(4096):  # what is unread at the end would make a reset of it
                    pass


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with egress(tmp_path_factory.mktemp("egress")) as made:
        yield made


@contextmanager
def egress(folder: Path, spoil: Callable[[str], str] = str) -> Iterator[Cloud]:
    """The proxy, what is outside, and who knows the names. `spoil` changes the proxy's configuration."""
    names = ["good.test", "other.test", "redirects.test"]
    authority = Authority.make(folder, names)
    table = {
        **{name: [LISTED] for name in names},
        "loopback.test": [PRIVATE],
        "unspecified.test": ["0.0.0.0"],  # noqa: S104 - as an answer of DNS
        "mapped.test": ["::ffff:127.0.0.1"],
        "six.test": ["::1"],
        "translated.test": ["64:ff9b::7f00:1"],
        "listed-elsewhere.test": [PRIVATE],
        "listed-mapped.test": [f"::ffff:{LISTED}"],
        "two.test": [DEAD, PRIVATE],
        "rebound.test": [LISTED],
        "unlisted.test": [LISTED],
    }
    listed = [*names, "listed-elsewhere.test", "listed-mapped.test", "two.test", "rebound.test"]
    outside = Outside(free_port())
    with ExitStack() as stack:
        for address in (LISTED, PRIVATE, "::1"):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = stack.enter_context(socket.create_server((address, outside.port), family=family))
            serving = threading.Thread(target=_serve, args=(listener, address, outside, authority.server), daemon=True)
            serving.start()
        resolver = stack.enter_context(name_server(table))
        listen, other = free_port(), free_port()
        port = outside.port
        allow = [f"{name}:{port}" for name in table if name not in ("unlisted.test", "other.test")]
        policy = folder / "egress.toml"
        policy.write_text(
            f'[[service]]\nname = "webhooks"\nlisten = "127.0.0.1:{listen}"\nallow = {allow}\n'
            f'[[service]]\nname = "reports"\nlisten = "127.0.0.1:{other}"\nallow = ["other.test:{port}"]\n'
            + "".join(
                f'[[upstream]]\nname = "{name}:{port}"\ncidrs = ["{LISTED}/32", "{DEAD}/32"]\n' for name in listed
            )
            + f'[dns]\nresolvers = ["127.0.0.1:{resolver.port}"]\n'
        )
        configuration = spoil(text(egress_configuration(read_egress(policy))))
        stack.enter_context(running_envoy(configuration, folder, port=listen))
        yield Cloud(outside, resolver, listen, other, authority, folder)


@pytest.fixture(autouse=True)
def _nothing_reaches_what_is_private(cloud: Cloud) -> Iterator[None]:
    """Whatever a test does: no connection to an address that is not listed."""
    yield
    time.sleep(0.05)
    assert set(cloud.outside.connected) <= {LISTED}, cloud.outside.connected


def test_a_name_on_the_list_is_reached_by_its_own_service(cloud: Cloud) -> None:
    assert cloud.reach("good.test", sni="good.test") == "served"
    assert cloud.reach("other.test", sni="other.test", listen=cloud.other) == "served"


@pytest.mark.parametrize(
    "name",
    [
        *("127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:2]"),
        *("0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1", "0", "0.0.0.0"),  # noqa: S104
        *("localhost", "unlisted.test", "other.test", "good.test.", "xgood.test", "good.test.unlisted.test"),
        *("user@good.test", "good.test:443@127.0.0.1", "good.test%00.unlisted.test", "good.test/", "*"),
    ],
)
def test_what_is_not_on_the_list_is_refused(cloud: Cloud, name: str) -> None:
    served = cloud.outside.connected.total()
    assert cloud.reach(name, sni="good.test") in ("refused 403", "refused 400", "refused 404")
    assert cloud.outside.connected.total() == served


def test_the_name_that_counts_is_the_one_that_is_asked_for_not_the_host_header(cloud: Cloud) -> None:
    asked = f"good.test:{cloud.outside.port}"
    assert cloud.reach("127.0.0.1", sni="good.test", host=asked).startswith("refused")
    assert cloud.reach("unlisted.test", sni="good.test", host=asked).startswith("refused")


def test_another_port_and_no_port_are_refused(cloud: Cloud) -> None:
    for target in (f"good.test:{cloud.outside.port + 1}", "good.test", "good.test:0", "good.test:"):
        status, raw = cloud.connect(target)
        raw.close()
        assert status in (400, 403), target


def test_the_list_of_another_service_does_not_count(cloud: Cloud) -> None:
    assert cloud.reach("good.test", sni="good.test", listen=cloud.other) == "refused 403"


@pytest.mark.parametrize("sni", ["redirects.test", "other.test", "unlisted.test", "good.test.unlisted.test", None])
def test_fronting_is_cut_off_since_the_name_in_the_tls_is_another(cloud: Cloud, sni: str | None) -> None:
    served = cloud.outside.connected.total()
    assert cloud.reach("good.test", sni=sni) in ("cut off", "no answer")
    assert cloud.outside.connected.total() == served


def test_what_is_no_tls_is_cut_off(cloud: Cloud) -> None:
    served = cloud.outside.connected.total()
    for data in (b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        status, raw = cloud.connect(f"good.test:{cloud.outside.port}")
        with raw:
            assert status == 200
            raw.sendall(data)
            assert _status(raw) == 0
    assert cloud.outside.connected.total() == served


def test_requests_that_are_no_connect_are_refused(cloud: Cloud) -> None:
    port = cloud.outside.port
    for line in (
        f"GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}",
        f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: good.test:{port}",
        f"POST / HTTP/1.1\r\nContent-Length: 0\r\nHost: good.test:{port}",
        f"GET / HTTP/1.1\r\nHost: good.test:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket",
    ):
        with socket.create_connection(("127.0.0.1", cloud.listen), timeout=5) as raw:
            raw.sendall(f"{line}\r\n\r\n".encode())
            assert _status(raw) in (403, 404, 426), line


def test_http_2_without_an_upgrade_is_refused(cloud: Cloud) -> None:
    with socket.create_connection(("127.0.0.1", cloud.listen), timeout=5) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert _status(raw) in (0, 400, 505)


@pytest.mark.parametrize("name", ["loopback.test", "unspecified.test", "mapped.test", "six.test", "translated.test"])
def test_a_name_on_the_list_whose_address_is_not_public_is_cut_off(cloud: Cloud, name: str) -> None:
    assert cloud.reach(name, sni=name) in ("cut off", "no answer")
    assert cloud.names.asked[name] >= 1


@pytest.mark.parametrize("name", ["listed-elsewhere.test", "listed-mapped.test"])
def test_a_named_upstream_outside_of_its_networks_is_cut_off(cloud: Cloud, name: str) -> None:
    assert cloud.reach(name, sni=name) in ("cut off", "no answer")


def test_the_second_address_of_a_name_is_not_tried_after_the_first(cloud: Cloud) -> None:
    with ThreadPoolExecutor(5) as threads:
        outcomes = set(threads.map(lambda _: cloud.reach("two.test", sni="two.test"), range(5)))
    assert outcomes <= {"cut off", "no answer"}


def test_a_name_that_is_rebound_to_a_private_address_is_cut_off(cloud: Cloud) -> None:
    assert cloud.reach("rebound.test", sni="rebound.test") == "served"
    cloud.names.table["rebound.test"] = [PRIVATE]
    end = time.monotonic() + 60
    while (outcome := cloud.reach("rebound.test", sni="rebound.test")) == "served":
        assert time.monotonic() < end, "the new address was never looked at"
        time.sleep(0.1)
    with ThreadPoolExecutor(20) as threads:  # each takes the second after which Envoy closes
        outcomes = list(threads.map(lambda _: cloud.reach("rebound.test", sni="rebound.test"), range(40)))
    assert {outcome, *outcomes} <= {"cut off", "no answer"}


def test_a_redirect_to_a_private_address_ends_at_the_proxy(cloud: Cloud) -> None:
    cloud.outside.location = f"https://127.0.0.1:{cloud.outside.port}/"
    with (
        urllib3.ProxyManager(
            f"http://127.0.0.1:{cloud.listen}", ssl_context=cloud.authority.client, retries=3
        ) as client,
        pytest.raises(urllib3.exceptions.MaxRetryError, match="403"),
    ):
        client.request("GET", f"https://redirects.test:{cloud.outside.port}/")
    cloud.outside.location = ""
    assert cloud.outside.served[LISTED] >= 1


def test_a_webhook_goes_through_the_proxy_and_is_told_what_the_proxy_refuses(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(cloud.folder / "root.pem"))
    requests = SignedRequests(seconds=5, proxy=f"http://127.0.0.1:{cloud.listen}")
    port, served = cloud.outside.port, cloud.outside.served[LISTED]

    def post(address: str, through: SignedRequests = requests) -> int:
        return through.send("POST", address, key="k", secret=SIGNING, body=b"{}").status

    assert post(f"https://good.test:{port}/hook") == 200
    assert cloud.outside.served[LISTED] == served + 1
    for address in (f"https://unlisted.test:{port}/", f"https://127.0.0.1:{port}/", f"https://0x7f000001:{port}/"):
        with pytest.raises(NoAnswer, match=r"through the egress proxy.*egress\.toml"):
            post(address)
    with pytest.raises(NoAnswer, match="name it by https"):
        post(f"http://good.test:{port}/")
    with pytest.raises(NoAnswer, match="through the egress proxy"):
        post(f"https://good.test:{port}/", SignedRequests(seconds=2, proxy=f"http://127.0.0.1:{free_port()}"))
    assert cloud.outside.served[LISTED] == served + 1


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.255.255", "192.168.1.1"),  # noqa: S104
        *("198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "203.0.113.1"),
        *("::", "::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "fc00::1", "fd12::1", "fe80::1", "ff02::1", "2001::1"),
        *("2001:db8::1", "2002:7f00:1::", "100::1", "5f00::1", "3fff::1"),
    ],
)
def test_an_address_that_is_not_public_is_in_the_list_of_those(address: str) -> None:
    assert _is_in_the_list(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "99.255.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"]
)
def test_a_public_address_is_not_in_that_list(address: str) -> None:
    assert not _is_in_the_list(address)


def _is_in_the_list(text_: str) -> bool:
    address = ip_address(text_)
    networks = [ip_network(each) for each in NOT_PUBLIC]
    return any(address in network for network in networks if network.version == address.version)
