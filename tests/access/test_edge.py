"""The edge on real proxies: who passes and what the upstream is told, and who is refused by which name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from access.proxies.envoy import text
from access.proxies.envoy_edge import edge_configuration
from access.proxies.nginx_edge import nginx_edge_configuration
from tenantry_client.asap import Refused as TokenRefused
from tenantry_client.context.lease import now_ns
from tests.access.asking import Reply, ask, request
from tests.access.cloud import LONG_LEASE, Edge, edge, running_authorizer, tenant
from tests.access.proxies import needs_envoy, needs_nginx, running_envoy, running_nginx

MEMBER = 2.0
"""How old the answer about a member may be, in seconds."""

PROXIES = [pytest.param("envoy", marks=needs_envoy), pytest.param("nginx", marks=needs_nginx)]


@dataclass
class Site:
    """An edge behind a running proxy."""

    proxy: str
    edge: Edge

    def ask(self, path: str = "/", host: str = "t-1.example", *headers: str) -> Reply:
        return ask(self.edge.listen, request(path, host, *headers))


@pytest.fixture(scope="module", params=PROXIES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path_factory.mktemp(request.param), membership_seconds=MEMBER))
        stack.enter_context(running_authorizer(found))
        enter_proxy(stack, request.param, found)
        yield Site(request.param, found)


def enter_proxy(stack: ExitStack, proxy: str, found: Edge, spoil: Callable[[str], str] = str) -> None:
    """Start that proxy before the edge's authorizer. `spoil` changes its configuration."""
    if proxy == "envoy":
        configuration, running = text(edge_configuration(found.settings)), running_envoy
    else:
        configuration, running = nginx_edge_configuration(found.settings), running_nginx
    stack.enter_context(running(spoil(configuration), found.folder, port=found.listen))


def test_a_member_passes_to_the_region_of_the_tenant_and_the_upstream_is_told_who_it_is(site: Site) -> None:
    for host, region in (("t-1.example", "eu"), ("t-2.example", "us")):
        reply = site.ask("/wiki/page?x=%2f", host, site.edge.cookie())
        assert reply.status == 200, reply
        told = site.edge.upstreams[region].last()
        assert told["tenancy-tenant"] == host.split(".")[0]
        assert told["tenancy-account"] == "ada"
        assert told["tenancy-product"] == "confluence"
        assert told["tenancy-region"] == region
        assert told["tenancy-at-least"] == "5"
        assert told["host"].startswith(host)
        assert site.edge.upstreams[region].heads[-1].split(" ")[1] == "/wiki/page?x=%2f"


def test_the_upstream_gets_a_token_of_the_edge_and_never_the_session(site: Site) -> None:
    for line in (site.edge.cookie(), site.edge.bearer()):
        assert site.ask("/", "t-1.example", line).status == 200
        told = site.edge.upstreams["eu"].last()
        caller = site.edge.service_token(told["authorization"])
        assert (caller.issuer, caller.tenant) == ("edge", "t-1")
        with pytest.raises(TokenRefused, match="another service"):
            site.edge.service_token(told["authorization"], "confluence")
        assert "session" not in told.get("cookie", "")
    assert site.ask("/", "t-1.example", site.edge.cookie()).status == 200
    assert site.edge.upstreams["eu"].last()["cookie"] == "theme=dark; lang=en"


@pytest.mark.parametrize(
    "line",
    [
        "Tenancy-Tenant: t-2",
        "tenancy-tenant: t-2",
        "TENANCY-REGION: us",
        "Tenancy-Account: root",
        "Tenancy-At-Least: 999",
        "Tenancy-Product: confluence",
        "Connection: tenancy-tenant, close",
        "Connection: tenancy-account, authorization",
        "X-Original-Host: t-2.example",
        "X-Original-Uri: /wiki",
        "X-Forwarded-Host: t-2.example",
        "X-Envoy-Original-Path: /wiki",
        "X-Envoy-Auth-Headers-To-Remove: tenancy-tenant",
        "X-Envoy-Upstream-Alt-Stat-Name: x",
        "Authorization-Extra: x",
    ],
)
def test_what_the_outside_says_in_headers_of_ours_does_not_count(site: Site, line: str) -> None:
    assert site.ask("/", "t-1.example", site.edge.cookie(), line, line).status in (200, 400)
    assert site.ask("/", "t-1.example", site.edge.cookie(), line).status == 200
    told = site.edge.upstreams["eu"].last()
    expected = {"tenant": "t-1", "account": "ada", "product": "jira-software", "region": "eu", "at-least": "5"}
    assert {name: told[f"tenancy-{name}"] for name in expected} == expected
    assert site.edge.service_token(told["authorization"]).tenant == "t-1"


@pytest.mark.parametrize("line", ["Tenancy_Tenant: t-2", "Tenancy-Anything: x", "tenancy-: x", "Tenancy-Tenant : t-2"])
def test_a_header_that_looks_like_ours_is_taken_out_or_refused(site: Site, line: str) -> None:
    before = site.edge.reached
    reply = site.ask("/", "t-1.example", site.edge.cookie(), line)
    if reply.status == 200:
        told = site.edge.upstreams["eu"].last()
        assert told["tenancy-tenant"] == "t-1"
        ours = {f"tenancy-{name}" for name in ("tenant", "account", "product", "region", "at-least")}
        assert {name for name in told if name.startswith("tenancy")} == ours
    else:
        assert reply.status in (400, 403)
        assert site.edge.reached == before


def test_an_upstream_tells_the_outside_nothing_of_tenants_in_headers(site: Site) -> None:
    assert "tenancy-tenant" not in site.ask("/", "t-1.example", site.edge.cookie()).headers


UNAVAILABLE = ((503, None), (403, "membership-unavailable"))
"""Envoy makes a 503 of its own of ours, without a code; nginx knows 403 only."""

Refused = tuple[str, int, Callable[[Edge], tuple[str, str, tuple[str, ...]]]]

REFUSED: list[Refused] = [
    ("session-missing", 401, lambda _: ("/", "t-1.example", ())),
    ("session-missing", 401, lambda _: ("/", "t-1.example", ("Cookie: theme=dark",))),
    ("session-malformed", 401, lambda _: ("/", "t-1.example", ("Cookie: session=x.y.z",))),
    ("session-malformed", 401, lambda _: ("/", "t-1.example", ("Authorization: Basic YTpi",))),
    ("session-expired", 401, lambda e: ("/", "t-1.example", (e.cookie(iat=1_000_000_000, exp=1_000_000_100),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(aud="another"),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(aud=["edge", "another"]),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(iss="https://evil.example"),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(lifetime=50_000),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(sub="a b"),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(sub=""),))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (e.cookie(nbf=9_000_000_000),))),
    # an ID token in a cookie, and a cookie's content in a header
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (f"Cookie: session={e.issuer.session('ada')}",))),
    ("session-invalid", 401, lambda e: ("/", "t-1.example", (f"Authorization: Bearer {e.cookies.session('ada')}",))),
    # a good cookie does not help a bad header
    ("session-malformed", 401, lambda e: ("/", "t-1.example", (e.cookie(), "Authorization: Bearer x"))),
    ("request-ambiguous", 400, lambda e: ("/", "t-1.example", (e.cookie(), e.cookie()))),
    ("not-a-member", 403, lambda e: ("/", "t-1.example", (e.cookie("eve"),))),
    ("host-unknown", 404, lambda e: ("/", "nobody.example", (e.cookie(),))),
    ("tenant-closed", 403, lambda e: ("/", "t-closed.example", (e.cookie(),))),
    ("product-closed", 403, lambda e: ("/", "t-suspended.example", (e.cookie(),))),
    ("product-not-placed", 403, lambda e: ("/compass", "t-1.example", (e.cookie(),))),
    ("region-not-served", 421, lambda e: ("/", "t-far.example", (e.cookie(),))),
]


@pytest.mark.parametrize(("code", "status", "made"), REFUSED, ids=[f"{n}-{each[0]}" for n, each in enumerate(REFUSED)])
def test_a_request_that_may_not_pass_is_refused_by_its_name(
    site: Site, code: str, status: int, made: Callable[[Edge], tuple[str, str, tuple[str, ...]]]
) -> None:
    path, host, headers = made(site.edge)
    before = site.edge.reached
    reply = site.ask(path, host, *headers)
    assert (reply.status, reply.code) in ((status, code), (403, code)), reply
    assert site.edge.reached == before


@pytest.mark.parametrize(
    "path",
    [
        "/wiki/../x",
        "/wiki/%2e%2e/x",
        "//wiki",
        "/wiki%2fx",
        "/wiki;x",
        "/wiki\\x",
        "/a%00",
        "/wiki/./x",
        "/a%5cb",
        "/%",
    ],
)
def test_a_path_with_two_meanings_is_refused_or_reaches_the_upstream_in_one(site: Site, path: str) -> None:
    before = site.edge.reached
    reply = site.ask(path, "t-1.example", site.edge.cookie())
    if reply.status == 200:
        seen = site.edge.upstreams["eu"].heads[-1].split(" ")[1]
        assert ".." not in seen
        assert "//" not in seen
        expected = "confluence" if seen.split("/")[1] == "wiki" else "jira-software"
        assert site.edge.upstreams["eu"].last()["tenancy-product"] == expected
    else:
        assert reply.status in (400, 403)
        assert site.edge.reached == before


def test_the_host_of_an_absolute_target_is_the_one_that_is_decided_on_and_forwarded(site: Site) -> None:
    raw = request("http://t-2.example/", "t-1.example", site.edge.cookie())
    reply = ask(site.edge.listen, raw)
    if reply.status == 200:
        assert site.edge.upstreams["us"].last()["tenancy-tenant"] == "t-2"
        assert site.edge.upstreams["us"].last()["host"].startswith("t-2.example")
    else:
        assert reply.status in (400, 404)


def test_two_hosts_in_one_request_are_refused(site: Site) -> None:
    before = site.edge.reached
    assert site.ask("/", "t-1.example", "Host: t-2.example", site.edge.cookie()).status in (400, 403)
    assert site.edge.reached == before


def test_a_tenant_that_is_suspended_is_refused_with_the_next_request(site: Site) -> None:
    cookie = site.edge.cookie()
    assert site.ask("/", "t-1.example", cookie).status == 200
    site.edge.change(tenant("t-1", access="closed", version=11), 11, after=10)
    refused = site.ask("/", "t-1.example", cookie)
    site.edge.change(tenant("t-1", version=12), 12, after=11)
    site.edge.change(tenant("t-1", version=5), 13, after=12)
    assert (refused.status, refused.code) == (403, "tenant-closed")
    assert site.ask("/", "t-1.example", cookie).status == 200


def test_somebody_who_is_removed_is_refused_when_the_answer_is_too_old(site: Site) -> None:
    cookie, member = site.edge.cookie(), ("t-1", "jira-software", "ada")
    assert site.ask("/", "t-1.example", cookie).status == 200
    site.edge.memberships.members.discard(member)
    end = time.monotonic() + MEMBER
    while (asked := time.monotonic()) and site.ask("/", "t-1.example", cookie).status == 200:
        assert asked < end, "a membership was believed for longer than it may be"
    assert site.ask("/", "t-1.example", cookie).code == "not-a-member"
    site.edge.memberships.members.add(member)


def test_without_the_database_members_that_are_remembered_pass_and_then_nobody(site: Site) -> None:
    cookie = site.edge.cookie()
    time.sleep(1.1)  # a refusal of the test before is remembered for a second
    assert site.ask("/", "t-1.example", cookie).status == 200
    site.edge.memberships.is_away = True
    assert site.ask("/", "t-1.example", cookie).status == 200
    time.sleep(MEMBER)
    refused = site.ask("/", "t-1.example", cookie)
    site.edge.memberships.is_away = False
    assert (refused.status, refused.code) in UNAVAILABLE
    assert site.ask("/", "t-1.example", cookie).status == 200


@pytest.mark.parametrize("proxy", PROXIES)
def test_after_the_end_of_the_lease_nobody_passes_until_there_is_another(proxy: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path, lease_ns=0))
        stack.enter_context(running_authorizer(found))
        enter_proxy(stack, proxy, found)
        raw = request("/", "t-1.example", found.cookie())
        found.writer.lease.renew(now_ns() + 2_000_000_000)
        end = time.monotonic() + 4
        while (reply := ask(found.listen, raw)).status == 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert found.reached > 0
        assert (reply.status, reply.code) in ((503, None), (403, "lease-expired"))
        found.writer.lease.renew(now_ns() + LONG_LEASE)
        assert ask(found.listen, raw).status == 200
