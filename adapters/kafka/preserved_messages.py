"""Preserved messages: a Kafka message as it came, in one text, for the waiting messages and the quarantine.

`preserve` writes key, value and headers as JSON; `restore` returns them to the byte.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from domain.errors import TenantryError, problem

Headers = tuple[tuple[str, bytes], ...]


class KafkaMessage(Protocol):
    """The part of a Kafka message that an event is read from."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Preserved:
    """A message out of the backlog or the quarantine, as it came; `read` takes it."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def preserve(message: KafkaMessage) -> bytes:
    """Key, value and headers as JSON that people can read too: bytes that are UTF-8 stand there as text."""
    return json.dumps(
        {
            "form": 1,
            "key": _pack(message.key),
            "headers": [[name, _pack(value)] for name, value in message.headers],
            "value": _pack(message.value),
        },
        separators=(",", ":"),
    ).encode()


def restore(body: bytes) -> Preserved:
    """What `preserve` was given. Raises TenantryError where the bytes are not from it."""
    try:
        parts = json.loads(body)
        if parts["form"] != 1:
            raise TenantryError(problem("kept-message-newer"))
        headers = tuple((name, _unpack(value)) for name, value in parts["headers"])
        return Preserved(key=_unpack(parts["key"]), value=_unpack(parts["value"]), headers=headers)
    except (ValueError, TypeError, KeyError):
        raise TenantryError(problem("kept-message-damaged")) from None


def _pack(content: bytes | None) -> str | list[str] | None:
    if content is None:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return [base64.b64encode(content).decode()]


def _unpack(packed: Any) -> Any:
    if packed is None or isinstance(packed, str):
        return packed if packed is None else packed.encode("utf-8")
    (encoded,) = packed
    return base64.b64decode(encoded, validate=True)
