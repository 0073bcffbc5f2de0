"""Publication of CloudEvents from a file to Kafka, and the JSON Schemas of the incoming events."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.kafka import json_schemas
from adapters.kafka.strict_json import parse_json
from application.problem_texts import sentence
from application.progress import Progress
from cli.command import command
from cli.output import Report
from cli.progress import progress
from domain.errors import Malformed, Unavailable, UsageError, problem
from runtime.compose import Parts
from runtime.compose.contexts import context_reader_of
from runtime.compose.kafka import producer_of

STRUCTURED = (("content-type", b"application/cloudevents+json"),)
FLUSH_EVERY = 1000


@command
def publish(
    parts: Parts,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="CloudEvents, one a line; - reads stdin.")],
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Wait until all are in the log, and print the freshness token."),
    ] = None,
) -> Report:
    """Publish CloudEvents from a file: customers to the commerce topic, all others to the lifecycle topic.

    A line is sent as it is, and the intake checks it; only a line that is no JSON object, as the intake reads JSON, is
    refused here, before anything is sent. Publishing a file twice is harmless: the second copies count as duplicates.
    With --wait the token is a position of the log: a look-up with it (Tenancy-At-Least) knows of all of them.
    """
    lines = list(_lines(file))
    with progress("publishing") as say, closing(producer_of(parts)) as producer:
        for number, (event, line) in enumerate(lines, 1):
            topic, key = _address(parts, event)
            producer.send(topic, key=key, value=line, headers=STRUCTURED)
            if number % FLUSH_EVERY == 0:
                producer.flush()
                say(Progress(number, len(lines), number))
        producer.flush()
        say(Progress(len(lines), len(lines), len(lines)))
    if wait is None:
        return Report({"published": len(lines)}, [f"published {len(lines)} events"])
    token = _token(parts, [event for event, _ in lines], wait)
    return Report({"published": len(lines), "token": token}, [f"published {len(lines)} events", f"token {token}"])


def _token(parts: Parts, events: list[dict[str, Any]], seconds: float) -> int:
    """A position at or after all that the events came to. Raises Unavailable where they are not taken in in time."""
    left = {(event["source"], event["id"]) for event in events if _has_name(event)}
    reader, end = context_reader_of(parts), time.monotonic() + seconds
    while left:
        left = {each for each in left if not reader.is_taken_in(*each)}
        if left and time.monotonic() > end:
            source, id_ = min(left)
            raise Unavailable(
                problem(
                    "publish-not-recorded",
                    left=len(left),
                    events=len(events),
                    seconds=f"{seconds:g}",
                    id=id_,
                    source=source,
                )
            )
        if left:
            time.sleep(0.02)
    return reader.committed().upto.position


def _has_name(event: dict[str, Any]) -> bool:
    return isinstance(event.get("source"), str) and isinstance(event.get("id"), str)


def _lines(file: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each line with its JSON object; UsageError names the first line that has none."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(problem("events-file-unreadable", file=file, reason=error.strerror)) from None
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            event = parse_json(line)
        except Malformed as refusal:
            raise UsageError(problem("event-refused", file=file, number=number, refusal=sentence(refusal))) from None
        if not isinstance(event, dict):
            raise UsageError(problem("event-no-object", file=file, number=number))
        yield event, line


def _address(parts: Parts, event: dict[str, Any]) -> tuple[str, bytes | None]:
    """Topic and key: one tenant's events are in one partition, in order."""
    data = event.get("data")
    data = data if isinstance(data, dict) else {}
    if event.get("type") == "commerce.customer.updated":
        topic, key = parts.settings.commerce_topic, data.get("customer_id")
    else:
        topic, key = parts.settings.lifecycle_topic, data.get("tenant_id")
    return topic, key.encode() if isinstance(key, str) else None


@command
def schemas(
    directory: Annotated[Path, typer.Option("--into", help="Where to write them.")] = Path("docs/schemas"),
) -> Report:
    """Write the JSON Schemas of the eight events that Tenantry takes in."""
    json_schemas.write(directory)
    written = sorted(path.name for path in directory.glob("*.json"))
    return Report({"directory": str(directory), "schemas": written}, [f"wrote {len(written)} schemas into {directory}"])
