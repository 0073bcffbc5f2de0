"""Page before an act: what it would be done to, and the form with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from domain.errors import UsageError, problem
from domain.scope.steps import Scope

HELP: Final = {
    "retry": "Retry scopes that failed, or that are held because a step failed. Remove the cause first.",
    "hold": "Start no further step until the scope is released. A started step is completed.",
    "release": "Let a scope continue that an operator put on hold.",
    "ensure": "Ensure every step of a converged scope again.",
    "restore": "Undo the destruction of a tenant before its purge begins: its products open again with their data.",
}


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    act = known("act", ask.get("act"), tuple(HELP)) or "retry"
    position, tenant = desk.reads.position(), ask.get("tenant")
    scopes = [_scope(text) for text in ask.many("scope")]
    rows = _rows(desk, scopes)
    named = (tenant,) if act == "restore" and tenant else (*(str(scope) for scope in scopes[:1]),)
    words = ("restore",) if act == "restore" else ("runs", act)
    return ConsolePage(
        "rehearse",
        f"Before: {act}",
        {"act": act, "scopes": rows, "tenant": tenant},
        command(*words, *named, reason="..."),
        watches=None,
        position=position,
        extra={"help": HELP[act]},
    )


def _scope(text: str) -> Scope:
    try:
        return Scope.parse(text)
    except ValueError as error:
        raise UsageError(problem("scope-malformed", reason=error)) from None


def _rows(desk: ReadingDesk, scopes: Sequence[Scope]) -> list[dict[str, Any]]:
    """Each scope with the version that is seen here: the act is refused where it has moved on since."""
    from application.operator_commands import version_of  # noqa: PLC0415

    standings = desk.reads.standings(scopes)
    snapshots = desk.parts.saga.snapshots(list({scope.tenant_id for scope in scopes})) if scopes else {}
    return [
        {
            "scope": str(scope),
            "seen": version_of(scope, snapshots[scope.tenant_id]),
            "state": standings.get(scope, {}).get("state", "unknown"),
            "reason": standings.get(scope, {}).get("reason"),
        }
        for scope in scopes
    ]
