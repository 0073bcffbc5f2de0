"""Edge proxy on nginx: the same rules as Envoy's, by `auth_request`.

The region of the answer chooses the upstream: an answer without it, or with one that is not named here, leads nowhere.
nginx knows of an authorizer 2xx, 401 and 403; everything else, and silence, is an error 500. Every header of ours is
set from the answer, or emptied; one that nginx does not know is refused by the authorizer, which sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from access.edge.app import AUTH_REQUEST
from access.edge.settings import EdgeSettings, Region
from access.edge.upstream import OUR_HEADERS, REPLACED
from access.proxies.envoy_edge import FORWARD_SECRET
from domain.errors import UsageError

NOWHERE: Final = "nowhere"
DECIDED: Final = ("tenancy-region", "tenancy-tenant", "tenancy-account", "tenancy-at-least")
"""What an answer must say, or it is none."""


def nginx_edge_configuration(settings: EdgeSettings) -> str:
    """A whole nginx.conf; paths of its own are relative to the prefix it is started with. Raises UsageError."""
    return f"""\
worker_processes auto;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}

http {{
{_http(settings)}
    server {{
        listen {settings.listen.address}{" ssl http2" if settings.listen.certificate else ""} default_server;
{_tls(settings)}\
        location / {{
{_location(settings)}\
        }}
        location = /.tenancy-authorize {{
{_question(settings)}\
        }}
{_refusal(401)}{_refusal(403)}\
    }}
}}
"""


def _http(settings: EdgeSettings) -> str:
    limits = settings.limits
    return f"""\
{_each("    {}_temp_path {}_temp;", ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))}\
    access_log off;
    server_tokens off;
    client_header_timeout 10s;
    client_body_timeout 60s;
    keepalive_timeout 60s;
    large_client_header_buffers 4 32k;
    underscores_in_headers off;
    ignore_invalid_headers on;
    limit_req_zone $binary_remote_addr zone=client:10m rate={limits.client_per_second}r/s;
    limit_req_zone $server_port zone=total:1m rate={limits.total_per_second}r/s;
    limit_req_status 429;

{"".join(map(_upstream, settings.region))}\
    upstream {NOWHERE} {{ server 127.0.0.1:9 down; }}
    upstream authorizer {{ server {settings.authorizer.address}; keepalive 64; }}
    map "{" ".join(f"${_variable(name)}" for name in DECIDED)}" $edge_upstream {{
        default "http://{NOWHERE}";
{"".join(map(_choice, settings.region))}\
    }}
"""


def _location(settings: EdgeSettings) -> str:
    """A request: it is asked about, and sent on with what was answered."""
    answered = "".join(
        f"            auth_request_set ${_variable(name)} $upstream_http_{name.replace('-', '_')};\n"
        f"            proxy_set_header {name} ${_variable(name)};\n"
        for name in (*OUR_HEADERS, *REPLACED)
    )
    limits = settings.limits
    return f"""\
            limit_req zone=client burst={limits.client_burst} nodelay;
            limit_req zone=total burst={limits.total_per_second} nodelay;
            auth_request /.tenancy-authorize;
            auth_request_set $edge_refusal $upstream_http_tenancy_refusal;
{answered}\
            error_page 401 = @refused-401;
            error_page 403 = @refused-403;
            proxy_pass $edge_upstream;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
{_each("            proxy_hide_header {};", OUR_HEADERS)}\
{_upstream_tls(settings)}"""


def _question(settings: EdgeSettings) -> str:
    """What the authorizer is asked: it sees all headers but ours."""
    milliseconds = settings.authorizer.timeout_milliseconds
    return f"""\
            internal;
            proxy_pass http://authorizer{AUTH_REQUEST};
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_connect_timeout {milliseconds}ms;
            proxy_send_timeout {milliseconds}ms;
            proxy_read_timeout {milliseconds}ms;
            proxy_next_upstream off;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-Host $host;
            proxy_set_header X-Original-Uri $request_uri;
{_each("            proxy_set_header {} '';", OUR_HEADERS)}"""


def _refusal(status: int) -> str:
    challenge = """            add_header WWW-Authenticate 'Bearer realm="edge"' always;\n""" if status == 401 else ""
    return f"""\
        location @refused-{status} {{
            internal;
            default_type application/json;
            add_header Tenancy-Refusal $edge_refusal always;
{challenge}\
            return {status} '{{"code":"$edge_refusal"}}';
        }}
"""


def _each(line: str, names: Iterable[str]) -> str:
    return "".join(line.replace("{}", name) + "\n" for name in names)


def _variable(name: str) -> str:
    return "edge_" + name.replace("-", "_")


def _upstream_name(region: Region) -> str:
    return f"region-{region.name}"


def _choice(region: Region) -> str:
    """A regular expression: a plain text would be compared without regard to capitals. No value may be missing."""
    return f'        "~^{region.name} \\S+ \\S+ [0-9]+$" "{_scheme(region)}://{_upstream_name(region)}";\n'


def _scheme(region: Region) -> str:
    return "http" if region.ca is None else "https"


def _upstream(region: Region) -> str:
    servers = "".join(f" server {each};" for each in region.upstreams)
    return f"    upstream {_upstream_name(region)} {{{servers} keepalive 64; }}\n"


def _tls(settings: EdgeSettings) -> str:
    if settings.listen.certificate is None:
        return ""
    return f"""\
        ssl_certificate {settings.listen.certificate};
        ssl_certificate_key {settings.listen.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers {":".join(FORWARD_SECRET)};
        ssl_prefer_server_ciphers on;
        ssl_session_tickets off;
"""


def _upstream_tls(settings: EdgeSettings) -> str:
    """nginx has one authority and one name for all upstreams of a location."""
    trusted = {(each.ca, each.server_name) for each in settings.region if each.ca is not None}
    if len(trusted) > 1:
        raise UsageError("nginx verifies all regions by one ca and one server_name: make them equal, or take Envoy")
    return "".join(
        f"""\
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca};
            proxy_ssl_name {name};
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
"""
        for ca, name in trusted
    )
