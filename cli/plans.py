"""Plans of the destroy guard: print, approve or reject the changes that await approval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from cli.command import Judged, command
from cli.operators import By, Reason, why_if_given
from cli.output import Line, Report, table
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.tenant.approval import Plan
from domain.tenant.events import ChangesApproved, ChangesRejected
from domain.times import clock
from runtime.compose import Parts
from runtime.compose.operators import operating_of

PlanHash = Annotated[str, typer.Argument(metavar="PLAN-HASH", help="The hash that `runs approve` prints.")]


@command
def approve(
    parts: Parts,
    plan_hash: Annotated[
        str | None, typer.Argument(metavar="[PLAN-HASH]", help="The plan to carry out; without it, it is printed.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="The reason; kept in the log for good."), Judged(why_if_given)
    ] = None,
    by: By = "",
) -> Report:
    """Print the plan of all changes that await approval; with its hash, carry out exactly that plan."""
    if plan_hash is None:
        plan = operating_of(parts).plan()
        return Report({"plan": plan.hash if plan.changes else None, "changes": plan.as_dicts}, _plan(plan))
    if reason is None:
        raise UsageError(problem("approval-without-reason"))
    try:
        plan = operating_of(parts).approve(plan_hash, reason=reason, by=Operator.parse(by))
    except UsageError:
        if (before := _approved_before(parts, plan_hash)) is None:
            raise
        return before
    if plan.changes:
        return _settled("approved", plan, by, reason)
    if (before := _approved_before(parts, plan_hash)) is None:
        raise UsageError(problem("approval-nothing-pending", plan_hash=plan_hash))
    return before


@command
def reject(parts: Parts, plan_hash: PlanHash, reason: Reason, by: By = "") -> Report:
    """Reject the changes of a plan: none of them is carried out. Purges go on awaiting approval."""
    plan = operating_of(parts).reject(plan_hash, reason=reason, by=Operator.parse(by))
    if not plan.changes:
        raise UsageError(problem("rejection-nothing-pending", parts=_settled_before(parts, plan_hash)))
    return _settled("rejected", plan, by, reason)


NOTHING_PENDING = "no change awaits approval"


def _plan(plan: Plan) -> Iterator[Line]:
    if not plan.changes:
        yield NOTHING_PENDING
        return
    rows = [
        (
            change.tenant_id,
            f"{change.change} {change.product or 'tenant'}",
            change.reason,
            change.asked_by,
            change.since,
            ", ".join(f"{key}: {now} -> {then}" for key, now, then in change.levels),
            "; ".join(filter(None, (change.says, change.data))),
        )
        for change in plan.changes
    ]
    columns = ("tenant", "change", "reason", "asked by", "waiting since", "levels", "content and data")
    yield table(f"plan {plan.hash}: {len(plan.changes)} changes await approval", columns, rows)
    yield f"carry it out: tenantry runs approve {plan.hash} --reason TEXT"
    yield f"drop it:      tenantry runs reject {plan.hash} --reason TEXT"


def _settled(outcome: Literal["approved", "rejected"], plan: Plan, by: str, reason: str) -> Report:
    """The result of the plan. Purges cannot be rejected: they go on awaiting approval."""
    kept = [change for change in plan.as_dicts if outcome == "rejected" and change["change"] == "purge"]
    changes = [change for change in plan.as_dicts if change not in kept]
    data = {"plan": plan.hash, "outcome": outcome, "by": by, "reason": reason, "changes": changes, "kept": kept}
    still = f"; purges that still await approval: {len(kept)}" if kept else ""
    return Report(data, [f"plan {plan.hash} is {outcome}: {len(changes)} changes{still}"])


def _approved_before(parts: Parts, plan_hash: str) -> Report | None:
    """The report for a plan that was carried out before: nothing is done again."""
    before = parts.past.settlement(plan_hash)
    if before is None or not isinstance(before.event, ChangesApproved):
        return None
    return Report(
        {
            "plan": plan_hash,
            "outcome": "approved before",
            "by": before.event.operator,
            "reason": before.event.reason,
            "at": before.time,
            "changes": [],
            "kept": [],
        },
        [f"{_settled_before(parts, plan_hash)}: nothing is done again"],
    )


def _settled_before(parts: Parts, plan_hash: str) -> str:
    before = parts.past.settlement(plan_hash)
    if before is None or not isinstance(before.event, ChangesApproved | ChangesRejected):
        return f"no plan {plan_hash} was ever approved or rejected, check the hash"
    verdict = "approved" if isinstance(before.event, ChangesApproved) else "rejected"
    return f"plan {plan_hash} was {verdict} before, by {before.event.operator} at {clock(before.time)}"
