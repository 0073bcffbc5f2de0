"""A scratch event as two versions of Tenantry know it, and the registries of the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import uuid4

from domain.event import Cause, Event, Recorded, Value, added_in
from domain.event_registry import REGISTRY, EventEntry, EventRegistry


class ScratchPart(Value):
    size: int = 1


class WiderScratchPart(Value):
    size: int = 1
    weight: int = added_in(3, default=0)


class ScratchRecorded(Event):
    """As the older version knows it."""

    TOPIC: ClassVar[str] = "tenantry.scratch-recorded"
    tenant_id: str
    parts: tuple[ScratchPart, ...] = ()


class ColouredScratchRecorded(Event):
    """As the newer version knows it: with a field of its own, and one in a value inside it."""

    TOPIC: ClassVar[str] = "tenantry.scratch-recorded"
    tenant_id: str
    parts: tuple[WiderScratchPart, ...] = ()
    colour: str = added_in(2, default="")


OLDER: Final = EventRegistry([*REGISTRY, EventEntry(ScratchRecorded, ignored="a scratch event")])
NEWER: Final = EventRegistry([*REGISTRY, EventEntry(ColouredScratchRecorded, ignored="a scratch event")])


def recorded(event: Event, version: int = 1, **cause: Any) -> Recorded:
    """The event in the stream of a tenant."""
    named = Cause(kind="operator", source="Ada (ada@console)", id="1", **cause)
    return Recorded("tenant:t-1", version, uuid4(), datetime.now(UTC), named, "c", event)
