"""How does a test let an intake take what lies on a broker, with a database that fails on command?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.kafka.clients import Message
from adapters.postgres.event_log import PostgresEventLog
from application.ingest import Outcome
from application.ports.inbox import KafkaPosition
from application.unit_of_work import UnitOfWork
from domain.errors import TenantryError, Unavailable
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.kafka import InMemoryBroker, MemoryConsumer, MemoryProducer
from workers.intake import Intake

TOPIC = "tenantry.lifecycle"

AWAY = Unavailable("the database does not answer")

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Aside:
    """A message that is set aside."""

    message: Message


@dataclass
class Ledger:
    """Takes messages down in the transaction of their positions, and nothing else; fails as it is told to."""

    log: MemoryEventLog | PostgresEventLog = field(default_factory=MemoryEventLog)
    everything: list[Place] = field(default_factory=list)
    """As recorded."""
    aside: list[Place] = field(default_factory=list)
    """Of those: what was set aside."""
    bad: set[Place] = field(default_factory=set)
    """What meets an error that nobody expects."""
    is_hopeless: bool = False
    """Not even setting aside works."""
    to_fail: list[TenantryError] = field(default_factory=list)
    """What the next recordings raise, one each."""
    to_fail_after: int | None = None
    """After so many recordings the database is away, once."""
    positions_to_fail: int = 0
    positions_error: TenantryError = AWAY
    """What the question where to begin raises, so many times."""
    asked: int = 0

    @property
    def taken(self) -> list[Place]:
        """What was recorded and not set aside."""
        return [place for place in self.everything if place not in self.aside]

    def intake(self, messages: Sequence[Message | Aside], positions: Sequence[KafkaPosition] = ()) -> Outcome:
        if self.to_fail:
            raise self.to_fail.pop(0)
        if self.to_fail_after == 0:
            self.to_fail_after = None
            raise AWAY
        read = [each for each in messages if isinstance(each, Message)]
        aside = [_place(each.message) for each in messages if isinstance(each, Aside)]
        if any(_place(message) in self.bad for message in read) or (aside and self.is_hopeless):
            raise ZeroDivisionError
        before = self._recordings
        try:
            self.log.record(UnitOfWork(positions=list(positions)))
        except TenantryError:
            if self._recordings > before:  # the connection broke after the commit
                self.everything += [_place(message) for message in read]
            raise
        if self.to_fail_after:
            self.to_fail_after -= 1
        self.everything += [*map(_place, read), *aside]
        self.aside += aside
        return Outcome()

    @property
    def _recordings(self) -> int:
        return self.log.recordings if isinstance(self.log, MemoryEventLog) else 0

    def positions(self, topic_ids: Iterable[str]) -> dict[tuple[str, int], int]:
        self.asked += 1
        if self.positions_to_fail:
            self.positions_to_fail -= 1
            raise self.positions_error
        return self.log.positions(topic_ids)


def _place(message: Message) -> Place:
    return message.partition, message.offset


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
    kind: type[Intake[Any]] = Intake,
    read: Callable[[Message], Any] = lambda message: message,
    batch: int = 500,
) -> Intake[Any]:
    return kind(
        lambda on_assign: Impatient(broker, group="intake", topics=[TOPIC], on_assign=on_assign),
        ledger,
        read=read,
        refused=lambda message, _: [Aside(message)],
        positions=ledger,
        batch=batch,
        poll_seconds=0.0,
    )


def let_run(intake: Intake[Any], turns: int, *, meanwhile: Callable[[int], None] = lambda _: None) -> None:
    """So many turns of the intake, without its pauses."""
    for number in range(turns):
        meanwhile(number)
        intake.round()
