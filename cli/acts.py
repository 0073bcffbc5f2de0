"""List of operators' acts in the log: the operator, the act, the time and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from adapters.postgres.past import time_of
from application.progress import Progress
from cli.command import stream
from cli.output import Report, Styled
from cli.progress import progress
from domain.errors import UsageError, problem
from domain.times import clock
from history.acts import RecordedAct, acts_in
from runtime.compose import Parts


@stream
def acts(
    parts: Parts,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Only acts at or after this time: a time with its zone, or a day."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Only acts before this time; a day is its beginning, in UTC."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Only acts of operators with this text in their name, user or host.")
    ] = None,
    what: Annotated[str | None, typer.Option(help='Only acts with this text in their name: "discarded".')] = None,
    tenant: Annotated[str | None, typer.Option(help="Only acts on this tenant.")] = None,
) -> Iterator[Report]:
    """List the acts of operators on tenants and on the whole installation, from the log, oldest first.

    Times are those of recording.
    """
    first, end = time_of(since) if since else None, time_of(until) if until else None
    if first and end and first >= end:
        raise UsageError(problem("acts-times-reversed", since=since, until=until))
    act = None
    for act in _acts(parts, by=by, what=what, tenant=tenant, since=first, until=end):
        yield Report(asdict(act), [_line(act)])
    if act is None:
        yield Report(text=["no such act is in the log"])


def _acts(
    parts: Parts, *, since: datetime | None, until: datetime | None, **desired_state: str | None
) -> Iterator[RecordedAct]:
    """The acts as they are found; the log is read from the first event to the last."""
    with progress("looking for acts") as say:
        for events, done, total in parts.past.acts(since, until):
            say(Progress(done, total, done))
            yield from acts_in(events, since=since, until=until, **desired_state)


def _line(act: RecordedAct) -> tuple[str | Styled, ...]:
    on = act.on if act.on not in ("operator:", "configuration:adopted") else "all tenants"
    details = _details(act.details)
    return (
        Styled(f"{clock(act.time)} {act.position:>6}  ", "dim"),
        Styled(act.who, "magenta"),
        f"  {act.what}: {on}",
        f": {act.why}" if act.why else "",
        Styled(f"  ({details})" if details else "", "dim"),
    )


def _details(details: Mapping[str, Any]) -> str:
    """Short values are shown; of a list of objects, their number."""
    return ", ".join(
        _changes(value) if name == "changes" else f"{name.replace('_', ' ')} {_short(value)}"
        for name, value in details.items()
    )


def _changes(versions: list[int]) -> str:
    """Changes that await approval are known by the versions of their events; the text begins with their number."""
    named = f"version{'' if len(versions) == 1 else 's'} {' + '.join(map(str, versions))} of the tenant's stream"
    return f"{len(versions)} change{'' if len(versions) == 1 else 's'}, requested at {named}"


def _short(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return str(len(value)) if any(isinstance(each, dict) for each in value) else " + ".join(map(str, value))
