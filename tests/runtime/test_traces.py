"""Are traces derived from what is recorded, linked to their causes, and absent where nobody asks for them?"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import structlog
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.kafka.ports import Message
from adapters.kafka.traceparents import traceparents
from application.ports import tracing
from application.ports.resources import Order
from application.ports.tracing import SpanReference, attempted, derived, of_event, taken_in, traceparent_of
from domain.errors import Permanent
from domain.event import Origin
from domain.scope.steps import MembershipSpec, Scope, Step
from runtime.traces import OtelTracer
from tests.adapters.provisioners.orders import order
from tests.domain.given import JIRA

CAUSE = Origin("tenant:t-1", UUID(int=7), datetime(2026, 6, 1, tzinfo=UTC), "/commerce 17")
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def an_order(attempt: int = 1) -> Order:
    made = order(Scope("product", "t-1", JIRA), Step.SITE, MembershipSpec(product=JIRA, access="open"), generation=5)
    return replace(made, attempt=attempt, cause=CAUSE)


def message(value: bytes, *headers: tuple[str, bytes]) -> Message:
    return Message("tenantry.lifecycle", "id", 2, 9, None, value, headers, 0)


class Recording:
    def __init__(self, ratio: float) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = OtelTracer("test", endpoint="", ratio=ratio, exporter=self.exporter)
        self.end = tracing.trace_with(self.tracer)

    def spans(self) -> list[ReadableSpan]:
        self.end()
        self.tracer.close()
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def recording() -> Iterator[Recording]:
    made = Recording(1.0)
    yield made
    if tracing.is_on():
        made.spans()


def test_an_attempt_is_a_root_span_with_derived_ids_that_is_linked_to_its_cause(recording: Recording) -> None:
    with attempted(an_order()):
        assert structlog.contextvars.get_contextvars()["correlation"] == "/commerce 17"
    with pytest.raises(Permanent), attempted(an_order(2)):
        raise Permanent("Ada Lovelace is not known")
    first, second = recording.spans()
    expected = derived("step product:t-1:jira-software/2/ensure/5/1")
    context = first.get_span_context()
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (expected.trace_id, expected.span_id)
    assert first.parent is None
    assert first.attributes is not None
    assert first.attributes["tenantry.scope"] == "product:t-1:jira-software"
    [link] = first.links
    assert f"{link.context.trace_id:032x}" == of_event(str(CAUSE.id)).trace_id
    assert second.get_span_context() != context, "each attempt has a trace of its own"
    assert (second.status.status_code.name, second.status.description) == ("ERROR", "Permanent")
    assert "Lovelace" not in second.to_json()
    assert "trace_id" not in structlog.contextvars.get_contextvars()


def test_the_same_attempt_has_the_same_trace_wherever_it_is_computed(recording: Recording) -> None:
    header = traceparent_of(an_order())
    assert header == traceparent_of(an_order())
    assert header != traceparent_of(an_order(2))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", str(header))
    assert SpanReference.parse(str(header)) == derived("step product:t-1:jira-software/2/ensure/5/1")


def test_a_batch_is_one_span_that_is_linked_to_what_its_messages_said(recording: Recording) -> None:
    messages = [
        message(b"{}", ("ce_traceparent", INCOMING.encode())),
        message(f'{{"traceparent":"{INCOMING}"}}'.encode()),
        message(b'{"traceparent":7}'),
        message(b'"traceparent"'),
        message(b"{}", ("traceparent", b"nonsense")),
    ]
    with taken_in("tenantry.lifecycle/2@9", len(messages), lambda: traceparents(messages)):
        pass
    [span] = recording.spans()
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 5
    assert [f"{link.context.trace_id:032x}" for link in span.links] == ["0af7651916cd43dd8448eb211c80319c"]


def test_of_all_traces_the_share_is_sampled_always_the_same_ones() -> None:
    sampled = {number for number in range(20_000) if derived(str(number), ratio=0.01).sampled}
    assert 120 < len(sampled) < 280
    assert sampled == {number for number in range(20_000) if derived(str(number), ratio=0.01).sampled}
    recording = Recording(0.0)
    assert str(traceparent_of(an_order())).endswith("-00")
    with attempted(an_order()):
        assert structlog.contextvars.get_contextvars()["trace_id"], "the log lines carry it all the same"
    assert recording.spans() == []


@pytest.mark.parametrize(
    "text", ["", "00-0-0-01", f"ff{INCOMING[2:]}", INCOMING.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)]
)
def test_what_is_no_traceparent_is_left_alone(text: str) -> None:
    assert SpanReference.parse(text) is None


def test_without_a_tracer_nothing_is_made_and_no_library_is_loaded() -> None:
    assert traceparent_of(an_order()) is None
    with attempted(an_order()), taken_in("t/0@1", 1, lambda: pytest.fail("asked")):
        assert "trace_id" not in structlog.contextvars.get_contextvars()
    code = (
        "import sys, workers.roles, runtime.compose.tracing;"
        "sys.exit(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
