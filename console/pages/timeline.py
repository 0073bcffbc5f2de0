"""Page of one tenant's timeline: cause and effect in order, gaps folded, each event with its position and its seal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command
from domain.errors import UsageError, problem
from domain.times import age

if TYPE_CHECKING:
    from history.timeline import TimelineEntry

ON_A_PAGE: Final = 250
"""Events of one page."""
LOOKED_THROUGH: Final = 500
"""Events among which one page looks for those of a kind or a product."""
GAP_SECONDS: Final = 3600.0
"""A pause that is longer is folded into one line."""


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from history.timeline import KINDS, chosen  # noqa: PLC0415 - the live page needs no event
    from runtime.compose.process import utc_now  # noqa: PLC0415
    from runtime.reports.timeline import BESIDE, entry_data, last_entries_of  # noqa: PLC0415

    tenant_id, parts, position = ask.named["tenant"], desk.parts, desk.reads.position()
    kind, product = known("kind", ask.get("kind"), KINDS), ask.get("product")
    moment = parts.past.at(ask.query["at"], now=utc_now()) if ask.get("at") else None
    events = LOOKED_THROUGH if kind or product else ON_A_PAGE
    entries, before = last_entries_of(parts, tenant_id, moment=moment, upto=ask.number("upto"), events=events)
    if not entries:
        raise UsageError(problem("tenant-without-messages", tenant=tenant_id))
    until = moment.time if moment is not None else None
    sealed = desk.reads.sealed()
    shown = chosen(entries, product=product, kinds=(kind,) if kind else ())
    data = {
        "tenant_id": tenant_id,
        "entries": [entry_data(entry) for entry in shown],
        "sealed_up_to": sealed,
        "before": before,
        "is_cut": max(sum(entry.kind == each for entry in entries) for each in ("waiting", "refused")) >= BESIDE,
    }
    spelled = command("timeline", tenant_id, product=product, kind=kind, until=until.isoformat() if until else None)
    return ConsolePage(
        "timeline",
        f"Timeline of {tenant_id}",
        data,
        spelled,
        watches=tenant_id,
        at=moment.position if moment is not None else None,
        position=position,
        extra={
            "lines": list(_lines(shown, sealed)),
            "kinds": KINDS,
            "kind": kind,
            "product": product,
            "earlier": ask.address(upto=before) if before is not None else None,
        },
    )


def _lines(entries: list[TimelineEntry], sealed: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    before = None
    for entry in entries:
        if before is not None and (pause := (entry.time - before).total_seconds()) > GAP_SECONDS:
            lines.append({"gap": age(pause)})
        before = entry.time
        seal = None if entry.position is None else "sealed" if entry.position <= sealed else "not sealed yet"
        lines.append({"entry": entry, "seal": seal})
    return lines
