"""Relay: it publishes the integration events of the outbox on Kafka.

The projector wrote them to the outbox, in the order of the log. The relay publishes them in that order, at least once,
and moves its position after the brokers have acknowledged. Its position belongs to the topic's id: a topic that was
created anew gets everything again. One relay is at work at a time (an advisory lock); others stand by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from adapters.kafka.clients import Producer
from adapters.outage import Outage
from adapters.postgres.outbox import OutboxRow
from application.ports.tracing import traceparent_of_event
from workers.loops import run_step

TOPIC_ID_SECONDS = 3.0


class Outbox(Protocol):
    """What waits to be published."""

    def hold(self) -> bool:
        """Whether this process is the one relay."""

    def position(self, topic_id: str) -> int:
        """The last position published to the topic of that id; 0 for a new one."""

    def after(self, position: int, limit: int) -> Sequence[OutboxRow]:
        """The next rows."""

    def move(self, topic_id: str, position: int) -> None:
        """Everything up to `position` is on Kafka."""


class Relay:
    """Outbox to Kafka."""

    def __init__(
        self,
        outbox: Outbox,
        producer: Producer,
        *,
        topic: str,
        topic_id: Callable[[], str],
        headers: tuple[tuple[str, bytes], ...],
        batch: int,
        poll_seconds: float,
    ) -> None:
        self._outbox = outbox
        self._producer = producer
        self._topic = topic
        self._topic_id = topic_id
        self._headers = headers
        self._batch = batch
        self._poll = poll_seconds
        self._known: tuple[str, float] | None = None
        self.outage = Outage("the relay")

    def run(self, stop: threading.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Publish until `stop` is set; the batch at hand is finished."""
        ready()
        try:
            while not stop.is_set():
                run_step(self.step, lambda: stop.wait(self._poll), stop=stop, outage=self.outage)
        finally:
            self._producer.close()

    def step(self) -> int:
        """One batch; the number of events published."""
        if not self._outbox.hold():
            return 0
        topic_id = self._current_topic_id()
        rows = self._outbox.after(self._outbox.position(topic_id), self._batch)
        if not rows:
            return 0
        for row in rows:
            self._producer.send(self._topic, key=row.key, value=row.value, headers=self._headers_of(row))
        self._producer.flush()
        self._outbox.move(topic_id, rows[-1].position)
        return len(rows)

    def _headers_of(self, row: OutboxRow) -> tuple[tuple[str, bytes], ...]:
        traceparent = traceparent_of_event(row.event_id)
        return self._headers if traceparent is None else (*self._headers, ("traceparent", traceparent.encode()))

    def _current_topic_id(self) -> str:
        """The topic's id, asked for every few seconds: a topic that was created anew is soon found out."""
        if self._known is None or self._known[1] < time.monotonic():
            self._known = self._topic_id(), time.monotonic() + TOPIC_ID_SECONDS
        return self._known[0]
