"""What stands in for the provisioner of somebody else that takes commands from Kafka?

`Replier` reads its topic of commands on the real broker and replies as the protocol wants it: the same order twice is
one effect, a lower generation is fenced. `script` holds outcomes to be given first, `keeps_silent` loses replies.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.kafka.clients import Consumer, Message, Partition, Producer


def from_the_start(partitions: frozenset[Partition]) -> Mapping[Partition, int]:
    return {}


@dataclass
class Replier:
    """All that it was asked, and what is there."""

    consumer: Consumer
    producer: Producer
    replies_topic: str
    script: deque[Mapping[str, Any]] = field(default_factory=deque)
    keeps_silent: int = 0
    commands: list[Any] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    there: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    effects: int = 0

    def work(self, commands: int, *, seconds: float = 20) -> None:
        """Until so many more commands have come, and been replied to."""
        deadline = time.monotonic() + seconds
        while commands and time.monotonic() < deadline:
            for message in self.consumer.poll(0.05, 10):
                commands -= 1
                self._carry_out(message)
        assert not commands, f"{commands} commands did not come"

    def reply(self, key: str, outcome: str, **more: Any) -> None:
        said = {"idempotency_key": key, "outcome": outcome, **more}
        self.producer.send(self.replies_topic, key=key.encode(), value=json.dumps(said).encode())
        self.producer.flush()

    def _carry_out(self, message: Message) -> None:
        asked = json.loads(message.value or b"")
        self.commands.append(asked)
        self.keys.append(message.key)
        key = asked["idempotency_key"]
        if self.keeps_silent:
            self.keeps_silent -= 1
        elif self.script:
            self.reply(key, **self.script.popleft())
        else:
            self.reply(key, self._honestly(asked))

    def _honestly(self, asked: Mapping[str, Any]) -> str:
        scope = (asked["tenant_id"], asked["product"])
        if asked["generation"] < self.newest.get(scope, 0):
            return "fenced"
        self.newest[scope] = asked["generation"]
        place = (*scope, asked["step"])
        spec = asked["wish"] if asked["direction"] == "ensure" else None
        self.effects += self.there.get(place) != spec
        self.there[place] = spec
        return "done"
