"""Bench of traces: the cost of a message at the intake, in CPU time, with traces off and on at 1 %.

Both sides take the same messages in, in turns, in one process: batches through the lifecycle into a real database, with
the attempts of steps that a message leads to as empty effects around them. CPU time is that of this process (rusage).
"""

from __future__ import annotations

import resource
from contextlib import ExitStack
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final
from uuid import UUID

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.ports import Message
from adapters.kafka.traceparents import traceparents
from application.ports.resources import Order
from application.ports.tracing import attempted, taken_in, trace_with
from benchmarks.harness import Compared, our_database, progress, result, rounded, server
from benchmarks.population import parts
from domain.customer import Customer
from domain.event import Origin
from domain.scope.steps import MembershipSpec, Scope, Step
from domain.tenant.state import Tenant
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.traces import OtelTracer

RATIO: Final = 0.01
BATCH: Final = 500
STEPS: Final = 2
"""Attempts of steps for each message: a change of a license leads to one or two."""


def run(*, runs: int, quick: bool) -> dict[str, Any]:
    batches = runs * (4 if quick else 20)
    off: list[float] = []
    on: list[float] = []
    tracer = OtelTracer("bench", endpoint="", ratio=RATIO, exporter=InMemorySpanExporter())
    with server() as postgres, ExitStack() as stack:
        url = our_database(postgres)
        traced = _Taking(stack.enter_context(parts(url)), "on")
        traced.batch()  # its connections are opened while queries are traced
        tracer.close_queries()
        plain = _Taking(stack.enter_context(parts(url)), "off")
        plain.batch()
        for number in range(batches):
            off.append(plain.batch())
            end = trace_with(tracer)
            on.append(traced.batch())
            end()
            progress(f"batch {number + 1} of {batches}: off {median(off):.1f}, on {median(on):.1f} µs a message")
    tracer.close()
    compared = Compared([1e6 / each for each in on], [1e6 / each for each in off])
    cost = median(each / before - 1 for before, each in zip(off, on, strict=True))
    more = {"off_us": median(off), "on_us": median(on), "cost": cost}
    return result("tracing", compared, unit="messages a CPU second", **rounded(more, 4), messages=BATCH * batches)


class _Taking:
    def __init__(self, ours: Any, name: str) -> None:
        self._name = name
        self._lifecycle = lifecycle_of(ours)
        self._read = messages_of(ours).read
        self._number = 0

    def batch(self) -> float:
        """Take one batch in; CPU microseconds a message."""
        messages = [self._message() for _ in range(BATCH)]
        began = _cpu()
        place = f"{messages[0].topic}/0@{messages[0].offset}"
        with taken_in(place, BATCH, lambda: traceparents(messages)):
            self._lifecycle.intake([self._read(message) for message in messages])
        for message in messages:
            for step in range(STEPS):
                with attempted(_order(message.offset, step)):
                    pass
        return (_cpu() - began) * 1e6 / BATCH

    def _message(self) -> Message:
        self._number += 1
        tenant = f"{self._name}-{self._number}"
        data = {
            "tenant_id": tenant,
            "customer_id": f"c-{self._number}",
            "site_name": tenant,
            "residency": "global",
            "administrator": {"account_id": "a-1", "name": "Ada", "email": "ada@example.com"},
            "products": [{"product": "compass", "edition": "standard", "users": 5}],
        }
        headers, value = to_structured(
            "tenant.created", data, source="/bench/tracing", id=tenant, time=_NOW, revision=1
        )
        return Message("tenantry.lifecycle", "bench", 0, self._number, None, value, headers, 0)


_NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)


def _order(number: int, step: int) -> Order:
    scope = Scope("product", f"t-{number}", "compass")
    return Order(
        scope=scope,
        step=Step.SITE,
        direction="ensure",
        generation=step + 1,
        spec=_SPEC,
        created_generations={},
        tenant=Tenant(scope.tenant_id),
        customer=Customer(""),
        placement=None,
        database=None,
        cause=Origin(f"tenant:t-{number}", _ID, _NOW, f"/bench {number}"),
    )


_SPEC: Final = MembershipSpec(product="compass", access="open")
_ID: Final = UUID(int=7)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
