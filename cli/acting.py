"""How does an operator change what becomes of a tenant, or of one scope of it?"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from application.operator_commands import Act
from application.problem_texts import sentence
from cli.operators import As, Reason, who, why
from cli.output import AsJson, DataDir, command, complain, out, print_json, running_parts
from cli.scopes import ProductArgument, ScopesArgument, TenantArgument, scope_of
from cli.show import snapshot_of
from domain.errors import UsageError
from domain.scope.desired import is_past_return
from domain.scope.steps import Scope
from runtime.compose import Parts
from runtime.compose.operators import operating_of
from runtime.compose.resources import recreating_of


@command
def restore(
    tenant: TenantArgument,
    reason: Reason,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Undo the destruction of a tenant before its purge begins: everything is as it was, and opens again."""
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        snapshot_of(parts, tenant)
        event = operating_of(parts).restore(tenant, reason=because, by=by)
    if as_json:
        print_json({"tenant_id": tenant, "outcome": "restored", "undoes": event.undoes})
    else:
        out.print(f"tenant {tenant} is restored; see `tenantry show {tenant}`")


@command
def retry(
    scope: ScopesArgument,
    reason: Reason,
    product: ProductArgument = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Try again what was given up, or is held because a step failed: after you have mended the cause."""
    _act("retry", scope, product, reason, as_name, data_dir, as_json)


@command
def hold(
    scope: ScopesArgument,
    reason: Reason,
    product: ProductArgument = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Begin nothing more for a scope, whatever commerce says, until it is released. What is under way finishes."""
    _act("hold", scope, product, reason, as_name, data_dir, as_json)


@command
def release(
    scope: ScopesArgument,
    reason: Reason,
    product: ProductArgument = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a scope go on that somebody held."""
    _act("release", scope, product, reason, as_name, data_dir, as_json)


@command
def ensure(
    scope: ScopesArgument,
    reason: Reason,
    product: ProductArgument = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ensure every step of a converged scope again: where something behind it was changed that nobody can see."""
    _act("ensure", scope, product, reason, as_name, data_dir, as_json)


_DONE = {"retry": "is tried again", "hold": "is held", "release": "goes on", "ensure": "is ensured again"}

ActKind = Literal["retry", "hold", "release", "ensure"]


def _act(
    kind: ActKind, text: str, product: str | None, reason: str, as_name: str | None, data_dir: Any, as_json: bool
) -> None:
    """One scope, or all that come on stdin: each is told by itself, and what is refused stops none of the others."""
    because, by = why(reason), who(as_name)
    if text != "-":
        act = Act(kind, scope_of(text, product), because)
        with running_parts(data_dir) as parts:
            told = _carried_out(parts, act, by)
        if as_json:
            print_json(told)
        else:
            _say_done(told)
        return
    acts = [Act(kind, scope_of(line.strip(), product), because) for line in sys.stdin if line.strip()]
    results: list[dict[str, Any]] = []
    with running_parts(data_dir) as parts:
        for act in acts:
            try:
                results.append(_carried_out(parts, act, by))
            except UsageError as error:
                results.append({"scope": str(act.scope), "act": kind, "refused": sentence(error)})
            if not as_json:
                _say_done(results[-1])
    if as_json:
        print_json(results)
    if any("refused" in result for result in results):
        raise typer.Exit(1)


def _carried_out(parts: Parts, act: Act, by: str) -> dict[str, Any]:
    snapshot_of(parts, act.scope.tenant_id)
    recorded = operating_of(parts).carry_out(act, by=by)
    after = snapshot_of(parts, act.scope.tenant_id)
    is_late = act.kind == "hold" and is_past_return(act.scope, after, catalog=parts.catalog)
    return {
        "scope": str(act.scope),
        "act": act.kind,
        "by": recorded.cause.source,
        "reason": act.reason,
        "at": recorded.time,
        "version": recorded.version,
        **({"purge_has_begun": True} if is_late else {}),
    }


def _say_done(told: dict[str, Any]) -> None:
    if "refused" in told:
        complain(told["refused"])
        return
    scope = told["scope"]
    out.print(f"{scope} {_DONE[told['act']]}: see `tenantry runs show {scope}`", markup=False, soft_wrap=True)
    if told.get("purge_has_begun"):
        out.print("its purge had begun before: what was removed until now is gone, and no restore brings it back")


@command
def recreate(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The id of the tenant.")],
    reason: Reason,
    product: Annotated[str | None, typer.Option(help="A product whose database is missing.")] = None,
    family: Annotated[str | None, typer.Option(help="The family whose database is missing.")] = None,
    as_name: As = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Accept that a missing database is lost: it is made anew, EMPTY, and its products are marked data_lost."""
    if (product is None) == (family is None):
        raise UsageError("name what is lost: --family KEY, or --product KEY of that family")
    because, by = why(reason), who(as_name)
    with running_parts(data_dir) as parts:
        if product is not None and product not in parts.catalog:
            raise UsageError(f"product {product} is not in the catalogue: it has {', '.join(parts.catalog.products)}")
        snapshot_of(parts, tenant)
        scope = Scope("family", tenant, family or parts.catalog.family_of(product or ""))
        event = recreating_of(parts).recreate(scope, reason=because, by=by)
    if as_json:
        print_json({"scope": str(scope), "act": "recreate", "by": by, "reason": because, "data_lost": event.products})
    else:
        lost = ", ".join(event.products) or "nobody"
        out.print(
            f"{scope} is made anew, without the data of {lost}: see `tenantry runs show {scope}`",
            markup=False,
            soft_wrap=True,
        )
