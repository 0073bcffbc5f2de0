"""The commands of the tenant context: `context-service`, and `contexts`, which keeps what it tells."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.postgres.contexts import ContextStore
from cli.command import AsJson, DataDir, command, running_parts, settings_of
from cli.output import Report, render
from domain.errors import Unavailable, UsageError, problem
from runtime.compose import Parts
from runtime.compose.contexts import check_lease
from runtime.compose.operators import rates_of
from runtime.instance import endpoints
from runtime.telemetry import configure_logging

if TYPE_CHECKING:
    from tenantry_client.access.middleware import App
    from tenantry_client.asap import KeySource

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@command
def context_service(
    host: Annotated[
        str, typer.Option(help="The address to listen on; another than the loopback needs --allow-list.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    keys: Annotated[
        Path | None,
        typer.Option(help="A folder of public keys that counts in place of those in the log; needs --allow-list."),
    ] = None,
    allow_list: Annotated[Path | None, typer.Option(help="Who may call what, with the keys in the log.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Answer services: a tenant's database, license and access. Any number of these may run, on one database.

    With --allow-list every request but /livez and /readyz needs a service token and a line of that list.
    """
    if find_spec("uvicorn") is None:
        raise UsageError(problem("context-service-not-installed"))
    if allow_list is None and (keys is not None or host not in LOOPBACK):
        raise UsageError(problem("context-service-without-keys", host=host))
    from context.service.run import SERVICE, ServiceAddress, serve  # noqa: PLC0415 - uvicorn, where it is asked for
    from workers.start import awaits_schema  # noqa: PLC0415

    settings = settings_of(data_dir)
    check_lease(settings)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def ready(at: int) -> None:
        url = f"http://{host}:{at}"
        render(Report({"ready": True, "url": url}, [f"ready  {url}"]), as_json=as_json)

    with Parts(settings, endpoints(settings)) as parts:
        if not awaits_schema(parts, SERVICE):
            return
        place = ServiceAddress(host, port)
        if settings.metrics_port is not None:
            place = replace(place, metrics=(settings.metrics_address, settings.metrics_port))
        if allow_list is not None:
            place = replace(place, protect=_protection(parts, SERVICE, keys=keys, allow_list=allow_list))
        try:
            serve(
                parts.endpoints.database_url, place,
                lease_seconds=settings.context_lease_seconds, stop=stop, ready=ready,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(problem("context-service-address", host=host, port=port, reason=error)) from None


def _protection(parts: Parts, service: str, *, keys: Path | None, allow_list: Path) -> Callable[[App, KeySource], App]:
    from access.limits.of_database import RatesOfDatabase  # noqa: PLC0415
    from access.protection import Protection, watched  # noqa: PLC0415
    from tenantry_client.asap import KeyFolder  # noqa: PLC0415

    listed, rates = watched(allow_list), RatesOfDatabase(rates_of(parts))
    folder = KeyFolder(keys) if keys is not None else None
    return lambda app, of_the_log: Protection(service, folder or of_the_log, listed, rates)(app)


@command
def contexts(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Derive all contexts from the log anew, beside what goes on.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run one projector of tenant contexts, apart from that of the read models. One is at work, others stand by.

    With --rebuild it only asks the one at work to derive every document anew; readers notice nothing of that.
    """
    if not rebuild:
        from workers import roles  # noqa: PLC0415

        settings = settings_of(data_dir)
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        with Parts(settings, endpoints(settings)) as parts:
            roles.run("contexts", parts)
        return
    with running_parts(data_dir) as parts, closing(ContextStore(parts.endpoints.database_url)) as store:
        store.request_sweep()
        at = store.standing().position
    line = f"asked for, at position {at}: the projector derives every context anew, and tells what differs"
    render(Report({"asked": True, "position": at}, [line]), as_json=as_json)
