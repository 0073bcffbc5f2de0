"""How does a test let an intake take what lies on a broker, with a database that fails on command?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from adapters.event_log import PostgresEventLog
from adapters.kafka import Message
from domain.errors import TenantryError, Unavailable
from domain.lifecycle import Outcome
from domain.ports import KafkaPosition, Recording
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.kafka import InMemoryBroker, MemoryConsumer, MemoryProducer
from workers.intake import Intake

TOPIC = "tenantry.lifecycle"

AWAY = Unavailable("the database does not answer")


@dataclass
class Ledger:
    """Takes messages down in the transaction of their positions, and nothing else; fails as it is told to."""

    log: MemoryEventLog | PostgresEventLog = field(default_factory=MemoryEventLog)
    taken: list[tuple[int, int]] = field(default_factory=list)
    """Partition and offset, as recorded."""
    to_fail: list[TenantryError] = field(default_factory=list)
    """What the next recordings raise, one each."""
    positions_to_fail: int = 0
    asked: int = 0

    def intake(self, messages: Sequence[Message], positions: Sequence[KafkaPosition] = ()) -> Outcome:
        if self.to_fail:
            raise self.to_fail.pop(0)
        before = self._recordings
        try:
            self.log.record(Recording(positions=list(positions)))
        except TenantryError:
            if self._recordings > before:  # the connection broke after the commit
                self.taken += [(message.partition, message.offset) for message in messages]
            raise
        self.taken += [(message.partition, message.offset) for message in messages]
        return Outcome()

    @property
    def _recordings(self) -> int:
        return self.log.recordings if isinstance(self.log, MemoryEventLog) else 0

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        self.asked += 1
        if self.positions_to_fail:
            self.positions_to_fail -= 1
            raise AWAY
        return self.log.positions(topic_ids)


class Impatient(MemoryConsumer):
    """Waits for nothing."""

    def poll(self, timeout_seconds: float, limit: int) -> list[Message]:
        return super().poll(0.0, limit)


def broker_with(partitions: int = 1) -> InMemoryBroker:
    broker = InMemoryBroker()
    broker.ensure_topics({TOPIC: partitions})
    return broker


def publish(broker: InMemoryBroker, *keys: str) -> None:
    producer = MemoryProducer(broker)
    for key in keys:
        producer.send(TOPIC, key=key.encode(), value=b"{}")
    producer.flush()


def intake_of(
    broker: InMemoryBroker,
    ledger: Ledger,
    *,
    kind: type[Intake[Message]] = Intake,
    batch: int = 500,
) -> Intake[Message]:
    return kind(
        lambda on_assign: Impatient(broker, group="intake", topics=[TOPIC], on_assign=on_assign),
        ledger,
        read=lambda message: message,
        positions=ledger,
        batch=batch,
        poll_seconds=0.0,
    )


def let_run(intake: Intake[Message], turns: int, *, meanwhile: Callable[[int], None] = lambda _: None) -> None:
    """So many turns of the intake, without its pauses."""
    for number in range(turns):
        meanwhile(number)
        intake.turn()
