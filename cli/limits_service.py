"""The command `tenantry limits-service`: chunks of rates and of grants to export, for the services of the cloud."""

from __future__ import annotations

import importlib
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from cli.command import AsJson, DataDir, command, running_parts
from cli.output import Report, render
from cli.service_options import KeysFolder, TenancyDir
from domain.errors import Unavailable, UsageError, problem
from runtime.telemetry import configure_logging


@command
def limits_service(
    allow_list: Annotated[Path, typer.Option(help="Who may call what, and the limits.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    tenancy_dir: TenancyDir = None,
    keys: KeysFolder = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give services chunks of their rates and of grants to export. Any number of these may run, on one database."""
    try:
        uvicorn = importlib.import_module("uvicorn")
    except ImportError:
        raise UsageError(problem("limits-service-not-installed")) from None
    from access.limits.app import LimitsApp  # noqa: PLC0415 - what serves, where it is asked for
    from access.limits.of_database import RatesOfDatabase  # noqa: PLC0415
    from access.measured_requests import measured  # noqa: PLC0415
    from access.protection import Protection, key_source, watched  # noqa: PLC0415
    from runtime.compose.operators import keyless_export_grants_of, rates_of  # noqa: PLC0415
    from tenantry_client.access.limits_service import SERVICE  # noqa: PLC0415
    from tenantry_client.asap import SharedReplays  # noqa: PLC0415
    from workers.probes import Serving, probed  # noqa: PLC0415
    from workers.start import awaits_schema  # noqa: PLC0415

    with ExitStack() as stack:
        parts = stack.enter_context(running_parts(data_dir))
        configure_logging(level=parts.settings.log_level, log_format=parts.settings.log_format)
        if not awaits_schema(parts, SERVICE):
            return
        stack.enter_context(probed(parts, SERVICE, serving := Serving()))
        source = key_source(keys=keys, tenancy_dir=tenancy_dir)
        listed, rates = watched(allow_list), rates_of(parts)
        parts.settings.data_dir.mkdir(parents=True, exist_ok=True)
        replays = parts.closing(SharedReplays(parts.settings.data_dir / "limits-service.used-tokens"))
        app = Protection(SERVICE, source, listed, RatesOfDatabase(rates), replays)(
            LimitsApp(rates=rates, grants=keyless_export_grants_of(parts), allow_list=listed)
        )
        try:
            listening = socket.create_server((host, port))
        except OSError as error:
            raise Unavailable(problem("limits-service-address", host=host, port=port, reason=error.strerror)) from None
        config = uvicorn.Config(
            measured(app), log_config=None, access_log=False, lifespan="off", server_header=False, date_header=False
        )
        url = f"http://{host}:{listening.getsockname()[1]}"
        serving.is_ready = True
        render(Report({"ready": True, "url": url}, [f"ready  {url}"]), as_json=as_json)
        uvicorn.Server(config).run(sockets=[listening])
