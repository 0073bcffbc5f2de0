"""Output of the commands: one renderer, through which all that is printed goes.

Tables and sentences for people on stdout, one JSON value with `--json` for programs, progress and errors on stderr.
Errors of ours are one clear line: exit 2 where the input or a setting is wrong, 1 where something failed.

What is printed comes from outside as often as not, so nothing here is markup: `Terminal` shows each text by
`runtime.foreign_text.visible`, and only the colours that our own code names are added. Rich and the two streams of
the process are touched in this file and in cli/progress.py alone (tests/test_architecture.py).

    who reads is gone (`| head`)     the command ends in silence, exit 141 as after SIGPIPE
    stdout cannot be written         one line on stderr, exit 1
    stdout or stderr is closed       as if it were /dev/null
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, ParamSpec, TextIO, TypeVar

import typer

from domain.errors import Problem, TenantryError, UsageError
from runtime.foreign_text import json_text, visible
from runtime.settings_error import SettingsError

if TYPE_CHECKING:  # rich, the settings and the drivers are loaded by what needs them: `--help` does not
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from runtime.compose import Parts, Process
    from runtime.settings import Settings

WIDE: Final = 200
"""Columns where nobody looks: a table in a pipe or a file is not folded to an imagined screen."""

READER_GONE: Final = 141
"""What a shell shows of a process that SIGPIPE ended."""

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the embedded parts keep their data.", show_default=".tenantry"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]

P = ParamSpec("P")
R = TypeVar("R")


# -- what is printed ------------------------------------------------------------------------------------------------


class Styled(NamedTuple):
    """A text in a colour of ours."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people; None and empty cells are shown as a dash."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    return Table(title, columns, list(rows))


class OutputLost(TenantryError):
    """Standard output cannot be written."""


class ReaderGone(Exception):
    """Whoever reads standard output has closed it."""


class Terminal:
    """Standard output or standard error, whichever the process has at the moment."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        self._stream = stream
        self._made: tuple[TextIO, Console] | None = None

    @property
    def file(self) -> TextIO:
        file: TextIO = getattr(sys, self._stream)
        return file

    @property
    def encoding(self) -> str:
        return self.file.encoding or "utf-8"

    @property
    def is_terminal(self) -> bool:
        return self.file.isatty()

    @property
    def console(self) -> Console:
        """Rich's, which obeys NO_COLOR and draws in ASCII where the stream has no more. For our progress bars."""
        file = self.file
        if self._made is None or self._made[0] is not file:
            from rich.console import Console  # noqa: PLC0415

            width = None if self.is_terminal else WIDE
            self._made = (file, _obedient(Console)(file=file, width=width, markup=False, emoji=False, highlight=False))
        return self._made[1]

    def text(self, *parts: str | Styled | tuple[str, str], style: str = "") -> Text:
        """The parts one after the other, all of them visible."""
        from rich.text import Text  # noqa: PLC0415

        text = Text(style=style)
        for part in parts:
            content, own = part if isinstance(part, tuple) else (part, "")
            text.append(visible(content, self.encoding), own)
        return text

    def print(
        self,
        *parts: str | Styled | tuple[str, str] | Table,
        style: str = "",
        markup: Literal[False] = False,  # noqa: ARG002 - said by callers, and always so
        highlight: Literal[False] = False,  # noqa: ARG002
        soft_wrap: bool = True,  # noqa: ARG002
    ) -> None:
        """A table; or one line of text, however narrow the terminal: it is to be found by grep."""
        if len(parts) == 1 and isinstance(parts[0], Table):
            with self.written():
                self.console.print(self._drawn(parts[0]))
            return
        text = self.text(*(part for part in parts if not isinstance(part, Table)), style=style)
        with self.written():
            self.console.print(text, soft_wrap=True)

    def exact(self, text: str) -> None:
        """Text of an exact form that is ours: JSON, a signed checkpoint."""
        with self.written():
            self.file.write(text)
            self.file.flush()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Nothing may stop what goes on for stderr's sake; of stdout it is told, and what is left goes nowhere."""
        try:
            yield
        except OSError as error:
            self._give_up()
            if self._stream == "stderr":
                return
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise OutputLost(
                f"standard output cannot be written: {error.strerror}: mend that; what the command did is done"
            ) from None

    def _give_up(self) -> None:
        """What is still buffered would fail again at the end of the process."""
        with suppress(OSError, ValueError):  # the stream of a test has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)

    def _drawn(self, given: Table) -> RichTable:
        from rich.table import Table as RichTable  # noqa: PLC0415

        title = self.text(given.title) if given.title else None
        made = RichTable(title=title, title_justify="left", title_style="bold", header_style="bold")
        for column in given.columns:
            made.add_column(self.text(column), overflow="fold")
        for row in given.rows:
            made.add_row(*map(self._cell, row))
        return made

    def _cell(self, cell: object) -> Text:
        if isinstance(cell, Styled):
            return self.text(cell)
        dash = "–" if self.encoding.lower().startswith("utf") else "-"
        return self.text(dash if cell is None or cell == "" else str(cell))


def _obedient(console: type[Console]) -> type[Console]:
    """Rich ends the process where a pipe breaks; ours lets the error pass, and `written` says what it means."""

    def on_broken_pipe(_: Console) -> None:
        raise  # noqa: PLE0704 - rich calls this in its `except`

    return type("Obedient", (console,), {"on_broken_pipe": on_broken_pipe})


out = Terminal("stdout")
err = Terminal("stderr")


@dataclass(frozen=True, slots=True)
class Report:
    """What a command found: `data` for programs; `text`, made only where people read it, lines and tables."""

    data: Any
    text: Callable[[], Iterable[str | Styled | Table]]


def render(report: Report, *, as_json: bool) -> None:
    """The one place that decides between JSON and text."""
    if as_json:
        print_json(report.data)
        return
    for each in report.text():
        out.print(each)


def print_json(value: Any) -> None:
    """One JSON value on one line, however long."""
    out.exact(json_text(value, encoding=out.encoding, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def complain(text: str) -> None:
    """One line, however narrow the terminal: it is to be found by grep, and to be read by programs."""
    err.print(Styled("error:", "red"), f" {text}")


def warn(text: str) -> None:
    err.print(Styled("warning:", "yellow"), f" {text}")


def age(seconds: float | None) -> str:
    """`12 s`, `3 min`, `2 h`, `5 d`; a dash for none."""
    if seconds is None:
        return "-"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


# -- how a command ends ---------------------------------------------------------------------------------------------


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
            complain(str(error) if error.problem is None else _sentence(error.problem))
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(130) from None
        except ReaderGone:
            raise typer.Exit(READER_GONE) from None

    return told


def _sentence(problem: Problem) -> str:
    from application.problem_texts import sentence  # noqa: PLC0415 - most commands import no application service

    return sentence(problem)


def open_closed_streams() -> None:
    """A process that was started with `>&-` gets /dev/null there: else a database's connection would be its stdout."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= 2:  # the lowest that is free is taken
        nowhere = os.dup(nowhere)
    os.close(nowhere)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            file: IO[str] = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace")
            setattr(sys, name, file)


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of ours, for a report: its text comes from outside as well."""
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        err.print(line)


# -- what a command works on ----------------------------------------------------------------------------------------


def settings_of(data_dir: Path | None) -> Settings:
    """The settings; what looks like one of ours in the environment and is none is told on stderr."""
    from runtime.settings import load_settings, unknown_variables  # noqa: PLC0415

    for problem in unknown_variables():
        warn(problem)
    return load_settings(data_dir=data_dir)


@contextmanager
def running_process(data_dir: Path | None) -> Iterator[Process]:
    """The addresses of the Tenantry that runs (or those that are set), for what needs no configuration and no log."""
    from runtime.compose.process import Process  # noqa: PLC0415
    from runtime.instance import endpoints  # noqa: PLC0415

    settings = settings_of(data_dir)
    with Process(settings, endpoints(settings)) as process:
        yield process


@contextmanager
def running_parts(data_dir: Path | None, *, warn: Callable[[str], None] | None = None) -> Iterator[Parts]:
    """The parts of the Tenantry that runs (or of the addresses that are set), with the configuration that is adopted.

    `warn` hears that a file which is named here says otherwise; None: it is told on stderr.
    """
    from runtime.compose import Parts  # noqa: PLC0415
    from runtime.instance import endpoints  # noqa: PLC0415

    settings = settings_of(data_dir)
    with Parts(settings, endpoints(settings), warn=warn or _warn) as parts:
        yield parts


def _warn(text: str) -> None:
    err.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)
