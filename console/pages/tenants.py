"""Page of the tenants: filters by level and state, one page after the other by their ids."""

from __future__ import annotations

from typing import Final

from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from domain.scope.states import SCOPE_STATES

ON_A_PAGE: Final = 50
LEVELS: Final = ("open", "closed", "retained", "absent")


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    level, state = known("level", ask.get("level"), LEVELS), known("state", ask.get("state"), SCOPE_STATES)
    position = desk.reads.position()
    rows, last = desk.reads.tenants(level=level, state=state, after=ask.get("after") or "", limit=ON_A_PAGE)
    return ConsolePage(
        "tenants",
        "Tenants",
        {"tenants": rows, "next": last},
        command("tenants", level=level, state=state, limit=ON_A_PAGE),
        position=position,
        extra={
            "levels": LEVELS,
            "states": SCOPE_STATES,
            "level": level,
            "state": state,
            "following": ask.address(after=last) if last is not None else None,
            "first": ask.address(after=None) if ask.get("after") else None,
        },
    )
