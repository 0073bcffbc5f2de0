"""Rebuild of read models, beside the live ones or as of a past moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from application.progress import Progress
from cli.command import Judged, command
from cli.operators import By, Reason, why_if_given
from cli.output import Line, Report, speed, table
from cli.progress import progress
from domain.errors import TenantryError, UsageError, problem
from domain.operator import Operator
from domain.operator_events import PreviousReadModelsDropped, ReadModelsRebuilt
from domain.times import clock
from history.rebuild.fork_server import open_early
from runtime.compose import Parts, utc_now
from runtime.compose.acts import acts_of

if TYPE_CHECKING:  # imported while the fork server imports the same
    from history.rebuild.past import Built
    from history.rebuild.replay import Rebuilt
    from history.rebuild.schema_comparison import TableComparison

app = typer.Typer(
    help="Rebuild read models from the log, while readers continue; or build them as of a past moment.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _prepared(workers: int) -> int:
    """The fork server of the workers imports while this process does."""
    if workers > 1:
        open_early("cli.main", "runtime.compose.rebuild")
    return workers


Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="The read models; see `tenantry status`.")]
Because = Annotated[
    str | None, typer.Option("--reason", help="The reason; kept in the log for good."), Judged(why_if_given)
]
Workers = Annotated[int, typer.Option(min=1, max=16, help="Processes that share the log."), Judged(_prepared)]
All = Annotated[bool, typer.Option("--all", help="All read models.")]


@app.command()
@command
def rebuild(
    parts: Parts,
    names: Names = None,
    all_: All = False,
    workers: Workers = 2,
    reason: Because = None,
    by: By = "",
) -> Iterator[Report]:
    """Rebuild read models beside the live ones, and swap them in one transaction.

    Readers continue. Ctrl-C, or any failure, leaves the live read models as they were. The old generation is kept until
    the next rebuild, or until `drop-previous`. The outbox is never rebuilt.
    """
    chosen = _chosen(names, every=all_)
    from runtime.compose.rebuild import replay_of  # noqa: PLC0415

    with progress("building") as say:
        rebuilt = replay_of(parts, say).rebuild(chosen, workers=workers)
        done = tuple(name for name in rebuilt.names if name not in rebuilt.failures)
        if done:
            act = ReadModelsRebuilt(read_models=done, position=rebuilt.position, operator=by, reason=reason)
            acts_of(parts).record(act, by=Operator.parse(by))
    data = {
        "events": rebuilt.events,
        "load_seconds": round(rebuilt.load_seconds, 3),
        **speed(rebuilt),
        "position": rebuilt.position,
        "workers": workers,
        "projections": [
            {"name": name, "rebuilt": name in done, "reason": rebuilt.failures.get(name)} for name in rebuilt.names
        ],
    }
    text = [f"{name} rebuilt up to position {rebuilt.position}" for name in done]
    yield Report(data, [*text, _took(rebuilt)])
    if rebuilt.failures:
        left = "; ".join(rebuilt.failures.values())
        raise TenantryError(problem("rebuild-failed", left=left, failures=", ".join(rebuilt.failures)))


@app.command()
@command
def drop_previous(parts: Parts, reason: Reason, names: Names = None, all_: All = False, by: By = "") -> Report:
    """Drop the generations that were live before the last rebuild."""
    from runtime.compose.rebuild import replay_of  # noqa: PLC0415

    dropped = replay_of(parts, lambda _: None).drop_previous(_chosen(names, every=all_))
    if dropped:
        act = PreviousReadModelsDropped(read_models=tuple(dropped), operator=by, reason=reason)
        acts_of(parts).record(act, by=Operator.parse(by))
    return Report({"dropped": dropped}, [f"dropped: {', '.join(dropped)}" if dropped else "there was none"])


@app.command("as-of")
@command
def as_of(
    parts: Parts,
    at: Annotated[str, typer.Argument(metavar="TIME|POSITION", help="A position, or a time with its zone.")],
    into: Annotated[
        str, typer.Option("--into", metavar="SCHEMA", help="A new schema, or the schema of an earlier run.")
    ],
    only: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these read models, separated by commas.")
    ] = None,
    workers: Workers = 2,
    verify: Annotated[
        str | None, typer.Option(metavar="SCHEMA", help="Compare with this schema afterwards; exit 1: it differs.")
    ] = None,
) -> Report:
    """Build the read models as of a past moment in a schema of their own, beside the live ones.

    A second run replaces the earlier schema when it is complete. A schema that Tenantry did not create is refused and
    stays as it is. Run `DROP SCHEMA ... CASCADE` when you are done.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] if only is not None else []
    if only is not None and not names:
        raise UsageError(problem("rebuild-only-empty"))
    from history.rebuild import schema_comparison as comparing  # noqa: PLC0415
    from history.rebuild.past import build  # noqa: PLC0415
    from runtime.compose.read_models import READ_MODELS  # noqa: PLC0415
    from runtime.compose.rebuild import replay_sources_of  # noqa: PLC0415

    moment = parts.past.at(at, now=utc_now())
    if verify and verify != into:
        comparing.refuse_unknown(parts.engine, verify, READ_MODELS)
    with progress("building") as say:
        built = build(
            replay_sources_of(parts),
            moment,
            into=into,
            only=names,
            workers=workers,
            say=lambda data: say(Progress(data.positions, moment.position, data.events)),
        )
        compared = comparing.compare(parts.engine, into, verify, READ_MODELS, say=say) if verify else []
    data = {
        "schema": built.schema,
        "position": moment.position,
        "time": moment.time,
        "read_models": built.names,
        "events": built.events,
        **speed(built),
        "workers": workers,
        **({"compared_with": verify, "tables": _data_of(compared)} if verify else {}),
    }
    as_of_it = f"as of position {moment.position} ({clock(moment.time)})"
    text: list[Line] = [f"schema {built.schema} has {', '.join(built.names)} {as_of_it}", _took(built)]
    if verify:
        text += _compared(built.schema, verify, compared)
    return Report(data, text, good=all(each.same for each in compared))


@app.command()
@command
def compare(
    parts: Parts,
    first: Annotated[str, typer.Argument(metavar="SCHEMA", help="`public` is the live one.")],
    second: Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema to compare it with.")],
) -> Report:
    """Compare the read models of two schemas, row by row. Exit 1: they differ."""
    from history.rebuild import schema_comparison as comparing  # noqa: PLC0415
    from runtime.compose.read_models import READ_MODELS  # noqa: PLC0415

    with progress("comparing", "rows") as say:
        parts.knock()
        compared = comparing.compare(parts.engine, first, second, READ_MODELS, say=say)
    return Report(
        {"first": first, "second": second, "tables": _data_of(compared)},
        _compared(first, second, compared),
        good=all(each.same for each in compared),
    )


def _took(done: Built | Rebuilt) -> str:
    return f"{done.events} events in {done.seconds:.1f} s, {done.rate:.0f} a second"


def _data_of(tables: Sequence[TableComparison]) -> list[dict[str, object]]:
    return [{**asdict(each), "same": each.same} for each in tables]


def _compared(first: str, second: str, tables: Sequence[TableComparison]) -> Iterator[Line]:
    columns = ("table", "rows", f"only in {first}", f"only in {second}", "different", "for example")
    rows = [
        (each.table, each.rows, each.only_in_first, each.only_in_second, each.different, ", ".join(each.examples))
        for each in tables
    ]
    yield table(f"{first} and {second}", columns, rows)
    differ = [each.table for each in tables if not each.same]
    yield f"{', '.join(differ)} differ" if differ else "all rows are the same"


def _chosen(names: list[str] | None, *, every: bool) -> list[str]:
    """The names; none means all."""
    if bool(names) == every:
        raise UsageError(problem("read-model-unnamed"))
    return names or []
