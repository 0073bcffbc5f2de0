"""Event ids: UUIDs of version 7 (RFC 9562), which begin with the millisecond in which they were made.

The log has no index of ids, and needs none: an id tells its time, events lie nearly in the order of their times, and so
a search by time finds the place of an event (docs/adr/0027). Ids from before this are of version 4, and tell nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

CHANCE_BYTES: Final = 10


def event_id(milliseconds: int, chance: bytes) -> UUID:
    """The id that was made so many milliseconds after the beginning of 1970; 74 bits of `chance` (10 bytes) stay."""
    drawn = int.from_bytes(chance, "big")
    return UUID(int=milliseconds << 80 | 7 << 76 | (drawn >> 62 & _TWELVE) << 64 | 2 << 62 | drawn & _SIXTY_TWO)


def made_at(id_: UUID) -> datetime | None:
    """The millisecond in which the id was made, UTC; None where it does not tell."""
    if id_.version != 7:
        return None
    return _EPOCH + timedelta(milliseconds=id_.int >> 80)


_TWELVE: Final = (1 << 12) - 1
_SIXTY_TWO: Final = (1 << 62) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
