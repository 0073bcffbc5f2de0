"""Operators' acts on a tenant or a scope: restore, retry, hold, release, ensure, recreate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final

import typer

from application.operator_commands import Act, ActKind
from application.operator_event import duration
from application.problem_texts import sentence
from cli.bulk import each_by_itself
from cli.command import command
from cli.operators import By, HoldFor, Reason, Seen
from cli.output import Line, Report, error_line
from cli.rehearse import Rehearse, rehearsals_of
from cli.scopes import ProductArgument, ScopesArgument, TenantArgument, product_of, scope_of
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.scope.purges import is_past_return
from domain.scope.steps import Scope
from domain.times import clock
from runtime.compose import Parts, utc_now
from runtime.compose.operators import operating_of
from runtime.compose.resources import recreating_of
from runtime.reports.tenant import snapshot_of


@command
def restore(parts: Parts, tenant: TenantArgument, reason: Reason, by: By = "", seen: Seen = None) -> Report:
    """Undo the destruction of a tenant before its purge begins: its products open again with their data."""
    snapshot_of(parts, tenant)
    event = operating_of(parts).restore(tenant, reason=reason, by=Operator.parse(by), seen=seen)
    return Report(
        {"tenant_id": tenant, "outcome": "restored", "undoes": event.undoes},
        [f"tenant {tenant} is restored; see `tenantry show {tenant}`"],
    )


ACTS: Final[dict[ActKind, tuple[str, str]]] = {
    "retry": (
        "is tried again",
        "Retry a scope that failed, or that is on hold because a step failed. Remove the cause first.",
    ),
    "hold": (
        "is on hold",
        "Start no further step of a scope until it is released. A started step is completed.",
    ),
    "release": ("continues", "Let a scope continue that an operator put on hold."),
    "ensure": (
        "is ensured again",
        "Ensure every step of a converged scope again: for changes that the drift detector cannot see.",
    ),
}
"""The text that is printed after the act, and the help of its command."""


def act_on_scopes(kind: ActKind) -> Callable[..., None]:
    """The command of one kind of act."""

    def act(
        parts: Parts,
        scope: ScopesArgument,
        reason: Reason,
        product: ProductArgument = None,
        by: By = "",
        seen: Seen = None,
        rehearse: Rehearse = False,
    ) -> Iterable[Report]:
        return _acted(parts, _given(kind, scope, product, reason, seen), scope=scope, by=by, rehearse=rehearse)

    def hold(
        parts: Parts,
        scope: ScopesArgument,
        reason: Reason,
        product: ProductArgument = None,
        by: By = "",
        seen: Seen = None,
        rehearse: Rehearse = False,
        period: HoldFor = None,
    ) -> Iterable[Report]:
        until = utc_now() + duration(period) if period is not None else None
        acts = [replace(act, until=until) for act in _given(kind, scope, product, reason, seen)]
        return _acted(parts, acts, scope=scope, by=by, rehearse=rehearse)

    chosen = hold if kind == "hold" else act
    chosen.__doc__ = ACTS[kind][1]
    return command(chosen)


def _given(kind: ActKind, scope: str, product: str | None, reason: str, seen: str | None) -> list[Act]:
    """The act on one scope; or those of stdin, a scope a line, perhaps with the version that was seen of it."""
    if scope != "-":
        return [Act(kind, scope_of(scope, product), reason, seen)]
    lines = [words for line in sys.stdin if (words := line.split())]
    return [Act(kind, scope_of(text, product), reason, version[0] if version else seen) for text, *version in lines]


def _acted(parts: Parts, acts: list[Act], *, scope: str, by: str, rehearse: bool) -> Iterable[Report]:
    if rehearse:
        return rehearsals_of(parts, acts, by=Operator.parse(by))
    carry_out = partial(_carried_out, parts, by)
    if scope != "-":
        data = carry_out(acts[0])
        return [Report(data, _done(data))]
    return each_by_itself(
        acts,
        carry_out,
        refused=lambda act, error: {"scope": str(act.scope), "act": act.kind, "refused": sentence(error)},
        text=_done,
        is_good=lambda data: "refused" not in data,
    )


def _carried_out(parts: Parts, by: str, act: Act) -> dict[str, Any]:
    snapshot_of(parts, act.scope.tenant_id)
    recorded = operating_of(parts).carry_out(act, by=Operator.parse(by))
    after = snapshot_of(parts, act.scope.tenant_id)
    is_late = act.kind == "hold" and is_past_return(act.scope, after, catalog=parts.catalog)
    return {
        "scope": str(act.scope),
        "act": act.kind,
        "by": recorded.cause.source,
        "reason": act.reason,
        "at": recorded.time,
        "version": recorded.version,
        **({"until": act.until} if act.until is not None else {}),
        **({"purge_has_begun": True} if is_late else {}),
    }


def _done(data: dict[str, Any]) -> Iterator[Line]:
    if "refused" in data:
        yield error_line(data["refused"])
        return
    scope, kind = data["scope"], data["act"]
    until = f" until {clock(data['until'])}" if "until" in data else ""
    yield f"{scope} {ACTS[kind][0]}{until}: see `tenantry runs show {scope}`"
    if data.get("purge_has_begun"):
        yield "its purge had begun before: the data that is removed already cannot be restored"


@command
def recreate(
    parts: Parts,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The id of the tenant.")],
    reason: Reason,
    product: Annotated[str | None, typer.Option(help="A product whose database is missing.")] = None,
    family: Annotated[str | None, typer.Option(help="The family whose database is missing.")] = None,
    by: By = "",
    seen: Seen = None,
) -> Report:
    """Accept that a missing database is lost: it is created again, EMPTY, and its products are marked data_lost."""
    if (product is None) == (family is None):
        raise UsageError(problem("lost-database-unnamed"))
    known = product_of(parts, product) if product is not None else None
    snapshot_of(parts, tenant)
    scope = Scope("family", tenant, family or parts.catalog.family_of(known or ""))
    event = recreating_of(parts).recreate(scope, reason=reason, by=Operator.parse(by), seen=seen)
    data = {"scope": str(scope), "act": "recreate", "by": by, "reason": reason, "data_lost": event.products}
    lost = ", ".join(event.products) or "nobody"
    return Report(data, [f"{scope} is created again, without the data of {lost}: see `tenantry runs show {scope}`"])
