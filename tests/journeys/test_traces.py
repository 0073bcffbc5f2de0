"""Traces from end to end: a message with a `traceparent` comes in, and a receiver of OTLP and three others are told.

The receiver is a real end of the protocol: it decodes what the workers post, with the types of opentelemetry-proto.
The workers send to it straight, and through a real OpenTelemetry Collector where `otelcol` is installed (otelcol.py).
Every id is computed here a second time, from the log and from what was received, without the engine's code.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from adapters.kafka.clients import KafkaPythonConsumer, Message
from tests.fakes.provisioner import SECRET, Provisioner, serving
from tests.fakes.replier import from_the_start
from tests.journeys.events import created, new_tenant
from tests.journeys.otelcol import collecting
from tests.journeys.running import Running, wait_for
from tests.journeys.test_foreign_steps import COMMANDS, EXECUTORS

pytestmark = pytest.mark.endurance

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PUBLISHED = "tenantry.provisioning"


@dataclass
class Receiver:
    """What a collector was sent, span by span: kind of worker, ids, parent, links, name and attributes."""

    port: int = 0
    spans: list[dict[str, Any]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            kind = {each.key: each.value.string_value for each in group.resource.attributes}["service.name"]
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self.spans.append(
                    {
                        "kind": kind.removeprefix("tenantry-"),
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "links": [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                        "name": span.name,
                        **{each.key: each.value.string_value or each.value.int_value for each in span.attributes},
                    }
                )

    def roots(self, kind: str) -> list[dict[str, Any]]:
        return [span for span in list(self.spans) if span["kind"] == kind and not span["parent"]]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Traced:
    """A Tenantry that traces everything, and the three that it tells."""

    running: Running
    receiver: Receiver
    theirs: Provisioner

    def read(self, topic: str, count: int) -> list[Message]:
        """All messages of the topic, at least so many. A consumer that came before the topic does not find it."""
        bootstrap = self.running.said["kafka_bootstrap"]

        def look() -> list[Message]:
            consumer = KafkaPythonConsumer(
                bootstrap, group=f"traces-{time.monotonic_ns()}", topics=[topic], on_assign=from_the_start
            )
            found, deadline = list[Message](), time.monotonic() + 10
            with closing(consumer):
                while time.monotonic() < deadline and ((more := consumer.poll(0.5, 100)) or len(found) < count):
                    found.extend(more)
            return found if len(found) >= count else []

        return wait_for(look, f"messages on {topic}")


@pytest.fixture(scope="module", params=["straight", "through a collector"])
def traced(request: pytest.FixtureRequest) -> Iterator[Traced]:
    with (
        receiving() as receiver,
        serving() as theirs,
        tempfile.TemporaryDirectory(prefix="journey-") as directory,
        ExitStack() as stack,
    ):
        endpoint = receiver.endpoint
        if request.param == "through a collector":
            endpoint = stack.enter_context(collecting(endpoint, Path(directory)))
        catalog = Path(directory) / "catalog.toml"
        default = files("domain").joinpath("catalog.toml").read_text()
        catalog.write_text(default + EXECUTORS.format(address=theirs.address, commands=COMMANDS))
        settings = {
            "TENANTRY_CATALOG_FILE": str(catalog),
            "TENANTRY_WEBHOOK_SECRETS__COMPASS": SECRET,
            "TENANTRY_TRACES_ENDPOINT": endpoint,
            "TENANTRY_TRACES_RATIO": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with Running(Path(directory) / "data", settings) as running:
            yield Traced(running, receiver, theirs)


def named(name: str) -> tuple[str, str]:
    """Trace and root span of what has that name, as docs/adr/0025 derives them."""
    digest = hashlib.sha256(f"tenantry.trace.v1 {name}".encode()).hexdigest()
    return digest[:32], digest[32:48]


def header(name: str) -> str:
    trace, span = named(name)
    return f"00-{trace}-{span}-01"


EVENTS = "SELECT convert_from(state, 'UTF8')::json ->> 'id' AS id FROM stored_events WHERE originator_id LIKE %s"


def attempts_of(traced: Traced, tenant: str, *names: str) -> list[dict[str, Any]]:
    """The attempts of the tenant that were sent, when those of that name are among them."""

    def look() -> list[dict[str, Any]]:
        found = [each for each in traced.receiver.roots("provisioner") if tenant in each["tenantry.scope"]]
        return found if {named(name) for name in names} <= {(each["trace"], each["span"]) for each in found} else []

    return wait_for(look, "the spans of the attempts")


def test_a_message_is_followed_from_the_intake_to_all_that_hear_of_it(traced: Traced) -> None:
    tenant = new_tenant()
    event = created(tenant, "compass", "atlas")
    raw = event.raw()
    traced.running.send(replace(raw, headers=(*raw.headers, ("traceparent", f"00-{TRACE}-{SPAN}-01".encode()))))
    traced.running.until_level(tenant, "compass", "open")
    [command] = traced.read(COMMANDS, 1)

    def linked() -> list[dict[str, Any]]:
        return [each for each in traced.receiver.roots("intake") if each["links"]]

    [batch] = wait_for(linked, "the span of the batch")
    assert batch["links"] == [(TRACE, SPAN)], "the producer's trace is linked"
    [row] = traced.running.rows('SELECT topic, partition, "offset" AS at FROM incoming WHERE id = %s', event.id)
    assert batch["messaging.batch.message_count"] == 1
    assert (batch["trace"], batch["span"]) == named(f"batch {row['topic']}/{row['partition']}@{row['at']}")

    told = {name: value.decode() for name, value in command.headers}
    [asked] = [headers for _, _, headers, body in traced.theirs.requests if tenant.encode() in body]
    steps = [f"step {key}/1" for key in (asked["webhook-id"], told["idempotency-key"])]
    assert [asked["traceparent"], told["traceparent"]] == [header(step) for step in steps]

    attempts = attempts_of(traced, tenant, *steps)
    sent = {(each["trace"], each["span"]): each for each in attempts}
    assert [sent[named(step)]["tenantry.step"] for step in steps] == ["license", "license"]
    assert len(sent) == len(attempts), "each attempt is a trace of its own"
    events = {named(f"event {row['id']}") for row in traced.running.rows(EVENTS, f"%{tenant}%")}
    assert all(each["links"] and set(each["links"]) <= events for each in attempts), "linked to causes in the log"
    inside = [each for each in list(traced.receiver.spans) if each["kind"] == "provisioner" and each["parent"]]
    assert {each["trace"] for each in inside} & {each["trace"] for each in attempts}, "queries are inside"


def test_integration_events_carry_the_trace_of_their_id_however_often_they_are_published(traced: Traced) -> None:
    tenant = new_tenant()
    traced.running.send(created(tenant, "jira-software"))
    traced.running.until_level(tenant, "jira-software", "open")
    relayed = "SELECT (SELECT max(position) FROM relay_positions) = (SELECT max(position) FROM outbox)"
    wait_for(lambda: traced.running.one(relayed), "the relay to have published all")  # else it writes its position anew
    rows = traced.running.rows("SELECT event_id FROM outbox WHERE tenant_id = %s", tenant)
    assert traced.running.rows("DELETE FROM relay_positions RETURNING 1"), "as after a lost position: published again"

    def published() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {str(row["event_id"]): [] for row in rows}
        for message in traced.read(PUBLISHED, 2 * len(rows)):
            event_id = json.loads(message.value or b"")["id"]
            if event_id in found:
                found[event_id].append({name: value.decode() for name, value in message.headers}["traceparent"])
        return found if all(len(carried) >= 2 for carried in found.values()) else {}

    for event_id, carried in wait_for(published, f"{len(rows)} events to be published twice").items():
        assert carried == [header(f"event {event_id}")] * len(carried)


def test_no_span_tells_who_somebody_is(traced: Traced) -> None:
    tenant = new_tenant()
    traced.running.send(created(tenant, "jira-software"))
    traced.running.until_level(tenant, "jira-software", "open")
    attempts_of(traced, tenant)
    text = json.dumps(traced.receiver.spans)
    assert "journeys.example" not in text
    assert "Name of" not in text
