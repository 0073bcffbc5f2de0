"""How does an auditor see that the log hangs together, and that the read models are what it says?"""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from audit.log_check import check
from cli.output import AsJson, DataDir, command, err, out, print_json, running_parts, table
from cli.progress import progress
from domain.errors import UsageError
from runtime.compose.audit import log_faults_of
from runtime.compose.rebuild import views_of


@command
def log(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look for gaps, orphans, unknown topics, events out of order and missing causes in the log. Exit 1 if any."""
    with running_parts(data_dir) as parts, progress("looking") as say:
        checked = check(log_faults_of(parts), say=say)
    if as_json:
        print_json(
            {
                "position": checked.position,
                "faults": [
                    {"position": fault.position, "kind": fault.kind, "explanation": fault.explanation}
                    for fault in checked.faults
                ],
                "more": checked.more,
                "seconds": round(checked.seconds, 3),
            }
        )
    elif checked.faults:
        rows = [(fault.position, fault.kind, fault.explanation) for fault in checked.faults]
        out.print(table("What does not hang together", ("position", "what", "that is"), rows))
        _more(checked.more)
    else:
        out.print(f"the log hangs together up to position {checked.position}", highlight=False)
    if checked.faults:
        raise typer.Exit(1)


@command
def views(
    sample: Annotated[int | None, typer.Option(min=1, help="So many tenants at random.", show_default="100")] = None,
    every: Annotated[bool, typer.Option("--all", help="All tenants.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the same tenants again.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fold the log anew in memory and compare it with the read models, at one position. Exit 1 where they differ.

    Nothing is stopped or written. Only a rebuild waits with its swap until the comparison is done.
    """
    if every and (sample is not None or seed is not None):
        raise UsageError("--all compares every tenant: leave --sample and --seed out")
    drawn = seed if seed is not None else secrets.randbelow(1_000_000)
    with running_parts(data_dir) as parts, progress("comparing") as say:
        compared = views_of(parts, say).compare(sample=None if every else sample or 100, seed=drawn)
    if as_json:
        print_json(
            {
                "tenants": compared.tenants,
                "seed": None if every else drawn,
                "events": compared.facts,
                "rows": compared.rows,
                "position": compared.position,
                "behind": compared.behind,
                "log": compared.log,
                "differences": [
                    {
                        "table": each.table,
                        "key": list(each.key),
                        "column": each.column,
                        "expected": each.expected,
                        "found": each.found,
                    }
                    for each in compared.differences
                ],
                "more": compared.more,
                "seconds": round(compared.seconds, 3),
            }
        )
    else:
        if not every:
            err.print(f"seed {drawn}", highlight=False)
        if compared.differences:
            rows = [
                (each.table, ", ".join(map(str, each.key)), each.column, each.expected, each.found)
                for each in compared.differences
            ]
            out.print(table("Not what the log says", ("table", "key", "column", "by the log", "found"), rows))
            _more(compared.more)
        else:
            whose = "all tenants" if every else f"{compared.tenants} tenants"
            out.print(
                f"{compared.rows} rows of {whose} are what {compared.facts} events up to position {compared.position}"
                " say",
                highlight=False,
            )
        if compared.behind < compared.log:
            err.print(
                f"the log goes on to position {compared.log}, and some read models stand at {compared.behind} yet: each"
                " was compared as of where it stands",
                highlight=False,
            )
    if compared.differences:
        raise typer.Exit(1)


def _more(count: int) -> None:
    if count:
        out.print(f"and {count} more", highlight=False)
