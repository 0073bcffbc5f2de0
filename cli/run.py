"""Start of Tenantry, as a whole or worker by worker; and migration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Annotated

import typer

from adapters.postgres.connection import parsed, without_secrets
from adapters.postgres.migrations import current
from cli.command import AsJson, DataDir, command, settings_of
from cli.output import Aside, Report, err, render
from runtime.compose import Parts
from runtime.compose.prepare import prepare
from runtime.instance import endpoints
from runtime.telemetry import configure_logging
from workers import roles
from workers.roles import KINDS
from workers.supervisor import Supervisor


@command
def up(
    no_workers: Annotated[
        bool, typer.Option("--no-workers", help="Only the embedded parts, without the workers.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run everything in the foreground, on the embedded parts or on the servers that the settings name.

    Prints one line when everything is ready. SIGTERM or Ctrl-C drains and ends; a second one ends at once, and nothing
    is lost. Data stays in the data directory.
    With --no-workers the database is ready for inspection or for an import.
    """
    settings = settings_of(data_dir)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    stop, at_once = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: (at_once if stop.is_set() else stop).set())
    say = (lambda _: None) if as_json else (lambda text: err.print(f"{text} ...", style="dim"))
    with Supervisor(settings, kinds=() if no_workers else tuple(KINDS), say=say, at_once=at_once) as supervisor:
        where = supervisor.endpoints
        data = {
            "ready": True,
            "database_url": _without_password(where.database_url),
            "kafka_bootstrap": where.kafka_bootstrap,
            "context_url": supervisor.context_url,
            "data_dir": str(supervisor.data_dir),
            "configuration": supervisor.configuration,
        }
        ready = (
            f"ready  kafka {where.kafka_bootstrap}  database {without_secrets(where.database_url)}"
            f"  data {supervisor.data_dir}"
        )
        contexts = [f"contexts  {supervisor.context_url}"] if supervisor.context_url else []
        lines = (Aside(line, "dim") for line in (*supervisor.configuration, *contexts))
        render(Report(data, [*lines, ready]), as_json=as_json)
        supervisor.watch(stop)
        drains = (
            f"draining, for {settings.drain_seconds:g} s at most; unfinished work stays due. A second signal ends"
            " it at once ..."
        )
        render(Report(text=[Aside(drains, "dim")]), as_json=as_json)


def _without_password(url: str) -> str:
    """The address for programs; without it where it would print a password."""
    return without_secrets(url) if {"password", "sslpassword"} & parsed(url).keys() else url


@command
def migrate(parts: Parts) -> Report:
    """Prepare the databases, shards and topics for this version. Safe to repeat.

    `up` does this by itself; workers that run alone need it once for each version.
    """
    before = current(parts.endpoints.database_url)
    prepare(parts)
    after = current(parts.endpoints.database_url)
    was = "" if before != after else ", as it was"
    return Report({"before": before, "after": after}, [f"schema at revision {after}{was}"])


def _worker(kind: str, line: str) -> Callable[..., None]:
    """The command that runs one worker."""

    def run(data_dir: DataDir = None) -> None:
        settings = settings_of(data_dir)
        configure_logging(level=settings.log_level, log_format=settings.log_format)
        with Parts(settings, endpoints(settings)) as parts:
            roles.run(kind, parts)

    run.__doc__ = line
    return command(run)


intake = _worker("intake", "Run one intake: messages on Kafka become events in the log. Several share the partitions.")
projector = _worker("projector", "Run one projector: events become read models. Several share the projections.")
provisioner = _worker(
    "provisioner", "Run one provisioner: scopes that are due converge to their desired state. Several share the scopes."
)
relay = _worker("relay", "Run one relay: integration events go to Kafka. One is at work, others stand by.")
