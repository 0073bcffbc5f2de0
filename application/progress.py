"""Progress of a pass through the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of about `total` positions, `events` so far; `doing` says what, where that changes on the way."""

    done: int
    total: int
    events: int
    doing: str = ""
