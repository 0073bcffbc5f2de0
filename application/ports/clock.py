"""The clock, ids and chance, as functions: what the pure rooms have none of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""

NewId = Callable[[], UUID]
"""A fresh id for an event."""

Dice = Callable[[], float]
"""A number in [0, 1): where chance is wanted (the jitter of retries)."""
