"""The edge and the egress proxy at the terminal: the authorizer as a process, and the configurations of the proxies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.command import DataDir, command, running_process, settings_of
from cli.output import Report, warn
from domain.errors import UsageError, problem
from runtime.telemetry import configure_logging

app = typer.Typer(help="Write the edge's proxy configuration.", no_args_is_help=True, rich_markup_mode=None)
egress_app = typer.Typer(help="Write the egress proxy's configuration.", no_args_is_help=True, rich_markup_mode=None)

EdgeFile = Annotated[Path, typer.Option("--file", help="The settings of the edge.")]
EgressFile = Annotated[Path, typer.Option("--file", help="Which service may reach which names.")]
TenancyDir = Annotated[
    Path | None,
    typer.Option("--tenancy-dir", help="The directory of the sidecar.", show_default="TENANCY_DIR or /run/tenancy"),
]

EDGE = Path("edge.toml")
EGRESS = Path("egress.toml")


@app.callback()
def edge() -> None:
    """A group, though it has one command."""


@egress_app.callback()
def egress() -> None:
    """A group, though it has one command."""


@app.command("config")
@command
def edge_config(
    proxy: Annotated[Literal["envoy", "nginx"], typer.Argument(help="Which proxy.")],
    file: EdgeFile = EDGE,
    data_dir: DataDir = None,
) -> Report:
    """Print the configuration of the proxy, from edge.toml and the regions of the settings."""
    from access.edge.settings import read_edge  # noqa: PLC0415
    from access.proxies.envoy import text  # noqa: PLC0415
    from access.proxies.envoy_edge import edge_configuration  # noqa: PLC0415
    from access.proxies.nginx_edge import nginx_edge_configuration  # noqa: PLC0415

    settings = read_edge(file)
    settings.check_topology(settings_of(data_dir).regions)
    written = text(edge_configuration(settings)) if proxy == "envoy" else nginx_edge_configuration(settings)
    return _report(proxy, written)


@egress_app.command("config")
@command
def egress_config(
    proxy: Annotated[Literal["envoy"], typer.Argument(help="Which proxy.")],
    file: EgressFile = EGRESS,
) -> Report:
    """Print the configuration of the proxy, from egress.toml."""
    from access.egress_policy import read_egress  # noqa: PLC0415
    from access.proxies.envoy import text  # noqa: PLC0415
    from access.proxies.envoy_egress import egress_configuration  # noqa: PLC0415

    return _report(proxy, text(egress_configuration(read_egress(file))))


@command
def edge_authorizer(file: EdgeFile = EDGE, tenancy_dir: TenancyDir = None, data_dir: DataDir = None) -> None:
    """Run the edge authorizer: it answers Envoy's ext_authz, nginx's auth_request and forward_auth on this machine."""
    from access.edge.process import edge_app, serve  # noqa: PLC0415
    from access.edge.settings import read_edge  # noqa: PLC0415
    from adapters.postgres.memberships import PostgresMemberships  # noqa: PLC0415
    from tenantry_client.context.tenancy import Tenancy  # noqa: PLC0415

    settings = read_edge(file)
    with running_process(data_dir) as process, Tenancy.open(tenancy_dir) as tenancy:
        configure_logging(level=process.settings.log_level, log_format=process.settings.log_format)
        memberships = process.closing(PostgresMemberships(process.endpoints.database_url))
        made = edge_app(settings, tenancy=tenancy, memberships=memberships)
        if settings.identity is None:
            warn("no [identity] in edge.toml: nothing proves to upstreams that a request came through the edge")
        try:
            serve(made, settings.authorizer.address)
        except OSError as error:
            raise UsageError(problem("authorizer-address", address=settings.authorizer.address, reason=error)) from None


def _report(proxy: str, configuration: str) -> Report:
    """As the proxy reads it; or, for programs, as one text."""
    return Report({"proxy": proxy, "configuration": configuration}, configuration.splitlines())
