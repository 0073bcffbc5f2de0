"""Kafka commands: orders to the provisioner of another team, sent on its topic.

The executor puts a command on its topic, and ends the lease: a scope with a named obstacle waits, not a thread. The
reply (replies.py) makes the scope due. A look that finds none sends the same command again, under its key: so a lost
one is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.kafka.ports import Producer
from adapters.provisioners.orders import Draft, about, body_of, obstacle_of
from application.ports.resources import Order
from application.ports.tracing import traceparent_of
from domain.errors import Obstacle, Unavailable, Unreachable
from domain.scope.steps import StepResult


@dataclass(frozen=True, slots=True)
class Commanded:
    """Asks for one step of one product by commands on `topic`. `producer` connects when it is first asked for."""

    producer: Callable[[], Producer]
    topic: str
    family: str
    draft: Draft

    def ensure(self, order: Order) -> StepResult:
        raise self._ask(order, self.draft(order))

    def remove(self, order: Order) -> None:
        raise self._ask(order, None)

    def _ask(self, order: Order, draft: StepResult | None) -> Obstacle:
        """Send the command; what is to be waited for. Commands of one scope stay in order."""
        body = body_of(order, family=self.family, result=draft)
        headers = [("content-type", b"application/json"), ("idempotency-key", order.idempotency_key.encode())]
        if (traceparent := traceparent_of(order)) is not None:
            headers.append(("traceparent", traceparent.encode()))
        try:
            producer = self.producer()
            producer.send(self.topic, key=str(order.scope).encode(), value=body, headers=tuple(headers))
            producer.flush()
        except Unavailable as error:
            reason = about(order, self.topic, f"cannot be asked: {error}")
            raise Unreachable(obstacle_of(order), reason) from error
        return Obstacle(obstacle_of(order), about(order, self.topic, "was asked"))
