"""How far is each projection, and what stops it?

Changes and position are written in one transaction, the caller's, so that a killed projector has lost and
doubled nothing. `lock_position` lets one process at a time have a projection; the others are turned away,
they do not wait. A handler that raises stops its own projection only:

    lock_position ─▶ read events after it ─▶ project ─▶ commit
                                               │ raises
                                               └─▶ roll back ─▶ halt, in a transaction of its own ─▶ back off

The next batch that goes through takes the note away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, DateTime, Table, Text, Uuid, case, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.errors import TenantryError
from domain.event import Recorded
from projections.base import METADATA, Change, Fold, Projection, apply, storable

POSITIONS: Final = Table(
    "projection_positions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("halted_at", DateTime(timezone=True)),
    Column("halted_event", Uuid),
    Column("halted_reason", Text),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a projection is; where it is halted, since when, at which event and why."""

    name: str
    position: int
    updated_at: datetime
    halted_at: datetime | None = None
    halted_event: UUID | None = None
    halted_reason: str | None = None


def lock_position(connection: Connection, name: str) -> int | None:
    """The position up to which the projection has seen the log, locked until the transaction ends.

    None where somebody else has it. A halted projection has a position, too: when to try again is the
    caller's matter.
    """
    mine = select(POSITIONS.c.position).where(POSITIONS.c.name == name).with_for_update(skip_locked=True)
    position = connection.execute(mine).scalar()
    if position is None:  # locked by somebody else, or not there yet
        connection.execute(insert(POSITIONS).values(name=name).on_conflict_do_nothing())
        position = connection.execute(mine).scalar()
    return position


class HandlerFailed(TenantryError):
    """A handler cannot make rows of an event; the cause is chained."""

    def __init__(self, projection: str, event: Recorded, error: Exception) -> None:
        what = f"event {event.id} ({type(event.event).__name__}) at position {event.position}"
        super().__init__(
            f"projection {projection} cannot handle {what}: {type(error).__name__};"
            " install a version that can, and it goes on by itself"
        )
        self.event = event


_GOING_ON: Final = dict.fromkeys(("halted_at", "halted_event", "halted_reason"))


def project(connection: Connection, projection: Projection, events: Sequence[Recorded], upto: int) -> None:
    """Apply the events and move the position to `upto` (that of the last event read, handled or not).

    The caller holds the position's lock, and commits. Raises HandlerFailed with the event.
    """
    apply(connection, Fold(_changes(projection, events)))
    moved = {"position": upto, "updated_at": func.now(), **_GOING_ON}
    statement = insert(POSITIONS).values(name=projection.name, **moved)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=moved))


def _changes(projection: Projection, events: Iterable[Recorded]) -> Iterator[Change]:
    for event in events:
        if type(event.event) in projection.handles:
            try:
                changes = list(projection.handle(event))
            except Exception as error:
                raise HandlerFailed(projection.name, event, error) from error
            yield from changes


def halt(connection: Connection, name: str, event: Recorded | None, reason: str) -> None:
    """Note why the projection does not go on, and since when; in a transaction after the one that failed."""
    event_id = event.id if event else None
    note = {"halted_event": event_id, "halted_reason": storable(reason), "updated_at": func.now()}
    statement = insert(POSITIONS).values(name=name, halted_at=func.now(), **note)
    same = POSITIONS.c.halted_event.is_not_distinct_from(event_id)
    since = case((same, func.coalesce(POSITIONS.c.halted_at, func.now())), else_=func.now())
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={**note, "halted_at": since}))


def positions(connection: Connection) -> list[Position]:
    """All positions, for `status`."""
    found = connection.execute(select(POSITIONS).order_by(POSITIONS.c.name))
    return [Position(**row) for row in found.mappings()]
