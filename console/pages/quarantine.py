"""Page of the quarantine: messages by rule, source and type; what a retry would come to today; and the forms."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

if TYPE_CHECKING:
    from application.ports.quarantine import QuarantineEntry
    from runtime.compose.parts import Parts

ON_A_PAGE: Final = 100
REHEARSED: Final = 25
"""Messages that one page rehearses."""
STATES: Final = ("open", "retried", "discarded")

Json = dict[str, Any]


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from application.ports.quarantine import Picked  # noqa: PLC0415 - the live page needs no message
    from runtime.compose.operators import quarantine_of  # noqa: PLC0415

    state = known("state", ask.get("state"), STATES) or "open"
    rule, source, type_, tenant = (ask.get(name) for name in ("rule", "source", "type", "tenant"))
    position, parts = desk.reads.position(), desk.parts
    picked = Picked(rule, source, type_, tenant)
    entries = quarantine_of(parts).entries(state=state, limit=ON_A_PAGE, picked=picked, after=ask.number("after") or 0)
    rehearsed = _rehearsed(parts, entries[:REHEARSED]) if ask.get("dry") and state == "open" else {}
    rows = [{**_row(entry), "dry_run": rehearsed.get(entry.number)} for entry in entries]
    last = entries[-1].number if len(entries) == ON_A_PAGE else None
    outcomes = Counter(each["outcome"] for each in rehearsed.values())
    return ConsolePage(
        "quarantine",
        "Quarantine",
        {"groups": desk.reads.quarantine_groups(), "messages": rows, "next": last, "outcomes": dict(outcomes)},
        command("quarantine", "list", state=state, rule=rule, source=source, type=type_, tenant=tenant),
        position=position,
        extra={
            "state": state,
            "states": STATES,
            "picked": {"rule": rule, "source": source, "type": type_, "tenant": tenant},
            "dry": ask.address(dry="1") if not ask.get("dry") else None,
            "following": ask.address(after=last) if last is not None else None,
            "rehearsed": len(rehearsed),
        },
    )


def _row(entry: QuarantineEntry) -> Json:
    names = ("number", "state", "rule", "reason", "source", "id", "type", "tenant_id", "topic", "partition", "offset")
    return {**{name: getattr(entry, name) for name in names}, "repeats": entry.repeats, "at": entry.received_at}


def _rehearsed(parts: Parts, entries: Any) -> dict[int, Json]:
    """What a retry of each would come to. One whose key was forgotten says so."""
    from dataclasses import asdict  # noqa: PLC0415

    from application.problem_texts import sentence  # noqa: PLC0415
    from domain.errors import UsageError  # noqa: PLC0415
    from runtime.compose.operators import quarantine_rehearsal_of  # noqa: PLC0415

    found: dict[int, Json] = {}
    rehearsal = quarantine_rehearsal_of(parts)
    for entry in entries:
        try:
            found[entry.number] = asdict(rehearsal.of_retry(entry.number))
        except UsageError as error:
            found[entry.number] = {"outcome": "refused", "events": (), "rule": None, "reason": sentence(error)}
    return found
