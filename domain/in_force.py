"""In force: from when on nobody was let in on what came before a position of the log.

    in-force:    InForce, InForce, ...: one stream, at most one event a second, up_to grows with the version

A change is in the log at once, and at the services within a moment; a cache that is cut off may answer by what it knew
until its lease is over. So a recorder waits that long, by its own clock, and a margin, after everything up to N could
be read. Then no look-up that begins can be allowed on what came before N. That is an event, and can be proved later.
"""

from __future__ import annotations

from typing import ClassVar, Final

from domain.event import Event

STREAM: Final = "in-force:"

DRIFT: Final = 0.01
"""By how much two clocks may differ in their pace: far more than a quartz does."""

MARGIN_SECONDS: Final = 1.0


class InForce(Event):
    """Everything up to position `up_to` is in force: no look-up that begins now rests on what came before it.

    `waited_seconds`: how long the recorder waited after it could read everything up to there; `lease_seconds`: T.
    """

    TOPIC: ClassVar[str] = "tenantry.in-force"
    up_to: int
    lease_seconds: float
    waited_seconds: float


def wait_of(lease_seconds: float) -> float:
    """How long the recorder waits, in seconds of its own clock."""
    return lease_seconds * (1 + DRIFT) + MARGIN_SECONDS
