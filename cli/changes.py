"""Changes of the installation since a time: acts, workers' versions, and the adopted configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from adapters.postgres.past import time_of
from application.operator_event import duration
from cli.command import command
from cli.output import Line, Report, Styled
from domain.errors import UsageError
from domain.times import clock
from history.changes import InstallationChange
from runtime.compose import Parts, utc_now
from runtime.reports.changes import changes_since


@command
def changes(
    parts: Parts,
    since: Annotated[
        str, typer.Option(metavar="TIME|PERIOD", help="A time with its zone, a day, or a period until now: 2h, 1d.")
    ] = "1d",
) -> Report:
    """List what has changed: acts of operators, workers that started, values of catalogue, policy and topology."""
    try:
        start = utc_now() - duration(since)
    except UsageError:
        start = time_of(since)
    found = changes_since(parts, start)
    return Report([asdict(each) for each in found], _text(found, f"nothing has changed since {clock(start)}"))


def _text(found: list[InstallationChange], nothing: str) -> Iterator[Line]:
    for each in found:
        place = f"{each.position:>6}" if each.position is not None else "     -"
        because = f": {each.why}" if each.why else ""
        yield (
            Styled(f"{clock(each.time)} {place}  ", "dim"),
            Styled(f"{each.kind:<10}", "magenta" if each.kind == "act" else "cyan"),
            f"{each.what} ({each.who}{because})",
        )
    if not found:
        yield nothing
