"""The edge without a good authorizer: whatever is wrong with it, no request passes. 100,000 in `make test-edge`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.access.asking import ask, flood, request
from tests.access.cloud import Edge, edge, running_authorizer
from tests.access.test_edge import PROXIES, enter_proxy
from tests.access.upstreams import GARBAGE, BrokenAuthorizer, listening

pytestmark = pytest.mark.slow

SHARES = [
    pytest.param(600, id="short"),
    pytest.param(33_400, id="long", marks=[pytest.mark.edge_long, pytest.mark.timeout(900)]),
]
"""Requests of each of three faults; the long form is 100,200 for each proxy."""


@contextmanager
def broken(proxy: str, folder: Path, mode: str) -> Iterator[tuple[Edge, BrokenAuthorizer]]:
    """An edge whose authorizer is down, slow, or says garbage."""
    authorizer = BrokenAuthorizer(mode)
    with ExitStack() as stack:
        found = stack.enter_context(edge(folder, timeout_milliseconds=250))
        if mode != "down":
            stack.enter_context(listening(authorizer.serve, port=found.authorizer_port))
        enter_proxy(stack, proxy, found)
        yield found, authorizer


@pytest.mark.parametrize("requests", SHARES)
@pytest.mark.parametrize("mode", ["down", "slow", "garbage"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_with_the_authorizer_down_slow_or_saying_garbage_nothing_passes(
    proxy: str, mode: str, requests: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with broken(proxy, tmp_path, mode) as (found, authorizer):
        connections = 256 if mode == "slow" else 64
        raw = request("/", "t-1.example", found.cookie(), "Tenancy-Region: eu", "Tenancy-Tenant: t-1")
        seen = flood(found.listen, raw, requests=requests, connections=connections)
        record_property(
            "seen", f"{proxy}, authorizer {mode}: {requests} requests, {dict(seen)}, {found.reached} passed"
        )
        assert found.reached == 0
        assert seen.total() == requests
        assert not any(200 <= status < 400 for status in seen), seen
        assert mode == "down" or authorizer.asked >= min(requests, len(GARBAGE))


@pytest.mark.parametrize("proxy", PROXIES)
def test_once_the_authorizer_is_back_requests_pass_again(proxy: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path))
        enter_proxy(stack, proxy, found)
        raw = request("/", "t-1.example", found.cookie())
        assert ask(found.listen, raw).status in (500, 503)
        stack.enter_context(running_authorizer(found))
        seen: Counter[int] = Counter()
        for _ in range(100):
            seen[ask(found.listen, raw).status] += 1
        assert seen[200] >= 90, seen


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_authorizer_that_ends_amid_a_flood_lets_only_decided_requests_through(proxy: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path))
        with ExitStack() as authorizer:
            authorizer.enter_context(running_authorizer(found))
            enter_proxy(stack, proxy, found)
            raw = request("/", "t-1.example", found.cookie())
            assert flood(found.listen, raw, requests=300, connections=4)[200] == 300
        reached = found.reached
        seen = flood(found.listen, raw, requests=300)
        assert not seen[200]
        assert found.reached == reached
