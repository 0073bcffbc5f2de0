"""The fast CloudEvents reader: the command of a usual message, at half the cost.

The reader of adapters/kafka/cloudevents_reader.py defines what a message means. The fast reader uses orjson, and
answers only where its answer is certain to be the same. Everything unusual, and everything that is refused, falls back:

    message ──▶ attributes ▶ data ▶ canonical form ▶ command ──▶ InboundMessage
                    └──────────┴──── any doubt ────────┴───────▶ cloudevents_reader.read

orjson is less strict than we are. Each difference is found without a walk over the value:

- A key that stands twice: orjson keeps the last one. In a value without escapes, the quotation marks are those of its
  keys and texts; the canonical form of a value that lost a key has fewer of them.
- Numbers: orjson writes floats in another way, and reads an integer of 20 digits as a float. The models take no float,
  except where they take any JSON (`_OPEN`); the fast reader takes only texts there.
- Depth and length: the models bound both, and the fast reader bounds them where the models take any JSON.

tests/adapters/kafka/test_fast_reader.py holds both readers equal on 100,000 damaged messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from cloudevents.core.bindings import kafka
from cloudevents.core.bindings.common import CONTENT_TYPE_HEADER
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.spec import SPECVERSION_V1_0
from cloudevents.core.v1.event import OPTIONAL_ATTRIBUTES, REQUIRED_ATTRIBUTES

from adapters.kafka import cloudevents_reader
from adapters.kafka.cloudevents_reader import (
    MAX_ID_BYTES,
    MAX_REVISION,
    MAX_SOURCE_BYTES,
    MAX_TYPE_BYTES,
    InboundMessage,
    UnreadableMessage,
    instant,
)
from adapters.kafka.message_digest import digest_of
from adapters.kafka.preserved_messages import KafkaMessage
from adapters.kafka.strict_json import MAX_ENTRIES
from domain.commands import COMMANDS, Command

MAX_BYTES: Final = 64 * 1024
"""The largest value that the fast reader takes; a usual one has 400 bytes."""

_STRUCTURED: Final = JSONFormat.CONTENT_TYPE.encode()
_JSON: Final = "application/json"
_TEXTS: Final = frozenset({*REQUIRED_ATTRIBUTES, *OPTIONAL_ATTRIBUTES})


def read(message: KafkaMessage) -> InboundMessage | UnreadableMessage:
    """The event of `message`, equal to what `cloudevents_reader.read` answers. Raises nothing."""
    return usual(message) or cloudevents_reader.read(message)


def usual(message: KafkaMessage) -> InboundMessage | None:
    """The event of a usual message; None where there is any doubt."""
    value = message.value
    if not value or len(value) > MAX_BYTES or b"\\" in value or not _is_structured(message):
        return None
    try:
        attributes = orjson.loads(value)
        data = attributes.pop("data")
        canonical = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
        quotes = canonical.count(b'"') + 2  # those of the name `data`
        revision = attributes.pop("revision", None)
        if revision is not None:
            quotes += 2
            if type(revision) is not int or not 0 <= revision <= MAX_REVISION:
                return None
        texts = "".join(attributes.values())
        if not (texts.isascii() and texts.isprintable()):
            return None
        if value.count(b'"') != quotes + 4 * len(attributes) or not attributes.keys() <= _TEXTS:
            return None
        source, id_, type_, moment = attributes["source"], attributes["id"], attributes["type"], attributes.get("time")
        time = None if moment is None else instant(moment)
        if (
            attributes["specversion"] != SPECVERSION_V1_0
            or attributes.get("datacontenttype", _JSON) != _JSON
            or not 0 < len(source) <= MAX_SOURCE_BYTES
            or not 0 < len(id_) <= MAX_ID_BYTES
            or len(type_) > MAX_TYPE_BYTES
            or (moment is not None and time is None)
        ):
            return None
        command = _command(type_, data, canonical)
    except (ValueError, LookupError, TypeError, AttributeError):  # whatever it is, the other reader tells it
        return None
    if command is None:
        return None
    return InboundMessage(
        source=source,
        id=id_,
        type=type_,
        time=time,
        revision=revision,
        command=command,
        tenant_id=data.get("tenant_id"),
        customer_id=data.get("customer_id"),
        digest=digest_of(source, id_, type_, time, revision, canonical),
    )


def _is_structured(message: KafkaMessage) -> bool:
    """Whether the headers say so, once and in the usual way."""
    found = 0
    for name, content in message.headers:
        if name == CONTENT_TYPE_HEADER and content == _STRUCTURED:
            found += 1
        elif name.lower().startswith((CONTENT_TYPE_HEADER, kafka.CE_PREFIX)):
            return False
    return found == 1


def _command(type_: str, data: dict[str, Any], canonical: bytes) -> Command | None:
    model = COMMANDS[type_]
    command = model.model_validate_json(canonical, strict=True)  # as the other reader does, from equal bytes
    for name in _OPEN[type_]:
        if not all(map(_is_plain, data.get(name, ()))):
            return None
    for entry in (data, *data.get("products", ())):
        expires_at = entry.get("expires_at")
        if expires_at is not None and instant(expires_at) is None:
            return None
    return command


def _is_plain(value: object) -> bool:
    """Whether JSON that no model bounds is a text, or an object of texts."""
    return type(value) is str or (
        type(value) is dict and len(value) <= MAX_ENTRIES and all(type(each) is str for each in value.values())
    )


def _open_fields(model: type[Command]) -> tuple[str, ...]:
    """The fields of the model that take numbers other than integers, or any JSON."""
    schema = model.model_json_schema()
    return tuple(name for name, field in schema["properties"].items() if _is_open(field, schema.get("$defs", {})))


def _is_open(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    if "$ref" in schema:
        return _is_open(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema or "const" in schema:
        return False
    if parts := schema.get("anyOf"):
        return any(_is_open(part, definitions) for part in parts)
    match schema.get("type"):
        case "string" | "integer" | "boolean" | "null":
            return False
        case "array":
            return _is_open(schema.get("items", {}), definitions)
        case "object" if schema.get("additionalProperties") is False:
            return any(_is_open(each, definitions) for each in schema.get("properties", {}).values())
        case _:
            return True


_OPEN: Final[Mapping[str, tuple[str, ...]]] = {type_: _open_fields(model) for type_, model in COMMANDS.items()}
