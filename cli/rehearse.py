"""Rehearsal: what an act, or the approval of a plan, would do if every step succeeded; nothing is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from application.operator_commands import Act, ActKind, version_of
from application.rehearsal import Rehearsal
from cli.command import command
from cli.output import Line, Report, Styled, table
from cli.scopes import ProductArgument, scope_of
from domain.operator import Operator
from runtime.compose import Parts
from runtime.compose.operators import rehearsing_of
from runtime.proposal import account
from runtime.reports.rehearsal import BECAUSE, NOT_UNDONE, rehearsal_data
from runtime.reports.tenant import snapshot_of

_PLAN: Final = re.compile(r"[0-9a-f]{16}")
"""The hash of a plan; a tenant of such an id is named as `site:ID`."""

Rehearse = Annotated[bool, typer.Option("--rehearse", help="Print what it would do; record nothing.")]


@command
def rehearse(
    parts: Parts,
    what: Annotated[
        str, typer.Argument(metavar="SCOPE|PLAN-HASH", help="A scope, or the plan that `runs approve` prints.")
    ],
    product: ProductArgument = None,
    act: Annotated[ActKind, typer.Option(help="The act on the scope.")] = "retry",
) -> Report:
    """Print what an act, or the approval of a plan, would do: steps, systems called, what cannot be undone.

    Every step is assumed to succeed; nothing is recorded, and no system is called.
    """
    by = Operator.parse(account())
    if _PLAN.fullmatch(what) and product is None:
        found = rehearsing_of(parts).of_plan(what, reason=BECAUSE, by=by)
        return _report({"plan": what}, f"tenantry runs approve {what} --reason TEXT", found)
    return _rehearsal(parts, Act(act, scope_of(what, product), BECAUSE), by)


def rehearsals_of(parts: Parts, acts: Sequence[Act], *, by: Operator) -> Iterator[Report]:
    """The rehearsals of acts: of one its own report, of several one JSON list."""
    found = [_rehearsal(parts, act, by) for act in acts]
    if len(found) == 1:
        yield found[0]
        return
    yield from (Report(text=each.text) for each in found)
    yield Report([each.data for each in found])


def _rehearsal(parts: Parts, act: Act, by: Operator) -> Report:
    """The rehearsal of one act, with the command that carries it out on what was seen."""
    seen = version_of(act.scope, snapshot_of(parts, act.scope.tenant_id))
    found = rehearsing_of(parts).of_act(act, by=by)
    command_line = f"tenantry runs {act.kind} {act.scope} --reason TEXT --seen {seen}"
    return _report({"scope": str(act.scope), "act": act.kind, "seen": seen}, command_line, found)


def _report(of: dict[str, Any], command_line: str, found: Rehearsal) -> Report:
    data = {**of, **rehearsal_data(found)}
    return Report(data, _text(data, command_line))


def _text(data: dict[str, Any], command_line: str) -> Iterator[Line]:
    rows = [
        (
            each["scope"],
            f"{each['step']['number']} {each['step']['name']}",
            "undo" if each["compensating"] else each["direction"],
            each["spec"],
            each["system"],
        )
        for each in data["steps"]
    ]
    if rows:
        columns = ("scope", "step", "what", "spec", "system")
        yield table(f"{len(rows)} steps, if each succeeds at the first attempt", columns, rows)
        yield "calls: " + ", ".join(f"{system} {count} times" for system, count in data["systems"].items())
    else:
        yield "no step would be brought about"
    for each in data["irreversible"]:
        yield Styled(f"cannot be undone: {each['of']}: {NOT_UNDONE[each['what']]}", "red")
    if not data["irreversible"]:
        yield "nothing of it is beyond undoing"
    for scope, end in data["ends"].items():
        reason = f": {end['reason']}" if end["reason"] else ""
        yield f"in the end {scope} is {end['level']}, {end['state'].replace('_', ' ')}{reason}"
    if not data["whole"]:
        yield "there is more: the rehearsal was cut short"
    yield f"carry it out: {command_line}"
