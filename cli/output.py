"""How do commands speak?

Tables and sentences for people on stdout, one JSON value with `--json` for programs, progress and errors on stderr.
Errors of ours are one clear line: exit 2 where the input or a setting is wrong, 1 where something failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from domain.errors import TenantryError, UsageError
from runtime.bootstrap import Parts
from runtime.instance import endpoints
from runtime.settings import Settings, SettingsError, load_settings

WIDE = 200
"""Columns where nobody looks: a table in a pipe or a file is not folded to an imagined screen."""

out = Console() if sys.stdout.isatty() else Console(width=WIDE)
err = Console(stderr=True)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the embedded parts keep their data.", show_default=".tenantry"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]

P = ParamSpec("P")
R = TypeVar("R")


def command(act: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors are told in one line and an exit code, without a traceback."""

    @wraps(act)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return act(*args, **kwargs)
        except SettingsError as error:
            for problem in error.problems:
                complain(problem)
            raise typer.Exit(2) from None
        except TenantryError as error:
            complain(str(error))
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None

    return told


def complain(text: str) -> None:
    """One line, however narrow the terminal: it is to be found by grep, and to be read by programs."""
    err.print(f"[red]error:[/] {_plain(text)}", highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def settings_of(data_dir: Path | None) -> Settings:
    return load_settings(data_dir=data_dir)


@contextmanager
def running_parts(data_dir: Path | None, *, warn: Callable[[str], None] | None = None) -> Iterator[Parts]:
    """The parts of the Tenantry that runs (or of the addresses that are set), with the configuration that is adopted.

    `warn` hears that a file which is named here says otherwise; None: it is told on stderr.
    """
    settings = settings_of(data_dir)
    with Parts(settings, endpoints(settings), warn=warn or _warn) as parts:
        yield parts


def _warn(text: str) -> None:
    err.print(f"[yellow]warning:[/] {_plain(text)}", highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on one line, however long."""
    sys.stdout.write(json.dumps(value, default=_jsonable, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table for people; None is shown as a dash."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", expand=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*("–" if cell is None or cell == "" else _plain(str(cell)) for cell in row))
    return made


def age(seconds: float | None) -> str:
    """`12 s`, `3 min`, `2 h`, `5 d`; a dash for none."""
    if seconds is None:
        return "–"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
