"""Integration events: what the rest of the cloud learns from the saga.

Some events of the saga become integration events: CloudEvents for the topic `tenantry.provisioning`. They are
written to the outbox at the log position of the event, and the relay publishes them from there in that order.
The id is derived from the event's, and the text is the same at each repetition; what was written once stays as
it was. What is published is named here field by field, and no personal field is among them.

    tenantry.step.completed | failed | undone
    tenantry.{site,family,product}.opened | closed | retained | purged | failed | held
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, Column, Connection, DateTime, Index, Table, Text, Uuid, select

from domain.event import Recorded
from domain.event_registry import REGISTRY
from domain.scope.state import ScopeConverged, ScopeFailed, ScopePutOnHold, StepCompleted, StepFailed
from domain.scope.steps import Level, Step
from domain.times import in_utc
from projections.base import METADATA, WRITE_ONCE, Change, Projection, Row, Set, rows

SOURCE: Final = "/tenantry/provisioning"
NAMESPACE: Final = UUID("5d0d5a5e-6f0b-5c39-9a2e-3c1d4b7f8e21")
"""For ever: another one would give the same event another id."""

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", Text, nullable=False),  # the key on Kafka
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("payload", Text, nullable=False),  # the structured CloudEvent, as it will be sent
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index("ix_outbox_tenant_id_position", "tenant_id", "position"),
    info=WRITE_ONCE,
)

_LEVELS: Final[dict[Level, str]] = {
    "open": "opened",
    "closed": "closed",
    "retained": "retained",
    "absent": "purged",
}

_ENCODE: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

_Published = StepCompleted | StepFailed | ScopeConverged | ScopeFailed | ScopePutOnHold


def handle(recorded: Recorded) -> Iterator[Change]:
    event = recorded.event
    if isinstance(event, StepCompleted | StepFailed | ScopeConverged | ScopeFailed | ScopePutOnHold):
        name, details = _type_and_data(event)
        event_id = uuid5(NAMESPACE, str(recorded.id))
        data = {"tenant_id": event.tenant_id, "scope": {"kind": event.kind, "key": event.key}, **details}
        data["position"] = recorded.position
        envelope = {
            "specversion": "1.0",
            "id": str(event_id),
            "source": SOURCE,
            "type": f"tenantry.{name}",
            "subject": str(event.scope),
            "time": _text(recorded.time),
            "datacontenttype": "application/json",
            "partitionkey": event.tenant_id,
            "data": data,
        }
        yield Set(
            OUTBOX,
            (recorded.position,),
            {
                "tenant_id": event.tenant_id,
                "event_id": event_id,
                "type": f"tenantry.{name}",
                "payload": _ENCODE(envelope),
                "created_at": recorded.time,
            },
        )


def _type_and_data(event: _Published) -> tuple[str, Row]:
    """The type, without its first part, and what is published beside the scope."""
    match event:
        case StepCompleted():
            name = "step.completed" if event.direction == "ensure" else "step.undone"
            return name, {"step": _step(event.step), "generation": event.generation}
        case StepFailed():
            return "step.failed", {
                "step": _step(event.step),
                "direction": event.direction,
                "generation": event.generation,
                "attempt": event.attempt,
                "reason": event.reason,
                "retry_at": _text(event.retry_at) if event.retry_at else None,
            }
        case ScopeConverged():
            lost: Row = {"data_lost": True} if event.data_lost else {}
            return f"{event.kind}.{_LEVELS[event.level]}", {"level": event.level, "digest": event.digest, **lost}
        case ScopeFailed():
            return f"{event.kind}.failed", {"step": _step(event.step), "reason": event.reason}
        case ScopePutOnHold():
            step = _step(event.step) if event.step else None
            return f"{event.kind}.held", {"step": step, "reason": event.reason}


def _step(step: Step) -> Row:
    return {"number": int(step), "name": step.name.lower()}


def _text(time: datetime) -> str:
    return in_utc(time).isoformat().replace("+00:00", "Z")


def query(connection: Connection, tenant_id: str) -> list[Row]:
    """The published events of the tenant, and those about to be, in order; `payload` is the text of the CloudEvent."""
    table = OUTBOX
    return rows(connection, select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.position))


PROJECTION: Final = Projection(
    name="integration",
    tables=(OUTBOX,),
    handles=REGISTRY.projected_by("integration"),
    handle=handle,
    query=query,
    buckets=1,  # the relay reads by position: nothing may appear behind it
)
