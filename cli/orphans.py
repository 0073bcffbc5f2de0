"""Orphans: resources with a name of Tenantry that belong to no scope, and their removal by an approved plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from application.orphan_removal import OrphanPlan, Removal
from cli.command import DataDir, command, running_parts
from cli.operators import By, Reason
from cli.output import Report
from domain.drift import Thing
from domain.operator import Operator
from runtime.compose import Parts
from runtime.compose.resources import clearing_of

app = typer.Typer(
    help="List what is named as ours and belongs to no scope: databases, schemas, roles, site names, capacity and"
    " entitlements; remove exactly what a list shows. Exit 1: there are some, or a place was not looked at.",
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
@command
def list_(context: typer.Context, data_dir: DataDir = None) -> Report | None:
    """List what is named as ours and belongs to no scope, with the hash of the plan to remove it. Exit 1: some does."""
    if context.invoked_subcommand is not None:
        return None
    with running_parts(data_dir) as parts:
        plan = clearing_of(parts).plan()
    return Report(
        {
            "plan": plan.hash if plan.things else None,
            "orphans": [thing._asdict() for thing in plan.things],
            "beyond": plan.beyond,
            "not_looked_at": plan.unreachable,
            "suspicious": plan.suspicious,
        },
        _plan(plan),
        good=not (plan.things or plan.unreachable),
    )


@app.command()
@command
def remove(
    parts: Parts,
    plan_hash: Annotated[str, typer.Argument(metavar="PLAN-HASH", help="As `orphans` prints it.")],
    reason: Reason,
    by: By = "",
) -> Report:
    """Remove exactly what the plan shows. A resource that belongs to a scope again is skipped. May be repeated. Exit 1:
    some are left."""
    removal = clearing_of(parts).remove(plan_hash, reason=reason, by=Operator.parse(by))
    return Report(_data_of(plan_hash, removal), _removal(plan_hash, removal), good=not removal.left)


def _plan(plan: OrphanPlan) -> Iterator[str]:
    for thing in plan.things:
        yield f"{_name(thing)} belongs to no scope"
    if plan.beyond:
        yield f"and {plan.beyond} more, which are no part of this plan: they are listed when these are gone"
    for where, why in plan.unreachable.items():
        yield f"{where} was not looked at: {why}"
    for why in plan.suspicious:
        yield f"{why}: it looks like the wrong log or the wrong server. Nothing can be removed"
    if plan.things:
        yield f"plan {plan.hash}: {len(plan.things)} orphans"
        if not plan.suspicious:
            yield f"remove them: tenantry orphans remove {plan.hash} --reason TEXT"
    elif not plan.unreachable:
        yield "no orphans"


def _removal(plan_hash: str, removal: Removal) -> Iterator[str]:
    if not removal.began:
        yield (
            f"plan {plan_hash} was carried out already by {removal.operator} ({removal.reason}): nothing is left of it"
        )
        return
    for thing in removal.removed:
        yield f"{_name(thing)} is gone"
    for thing in removal.skipped:
        yield f"{_name(thing)} belongs to a scope again: it was skipped"
    for thing, why in removal.left:
        yield f"{_name(thing)} is left: {why}"
    if removal.left:
        yield f"{len(removal.left)} are left: remove the cause, then run `tenantry orphans remove {plan_hash}` again"
    else:
        yield f"plan {plan_hash} is carried out: {len(removal.removed)} are gone, {len(removal.skipped)} were skipped"


def _data_of(plan_hash: str, removal: Removal) -> dict[str, Any]:
    return {
        "plan": plan_hash,
        "outcome": "left" if removal.left else "removed" if removal.began else "nothing left",
        "by": removal.operator,
        "reason": removal.reason,
        "removed": [thing._asdict() for thing in removal.removed],
        "skipped": [thing._asdict() for thing in removal.skipped],
        "left": [{**thing._asdict(), "why": why} for thing, why in removal.left],
    }


def _name(thing: Thing) -> str:
    return f"{thing.where}: {thing.kind} {thing.name}"
