"""How does somebody else's provisioner bring a step about that is asked by Kafka?

We put a command on its topic, and end the lease: whoever waits is a scope with a named obstacle, not a thread. The
reply comes on a topic of ours, is stored in the transaction of its position, and wakes the scope; the next look finds
it.

    look ──▶ a reply to this very order? ──▶ done                      its facts; the reply stays, for another look
                 │                       ──▶ working                   Obstacle: look, and ask, again after its pause
                 │                       ──▶ retry, what does not fit  Retryable, after its pause
                 │                       ──▶ refused, fenced           Permanent, Fenced
                 └── none ──▶ the command, under its key ──▶ Obstacle: a reply that was lost is asked for again

Only `done` is kept. Any other reply is taken away when it is read, so that the next look asks anew; a crash in between
asks once more than needed, and the key makes that harmless. Of each scope and step one reply is kept, that of the
highest generation: duplicates and replies to older orders change nothing, and wake nobody.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Protocol

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from adapters.kafka_ports import Message, Producer
from adapters.steps.fences import Connect
from adapters.steps.orders import Draft, Misfit, about, body_of, completed
from adapters.topology import reaching
from domain.catalog import Catalog
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unavailable
from domain.ports import Order, Reply
from domain.steps import Facts, Scope, Step

log = logging.getLogger(__name__)

LARGEST_REPLY_BYTES: Final = 64 * 2**10

_LONGEST_PAUSE: Final = 3600
_RESULT: Final = TypeAdapter(dict[str, Any])


class Said(BaseModel):
    """A reply as it lies on Kafka."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    idempotency_key: Annotated[str, Field(max_length=512)]
    outcome: Literal["done", "working", "retry", "refused", "fenced"]
    result: dict[str, Any] = Field(default_factory=dict)
    detail: str | None = None
    retry_after: Annotated[int, Field(ge=1, le=_LONGEST_PAUSE)] | None = None


class Replies(Protocol):
    """Where replies are kept."""

    def find(self, order: Order) -> str | None:
        """What was said to this very order; None where nothing was."""

    def take_away(self, order: Order, said: str) -> None:
        """Forget it, if it is still that."""


class PostgresReplies:
    """`Replies` in the control database; rows are written by the event log, with the position they were read at."""

    def __init__(self, control: Connect) -> None:
        self._control = control

    def find(self, order: Order) -> str | None:
        with reaching("the control database"), self._control() as connection:
            row = connection.execute(
                "SELECT said FROM replies WHERE scope = %s AND step = %s AND key = %s", _place(order)
            ).fetchone()
        return row[0] if row else None

    def take_away(self, order: Order, said: str) -> None:
        statement = sql.SQL("DELETE FROM replies WHERE scope = %s AND step = %s AND key = %s AND said = %s")
        with reaching("the control database"), self._control() as connection, connection.transaction():
            connection.execute(statement, (*_place(order), said))


@dataclass(frozen=True, slots=True)
class Commanded:
    """Brings one step of one product about by commands on `topic`. `producer` connects when it is first asked for."""

    producer: Callable[[], Producer]
    replies: Replies
    topic: str
    family: str
    draft: Draft

    def ensure(self, order: Order) -> Facts:
        draft = self.draft(order)
        said, text = self._reply(order, draft)
        try:
            return completed(order, draft, _RESULT.dump_json(said.result))
        except Misfit as misfit:
            self.replies.take_away(order, text)
            raise Retryable(self._about(order, f"replied what does not fit: {misfit}")) from None

    def remove(self, order: Order) -> None:
        self._reply(order, None)

    def _reply(self, order: Order, draft: Facts | None) -> tuple[Said, str]:
        """The reply that says done, and its text."""
        text = self.replies.find(order)
        if text is None:
            raise self._ask(order, draft)
        said = Said.model_validate_json(text)
        if said.outcome == "done":
            return said, text
        self.replies.take_away(order, text)
        raise self._error(order, said)

    def _ask(self, order: Order, draft: Facts | None) -> ExecutorError:
        """Send the command; what is to be waited for. Commands of one scope stay in order."""
        body = body_of(order, family=self.family, facts=draft)
        headers = (("content-type", b"application/json"), ("idempotency-key", order.idempotency_key.encode()))
        try:
            producer = self.producer()
            producer.send(self.topic, key=str(order.scope).encode(), value=body, headers=headers)
            producer.flush()
        except Unavailable as error:
            return Retryable(self._about(order, f"cannot be asked: {error}"))
        return Obstacle(self._obstacle(order), self._about(order, "was asked"))

    def _error(self, order: Order, said: Said) -> ExecutorError:
        pause = timedelta(seconds=said.retry_after) if said.retry_after is not None else None
        told = self._about(order, f"replied {said.outcome}" + (f": {said.detail}" if said.detail else ""))
        match said.outcome:
            case "working":
                return Obstacle(self._obstacle(order), told, delay=pause)
            case "refused":
                return Permanent(told)
            case "fenced":
                return Fenced(told)
            case _:
                return Retryable(told, delay=pause)

    def _obstacle(self, order: Order) -> str:
        return f"provisioner:{order.scope.key}/{int(order.step)}"

    def _about(self, order: Order, said: str) -> str:
        return about(order, self.topic, said)


# -- what comes in -------------------------------------------------------------------------------------------------


def read(message: Message, catalog: Catalog) -> Reply | None:
    """The reply in the message; None, with a line in the log of the worker, where it is none to an order of ours."""
    try:
        return _read(message.value or b"", catalog)
    except ValueError as error:
        reason = "it does not fit" if isinstance(error, ValidationError) else str(error)
        log.warning("no reply: %s/%s at %s: %s", message.topic, message.partition, message.offset, reason)
        return None


def _read(value: bytes, catalog: Catalog) -> Reply:
    if len(value) > LARGEST_REPLY_BYTES:
        raise ValueError("it is too large")
    said = Said.model_validate_json(value)
    scope, step, generation = _parts(said.idempotency_key)
    product = catalog.products.get(scope.key) if scope.kind == "product" else None
    if product is None or step not in product.executors:
        raise ValueError("the catalogue gives that step to nobody else")
    if said.detail is not None:
        said = said.model_copy(update={"detail": re.sub(r"\S+@\S+", "(personal)", said.detail[:2000])})
    return Reply(str(scope), int(step), generation, said.idempotency_key, said.model_dump_json(exclude_none=True))


def _parts(key: str) -> tuple[Scope, Step, int]:
    """Scope, step and generation of an idempotency key; ValueError where it is none."""
    parts = key.rsplit("/", 3)
    if len(parts) != 4 or parts[2] not in ("ensure", "remove") or not parts[3].isdecimal() or len(parts[3]) > 18:
        raise ValueError("its idempotency_key is none of ours")
    return Scope.parse(parts[0]), Step(int(parts[1])), int(parts[3])


def _place(order: Order) -> tuple[str, int, str]:
    return str(order.scope), int(order.step), order.idempotency_key
