"""How does a command that goes through the whole log show how far it is, and stop when it is told to?"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.output import err
from history.progress import Progress as Told


@contextmanager
def progress(what: str, unit: str = "events") -> Iterator[Callable[[Told], None]]:
    """A bar on stderr with rate and time left, where somebody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]}} {unit}/s"),
        TimeRemainingColumn(),
    )
    with _stopping_well(), Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="–")

        def say(told: Told) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{told.events / elapsed:,.0f}" if elapsed else "–"
            bar.update(task, description=told.doing or what, completed=told.done, total=told.total, rate=rate)

        yield say


@contextmanager
def _stopping_well() -> Iterator[None]:
    """SIGTERM is what Ctrl-C is: what was begun is cleaned up, and the terminal has its cursor again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
