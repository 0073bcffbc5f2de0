"""Root command `tenantry`: its help and its usage errors; the commands are listed in cli/commands.py."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from cli.commands import COMMANDS, LoadedCommands
from cli.output import OutputLost, complain, err, open_closed_streams, out, show_traceback


class Completion(NamedTuple):
    """What a shell is given to choose from, in the shape that Typer's completion asks for."""

    value: str
    help: str
    type: str = "plain"


class Commands(TyperGroup):
    """The group of all commands. A usage error may repeat the user's text: it is shown as foreign text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": LoadedCommands()})

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - Typer's signature
        """The lines of the registry, for which no command is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ARG002 - Typer's signature
        """The commands of the registry that begin so; none is imported for it."""
        return [Completion(name, entry.line) for name, entry in COMMANDS.items() if name.startswith(incomplete)]

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except typer.TyperException as error:
            shown = io.StringIO()
            error.show(file=shown)  # type: ignore[attr-defined]  # all that it raises have it
            for line in shown.getvalue().splitlines():
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
    """Whether the error comes from Typer's own printing, while no command was at work."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return str(last.f_globals.get("__name__", "")).startswith("typer.")


app = typer.Typer(
    cls=Commands,
    name="tenantry",
    help="The control plane of a multi-tenant cloud: provisions what is licensed, keeps it so, and proves it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root() -> None:
    """A root without options; it makes Typer build a group."""


def main() -> None:
    """The entry point `tenantry`."""
    open_closed_streams()
    sys.excepthook = show_traceback
    app()


if __name__ == "__main__":
    main()
