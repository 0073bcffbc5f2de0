"""The commands of the tenant context: `context-service`, and `contexts`, which keeps what it tells."""

from __future__ import annotations

import signal
import threading
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from adapters.postgres.contexts import ContextStore
from cli.command import AsJson, DataDir, command, running_parts, settings_of
from cli.output import Report, render
from domain.errors import Unavailable, UsageError, problem
from runtime.compose import Parts
from runtime.compose.contexts import check_lease
from runtime.instance import endpoints
from runtime.telemetry import configure_logging

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@command
def context_service(
    host: Annotated[str, typer.Option(help="The address to listen on; another than the loopback needs --keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one, which is printed.")] = 0,
    keys: Annotated[
        Path | None, typer.Option(help="The folder of the services' public keys, as `service-keys` writes it.")
    ] = None,
    allow_list: Annotated[Path | None, typer.Option(help="Who may call what; needed with --keys.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Answer services: which database, which license, may it in? Any number of these may run, on one database.

    With --keys every request but /livez and /readyz needs a service token and a line of the allow-list.
    """
    if find_spec("uvicorn") is None:
        raise UsageError(problem("context-service-not-installed"))
    if keys is None and host not in LOOPBACK:
        raise UsageError(problem("context-service-without-keys", host=host))
    from context.service.protection import protection  # noqa: PLC0415
    from context.service.run import ServiceAddress, serve  # noqa: PLC0415 - uvicorn, where it is asked for

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
        parts.knock()
        place = ServiceAddress(host, port, protection(keys, allow_list))
        try:
            serve(
                parts.endpoints.database_url, place,
                lease_seconds=settings.context_lease_seconds, stop=stop, ready=ready,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(problem("context-service-address", host=host, port=port, reason=error)) from None


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
