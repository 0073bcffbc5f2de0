"""Traces: identifiers that are derived from what is recorded, and the tracer of the process, where there is one.

Nothing is stored for a trace. Its id and that of its root span are the SHA-256 of what names the work: an intent and
its attempt, an integration event, a batch by the place of its first message. So each repetition agrees, and a reader of
the log can compute them.

    a batch of the intake ──link──▶ the `traceparent` of each message that had one
    an attempt of a step  ──link──▶ the event that caused it      traceparent ──▶ webhook, Kafka command
    an integration event            traceparent ──▶ Kafka header

Without a tracer, which is the default, each call costs one look at a list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol

from application.ports.resources import Order


@dataclass(frozen=True, slots=True)
class SpanReference:
    """A span by its ids, in hexadecimal; `str` is its W3C `traceparent`."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    @classmethod
    def parse(cls, text: str) -> SpanReference | None:
        """None where the text is no traceparent of a version that we read."""
        found = _TRACEPARENT.fullmatch(text.strip())
        return cls(found["trace"], found["span"], bool(int(found["flags"], 16) & 1)) if found else None


_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(-.*)?"
)


def derived(name: str, *, ratio: float = 1.0) -> SpanReference:
    """The root span of what has that name; of all names, the share `ratio` is sampled, always the same ones."""
    digest = sha256(f"tenantry.trace.v1 {name}".encode()).digest()
    return SpanReference(digest[:16].hex(), digest[16:24].hex(), int.from_bytes(digest[8:16], "big") < ratio * 2**64)


@lru_cache(maxsize=1_000)
def of_event(event_id: str, *, ratio: float = 1.0) -> SpanReference:
    """What is linked where an event is the cause."""
    return derived(f"event {event_id}", ratio=ratio)


class Tracer(Protocol):
    """Makes spans of what is sampled."""

    @property
    def ratio(self) -> float:
        """The share of the traces that is sampled."""

    def attempt(self, order: Order, root: SpanReference) -> AbstractContextManager[None]:
        """The span of an attempt that is sampled, around its effect."""

    def batch(
        self, root: SpanReference, count: int, links: Callable[[], Sequence[SpanReference]]
    ) -> AbstractContextManager[None]:
        """The span of a batch that is sampled, around its recording."""

    def bound(self, order: Order, root: SpanReference) -> AbstractContextManager[None]:
        """Log lines carry trace and correlation while the effect runs."""


_tracers: list[Tracer] = []


def trace_with(tracer: Tracer) -> Callable[[], None]:
    """From here on the process makes traces; the function that is returned ends that."""
    _tracers.append(tracer)
    return lambda: _tracers.remove(tracer)


def is_on() -> bool:
    return bool(_tracers)


def _of_order(order: Order, tracer: Tracer) -> SpanReference:
    return derived(f"step {order.idempotency_key}/{order.attempt}", ratio=tracer.ratio)


def traceparent_of(order: Order) -> str | None:
    """Goes along with the order to a provisioner of others; None where no traces are made."""
    return str(_of_order(order, _tracers[-1])) if _tracers else None


def traceparent_of_event(event_id: str) -> str | None:
    """Goes along with an integration event; None where no traces are made."""
    return str(of_event(event_id, ratio=_tracers[-1].ratio)) if _tracers else None


def attempted(order: Order) -> AbstractContextManager[None]:
    """Around the effect of one attempt of a step: one root span, linked to the event that caused it."""
    if not _tracers:
        return _NOTHING
    tracer = _tracers[-1]
    root = _of_order(order, tracer)
    return tracer.attempt(order, root) if root.sampled else tracer.bound(order, root)


def taken_in(place: str, count: int, links: Callable[[], Sequence[SpanReference]]) -> AbstractContextManager[None]:
    """Around the recording of one batch of messages; `place` is that of its first one, on Kafka."""
    if not _tracers:
        return _NOTHING
    root = derived(f"batch {place}", ratio=_tracers[-1].ratio)
    return _tracers[-1].batch(root, count, links) if root.sampled else _NOTHING


_NOTHING: Final[AbstractContextManager[None]] = nullcontext()
