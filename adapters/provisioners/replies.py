"""Replies of provisioners of other teams to our orders.

Replies come on a topic of ours, are stored in the transaction of their position, and make the scope due. The next
look at the order finds its reply before it asks the provisioner. Commands on Kafka are answered in this way, and a
webhook that returned 202 calls back in this way.

    look ──▶ a reply to this very order? ──▶ done                      its result; the reply stays, for another look
                 │                       ──▶ working                   Obstacle: look, and ask, again after its pause
                 │                       ──▶ retry                     Unreachable, after its pause: as a webhook's 503
                 │                       ──▶ what does not fit         Retryable
                 │                       ──▶ refused, fenced           Permanent, Fenced
                 └── none ──▶ await one, and ask, by command or by webhook

    awaited ──reply──▶ replied ──read: done──────▶ replied
       ▲                  ├──────read: working───▶ awaited
       │                  └──────read: any other─▶ taken
       └───────────────── asked again ─────────────┘

A reply counts for the order that is awaited of its scope and step, and for no other: a reply that names an unknown
order, or one that is over, changes nothing and makes no scope due. Only `done` stays. Any other reply is taken as it is
read, so that the next look asks anew; a crash in between asks once more than needed, and the key makes that harmless.
A failure that is reported twice finds no order that awaits it.

The broker's access lists decide who may reply to a command. A reply for a webhook must be signed with its secret
too, as our request was: the broker does not know the service behind an address. Of one order a signed reply
counts only if it was signed later than the last that was heard: one that was overheard is worth nothing once we have
it. Their clock is compared with itself, so that neither an outage of ours nor a clock of theirs costs an honest one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, LiteralString, Protocol

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from adapters.kafka.ports import Message
from adapters.provisioners.orders import Draft, Misfit, about, completed, obstacle_of
from adapters.provisioners.signed_requests import SigningSecret
from adapters.resources.fences import Connect
from adapters.resources.topology import reaching
from application.ports.resources import Executor, Order
from application.ports.work_queue import Reply
from domain.catalog import Catalog, ForeignExecutor
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unreachable
from domain.scope.steps import Scope, Step, StepResult

log = logging.getLogger(__name__)

LARGEST_REPLY_BYTES: Final = 64 * 2**10

_LONGEST_PAUSE: Final = 3600
_RESULT: Final = TypeAdapter(dict[str, Any])


class ReplyBody(BaseModel):
    """A reply as it lies on Kafka."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    idempotency_key: Annotated[str, Field(max_length=512)]
    outcome: Literal["done", "working", "retry", "refused", "fenced"]
    result: dict[str, Any] = Field(default_factory=dict)
    detail: str | None = None
    retry_after: Annotated[int, Field(ge=1, le=_LONGEST_PAUSE)] | None = None


class Replies(Protocol):
    """Where replies are kept."""

    def hear(self, order: Order) -> str | None:
        """The reply to this very order; without one, None, and from now on a reply to it is awaited."""

    def take(self, order: Order, text: str) -> None:
        """Mark the reply as read, if it is still the same: no other counts before the order is asked again."""

    def await_next(self, order: Order, text: str) -> None:
        """Mark the reply as read, if it is still the same; another may follow."""


class PostgresReplies:
    """`Replies` in the control database; rows are written by the event log, with the position they were read at."""

    def __init__(self, control: Connect) -> None:
        self._control = control

    def hear(self, order: Order) -> str | None:
        with reaching("the control database"), self._control() as connection, connection.transaction():
            row = connection.execute(
                "SELECT said FROM replies WHERE scope = %s AND step = %s AND key = %s AND NOT taken", _place(order)
            ).fetchone()
            if row is None:  # a worker that sleeps past its lease awaits nothing in place of a newer order
                connection.execute(
                    "INSERT INTO replies AS r (scope, step, key, generation) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (scope, step) DO UPDATE SET key = excluded.key, generation = excluded.generation,"
                    " said = NULL, taken = false, signed_at = CASE WHEN r.key = excluded.key THEN r.signed_at END"
                    " WHERE excluded.generation >= r.generation",
                    (*_place(order), order.generation),
                )
        return row[0] if row else None

    def take(self, order: Order, text: str) -> None:
        self._was_read("taken = true", order, text)

    def await_next(self, order: Order, text: str) -> None:
        self._was_read("said = NULL", order, text)

    def _was_read(self, change: LiteralString, order: Order, text: str) -> None:
        statement = sql.SQL("UPDATE replies SET {} WHERE scope = %s AND step = %s AND key = %s AND said = %s")
        with reaching("the control database"), self._control() as connection, connection.transaction():
            connection.execute(statement.format(sql.SQL(change)), (*_place(order), text))


@dataclass(frozen=True, slots=True)
class Replied:
    """Takes the reply to an order for its outcome; where there is none, `asked` asks for it."""

    asked: Executor
    replies: Replies
    draft: Draft

    def ensure(self, order: Order) -> StepResult:
        text = self.replies.hear(order)
        if text is None:
            return self.asked.ensure(order)
        body = self._done(order, text)
        try:
            return completed(order, self.draft(order), _RESULT.dump_json(body.result))
        except Misfit as misfit:
            self.replies.take(order, text)
            raise Retryable(_about(order, f"what does not fit: {misfit}")) from None

    def remove(self, order: Order) -> None:
        text = self.replies.hear(order)
        if text is None:
            self.asked.remove(order)
        else:
            self._done(order, text)

    def _done(self, order: Order, text: str) -> ReplyBody:
        """The reply if its outcome is done; any other is marked as read, and raised as an error."""
        body = ReplyBody.model_validate_json(text)
        if body.outcome == "done":
            return body
        if body.outcome == "working":
            self.replies.await_next(order, text)
        else:
            self.replies.take(order, text)
        raise _error(order, body)


def _error(order: Order, body: ReplyBody) -> ExecutorError:
    pause = timedelta(seconds=body.retry_after) if body.retry_after is not None else None
    message = _about(order, body.outcome + (f": {body.detail}" if body.detail else ""))
    match body.outcome:
        case "working":
            return Obstacle(obstacle_of(order), message, delay=pause)
        case "refused":
            return Permanent(message)
        case "fenced":
            return Fenced(message)
        case _:
            return Unreachable(obstacle_of(order), message, delay=pause)


def _about(order: Order, text: str) -> str:
    return about(order, "by a reply", f"replied {text}")


# -- what comes in -------------------------------------------------------------------------------------------------


def read(message: Message, catalog: Catalog, secrets: Mapping[str, SigningSecret]) -> Reply | None:
    """The reply in the message; None, with a line in the log of the worker, if it is no reply to an order of ours."""
    try:
        return _read(message, catalog, secrets)
    except ValueError as error:
        reason = _misfit(error) if isinstance(error, ValidationError) else str(error)
        log.warning("no reply: %s/%s at %s: %s", message.topic, message.partition, message.offset, reason)
        return None


def _misfit(error: ValidationError) -> str:
    """The first thing that does not fit, without what was written there."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"it does not fit: {'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def _read(message: Message, catalog: Catalog, secrets: Mapping[str, SigningSecret]) -> Reply:
    value = message.value or b""
    if len(value) > LARGEST_REPLY_BYTES:
        raise ValueError("it is too large")
    body = ReplyBody.model_validate_json(value)
    scope, step = _parts(body.idempotency_key)
    signed_at = None
    product = catalog.known.get(scope.key) if scope.kind == "product" else None
    executor = product.executors.get(step) if product is not None else None
    if executor is None:
        raise ValueError("the catalogue gives that step to no other provisioner")
    if isinstance(executor, ForeignExecutor):
        secret = secrets.get(executor.secret)
        headers = {name.lower(): text.decode("latin-1") for name, text in message.headers}
        if secret is None or not secret.has_signed(headers, value) or headers["webhook-id"] != body.idempotency_key:
            raise ValueError(f"it is not signed with the secret {executor.secret}, as replies for a webhook are")
        signed_at = _seconds(headers["webhook-timestamp"])
    if body.detail is not None:
        body = body.model_copy(update={"detail": re.sub(r"\S+@\S+", "(personal)", body.detail[:2000])})
    return Reply(str(scope), int(step), body.idempotency_key, body.model_dump_json(exclude_none=True), signed_at)


def _parts(key: str) -> tuple[Scope, Step]:
    """Scope and step of an idempotency key; ValueError where it is none."""
    parts = key.rsplit("/", 3)
    if not key.isprintable():  # NUL, for one, cannot be stored
        raise ValueError("its idempotency_key holds characters that are not to be printed")
    if len(parts) != 4 or parts[2] not in ("ensure", "remove") or not parts[3].isdecimal():
        raise ValueError("its idempotency_key is none of ours")
    return Scope.parse(parts[0]), Step(int(parts[1]))


def _seconds(text: str) -> int:
    """The time that was signed; ValueError where it is none."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise ValueError("its webhook-timestamp is not a number of seconds since 1970")
    return int(text)


def _place(order: Order) -> tuple[str, int, str]:
    return str(order.scope), int(order.step), order.idempotency_key
