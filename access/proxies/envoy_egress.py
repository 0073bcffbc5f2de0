"""Egress proxy on Envoy: one listener for each service, a tunnel for each name that it may reach.

    service ─▶ CONNECT name:port ─▶ name on its list? ─▶ tunnel: TLS with that name as its SNI? ─▶ exit: the name's
               address, looked up, one of them chosen ─▶ is that one public, or listed? ─▶ connect to that one

Each stage refuses by having nothing that matches: another name has no route, another SNI no filter chain. The last one
asks RBAC when the address has been chosen and before it is connected to, so there is no second look-up in between that
could say otherwise. What is inside the TLS nobody here can see.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final

from access.egress_policy import EgressPolicy, EgressService
from access.proxies.envoy import (
    ALL_HOSTS,
    Json,
    access_log,
    bootstrap,
    connection_manager,
    denial,
    endpoints,
    router,
    socket_address,
    typed,
)
from access.toml_file import split

NOT_PUBLIC: Final = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    # Of IPv6 only 2000::/3 is public: ::/3 holds ::1, the mapped ::ffff:0:0/96 and NAT64, 8000::/1 the local ones.
    *("::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
)
"""Addresses that are nobody's on the Internet, and those that carry an IPv4 address within."""

EXIT: Final = "exit"

_LOGGED: Final = {
    "time": "%START_TIME%",
    "authority": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "status": "%RESPONSE_CODE%",
    "why": "%RESPONSE_CODE_DETAILS%",
    "address": "%UPSTREAM_HOST%",
    "sent": "%BYTES_SENT%",
    "received": "%BYTES_RECEIVED%",
    "milliseconds": "%DURATION%",
}


def egress_configuration(policy: EgressPolicy) -> Json:
    """The bootstrap of Envoy for that policy."""
    tunnels = {_tunnel_name(service, name): name for service in policy.service for name in service.allow}
    names = sorted(set(tunnels.values()))
    internal = typed("envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener")
    return bootstrap(
        [*map(_listener, policy.service), *(_tunnel(*each) for each in tunnels.items()), _exit(names)],
        [
            *map(_to_internal, (*tunnels, EXIT)),
            *(_outside(name, policy.networks.get(name, ()), policy.dns.resolvers) for name in names),
        ],
        extensions=[internal],
    )


def _tunnel_name(service: EgressService, name: str) -> str:
    return f"{service.name}/{name}"


def _listener(service: EgressService) -> Json:
    """Where the service asks. What can connect here is the service: the network, or the machine, sees to that."""
    routes = {name: _tunnel_name(service, name) for name in service.allow}
    return {
        "name": service.name,
        "address": socket_address(service.listen),
        "filter_chains": [{"filters": [_connects(service.name, routes)]}],
    }


def _exit(names: Iterable[str]) -> Json:
    """Where the tunnels ask in turn. No service can reach it."""
    filters = [_connects(EXIT, {name: name for name in names})]
    return {"name": EXIT, "internal_listener": {}, "filter_chains": [{"filters": filters}]}


def _connects(listener: str, routes: dict[str, str]) -> Json:
    """Ends CONNECT for the names in `routes`, each towards its cluster; refuses everything else."""
    granted: list[Json] = [
        {"name": name, "domains": [name], "routes": [_granted(cluster), _refused({"prefix": "/"})]}
        for name, cluster in routes.items()
    ]
    refused = {
        "name": "*",
        "domains": ALL_HOSTS,
        "routes": [_refused({"connect_matcher": {}}), _refused({"prefix": "/"})],
    }
    return connection_manager(
        {
            "stat_prefix": listener,
            "codec_type": "HTTP1",
            "http_protocol_options": {"accept_http_10": True},  # the CONNECT of Python's http.client
            "route_config": {"virtual_hosts": [*granted, refused]},
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            "http_filters": [router()],
            "access_log": access_log({"listener": listener, **_LOGGED}),
            "request_headers_timeout": "5s",
            "stream_idle_timeout": "300s",
            "common_http_protocol_options": {
                "idle_timeout": "300s",
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
        }
    )


def _granted(cluster: str) -> Json:
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    return {
        "match": {"connect_matcher": {}},
        "route": {"cluster": cluster, "timeout": "0s", "upgrade_configs": [upgrade]},
    }


def _refused(match: Json) -> Json:
    return {
        "match": match,
        **denial(403, "destination-not-allowed", "egress.toml does not list the name for this service"),
    }


def _tunnel(name: str, destination: str) -> Json:
    """Bytes of a tunnel that was granted: TLS for the same name, or nothing."""
    kind = "extensions.filters.network.tcp_proxy.v3.TcpProxy"
    onwards = {
        "stat_prefix": name,
        "cluster": EXIT,
        "idle_timeout": "300s",
        "tunneling_config": {"hostname": destination},
    }
    inspector = typed(
        "envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )
    return {
        "name": name,
        "internal_listener": {},
        "listener_filters": [inspector],
        "listener_filters_timeout": "5s",
        "filter_chains": [
            {
                "filter_chain_match": {"server_names": [split(destination)[0]], "transport_protocol": "tls"},
                "filters": [typed("envoy.filters.network.tcp_proxy", kind, onwards)],
            }
        ],
    }


def _to_internal(name: str) -> Json:
    address: Json = {"envoy_internal_address": {"server_listener_name": name}}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": endpoints(name, [address])}


def _outside(name: str, networks: tuple[str, ...], resolvers: Iterable[str]) -> Json:
    """The addresses of a name, each a host of its own; and who of them may be connected to."""
    codec = typed("envoy.filters.http.upstream_codec", "extensions.filters.http.upstream_codec.v3.UpstreamCodec")
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [_address_check(networks), codec],
    }
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": True,
        "typed_dns_resolver_config": _resolver(resolvers),
        "load_assignment": endpoints(name, [socket_address(name)]),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _resolver(servers: Iterable[str]) -> Json:
    """Asks those servers, or those of the machine, for the name as it is written: no search domain is put behind it."""
    kind = "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    asked: Json = {"dns_resolver_options": {"no_default_search_domain": True}}
    if listed := [socket_address(each) for each in servers]:
        asked["resolvers"] = listed
    return typed("envoy.network.dns_resolver.cares", kind, asked)


def _address_check(networks: tuple[str, ...]) -> Json:
    """RBAC by the chosen address: of a named upstream its networks, else all that is public. Unknown is not allowed."""
    allowed = _in(networks) if networks else {"and_rules": {"rules": [_in(_ANY), {"not_rule": _in(NOT_PUBLIC)}]}}
    policy = {"permissions": [allowed], "principals": [{"any": True}]}
    rules = {"rules": {"action": "ALLOW", "policies": {"addresses": policy}}}
    return typed("envoy.filters.http.upstream_rbac", "extensions.filters.http.rbac.v3.RBAC", rules)


_ANY: Final = ("0.0.0.0/0", "::/0")


def _in(ranges: Iterable[str]) -> Json:
    kind = "extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
    rules = []
    for network in map(ip_network, ranges):
        cidr = {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen}
        rules.append({"matcher": typed("envoy.rbac.matchers.upstream_ip_port", kind, {"upstream_ip": cidr})})
    return {"or_rules": {"rules": rules}}
