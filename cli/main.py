"""Which commands are there?"""

from __future__ import annotations

import io
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

import demo
from cli import (
    access,
    acting,
    acts,
    audit,
    bench,
    config,
    export,
    history,
    intake_position,
    look,
    messages,
    orphans,
    quarantine,
    reconcile,
    replay,
    run,
    runs,
    service_keys,
    show,
    waiting,
)
from cli.output import OutputLost, complain, err, open_closed_streams, out, show_traceback


class Commands(TyperGroup):
    """All commands. A usage error may repeat what was typed: it is shown as all foreign text is."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except typer.TyperException as error:
            told = io.StringIO()
            error.show(file=told)  # type: ignore[attr-defined]  # all that it raises have it
            for line in told.getvalue().splitlines():
                err.print(line)
            sys.exit(error.exit_code)
        except OSError as error:
            if not _of_its_help(error):
                raise
            try:
                with out.written():
                    raise
            except OutputLost as lost:
                complain(str(lost))
            sys.exit(1)
        sys.exit(code)


def _of_its_help(error: OSError) -> bool:
    """Whether it was raised where Typer itself prints, and no command of ours was at work."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return str(last.f_globals.get("__name__", "")).startswith("typer.")


app = typer.Typer(
    cls=Commands,
    name="tenantry",
    help="The control plane of a multi-tenant cloud: makes what is licensed so, keeps it so, and can show it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(run.up)
app.command()(run.migrate)
app.command()(messages.publish)
app.command()(show.show)
app.command()(history.timeline)
app.command()(history.explain)
app.command()(history.diff)
app.command()(look.tenants)
app.command()(look.status)
app.command()(look.credentials)
app.command()(acting.restore)
app.command()(acts.acts)
app.command()(reconcile.reconcile)
app.add_typer(orphans.app, name="orphans")
app.add_typer(runs.app, name="runs")
app.add_typer(access.app, name="access")
app.add_typer(service_keys.app, name="service-keys")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(waiting.app, name="waiting")
app.add_typer(intake_position.app, name="intake-position")
app.add_typer(replay.app, name="replay")
app.add_typer(audit.app, name="audit")
app.add_typer(config.app, name="config")
app.command("import")(export.import_)
app.command()(run.intake)
app.command()(run.projector)
app.command()(run.provisioner)
app.command()(run.relay)
app.command()(messages.schemas)
app.command()(bench.bench)


def main() -> None:
    """The entry point `tenantry`."""
    open_closed_streams()
    sys.excepthook = show_traceback
    app()


if __name__ == "__main__":
    main()
