"""What does an operator do about what the destroy guard holds?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.operators import As, Reason, who, why
from cli.output import AsJson, DataDir, command, out, print_json, running_parts, table
from domain.errors import UsageError
from domain.tenant.approval import Plan
from domain.tenant.events import ChangesApproved, ChangesRejected
from domain.times import clock
from runtime.compose import Parts
from runtime.compose.operators import operating_of

PlanHash = Annotated[str, typer.Argument(metavar="PLAN-HASH", help="As `runs approve` prints it.")]


@command
def approve(
    plan_hash: Annotated[
        str | None, typer.Argument(metavar="[PLAN-HASH]", help="The plan to carry out; without it, it is printed.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the log for good.")] = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the plan of all that the destroy guard holds; with its hash, carry out exactly that plan."""
    if plan_hash is None:
        with running_parts(data_dir) as parts:
            _print_plan(operating_of(parts).plan(), as_json)
        return
    if reason is None:
        raise UsageError("--reason is missing: say why the plan is approved, others will want to know")
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        try:
            plan = operating_of(parts).approve(plan_hash, reason=because, by=by)
        except UsageError:
            if not _was_approved(parts, plan_hash, as_json):
                raise
            return
        if not plan.changes:
            if not _was_approved(parts, plan_hash, as_json):
                raise UsageError(
                    f"nothing was approved: {NOTHING_HELD}, and no plan {plan_hash} was ever approved: check the hash,"
                    " `tenantry runs approve` prints the one of what is held"
                )
            return
    _say_settled("approved", plan, by, because, as_json)


@command
def reject(
    plan_hash: PlanHash,
    reason: Reason,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Drop what a plan would do: nothing comes of it. Purges stay held."""
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        plan = operating_of(parts).reject(plan_hash, reason=because, by=by)
        if not plan.changes:
            raise UsageError(f"nothing was rejected: {NOTHING_HELD}; {_settled_before(parts, plan_hash)}")
    _say_settled("rejected", plan, by, because, as_json)


NOTHING_HELD = "the destroy guard holds nothing"


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json({"plan": plan.hash if plan.changes else None, "changes": plan.told})
        return
    if not plan.changes:
        out.print(NOTHING_HELD)
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
    columns = ("tenant", "change", "reason", "asked by", "held since", "levels", "content and data")
    out.print(table(f"plan {plan.hash}: {len(plan.changes)} changes are held", columns, rows))
    out.print(f"carry it out: tenantry runs approve {plan.hash} --reason TEXT")
    out.print(f"drop it:      tenantry runs reject {plan.hash} --reason TEXT")


def _say_settled(outcome: Literal["approved", "rejected"], plan: Plan, by: str, reason: str, as_json: bool) -> None:
    """What came of the plan. Purges cannot be rejected: they stay held."""
    kept = [change for change in plan.told if outcome == "rejected" and change["change"] == "purge"]
    settled = [change for change in plan.told if change not in kept]
    if as_json:
        print_json(
            {
                "plan": plan.hash if plan.changes else None,
                "outcome": outcome if plan.changes else "nothing held",
                "by": by,
                "reason": reason,
                "changes": settled,
                "kept": kept,
            }
        )
    else:
        still = f"; purges that stay held: {len(kept)}" if kept else ""
        out.print(f"plan {plan.hash} is {outcome}: {len(settled)} changes{still}", markup=False, highlight=False)


def _was_approved(parts: Parts, plan_hash: str, as_json: bool) -> bool:
    """Whether that plan was carried out before; it is told, and nothing is done again."""
    before = parts.past.settlement(plan_hash)
    if before is None or not isinstance(before.event, ChangesApproved):
        return False
    event = before.event
    if as_json:
        print_json(
            {
                "plan": plan_hash,
                "outcome": "approved before",
                "by": event.operator,
                "reason": event.reason,
                "at": before.time,
                "changes": [],
                "kept": [],
            }
        )
    else:
        said = f"{_settled_before(parts, plan_hash)}: nothing is done again"
        out.print(said, markup=False, highlight=False, soft_wrap=True)
    return True


def _settled_before(parts: Parts, plan_hash: str) -> str:
    before = parts.past.settlement(plan_hash)
    if before is None or not isinstance(before.event, ChangesApproved | ChangesRejected):
        return f"no plan {plan_hash} was ever approved or rejected, check the hash"
    verdict = "approved" if isinstance(before.event, ChangesApproved) else "rejected"
    return f"plan {plan_hash} was {verdict} before, by {before.event.operator} at {clock(before.time)}"
