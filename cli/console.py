"""Command `tenantry console`: the state of the installation, its history and the acts of operators, in a browser."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec
from typing import Annotated

import typer

from cli.command import AsJson, DataDir, command, settings_of
from cli.output import Report, render
from domain.errors import UsageError, problem
from runtime.compose import Process
from runtime.instance import endpoints
from runtime.telemetry import configure_logging


@command
def console(
    host: Annotated[
        str, typer.Option(help="The address to listen on; another than the loopback needs TENANTRY_CONSOLE_PROXIES.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the installation in a browser: what needs a person, tenants, history, plans, acts.

    Prints an address with a token, for this machine alone; its holder has every role. Behind a proxy that knows people,
    their groups give the roles (docs/how-to/console.md).
    """
    if any(find_spec(name) is None for name in ("starlette", "jinja2", "uvicorn")):
        raise UsageError(problem("console-not-installed"))
    from console.run import ConsoleAddress, access_of, serve  # noqa: PLC0415 - uvicorn, where it is asked for
    from runtime.compose.console import console_parts_of  # noqa: PLC0415
    from workers.probes import Serving, probed  # noqa: PLC0415
    from workers.start import awaits_schema  # noqa: PLC0415

    settings = settings_of(data_dir)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    stop, serving = threading.Event(), Serving()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    place = ConsoleAddress(host, port)
    access = access_of(settings, place)

    def ready(at: int) -> None:
        serving.is_ready = True
        url = f"http://{host}:{at}/" + (f"?token={access.token}" if access.token else "")
        render(Report({"ready": True, "url": url}, [f"ready  {url}"]), as_json=as_json)

    with Process(settings, endpoints(settings)) as process:
        if not awaits_schema(process, "console"):
            return
        with probed(process, "console", serving):
            serve(console_parts_of(process), access, place, stop=stop, ready=ready)
