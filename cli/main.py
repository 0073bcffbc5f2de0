"""Which commands are there?"""

from __future__ import annotations

import typer

from cli import (
    acting,
    acts,
    audit,
    bench,
    config,
    demo,
    export,
    history,
    look,
    messages,
    orphans,
    quarantine,
    reconcile,
    replay,
    run,
    runs,
    show,
)

app = typer.Typer(
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
app.add_typer(quarantine.app, name="quarantine")
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
    app()


if __name__ == "__main__":
    main()
