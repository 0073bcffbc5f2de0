"""Is the walk of a message, from Kafka to the read model, the one that docs/explanation/architecture.md lists?"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

from adapters.kafka.clients import Message
from adapters.kafka.cloudevents_writer import to_structured
from adapters.postgres.event_log import PostgresEventLog
from application.inbound import RefusedMessage
from application.ingest import Lifecycle
from domain.catalog import default_catalog
from domain.policy import default_policy
from runtime.compose.intake import IncomingMessages
from tests.fakes.kafka import InMemoryBroker, MemoryConsumer, MemoryProducer
from tests.fakes.sealing import InMemorySealingKeys
from tests.workers.projecting import Projectors, until_idle
from workers.intake import Intake

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
TOPIC = "tenantry.lifecycle"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def listed() -> list[str]:
    """The calls of the page, as `room/file.py` and the function's name."""
    block = PAGE.read_text().split("## The calls of that walk", 1)[1].split("```")[1]
    return [" ".join(found) for found in re.findall(r"^ *(\S+\.py) +(\S+)", block, flags=re.MULTILINE)]


@contextmanager
def traced() -> Iterator[list[str]]:
    """Every call of a function of this tree, in the order in which they begin; a generator that goes on is no call."""
    calls: list[str] = []
    begun: set[FrameType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and frame not in begun and code.co_filename.startswith(f"{ROOT}/"):
            begun.add(frame)
            calls.append(f"{code.co_filename.removeprefix(f'{ROOT}/')} {code.co_qualname}")

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def publish(broker: InMemoryBroker, type_: str, **data: Any) -> None:
    headers, value = to_structured(
        type_, {"tenant_id": "t-1", **data}, source="/commerce", id=type_, time=NOW, revision=None
    )
    producer = MemoryProducer(broker)
    producer.send(TOPIC, key=b"t-1", value=value, headers=headers)
    producer.flush()


def test_the_walk_of_a_message_visits_each_room_once_and_as_the_page_says(migrated_database: str) -> None:
    broker = InMemoryBroker()
    broker.ensure_topics({TOPIC: 1})
    log = PostgresEventLog(migrated_database, InMemorySealingKeys())
    messages = IncomingMessages(bytes(32), lifecycle_topic=TOPIC)
    lifecycle = Lifecycle(
        log=log,
        catalog=default_catalog(),
        policy=default_policy(),
        clock=lambda: NOW,
        new_id=uuid4,
        reread=messages.reread,
    )

    def refused(message: Message, error: Exception) -> Iterator[RefusedMessage]:
        raise error

    intake = Intake(
        lambda on_assign: MemoryConsumer(broker, group="g", topics=[TOPIC], on_assign=on_assign),
        lifecycle,
        read=messages.read,
        refused=refused,
        positions=log,
        batch=10,
        poll_seconds=0.05,
    )
    administrator = {"account_id": "ada", "name": "Ada", "email": "ada@example.com"}
    place = {"customer_id": "c-1", "site_name": "acme", "residency": "global"}
    with Projectors(migrated_database) as projectors:
        projector = projectors()
        publish(broker, "tenant.created", **place, administrator=administrator, products=[])
        assert intake.step() == 1
        log.advance_mark()
        until_idle(projector)
        publish(broker, "tenant.destroyed", reason="left")
        with traced() as calls:
            assert intake.step() == 1
            log.advance_mark()
            assert projector.step() == 1
    log.close()
    walk = listed()
    assert [call for call in calls if call in walk] == walk
