"""Positions of projections: how far each has come, and what stops it.

A projection has a position for each of its buckets (base.py): everything up to it is in the read model, for the
tenants of that bucket. Changes and positions are written in one transaction, the caller's, so that a killed projector
has lost and doubled nothing. `advance` comes first in it and says which rows this process has got: one that another
process holds at the moment is passed over, and so is one that does not stand where this process thought it would.

    advance ─▶ write the rows of the buckets that we got ─▶ commit

A bucket in which an event cannot be handled stops right before it, with a note of what and why. The other buckets and
projections go on. The next advance that goes through takes the note away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, DateTime, Integer, Table, Text, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from projections.base import METADATA, Projection, storable

POSITIONS: Final = Table(
    "projection_positions",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("halted_at", DateTime(timezone=True)),
    Column("halted_event", Uuid),
    Column("halted_reason", Text),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

Place = tuple[str, int]
"""A bucket of a projection, by the projection's name."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a bucket does not go on. `event` is None where the event's id cannot be read; the reason names it then.

    One that `waits` meets an event of a later version: that is no error of the event, and is not noted as a halt.
    """

    position: int
    event: UUID | None
    reason: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """A bucket goes on from one position to another; or only up to an event that halts it."""

    place: Place
    at: int
    to: int
    halt: Halt | None = None


def ensure(connection: Connection, projections: Iterable[Projection]) -> None:
    """Every bucket has a position; a new one stands at the beginning."""
    rows = [{"name": each.name, "bucket": bucket} for each in projections for bucket in range(each.buckets)]
    connection.execute(insert(POSITIONS).values(rows).on_conflict_do_nothing())


def standing(connection: Connection) -> dict[Place, int]:
    """Where every bucket of every projection stands."""
    found = connection.execute(select(POSITIONS.c.name, POSITIONS.c.bucket, POSITIONS.c.position))
    return {(name, bucket): position for name, bucket, position in found}


def lock(connection: Connection, name: str) -> dict[int, int]:
    """The projection's positions by bucket; no other process moves them before the transaction ends. May wait."""
    rows = select(POSITIONS.c.bucket, POSITIONS.c.position).where(POSITIONS.c.name == name)
    found = connection.execute(rows.order_by(POSITIONS.c.bucket).with_for_update())
    return dict(found.all())


def advance(connection: Connection, moves: Sequence[Move]) -> set[Place]:
    """Move the positions; those that this transaction has got, and now holds until it ends."""
    document = [
        {
            "name": move.place[0],
            "bucket": move.place[1],
            "at": move.at,
            "upto": move.to,
            "event": str(halt.event) if halt and halt.event else None,
            "reason": storable(halt.reason) if halt else None,
        }
        for move in moves
        for halt in [None if move.halt and move.halt.waits else move.halt]
    ]
    found = connection.exec_driver_sql(_ADVANCE, (json.dumps(document),))
    return {(name, bucket) for name, bucket in found}


_ADVANCE: Final = """
WITH wanted AS (
    SELECT * FROM json_to_recordset(%s::json)
        AS w (name text, bucket integer, at bigint, upto bigint, event uuid, reason text)
), got AS MATERIALIZED (
    SELECT p.name, p.bucket, w.upto, w.event, w.reason
    FROM projection_positions p JOIN wanted w ON p.name = w.name AND p.bucket = w.bucket
    WHERE p.position = w.at
    FOR UPDATE OF p SKIP LOCKED
)
UPDATE projection_positions p
SET position = got.upto, updated_at = now(), halted_event = got.event, halted_reason = got.reason,
    halted_at = CASE
        WHEN got.reason IS NULL THEN NULL
        WHEN p.halted_event IS NOT DISTINCT FROM got.event THEN coalesce(p.halted_at, now())
        ELSE now()
    END
FROM got WHERE p.name = got.name AND p.bucket = got.bucket
RETURNING p.name, p.bucket
"""
