"""Command `tenantry credential-service`: gives services the database passwords that they were granted."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli.command import AsJson, DataDir, command, settings_of
from cli.context_service import LOOPBACK
from cli.output import Report, render
from domain.errors import Unavailable, UsageError, problem
from runtime.compose import Parts
from runtime.instance import endpoints
from runtime.telemetry import configure_logging


@command
def credential_service(
    keys: Annotated[Path, typer.Option(help="The folder of the services' public keys, as `service-keys` writes it.")],
    allow_list: Annotated[Path, typer.Option(help="Who may call what.")],
    grants: Annotated[Path, typer.Option(help="Which service is given the logins of which families and regions.")],
    host: Annotated[str, typer.Option(help="Another than the loopback needs a certificate.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    certificate: Annotated[Path | None, typer.Option(help="A certificate chain in PEM: HTTPS.")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its private key in PEM.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give services the database passwords that they were granted, and record each time. It holds the master key.

    Allow-list and grants are read again when they change. Any number of these may run, on one database.
    """
    if find_spec("uvicorn") is None:
        raise UsageError(problem("context-service-not-installed"))
    if host not in LOOPBACK and certificate is None:
        raise UsageError(problem("credential-service-without-tls", host=host))
    from context.credentials.run import credential_service_of, serve  # noqa: PLC0415 - uvicorn, where it is asked for
    from context.service.run import ServiceAddress  # noqa: PLC0415

    settings = settings_of(data_dir)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def ready(at: int) -> None:
        url = f"{'https' if certificate else 'http'}://{host}:{at}"
        render(Report({"ready": True, "url": url}, [f"ready  {url}"]), as_json=as_json)

    with Parts(settings, endpoints(settings)) as parts:
        parts.knock()
        app = credential_service_of(parts, keys=keys, allow_list=allow_list, grants=grants)
        place = ServiceAddress(host, port, certificate=certificate, certificate_key=certificate_key)
        try:
            serve(app, place, stop=stop, ready=ready)
        except OSError as error:
            raise Unavailable(problem("context-service-address", host=host, port=port, reason=error)) from None
