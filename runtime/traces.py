"""Traces by OpenTelemetry: spans of what is sampled, sent to a collector over OTLP. Loaded only where asked for.

What is not sampled never comes here. A span has the ids that application/ports/tracing.py derived: the SDK's own
generator is asked for them. Queries of psycopg are spans only inside a span of ours; statements are without values.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from itertools import islice
from typing import Final

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, use_span
from opentelemetry.util.types import Attributes

from application.ports.resources import Order
from application.ports.tracing import SpanReference, of_event

MOST_LINKS: Final = 32


class _Ids(IdGenerator):
    """The ids of the root that this thread begins; random ones for what is inside of it."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self._next = threading.local()

    @contextmanager
    def of(self, root: SpanReference) -> Iterator[None]:
        self._next.root = root
        try:
            yield
        finally:
            self._next.root = None

    @property
    def root(self) -> SpanReference | None:
        return getattr(self._next, "root", None)

    def generate_trace_id(self) -> int:
        return int(self.root.trace_id, 16) if self.root else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return int(self.root.span_id, 16) if self.root else self._random.generate_span_id()


class _Roots(Sampler):
    """A root is sampled where it is one of ours: a query outside of any is none."""

    def __init__(self, ids: _Ids) -> None:
        self._ids = ids

    def should_sample(
        self,
        parent_context: Context | None,  # noqa: ARG002 - the SDK's signature
        trace_id: int,  # noqa: ARG002
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self._ids.root else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "roots of Tenantry"


class OtelTracer:
    """The tracer of a worker; `close` sends what was not sent yet."""

    def __init__(self, kind: str, *, endpoint: str, ratio: float, exporter: SpanExporter | None = None) -> None:
        self.ratio = ratio
        self._ids = _Ids()
        resource = Resource.create({"service.name": f"tenantry-{kind}", "service.version": version("tenantry")})
        sampler = ParentBased(_Roots(self._ids))
        self._provider = TracerProvider(sampler=sampler, id_generator=self._ids, resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("tenantry")
        self._queries = PsycopgInstrumentor()
        self._queries.instrument(tracer_provider=self._provider)

    def close_queries(self) -> None:
        """Connections that are opened from here on make no spans."""
        if self._queries.is_instrumented_by_opentelemetry:
            self._queries.uninstrument()

    def close(self) -> None:
        self.close_queries()
        self._provider.shutdown()

    @contextmanager
    def attempt(self, order: Order, root: SpanReference) -> Iterator[None]:
        scope = order.scope
        attributes: dict[str, str | int] = {
            "tenantry.scope": str(scope),
            "tenantry.step": order.step.name.lower(),
            "tenantry.direction": order.direction,
            "tenantry.generation": order.generation,
            "tenantry.attempt": order.attempt,
        }
        links = [_link(of_event(str(order.cause.id)))] if order.cause is not None else []
        name = f"{order.direction} {order.step.name.lower()} of a {scope.kind}"
        with self.bound(order, root), self._root(name, root, attributes, links):
            yield

    @contextmanager
    def batch(self, root: SpanReference, count: int, links: Callable[[], Sequence[SpanReference]]) -> Iterator[None]:
        found = [_link(each) for each in islice(links(), MOST_LINKS)]
        with self._root("intake of a batch", root, {"messaging.batch.message_count": count}, found):
            yield

    def bound(self, order: Order, root: SpanReference) -> AbstractContextManager[None]:
        correlation = order.cause.correlation if order.cause is not None else ""
        return structlog.contextvars.bound_contextvars(trace_id=root.trace_id, correlation=correlation)

    @contextmanager
    def _root(
        self, name: str, root: SpanReference, attributes: dict[str, str | int], links: Sequence[Link]
    ) -> Iterator[None]:
        """Of an error only its kind is told: its text may quote anything."""
        with self._ids.of(root):
            span = self._tracer.start_span(
                name, context=Context(), kind=SpanKind.INTERNAL, attributes=attributes, links=links
            )
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def _link(reference: SpanReference) -> Link:
    flags = TraceFlags(TraceFlags.SAMPLED if reference.sampled else TraceFlags.DEFAULT)
    return Link(SpanContext(int(reference.trace_id, 16), int(reference.span_id, 16), is_remote=True, trace_flags=flags))
