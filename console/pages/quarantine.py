"""Page of the quarantine: messages by rule, source and type; what a retry would come to today; and the forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from adapters.postgres.console_reads import COUNTED
from console.access import known
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

ON_A_PAGE: Final = 100
REHEARSED: Final = 25
"""Messages that one page rehearses."""
STATES: Final = ("open", "retried", "discarded")

Json = dict[str, Any]


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    state = known("state", ask.get("state"), STATES) or "open"
    rule, source, type_, tenant = (ask.get(name) for name in ("rule", "source", "type", "tenant"))
    position, after = desk.reads.position(), ask.number("after") or 0
    picked = {"rule": rule, "source": source, "type": type_, "tenant_id": tenant}
    found, last = desk.reads.quarantined(state=state, picked=picked, after=after, limit=ON_A_PAGE)
    numbers = [row["number"] for row in found[:REHEARSED]]
    rehearsed = _rehearsed(desk.parts, numbers) if ask.get("dry") and state == "open" else {}
    rows = [{**row, "dry_run": rehearsed.get(row["number"])} for row in found]
    outcomes = Counter(each["outcome"] for each in rehearsed.values())
    groups = desk.reads.quarantine_groups()
    return ConsolePage(
        "quarantine",
        "Quarantine",
        {"groups": groups, "messages": rows, "next": last, "outcomes": dict(outcomes)},
        command("quarantine", "list", state=state, rule=rule, source=source, type=type_, tenant=tenant),
        position=position,
        extra={
            "state": state,
            "states": STATES,
            "picked": {"rule": rule, "source": source, "type": type_, "tenant": tenant},
            "dry": ask.address(dry="1") if not ask.get("dry") else None,
            "following": ask.address(after=last) if last is not None else None,
            "rehearsed": len(rehearsed),
            "of_the_oldest": COUNTED if sum(row["messages"] for row in groups) > COUNTED else None,
        },
    )


def _rehearsed(parts: Parts, numbers: Sequence[int]) -> dict[int, Json]:
    """What a retry of each would come to. One whose key was forgotten says so."""
    from dataclasses import asdict  # noqa: PLC0415

    from application.problem_texts import sentence  # noqa: PLC0415
    from domain.errors import UsageError  # noqa: PLC0415
    from runtime.compose.operators import quarantine_rehearsal_of  # noqa: PLC0415

    found: dict[int, Json] = {}
    rehearsal = quarantine_rehearsal_of(parts)
    for number in numbers:
        try:
            found[number] = asdict(rehearsal.of_retry(number))
        except UsageError as error:
            found[number] = {"outcome": "refused", "events": (), "rule": None, "reason": sentence(error)}
    return found
