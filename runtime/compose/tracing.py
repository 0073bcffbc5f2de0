"""Traces of a worker, where the setting `traces_endpoint` asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from application.ports.tracing import trace_with
from domain.errors import UsageError, problem
from runtime.settings import Settings


@contextmanager
def traced(settings: Settings, kind: str) -> Iterator[None]:
    """Make traces while the block runs. Raises UsageError where the extra is not installed."""
    if settings.traces_endpoint is None:
        yield
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise UsageError(problem("traces-not-installed"))
    from runtime.traces import OtelTracer  # noqa: PLC0415 - only who asks for traces loads their library

    tracer = OtelTracer(kind, endpoint=settings.traces_endpoint, ratio=settings.traces_ratio)
    end = trace_with(tracer)
    try:
        yield
    finally:
        end()
        tracer.close()
