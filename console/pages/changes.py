"""Page of what has changed: acts, workers that started, values of catalogue, policy and topology, since a time."""

from __future__ import annotations

from console.desks import ReadingDesk
from console.page import Ask, ConsolePage, command


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
    found = [asdict(each) for each in reversed(changes_since(desk.parts, start))]
    data = {"since": start, "changes": found}
    return ConsolePage(
        "changes", "What has changed", data, command("changes", since=since), position=position, extra={"given": since}
    )
