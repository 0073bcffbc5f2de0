"""Benchmarks: speed of Tenantry's parts on this machine.

The benchmarks are in a checkout beside the packages, not in the wheel: they are imported when the command runs.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.command import command
from cli.output import Report, table
from domain.errors import UsageError, problem
from runtime.telemetry import configure_logging

BENCHES = {
    "append": ("benchmarks.append", "run"),
    "append_batch": ("benchmarks.append", "run_batches"),
    "ingest": ("benchmarks.ingest", "run"),
    "project": ("benchmarks.project", "run"),
    "rebuild": ("benchmarks.rebuild", "run"),
    "latency": ("benchmarks.latency", "run"),
    "growth": ("benchmarks.growth", "run"),
    "history": ("benchmarks.history", "run"),
    "saga": ("benchmarks.saga", "run"),
    "access": ("benchmarks.access", "run"),
    "context": ("benchmarks.context", "run"),
    "tracing": ("benchmarks.tracing", "run"),
    "console": ("benchmarks.console", "run"),
}
ALL = tuple(name for name in BENCHES if name not in ("append_batch", "tracing"))  # `append` has the first; extra [otel]


@command
def bench(
    name: Annotated[str, typer.Argument(help=f"{', '.join(BENCHES)}, or all")],
    runs: Annotated[int, typer.Option(min=1, help="Number of measurements of each side; medians are shown.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes: to see that it works, not how fast.")] = False,
    tenants: Annotated[
        int | None, typer.Option(min=100, max=10_000_000, help="Size of the store, of `console` alone.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="A folder that keeps the filled store for the next run, of `console` alone.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Also write the table to this file, as Markdown.")] = None,
) -> Report:
    """Measure a part and the design that it replaced, in turns, on an embedded server of its own. Needs a checkout.

    With --json the last line is one JSON object; progress goes to stderr.
    """
    names = ALL if name == "all" else (name,)
    if unknown := set(names) - set(BENCHES):
        raise UsageError(problem("bench-unknown", unknown=unknown.pop(), benches=", ".join(BENCHES)))
    configure_logging(level="warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server is stopped however this process ends
    with _checkout():
        report = import_module("benchmarks.report")
        about = report.machine()
        of_console = {"tenants": tenants, "store": store} if names == ("console",) else {}
        results = [_bench(each)(runs=runs, quick=quick, **of_console) for each in names]
        if write:
            report.write(write, results, about)
        data = results[0] if len(results) == 1 else {"bench": "all", "results": results}
        return Report(data, [table("Events a second", report.HEADINGS, report.lines(results))])


def _bench(name: str) -> Callable[..., dict[str, Any]]:
    module, function = BENCHES[name]
    found: Callable[..., dict[str, Any]] = getattr(import_module(module), function)
    return found


@contextmanager
def _checkout() -> Iterator[None]:
    """The folder that contains `benchmarks/`, for this process and for those that a benchmark starts."""
    root = Path(__file__).parent.parent
    if not (root / "benchmarks" / "harness.py").exists():
        raise UsageError(problem("benches-not-installed"))
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    yield
