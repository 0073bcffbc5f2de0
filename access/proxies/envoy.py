"""Building blocks of Envoy configurations: typed extensions, addresses, clusters, the bootstrap around them.

Envoy reads JSON as well as YAML, so a configuration is built as plain data and written by `text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from access.toml_file import split

Json = dict[str, object]

_TYPES: Final = "type.googleapis.com/envoy"
ALL_HOSTS: Final = ["*"]


def typed(name: str, kind: str, config: Mapping[str, object] | None = None) -> Json:
    """An extension: its name, and its configuration of the type `envoy.{kind}`."""
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.{kind}", **(config or {})}}


def socket_address(address: str) -> Json:
    """`host:port` as Envoy writes it."""
    host, port = split(address)
    return {"socket_address": {"address": host, "port_value": port}}


def endpoints(name: str, addresses: Iterable[Json]) -> Json:
    """The load assignment of a cluster."""
    points = [{"endpoint": {"address": address}} for address in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": points}]}


def cluster(name: str, addresses: Iterable[str], *, more: Mapping[str, object] | None = None) -> Json:
    """A cluster of `host:port`; names are looked up again and again, as DNS says."""
    addresses = list(addresses)
    fixed = all(_is_ip(split(each)[0]) for each in addresses)
    return {
        "name": name,
        "type": "STATIC" if fixed else "STRICT_DNS",
        "connect_timeout": "2s",
        "load_assignment": endpoints(name, map(socket_address, addresses)),
        **(more or {}),
    }


def connection_manager(config: Mapping[str, object]) -> Json:
    """The network filter that speaks HTTP."""
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return typed("envoy.filters.network.http_connection_manager", kind, config)


def router() -> Json:
    """The HTTP filter that ends each chain. Headers of Envoy's own are not believed, nor told."""
    return typed(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", {"suppress_envoy_headers": True}
    )


def access_log(form: Mapping[str, str]) -> list[Json]:
    """One line of JSON a request on standard output."""
    kind = "extensions.access_loggers.stream.v3.StdoutAccessLog"
    log_format = {"json_format": dict(form)}
    return [typed("envoy.access_loggers.stdout", kind, {"log_format": log_format})]


def denial(status: int, code: str, message: str) -> Json:
    """What a route answers by itself: our JSON body of a refusal."""
    body = json.dumps({"code": code, "message": message})
    return {"direct_response": {"status": status, "body": {"inline_string": body}}}


def bootstrap(
    listeners: Iterable[Json], clusters: Iterable[Json], *, extensions: Iterable[Json] = (), flags: Json | None = None
) -> Json:
    """A whole configuration. It has no administration interface."""
    made: Json = {
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        "overload_manager": {
            "resource_monitors": [
                typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    {"max_active_downstream_connections": 50_000},
                )
            ]
        },
    }
    if extensions := list(extensions):
        made["bootstrap_extensions"] = extensions
    if flags:
        made["layered_runtime"] = {"layers": [{"name": "static", "static_layer": flags}]}
    return made


def text(configuration: Json) -> str:
    """The configuration as Envoy reads it."""
    return json.dumps(configuration, indent=1) + "\n"


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
