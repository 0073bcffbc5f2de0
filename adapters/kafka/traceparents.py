"""Traceparents of incoming messages: where a producer said to which trace a message belongs.

As the CloudEvents extension (an attribute, or `ce_traceparent`), or as the header `traceparent`. Looked for only where
a batch is sampled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapters.kafka.ports import Message
from application.ports.tracing import SpanReference


def traceparents(messages: Sequence[Message]) -> list[SpanReference]:
    """Those of the messages that have one that can be read; each once."""
    found = (SpanReference.parse(text) for message in messages if (text := _text_of(message)))
    return list(dict.fromkeys(each for each in found if each is not None))


def _text_of(message: Message) -> str | None:
    for name, value in message.headers:
        if name.lower() in ("traceparent", "ce_traceparent"):
            return value.decode("ascii", "replace")
    if message.value is None or b'"traceparent"' not in message.value:
        return None
    try:
        attribute = json.loads(message.value)["traceparent"]
    except (ValueError, KeyError, TypeError):
        return None
    return attribute if isinstance(attribute, str) else None
