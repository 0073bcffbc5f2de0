"""Page of now: what needs a person, grouped by cause; and a cause by itself."""

from __future__ import annotations

from typing import Any, Final

from adapters.postgres.console_reads import TROUBLES
from console.access import Refusal
from console.acts import MOST
from console.causes import SharedCause, causes
from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

SHOWN: Final = 200
"""Scopes of a cause that its page lists."""


def page(desk: ReadingDesk, _: Ask) -> ConsolePage:
    position, rows, pending = desk.reads.position(), desk.reads.troubles(), desk.reads.pending()
    found = causes(rows)
    sweep = pending["sweep"] or {}
    counted = desk.samples.troubles if is_cut(rows) else None
    data: dict[str, Any] = {
        "causes": [cause.to_dict for cause in found],
        "guard": pending["guard"],
        "quarantine": pending["quarantine"],
        "waiting": pending["waiting"],
        "halted": pending["halted"],
        "sweep_stopped": {"at": sweep["stopped_at"], "reason": sweep["reason"]} if sweep.get("stopped_at") else None,
        "read_only": pending["read_only"],
        "is_all": not is_cut(rows),
        "counted": {"at": counted.at, "causes": counted.rows} if counted is not None and counted.rows else None,
    }
    stands = pending["halted"] or data["sweep_stopped"] or data["read_only"]
    needs = any(cause.need == "person" for cause in found) or pending["guard"]["changes"] or pending["quarantine"]
    data["needs_a_person"] = bool(stands or needs)
    return ConsolePage("now", "Now", data, command("runs", "list"), position=position)


def cause_page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    position = desk.reads.position()
    cause, is_all = _cause_among(desk.reads.troubles(), ask.named["cause"])
    names = [str(scope) for scope in cause.scopes[:SHOWN]]
    act = {"failed": "retry", "on_hold": "retry"}.get(cause.state)
    return ConsolePage(
        "cause",
        f"{cause.subject}: {cause.reason}",
        {**cause.to_dict, "named": names, "is_all": is_all},
        command("runs", "list", state=cause.state),
        position=position,
        extra={"act": act, "at_once": MOST},
    )


def cause_of(desk: ReadingDesk, id_: str) -> SharedCause:
    """Raises Refusal where nothing has that cause any more."""
    return _cause_among(desk.reads.troubles(), id_)[0]


def _cause_among(rows: list[dict[str, Any]], id_: str) -> tuple[SharedCause, bool]:
    """The cause, and whether no scope can have it but those of the rows."""
    for cause in causes(rows):
        if cause.id == id_:
            return cause, not is_cut([row for row in rows if row["state"] == cause.state])
    raise Refusal(404, "console-cause-gone", cause=id_[:50])


def is_cut(rows: list[dict[str, Any]]) -> bool:
    """Whether there may be more scopes than were looked at."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + len(row["tenants"])
    return any(count >= TROUBLES for count in counts.values())
