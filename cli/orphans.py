"""What is named as ours and belongs to nobody, and how is it removed?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from application.orphan_removal import Plan, Removal
from cli.operators import As, Reason, who, why
from cli.output import AsJson, DataDir, command, out, print_json, running_parts
from domain.drift import Thing
from runtime.compose.resources import clearing_of

app = typer.Typer(
    help="List what is named as ours and belongs to no scope: databases, schemas, roles, site names, rooms and"
    " entitlements; remove exactly what a list shows. Exit 1: there are some, or a place was not looked at.",
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
@command
def list_(context: typer.Context, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List what is named as ours and belongs to no scope, with the hash of the plan to remove it. Exit 1: some does."""
    if context.invoked_subcommand is not None:
        return
    with running_parts(data_dir) as parts:
        plan = clearing_of(parts).plan()
    if as_json:
        print_json(
            {
                "plan": plan.hash if plan.things else None,
                "orphans": [thing._asdict() for thing in plan.things],
                "beyond": plan.beyond,
                "not_looked_at": plan.unreachable,
                "suspicious": plan.suspicious,
            }
        )
    else:
        _say_plan(plan)
    if plan.things or plan.unreachable:
        raise typer.Exit(1)


@app.command()
@command
def remove(
    plan_hash: Annotated[str, typer.Argument(metavar="PLAN-HASH", help="As `orphans` prints it.")],
    reason: Reason,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove exactly what that plan shows. What somebody claims meanwhile is spared. May be repeated. Exit 1: some is
    left."""
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        removal = clearing_of(parts).remove(plan_hash, reason=because, by=by)
    if as_json:
        print_json(_told(plan_hash, removal))
    else:
        _say_removal(plan_hash, removal)
    if removal.left:
        raise typer.Exit(1)


def _say_plan(plan: Plan) -> None:
    for thing in plan.things:
        _line(f"{_name(thing)} belongs to no scope")
    if plan.beyond:
        _line(f"and {plan.beyond} more, which are no part of this plan: they are listed when these are gone")
    for where, said in plan.unreachable.items():
        _line(f"{where} was not looked at: {said}")
    for said in plan.suspicious:
        _line(f"{said}: it looks like the wrong log or the wrong server. Nothing can be removed")
    if plan.things:
        _line(f"plan {plan.hash}: {len(plan.things)} orphans")
        if not plan.suspicious:
            _line(f"remove them: tenantry orphans remove {plan.hash} --reason TEXT")
    elif not plan.unreachable:
        _line("no orphans")


def _say_removal(plan_hash: str, removal: Removal) -> None:
    if not removal.began:
        _line(
            f"plan {plan_hash} was carried out already by {removal.operator} ({removal.reason}): nothing is left of it"
        )
        return
    for thing in removal.removed:
        _line(f"{_name(thing)} is gone")
    for thing in removal.skipped:
        _line(f"{_name(thing)} belongs to a scope again: it was spared")
    for thing, said in removal.left:
        _line(f"{_name(thing)} is left: {said}")
    if removal.left:
        _line(f"{len(removal.left)} are left: once that is mended, say `tenantry orphans remove {plan_hash}` again")
    else:
        _line(f"plan {plan_hash} is carried out: {len(removal.removed)} are gone, {len(removal.skipped)} were spared")


def _told(plan_hash: str, removal: Removal) -> dict[str, Any]:
    return {
        "plan": plan_hash,
        "outcome": "left" if removal.left else "removed" if removal.began else "nothing left",
        "by": removal.operator,
        "reason": removal.reason,
        "removed": [thing._asdict() for thing in removal.removed],
        "spared": [thing._asdict() for thing in removal.skipped],
        "left": [{**thing._asdict(), "why": said} for thing, said in removal.left],
    }


def _name(thing: Thing) -> str:
    return f"{thing.where}: {thing.kind} {thing.name}"


def _line(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)
