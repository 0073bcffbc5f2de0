"""Reconciliation: comparison of the log with the real resources, and handover of missing ones to the saga."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from application.description import STEP_NAMES
from application.drift_detection import Mended, Sweep
from cli.command import command
from cli.commerce import compare
from cli.operators import By
from cli.output import Report, err
from domain.drift import Finding
from domain.errors import UsageError, problem
from domain.operator import Operator
from runtime.compose import Parts
from runtime.compose.resources import reconciling_of, sweep_ledger_of
from runtime.reports.tenant import snapshot_of


@command
def reconcile(
    parts: Parts,
    tenant: Annotated[str | None, typer.Option(metavar="TENANT", help="Only this tenant.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the result; record nothing.")] = False,
    dump: Annotated[
        Path | None,
        typer.Option(
            "--commerce", metavar="FILE", help="Compare a full dump of commerce with the desired state; change nothing."
        ),
    ] = None,
    by: By = "",
) -> Iterator[Report]:
    """Compare the log with the real resources; the saga repairs what is missing. Exit 1: not all was found."""
    if dump is not None:
        if tenant is not None:
            raise UsageError(problem("commerce-with-tenant"))
        yield from compare(parts, dump)
        return
    if tenant is not None:
        snapshot_of(parts, tenant)
    sweep = reconciling_of(parts).sweep(tenant, say=_progress)
    may_mend = (sweep.drifted or sweep.unsettled) and not dry_run and not sweep.suspicious
    mended = reconciling_of(parts).mend(sweep, by=Operator.parse(by)) if may_mend else Mended()
    is_whole = tenant is None and not dry_run and not sweep.suspicious and not sweep.unreachable
    goes_on = is_whole and sweep_ledger_of(parts).go_on()
    is_bad = sweep.drifted or sweep.unreachable or sweep.lost or sweep.unsettled
    yield Report(_data_of(sweep, mended), _text(sweep, mended), good=not is_bad)
    if goes_on:
        yield Report(text=["the background sweep, which had stopped itself, continues"])


def _progress(sweep: Sweep) -> None:
    err.print(f"looked at {sweep.tenants} tenants: {len(sweep.drifted)} scopes have drifted")


def _text(sweep: Sweep, mended: Mended) -> Iterator[str]:
    for seen in sweep.drifted:
        for finding in seen.findings:
            becomes = (
                _becomes(finding)
                if seen.scope not in mended.dropped
                else "its state has changed meanwhile: compared next time"
            )
            yield f"{seen.scope}  step {int(finding.step)} {STEP_NAMES[finding.step]}: {finding.text}; {becomes}"
    rescheduled = set(mended.rescheduled)
    for each in sweep.unsettled:
        yield f"{each.scope}  {each.text}" + ("; it is due now" if each.scope in rescheduled else "")
    for scope in sweep.lost:
        yield f"{scope}  data_missing, as was recorded before: see `tenantry runs show {scope}`"
    for where, why in sweep.unreachable.items():
        yield f"{where} was not looked at: {why}"
    for where in sweep.suspicious:
        yield (
            f"{where}: {sweep.absent[where]} of {sweep.looked_at[where]} scopes are missing: it looks like a wrong or"
            " an empty server, so nothing was recorded. Check its url; if the loss is real, raise [drift] in the policy"
        )
    if mended.handed_over:
        yield f"{len(mended.handed_over)} scopes handed over to the saga: see `tenantry runs list`"
    elif sweep.drifted or (sweep.unsettled and not mended.rescheduled):
        yield "nothing was recorded"
    elif not sweep.unreachable and not sweep.unsettled:
        rest = "all else is there" if sweep.lost else "all is there"
        yield f"{sweep.tenants} tenants, {sum(sweep.looked_at.values())} observations: {rest}"


def _becomes(finding: Finding) -> str:
    if finding.kind == "data":
        return (
            "not created again empty: its products are closed until it is restored (`tenantry runs retry`),"
            " or its loss accepted (`tenantry runs recreate`)"
        )
    return "the saga ensures it again"


def _data_of(sweep: Sweep, mended: Mended) -> dict[str, Any]:
    handed_over, dropped = set(mended.handed_over), set(mended.dropped)
    return {
        "tenants": sweep.tenants,
        "looked_at": dict(sweep.looked_at),
        "findings": [
            {
                "scope": str(seen.scope),
                "version": seen.version,
                "where": seen.where,
                "step": int(finding.step),
                "kind": finding.kind,
                "text": finding.text,
                "outcome": "handed_over"
                if seen.scope in handed_over
                else "dropped"
                if seen.scope in dropped
                else "not_recorded",
            }
            for seen in sweep.drifted
            for finding in seen.findings
        ],
        "unsettled": [
            {
                "scope": str(each.scope),
                "text": each.text,
                "outcome": "made_due" if each.scope in mended.rescheduled else "not_recorded",
            }
            for each in sweep.unsettled
        ],
        "data_missing": [str(scope) for scope in sweep.lost],
        "not_looked_at": sweep.unreachable,
        "suspicious": {
            where: {"absent": sweep.absent[where], "looked_at": sweep.looked_at[where]} for where in sweep.suspicious
        },
    }
