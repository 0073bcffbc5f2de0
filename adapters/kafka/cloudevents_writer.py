"""The CloudEvents writer: events as messages of Kafka in either mode (docs/adr/0002-cloudevents.md)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from adapters.kafka.preserved_messages import Headers


def to_structured(
    type: str,  # noqa: A002
    data: Mapping[str, Any],
    *,
    source: str,
    id: str,  # noqa: A002
    time: datetime,
    revision: int | None = None,
) -> tuple[Headers, bytes]:
    """Headers and value of an event in structured mode. `data` is JSON, and need not fit `type`."""
    event = _event(type, data, source=source, id=id, time=time, revision=revision)
    message = kafka.to_structured(event, JSONFormat())
    return tuple(message.headers.items()), message.value


def to_binary(
    type: str,  # noqa: A002
    data: Mapping[str, Any],
    *,
    source: str,
    id: str,  # noqa: A002
    time: datetime,
    revision: int | None = None,
) -> tuple[Headers, bytes]:
    """Headers and value of an event in binary mode."""
    event = _event(type, data, source=source, id=id, time=time, revision=revision)
    message = kafka.to_binary(event, JSONFormat())
    return tuple(message.headers.items()), message.value


def _event(type_: str, data: Mapping[str, Any], **attributes: object) -> CloudEvent:
    given = {name: value for name, value in attributes.items() if value is not None}
    return CloudEvent({"type": type_, "datacontenttype": "application/json", **given}, dict(data))
