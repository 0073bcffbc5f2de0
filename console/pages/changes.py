"""Page of what has changed: acts, workers that started, values of catalogue, policy and topology, since a time."""

from __future__ import annotations

from typing import Final

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command

ACTS: Final = 500
"""The newest acts that are looked at; the page of the acts has those before them."""

LAST: Final = 2**62


def page(desk: ReadingDesk, ask: Ask) -> ConsolePage:
    from dataclasses import asdict  # noqa: PLC0415 - the live page needs no event

    from adapters.postgres.past import time_of  # noqa: PLC0415
    from application.operator_event import duration  # noqa: PLC0415
    from domain.errors import UsageError  # noqa: PLC0415
    from runtime.compose.process import utc_now  # noqa: PLC0415
    from runtime.reports.changes import changes_since  # noqa: PLC0415

    since = ask.get("since") or "1d"
    try:
        start = utc_now() - duration(since)
    except UsageError:
        start = time_of(since)
    position = desk.reads.position()
    acts = desk.parts.past.latest_acts(LAST, ACTS)
    found = [asdict(each) for each in reversed(changes_since(desk.parts, start, among=acts))]
    is_cut = len(acts) == ACTS and acts[-1].time >= start
    data = {"since": start, "changes": found, "acts_before": acts[-1].position if is_cut else None}
    return ConsolePage(
        "changes", "What has changed", data, command("changes", since=since), position=position, extra={"given": since}
    )
