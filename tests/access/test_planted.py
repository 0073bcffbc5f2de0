"""Planted faults: each rule of a proxy's configuration taken out, and what its tests would then see pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.access.asking import ask, flood, request
from tests.access.cloud import edge, running_authorizer
from tests.access.proxies import needs_envoy, needs_nginx
from tests.access.test_edge import enter_proxy
from tests.access.test_egress import PRIVATE, egress
from tests.access.upstreams import BrokenAuthorizer, listening

pytestmark = pytest.mark.slow

Spoil = Callable[[str], str]


def without(key: str, *, named: str | None = None) -> Spoil:
    """A configuration of Envoy without that key; or without the extensions of that name in lists of that key."""

    def strip(content: Any) -> Any:
        if isinstance(content, dict):
            found = {name: strip(value) for name, value in content.items() if name != key or named is not None}
            if named is not None and isinstance(listed := found.get(key), list):
                found[key] = [each for each in listed if each.get("name") != named]
            return found
        return [strip(each) for each in content] if isinstance(content, list) else content

    return lambda configuration: json.dumps(strip(json.loads(configuration)))


def replaced(old: str, new: str) -> Spoil:
    def replace(configuration: str) -> str:
        assert old in configuration
        return configuration.replace(old, new)

    return replace


@needs_envoy
def test_without_the_address_check_a_private_address_is_reached(tmp_path: Path) -> None:
    with egress(tmp_path, without("http_filters", named="envoy.filters.http.upstream_rbac")) as cloud:
        assert cloud.reach("loopback.test", sni="loopback.test") == "served"
        assert cloud.outside.connected[PRIVATE]


@needs_envoy
def test_without_the_match_of_the_sni_fronting_gets_through(tmp_path: Path) -> None:
    with egress(tmp_path, without("server_names")) as cloud:
        assert cloud.reach("good.test", sni="unlisted.test") == "served"


@needs_envoy
def test_with_names_open_to_all_a_name_that_is_not_listed_is_reached(tmp_path: Path) -> None:
    def spoil(configuration: str) -> str:
        content = json.loads(configuration)
        first = content["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        hosts = first["route_config"]["virtual_hosts"]
        hosts[-1]["routes"][0] = next(each for each in hosts if each["name"].startswith("good.test"))["routes"][0]
        return json.dumps(content)

    with egress(tmp_path, spoil) as cloud:
        assert cloud.reach("unlisted.test", sni="good.test") == "served"


@needs_envoy
def test_an_edge_that_lets_errors_pass_would_be_seen(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path))
        opened = replaced('"failure_mode_allow": false', '"failure_mode_allow": true')
        no_match = without("headers")
        enter_proxy(stack, "envoy", found, lambda text: no_match(opened(text)))
        seen = flood(found.listen, request("/", "t-1.example"), requests=20, connections=2)
        assert seen[200] == found.reached == 20


@needs_envoy
def test_an_edge_that_believes_any_200_would_be_seen(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path, timeout_milliseconds=250))
        stack.enter_context(listening(BrokenAuthorizer().serve, port=found.authorizer_port))
        enter_proxy(stack, "envoy", found, without("headers"))
        flood(found.listen, request("/", "t-1.example"), requests=200, connections=4)
        assert found.reached


@needs_envoy
def test_an_edge_that_strips_nothing_would_be_seen(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path))
        stack.enter_context(running_authorizer(found))
        enter_proxy(stack, "envoy", found, without("early_header_mutation_extensions"))
        assert ask(found.listen, request("/", "t-1.example", found.cookie(), "Tenancy-Other: x")).status == 200
        assert found.upstreams["eu"].last()["tenancy-other"] == "x"


@needs_nginx
def test_an_nginx_that_compares_regions_as_plain_text_would_be_seen(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(edge(tmp_path, timeout_milliseconds=250))
        stack.enter_context(listening(BrokenAuthorizer().serve, port=found.authorizer_port))
        enter_proxy(stack, "nginx", found, replaced('"~^eu ', '"~*^eu '))
        flood(found.listen, request("/", "t-1.example"), requests=200, connections=4)
        assert found.reached
