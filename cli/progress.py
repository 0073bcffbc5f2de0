"""Progress bars of long commands, on stderr of a terminal; and the handling of SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table

from application.progress import Progress as WorkProgress
from cli.output import err, out
from runtime.foreign_text import visible


@contextmanager
def progress(what: str, unit: str = "events") -> Iterator[Callable[[WorkProgress], None]]:
    """A bar with rate and remaining time, where stderr is a terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]}} {unit}/s", markup=False),
        TimeRemainingColumn(),
    )
    watched = err.is_terminal
    with _stopping_well(), Progress(*columns, console=err.console, transient=True, disable=not watched) as bar:
        task = bar.add_task(visible(what), total=None, rate="-")

        def say(now: WorkProgress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{now.events / elapsed:,.0f}" if elapsed else "-"
            doing = visible(now.doing or what)
            bar.update(task, description=doing, completed=now.done, total=now.total, rate=rate)

        yield say


@dataclass(frozen=True, slots=True)
class Bars:
    """A picture that is drawn again and again: a title, bars of (name, done, total), and lines below."""

    title: str
    rows: Sequence[tuple[str, int, int]]
    lines: Sequence[str]


@contextmanager
def bars() -> Iterator[Callable[[Bars], None]]:
    """A picture on stdout, each in the place of the one before; for a terminal only."""
    with Live(console=out.console, auto_refresh=False, transient=False) as live:
        yield lambda picture: live.update(_drawn(picture), refresh=True)


def _drawn(picture: Bars) -> Group:
    grid = Table.grid(padding=(0, 1))
    for name, done, total in picture.rows:
        # The bar is full where all work is done, and where some of it must be removed again.
        bar = ProgressBar(
            total=max(total, 1), completed=min(done, total), width=44, complete_style="cyan", finished_style="green"
        )
        grid.add_row(out.text(name), bar, out.text(f"{done}/{total}"))
    *lines, last = picture.lines
    return Group(out.text(picture.title, style="bold"), grid, *map(out.text, lines), out.text(last, style="dim"))


@contextmanager
def _stopping_well() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C does: started work is cleaned up, and the terminal gets its cursor back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
