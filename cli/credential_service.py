"""Command `tenantry credential-service`: gives services the database passwords that they were granted."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli.command import AsJson, DataDir, command, running_parts
from cli.context_service import LOOPBACK
from cli.output import Report, render
from cli.service_options import KeysFolder, TenancyDir
from domain.errors import Unavailable, UsageError, problem
from runtime.telemetry import configure_logging

SERVICE = "credential-service"


@command
def credential_service(
    allow_list: Annotated[Path, typer.Option(help="Who may call what.")],
    grants: Annotated[Path, typer.Option(help="Which service is given the logins of which families and regions.")],
    host: Annotated[str, typer.Option(help="Another than the loopback needs a certificate.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    certificate: Annotated[Path | None, typer.Option(help="A certificate chain in PEM: HTTPS.")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its private key in PEM.")] = None,
    tenancy_dir: TenancyDir = None,
    keys: KeysFolder = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give services the database passwords that they were granted, and record each time. It holds the master key.

    Allow-list and grants are read again when they change. Any number of these may run, on one database.
    """
    if find_spec("uvicorn") is None:
        raise UsageError(problem("context-service-not-installed"))
    if (certificate is None) != (certificate_key is None) or (host not in LOOPBACK and certificate is None):
        raise UsageError(problem("credential-service-without-tls", host=host))
    from access.limits.of_database import RatesOfDatabase  # noqa: PLC0415 - what serves, where it is asked for
    from access.measured_requests import measured  # noqa: PLC0415
    from access.protection import Protection, key_source, watched  # noqa: PLC0415
    from context.credentials.run import credential_service_of  # noqa: PLC0415
    from context.service.run import run_app  # noqa: PLC0415
    from runtime.compose.operators import rates_of  # noqa: PLC0415
    from workers.probes import Serving, probed  # noqa: PLC0415
    from workers.start import awaits_schema  # noqa: PLC0415

    stop, serving = threading.Event(), Serving()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def ready(at: int) -> None:
        serving.is_ready = True
        url = f"{'https' if certificate else 'http'}://{host}:{at}"
        render(Report({"ready": True, "url": url}, [f"ready  {url}"]), as_json=as_json)

    with ExitStack() as stack:
        parts = stack.enter_context(running_parts(data_dir))
        configure_logging(level=parts.settings.log_level, log_format=parts.settings.log_format)
        source = key_source(keys=keys, tenancy_dir=tenancy_dir)
        protected = Protection(SERVICE, source, watched(allow_list), RatesOfDatabase(rates_of(parts)))
        service = credential_service_of(parts, grants)
        if not awaits_schema(parts, SERVICE):
            return
        stack.enter_context(probed(parts, SERVICE, serving))
        tls = (certificate, certificate_key) if certificate is not None and certificate_key is not None else None
        try:
            run_app(measured(protected(service)), (host, port), tls=tls, stop=stop, ready=ready)
        except OSError as error:
            raise Unavailable(problem("context-service-address", host=host, port=port, reason=error)) from None
