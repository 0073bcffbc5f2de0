"""Page before an act: what it would be done to, and the form with the reason."""

from __future__ import annotations

from typing import Final

from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
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
    scopes = [Scope.parse(text) for text in ask.many("scope")]
    standings = desk.reads.standings(scopes)
    rows = [
        {
            "scope": str(scope),
            "state": standings.get(scope, {}).get("state", "unknown"),
            "reason": standings.get(scope, {}).get("reason"),
        }
        for scope in scopes
    ]
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
