"""Audit checks: consistency of the log, comparison of the read models with it, and forgotten scopes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from application.unsettled_scopes import Unsettled
from audit.log_check import check
from audit.read_model_check import ReadModelComparison
from cli.command import command
from cli.output import Aside, Line, Report, and_more, table
from cli.progress import progress
from domain.errors import UsageError, problem
from runtime.compose import Parts
from runtime.compose.audit import log_faults_of
from runtime.compose.rebuild import views_of
from runtime.compose.resources import reconciling_of
from runtime.reports.tenant import snapshot_of


@command
def log(parts: Parts) -> Report:
    """Look for gaps, orphans, unknown topics, events out of order and missing causes in the log. Exit 1 if any."""
    with progress("looking") as say:
        checked = check(log_faults_of(parts), say=say)
    data = {
        "position": checked.position,
        "faults": [asdict(fault) for fault in checked.faults],
        "more": checked.more,
        "seconds": round(checked.seconds, 3),
    }
    rows = [(fault.position, fault.kind, fault.explanation) for fault in checked.faults]
    text: Iterable[Line] = [f"the log is consistent up to position {checked.position}"]
    if rows:
        found = table("Faults of the log", ("position", "what", "that is"), rows)
        text = [found, *and_more(checked.more)]
    return Report(data, text, good=not rows)


@command
def views(
    parts: Parts,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of tenants, chosen at random.", show_default="100")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All tenants.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Chooses the same tenants again.")] = None,
) -> Report:
    """Fold the log again in memory and compare it with the read models, at one position. Exit 1 if they differ.

    Nothing is stopped or written. Only a rebuild waits with its swap until the comparison is done.
    """
    if every and (sample is not None or seed is not None):
        raise UsageError(problem("check-all-with-sample"))
    drawn = seed if seed is not None else secrets.randbelow(1_000_000)
    with progress("comparing") as say:
        compared = views_of(parts, say).compare(sample=None if every else sample or 100, seed=drawn)
    data = {
        "tenants": compared.tenants,
        "seed": None if every else drawn,
        "events": compared.events,
        "rows": compared.rows,
        "position": compared.position,
        "behind": compared.behind,
        "log": compared.log,
        "differences": [asdict(each) for each in compared.differences],
        "more": compared.more,
        "seconds": round(compared.seconds, 3),
    }
    return Report(data, _compared(compared, None if every else drawn), good=not compared.differences)


def _compared(compared: ReadModelComparison, seed: int | None) -> Iterator[Line]:
    if seed is not None:
        yield Aside(f"seed {seed}")
    rows = [
        (each.table, ", ".join(map(str, each.key)), each.column, each.expected, each.found)
        for each in compared.differences
    ]
    if rows:
        yield table("Differences from the log", ("table", "key", "column", "by the log", "found"), rows)
        yield from and_more(compared.more)
    else:
        whose = "all tenants" if seed is None else f"{compared.tenants} tenants"
        upto = f"{compared.events} events up to position {compared.position}"
        yield f"{compared.rows} rows of {whose} are what {upto} say"
    if compared.behind < compared.log:
        yield Aside(
            f"the log goes on to position {compared.log}, and some read models stand at {compared.behind} yet: each"
            " was compared as of where it stands"
        )


@command
def scopes(
    parts: Parts, tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only this tenant.")] = None
) -> Iterator[Report]:
    """Find scopes that have not converged, are not due and wait for nothing that is named. Exit 1: some are found.

    Nothing is changed: `tenantry reconcile` makes them due.
    """
    found: list[Unsettled] = []
    count = 0
    if tenant is not None:
        snapshot_of(parts, tenant)
    for page in reconciling_of(parts).audit(tenant):
        count += page.scopes
        found += page.unsettled
        yield Report(text=[Aside(f"looked at {count} scopes: {len(found)} are forgotten")])
    data = {"scopes": count, "unsettled": [{"scope": str(each.scope), "text": each.text} for each in found]}
    text = [f"{each.scope}  {each.text}" for each in found]
    last = f"{count} scopes: each has converged, or is due, or waits for something that is named"
    if found:
        last = "`tenantry reconcile` makes them due, except those that no adopted configuration knows"
    yield Report(data, [*text, last], good=not found)
