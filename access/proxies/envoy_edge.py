"""Edge proxy on Envoy: what comes from outside is made plain, asked about, and sent to the region of the answer.

    TLS ─▶ headers of ours stripped, path normalised, limits ─▶ ext_authz: the authorizer ─▶ route by tenancy-region

The region is a header that only the authorizer sets: an answer 200 that lacks it, from anything else at that
port, has no route and is refused. Errors and silence of the authorizer are refusals, too (`failure_mode_allow` false).
"""

from __future__ import annotations

from typing import Final

from access.edge.app import EXT_AUTHZ, REFUSAL_HEADER
from access.edge.settings import EdgeSettings, Region
from access.edge.upstream import OUR_HEADERS, OUR_PREFIX, REPLACED
from access.proxies.envoy import (
    ALL_HOSTS,
    Json,
    access_log,
    bootstrap,
    cluster,
    connection_manager,
    denial,
    router,
    socket_address,
    typed,
)

FORWARD_SECRET: Final = (
    *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    *("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
)
"""Cipher suites of TLS 1.2 with forward secrecy; all of TLS 1.3 have it."""

AUTHORIZER: Final = "authorizer"
_NEEDED: Final = ("tenancy-tenant", "tenancy-account", "tenancy-at-least")
_LOGGED: Final = {
    "time": "%START_TIME%",
    "host": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "status": "%RESPONSE_CODE%",
    "why": "%RESPONSE_CODE_DETAILS%",
    "refusal": f"%RESP({REFUSAL_HEADER.decode()})%",
    "tenant": "%REQ(tenancy-tenant)%",
    "region": "%REQ(tenancy-region)%",
    "milliseconds": "%DURATION%",
}


def edge_configuration(settings: EdgeSettings) -> Json:
    """The bootstrap of Envoy for these settings."""
    seconds = settings.authorizer.timeout_milliseconds / 1000
    asked = cluster(AUTHORIZER, [settings.authorizer.address], more={"connect_timeout": f"{seconds:g}s"})
    return bootstrap([_listener(settings)], [asked, *map(_upstreams, settings.region)])


def _listener(settings: EdgeSettings) -> Json:
    chain: Json = {"filters": [connection_manager(_manager(settings))]}
    if settings.listen.certificate is not None:
        chain["transport_socket"] = _tls(settings)
    return {
        "name": "edge",
        "address": socket_address(settings.listen.address),
        "per_connection_buffer_limit_bytes": 65_536,
        "filter_chains": [chain],
    }


def _manager(settings: EdgeSettings) -> Json:
    return {
        "stat_prefix": "edge",
        "server_name": "edge",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "strip_trailing_host_dot": True,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "60s",
        "request_timeout": "300s",
        "max_request_headers_kb": 32,
        "common_http_protocol_options": {
            "idle_timeout": "60s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "early_header_mutation_extensions": [_stripped()],
        "http_filters": [_rate_limit(settings), _ext_authz(settings), router()],
        "route_config": {"virtual_hosts": [_routes(settings)]},
        "local_reply_config": {"mappers": [_no_success()]},
        "access_log": access_log(_LOGGED),
    }


def _no_success() -> Json:
    """What is not 200 is refused; but the status is passed on, and a 204 or a 302 would look like an answer."""
    refused = {"response_flag_filter": {"flags": ["UAEX"]}}
    below_400 = {"comparison": {"op": "LE", "value": {"default_value": 399, "runtime_key": "edge.refused"}}}
    filters = [refused, {"status_code_filter": below_400}]
    return {"filter": {"and_filter": {"filters": filters}}, "status_code": 503}


def _stripped() -> Json:
    """Takes out what claims to be ours, before anything looks at the request."""
    removed = {"remove_on_match": {"key_matcher": {"prefix": OUR_PREFIX, "ignore_case": True}}}
    kind = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return typed("envoy.http.early_header_mutation.header_mutation", kind, {"mutations": [removed]})


def _rate_limit(settings: EdgeSettings) -> Json:
    """429 before anybody is asked: a bucket for each client address, and one for all."""
    limits = settings.limits
    everything: Json = {"runtime_key": "edge", "default_value": {"numerator": 100}}
    config = {
        "stat_prefix": "edge",
        "filter_enabled": everything,
        "filter_enforced": everything,
        "token_bucket": _bucket(limits.total_per_second, limits.total_per_second),
        "rate_limits": [{"actions": [{"remote_address": {}}]}],
        "descriptors": [
            {
                "entries": [{"key": "remote_address"}],
                "token_bucket": _bucket(limits.client_per_second, limits.client_burst),
            }
        ],
        "max_dynamic_descriptors": 10_000,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    }
    return typed(
        "envoy.filters.http.local_ratelimit", "extensions.filters.http.local_ratelimit.v3.LocalRateLimit", config
    )


def _bucket(per_second: int, burst: int) -> Json:
    return {"max_tokens": burst, "tokens_per_fill": per_second, "fill_interval": "1s"}


def _ext_authz(settings: EdgeSettings) -> Json:
    service = {
        "server_uri": {
            "uri": f"http://{settings.authorizer.address}",
            "cluster": AUTHORIZER,
            "timeout": f"{settings.authorizer.timeout_milliseconds / 1000:g}s",
        },
        "path_prefix": EXT_AUTHZ,
        "authorization_response": {
            "allowed_upstream_headers": _exactly(*OUR_HEADERS, *REPLACED),
            "allowed_client_headers": _exactly("www-authenticate", "content-type", REFUSAL_HEADER.decode()),
        },
    }
    config = {
        "http_service": service,
        "allowed_headers": _exactly(*REPLACED),
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
        "clear_route_cache": True,
        "validate_mutations": True,
    }
    return typed("envoy.filters.http.ext_authz", "extensions.filters.http.ext_authz.v3.ExtAuthz", config)


def _exactly(*names: str) -> Json:
    return {"patterns": [{"exact": name} for name in names]}


def _routes(settings: EdgeSettings) -> Json:
    undecided = {"match": {"prefix": "/"}, **denial(503, "no-decision", "nobody said which region the request goes to")}
    return {
        "name": "tenants",
        "domains": ALL_HOSTS,
        "routes": [*(_route(region) for region in settings.region), undecided],
        "response_headers_to_remove": list(OUR_HEADERS),
    }


def _route(region: Region) -> Json:
    decided = [{"name": name, "present_match": True} for name in _NEEDED]
    here = {"name": "tenancy-region", "string_match": {"exact": region.name}}
    return {
        "match": {"prefix": "/", "headers": [here, *decided]},
        "route": {"cluster": _cluster_name(region), "timeout": "60s"},
    }


def _cluster_name(region: Region) -> str:
    return f"region/{region.name}"


def _upstreams(region: Region) -> Json:
    made = cluster(_cluster_name(region), region.upstreams)
    if region.ca is not None and region.server_name is not None:
        names = [{"san_type": "DNS", "matcher": {"exact": region.server_name}}]
        trusted = {"trusted_ca": {"filename": str(region.ca)}, "match_typed_subject_alt_names": names}
        common = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}, "validation_context": trusted}
        made["transport_socket"] = typed(
            "envoy.transport_sockets.tls",
            "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            {"sni": region.server_name, "common_tls_context": common},
        )
    return made


def _tls(settings: EdgeSettings) -> Json:
    certificate = {
        "certificate_chain": {"filename": str(settings.listen.certificate)},
        "private_key": {"filename": str(settings.listen.key)},
    }
    common = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": list(FORWARD_SECRET)},
        "tls_certificates": [certificate],
        "alpn_protocols": ["h2", "http/1.1"],
    }
    return typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        {"common_tls_context": common, "disable_stateless_session_resumption": True},
    )
