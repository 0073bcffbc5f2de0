"""How does an operator build the read models anew?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.output import AsJson, DataDir, command, err, out, print_json, running_parts
from domain.errors import TenantryError, UsageError
from history.replay import Progress as Told
from history.replay import Rebuilt

app = typer.Typer(
    help="Build read models anew from the log, while everybody goes on reading them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="The read models; see `tenantry status`.")]
All = Annotated[bool, typer.Option("--all", help="All read models, with one reading of the log.")]


@app.command()
@command
def rebuild(
    names: Names = None,
    all_: All = False,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Processes that share the tenants.")] = 2,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build read models anew beside the live ones, and swap them in one transaction.

    Readers notice nothing. Ctrl-C, or anything that fails, leaves the live ones as they were. The old generation is
    kept until the next rebuild, or until `drop-previous`. The outbox is never rebuilt.
    """
    chosen = _chosen(names, every=all_)
    with running_parts(data_dir) as parts, _progress(silent=as_json and not sys.stderr.isatty()) as say:
        rebuilt = parts.replay(say).rebuild(chosen, workers=workers)
    if as_json:
        print_json(_as_json(rebuilt, workers))
    else:
        for name in rebuilt.names:
            if name not in rebuilt.failures:
                out.print(f"{name} rebuilt up to position {rebuilt.position}", highlight=False)
        out.print(f"{rebuilt.facts} events in {rebuilt.seconds:.1f} s, {rebuilt.rate:.0f} a second", highlight=False)
    if rebuilt.failures:
        left = "; ".join(rebuilt.failures.values())
        raise TenantryError(f"{left}. The live generation of {', '.join(rebuilt.failures)} is as it was")


@app.command()
@command
def drop_previous(names: Names = None, all_: All = False, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Drop the generations that were live before the last rebuild."""
    chosen = _chosen(names, every=all_)
    with running_parts(data_dir) as parts:
        dropped = parts.replay(lambda _: None).drop_previous(chosen)
    if as_json:
        print_json({"dropped": dropped})
    else:
        out.print(f"dropped: {', '.join(dropped)}" if dropped else "there was none", highlight=False)


def _chosen(names: list[str] | None, *, every: bool) -> list[str]:
    """The names; none means all."""
    if bool(names) == every:
        raise UsageError("which read models: give their names, or --all")
    return names or []


def _as_json(rebuilt: Rebuilt, workers: int) -> dict[str, object]:
    return {
        "events": rebuilt.facts,
        "seconds": round(rebuilt.seconds, 3),
        "load_seconds": round(rebuilt.load_seconds, 3),
        "rate": round(rebuilt.rate, 1),
        "position": rebuilt.position,
        "workers": workers,
        "projections": [
            {"name": name, "rebuilt": name not in rebuilt.failures, "reason": rebuilt.failures.get(name)}
            for name in rebuilt.names
        ],
    }


@contextmanager
def _progress(*, silent: bool) -> Iterator[Callable[[Told], None]]:
    """A bar on stderr with rate and time left; each kind of work anew."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} events/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=silent) as bar:
        task = bar.add_task("starting", total=None, rate="–")

        def say(told: Told) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{told.facts / elapsed:,.0f}" if elapsed else "–"
            bar.update(task, description=told.doing, completed=told.done, total=told.total, rate=rate)

        yield say
