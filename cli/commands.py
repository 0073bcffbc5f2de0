"""Registry of the commands: for each its name, its one line in `tenantry --help`, and where its code is.

The root command reads names and lines from here and imports a command's module only when that command is asked for.
So `tenantry --help` imports no driver, and no command waits for the libraries of another one
(tests/cli/test_imports.py holds what each may import).
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """`where` is `module:attribute`: a function is one command, a Typer a group of commands."""

    where: str
    line: str


COMMANDS: Final[dict[str, CommandEntry]] = {
    "demo": CommandEntry("demo.play:demo", "Run a realistic stream and check every result."),
    "up": CommandEntry("cli.run:up", "Run everything in the foreground."),
    "migrate": CommandEntry("cli.run:migrate", "Prepare databases, shards and topics for this version."),
    "publish": CommandEntry("cli.messages:publish", "Publish CloudEvents from a file."),
    "show": CommandEntry("cli.show:show", "Show one tenant, as it is or as it was."),
    "timeline": CommandEntry("cli.history:timeline", "List everything about one tenant in order."),
    "explain": CommandEntry("cli.history:explain", "Explain the state of a tenant's products."),
    "diff": CommandEntry("cli.history:diff", "Compare a tenant at two moments."),
    "tenants": CommandEntry("cli.tenants:tenants", "List tenants with the levels of their products."),
    "wait": CommandEntry("cli.wait:wait", "Wait until a tenant's products are open."),
    "status": CommandEntry("cli.status:status", "Show positions, lags, and waiting work."),
    "credentials": CommandEntry("cli.credentials:app", "Print and rotate a product's login, with PASSWORD."),
    "restore": CommandEntry("cli.acting:restore", "Undo the destruction of a tenant before its purge."),
    "acts": CommandEntry("cli.acts:acts", "List the acts of operators."),
    "changes": CommandEntry("cli.changes:changes", "List what has changed since a time."),
    "reconcile": CommandEntry("cli.reconcile:reconcile", "Compare the log with the real resources."),
    "orphans": CommandEntry("cli.orphans:app", "List and remove resources that belong to no scope."),
    "runs": CommandEntry("cli.runs:app", "List, retry, hold, release and approve runs."),
    "access": CommandEntry("cli.access:app", "Check and explain the allow-list; grant exports."),
    "edge": CommandEntry("cli.edge:app", "Write the edge's proxy configuration."),
    "edge-authorizer": CommandEntry("cli.edge:edge_authorizer", "Run the edge authorizer."),
    "egress": CommandEntry("cli.edge:egress_app", "Write the egress proxy's configuration."),
    "service-keys": CommandEntry("cli.service_keys:app", "Make, publish, list and revoke service keys."),
    "quarantine": CommandEntry("cli.quarantine:app", "List, retry and discard quarantined messages."),
    "waiting": CommandEntry("cli.waiting:app", "List messages that wait for their tenant."),
    "intake-position": CommandEntry("cli.intake_position:app", "Show and move the intake's Kafka positions."),
    "replay": CommandEntry("cli.replay:app", "Rebuild read models from the log."),
    "audit": CommandEntry("cli.audit:app", "Seal and verify the log, and prove single events."),
    "config": CommandEntry("cli.config:app", "Show, compare, check and adopt the configuration."),
    "import": CommandEntry("cli.export:import_", "Import the log of another installation."),
    "intake": CommandEntry("cli.run:intake", "Run one intake."),
    "projector": CommandEntry("cli.run:projector", "Run one projector."),
    "provisioner": CommandEntry("cli.run:provisioner", "Run one provisioner."),
    "relay": CommandEntry("cli.run:relay", "Run one relay."),
    "context-service": CommandEntry(
        "cli.context_service:context_service", "Answer services: a tenant's database, license and access."
    ),
    "credential-service": CommandEntry(
        "cli.credential_service:credential_service", "Give services the database passwords they may have."
    ),
    "contexts": CommandEntry("cli.context_service:contexts", "Keep the tenant contexts, or derive all of them anew."),
    "context-sidecar": CommandEntry(
        "cli.context_sidecar:context_sidecar", "Keep the contexts of all tenants on this host."
    ),
    "limits-service": CommandEntry("cli.limits_service:limits_service", "Give services chunks of rates and grants."),
    "console": CommandEntry("cli.console:console", "Show the installation in a browser."),
    "schemas": CommandEntry("cli.messages:schemas", "Write the JSON Schemas of the incoming events."),
    "bench": CommandEntry("cli.bench:bench", "Measure a part and the design that it replaced."),
}


class LoadedCommands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is first looked up; Typer keeps this as `commands` of a group."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, COMMANDS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _load(name: str, entry: CommandEntry) -> Any:
    module, _, attribute = entry.where.partition(":")
    gc.disable()  # imported modules are no garbage: a collection would take a tenth of the time
    try:
        found = getattr(importlib.import_module(module), attribute)
    finally:
        gc.freeze()
        gc.enable()
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    holder.callback()(lambda: None)  # so that Typer makes a group of the one command as well
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    return get_command(holder).commands[name]  # type: ignore[attr-defined]  # it is a group
