"""Changes of the installation since a time, as `tenantry changes` and the console report them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from adapters.postgres.live_workers import alive
from domain.configuration import STREAM
from domain.event import Recorded
from history.acts import acts_in
from history.changes import InstallationChange, changes
from runtime.compose.parts import Parts


def changes_since(
    parts: Parts, since: datetime, *, among: Iterable[Recorded] | None = None
) -> list[InstallationChange]:
    """Acts, adopted values and workers since then, in order; the acts `among` those events, where they are given.

    Raises UnreadableEvent, Unavailable.
    """
    return changes(
        acts=acts_in(_events(parts, since) if among is None else among, since=since),
        adoptions=parts.log.load({STREAM: 0}).get(STREAM, []),
        workers=[
            {**each, "started_at": datetime.fromisoformat(each["started_at"])}
            for each in alive(parts.endpoints.database_url)
        ],
        since=since,
    )


def _events(parts: Parts, since: datetime) -> Iterable[Recorded]:
    for events, _, _ in parts.past.acts(since, None):
        yield from events
