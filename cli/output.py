"""Output of the commands: one renderer prints everything.

Tables and sentences for people on stdout, one JSON value with `--json` for programs, progress and errors on stderr.
An error of Tenantry is one clear line: exit 2 where the input or a setting is wrong, 1 where the command failed.

Many printed texts come from outside, so none of them is markup: `Terminal` shows each text by
`runtime.foreign_text.visible`, and adds only the colours that the code names. Rich and the two streams of the process
are used in this file and in cli/progress.py only (tests/test_architecture.py).

    the reader is gone (`| head`)    the command ends in silence, exit 141 as after SIGPIPE
    stdout cannot be written         one line on stderr, exit 1
    stdout or stderr is closed       as if it were /dev/null
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TextIO

from domain.errors import TenantryError
from runtime.foreign_text import json_text, visible

if TYPE_CHECKING:  # rich, the settings and the drivers are imported where they are needed: `--help` needs none
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

WIDE: Final = 200
"""Columns of a table in a pipe or a file: it is not folded to the width of a screen."""


# -- printed texts --------------------------------------------------------------------------------------------------


class Styled(NamedTuple):
    """A text in a colour that the code chose."""

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
    """The reader of standard output has closed it."""


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
        """Rich's console, which obeys NO_COLOR and draws in ASCII where the stream needs it. For progress bars too."""
        file = self.file
        if self._made is None or self._made[0] is not file:
            from rich.console import Console  # noqa: PLC0415

            width = None if self.is_terminal else WIDE
            self._made = (file, _obedient(Console)(file=file, width=width, markup=False, emoji=False, highlight=False))
        return self._made[1]

    def text(self, *parts: str | Styled, style: str = "") -> Text:
        """The parts one after the other, all of them visible."""
        from rich.text import Text  # noqa: PLC0415

        text = Text(style=style)
        for part in parts:
            content, own = part if isinstance(part, Styled) else (part, "")
            text.append(visible(content, self.encoding), own)
        return text

    def print(self, *parts: str | Styled | Table, style: str = "") -> None:
        """A table; or one line of text, for any width of the terminal, so that grep finds it."""
        if len(parts) == 1 and isinstance(parts[0], Table):
            with self.written():
                self.console.print(self._drawn(parts[0]))
            return
        text = self.text(*(part for part in parts if not isinstance(part, Table)), style=style)
        with self.written():
            self.console.print(text, soft_wrap=True)

    def exact(self, text: str) -> None:
        """Text that is printed exactly as it is: JSON, a signed checkpoint."""
        with self.written():
            self.file.write(text)
            self.file.flush()

    @contextmanager
    def written(self) -> Iterator[None]:
        """An error of stderr stops nothing; an error of stdout is reported, and the rest of the output is dropped."""
        try:
            yield
        except OSError as error:
            self._give_up()
            if self._stream == "stderr":
                return
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise OutputLost(
                f"standard output cannot be written: {error.strerror}: correct that; the command itself is done"
            ) from None

    def _give_up(self) -> None:
        """Drop the buffer, which would fail again at the end of the process."""
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
    """Rich ends the process where a pipe breaks; this console raises the error, and `written` handles it."""

    def on_broken_pipe(_: Console) -> None:
        raise  # noqa: PLE0704 - rich calls this in its `except`

    return type("Obedient", (console,), {"on_broken_pipe": on_broken_pipe})


out = Terminal("stdout")
err = Terminal("stderr")


@dataclass(frozen=True, slots=True)
class Aside:
    """A line on stderr: a text, or its parts."""

    text: str | tuple[str | Styled, ...]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Exact:
    """Text that is printed exactly as it is, piece by piece: signed checkpoints, keys, a long JSON value."""

    pieces: Iterable[str]


Line = str | Styled | tuple[str | Styled, ...] | Table | Aside | Exact

NOTHING: Final = object()
"""The data of a report that has none for programs."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a command: `data` for programs; `text` for people only, so a generator of lines runs only for them.

    `notes` are for both. A command of which one report is not `good` exits with 1.
    """

    data: Any = NOTHING
    text: Iterable[Line] = ()
    notes: Iterable[Aside] = ()
    good: bool = True


def render(report: Report, *, as_json: bool) -> bool:
    """Print the report as JSON or as text; only this function decides which. Returns whether the report is good."""
    if not as_json:
        for line in report.text:
            print_line(line)
    elif isinstance(report.data, Exact):
        print_line(report.data)
    elif report.data is not NOTHING:
        print_json(report.data)
    for note in report.notes:
        print_line(note)
    return report.good


def print_line(line: Line) -> None:
    match line:
        case Exact(pieces):
            for piece in pieces:
                out.exact(piece)
        case Aside(text, style):
            err.print(*(text if isinstance(text, tuple) else (text,)), style=style)
        case tuple() if not isinstance(line, Styled):
            out.print(*line)
        case _:
            out.print(line)


def pairs(title: str, values: Mapping[str, Any]) -> Table:
    """A table of names and values."""
    return table(title, ("what", "value"), values.items())


def perhaps_more(rows: Sequence[object], limit: int) -> Iterator[str]:
    """A line for a list that has reached its limit."""
    if len(rows) == limit:
        yield f"there may be more than {limit}: raise --limit"


def and_more(count: int) -> Iterator[str]:
    """A line for a list that leaves some out."""
    if count:
        yield f"and {count} more"


class Timed(Protocol):
    """The result of a long operation."""

    @property
    def seconds(self) -> float: ...
    @property
    def rate(self) -> float: ...


def speed(done: Timed) -> dict[str, float]:
    """The duration and the rate, for programs."""
    return {"seconds": round(done.seconds, 3), "rate": round(done.rate, 1)}


def print_json(value: Any) -> None:
    """One JSON value on one line of any length."""
    out.exact(json_text(value, encoding=out.encoding, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def error_line(text: str) -> Aside:
    """The line of an error, on one line for grep and for programs."""
    return Aside((Styled("error:", "red"), f" {text}"))


def complain(text: str) -> None:
    print_line(error_line(text))


def warn(text: str) -> None:
    err.print(Styled("warning:", "yellow"), f" {text}")


# -- the streams of the process -----------------------------------------------------------------------------------


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
    """The text of an unexpected error, for a report; parts of it may be foreign text."""
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        err.print(line)
