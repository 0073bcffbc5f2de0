"""Times that others say: moved and compared without ever leaving the calendar.

A message may name any time from the year 1 to the year 9999, in any zone; the year 9999 is what many systems mean by
never. Python ends there: a day later, or the same moment in UTC, is an OverflowError. So whatever is computed with a
time that came from outside is computed here, and stays at the first or the last moment that there is.

No deadline may depend on a clock that is wrong: a time more than a day ahead of the time of recording counts as the
time of recording.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

FIRST: Final = datetime.min.replace(tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)

AHEAD: Final = timedelta(days=1)
"""How far a message's own time may lie ahead of the time of recording, and count."""


def in_utc(time: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is in UTC. The first or the last moment, where it lies beyond."""
    if time.tzinfo is UTC:
        return time
    try:
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return FIRST if time.year == FIRST.year else LAST


def moved(time: datetime, by: timedelta) -> datetime:
    """The time so much later, or earlier, in UTC; the first or the last moment, where it lies beyond."""
    try:
        return in_utc(time) + by
    except OverflowError:
        return FIRST if by < timedelta(0) else LAST


def is_ahead(given: datetime | None, recorded: datetime) -> bool:
    """Whether a message's own time is too far ahead of the time of recording to count."""
    return given is not None and given > moved(recorded, AHEAD)


def counted(given: datetime | None, recorded: datetime) -> datetime:
    """From when deadlines run: the later of both; the time of recording where the other one is too far ahead."""
    return recorded if given is None or is_ahead(given, recorded) else max(given, recorded)


def clock(time: datetime) -> str:
    """`2026-06-01 12:30:00.250`, UTC."""
    return in_utc(time).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def age(seconds: float | None) -> str:
    """`12 s`, `3 min`, `2 h`, `5 d`; a dash for none."""
    if seconds is None:
        return "-"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
