"""The CloudEvents reader: the content of a message on Kafka.

It says a command of one of the eight types; else the reader tells why not. `read` never raises: what cannot be read
comes back as `UnreadableMessage`, with a rule for programs, a line for people that repeats no input (it may be about a
person), and as much of the event's identity as could be made out.

    headers ── mode ──▶ structured: attributes and data in the value ──┐
                  └───▶ binary: attributes in ce_ headers, data alone ─┴▶ attributes ▶ type ▶ data ▶ command

The `cloudevents` library writes our events but does not read them: it forgives what we must refuse
(docs/adr/0002-cloudevents.md). Text is bounded and free of NUL because it ends in PostgreSQL, source and id
together in an index entry of at most 2,704 bytes. All JSON that leaves here is no deeper than MAX_DEPTH.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Never

from cloudevents.core.bindings import kafka
from cloudevents.core.bindings.common import CONTENT_TYPE_HEADER
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.spec import SPECVERSION_V1_0
from cloudevents.core.v1.event import OPTIONAL_ATTRIBUTES, REQUIRED_ATTRIBUTES
from msgspec import Struct
from pydantic import TypeAdapter, ValidationError

from adapters.kafka.message_digest import digest_of
from adapters.kafka.preserved_messages import KafkaMessage, preserve
from adapters.kafka.strict_json import CANONICAL, malformed, parse_json
from application.problem_texts import sentence
from domain import names
from domain.commands import COMMANDS, Command
from domain.errors import Malformed
from domain.times import in_utc

MAX_SOURCE_BYTES: Final = 1024
MAX_ID_BYTES: Final = 512
MAX_TYPE_BYTES: Final = 255
MAX_REVISION: Final = 2**31 - 1
MAX_FRACTION_DIGITS: Final = 9


class InboundMessage(Struct, frozen=True):
    """An event that can be applied. `time` is UTC.

    `digest` is SHA-256 over source, id, type, time, revision and data: the same in both modes and
    whatever the order of keys; other attributes (a trace context differs on each repetition) do not count.
    """

    source: str
    id: str
    type: str
    time: datetime | None
    revision: int | None
    command: Command
    tenant_id: str | None
    customer_id: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A message that is no event of ours. What could not be made out, or not be stored, is None.

    `digest` is SHA-256 over the message as it came.
    """

    rule: str
    explanation: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    customer_id: str | None
    digest: bytes
    body: bytes = field(repr=False)


@dataclass(slots=True)
class _Event:
    """What has been made out so far."""

    attributes: dict[str, Any] = field(default_factory=dict)
    data: Any = None


def read(message: KafkaMessage) -> InboundMessage | UnreadableMessage:
    """The event of `message`. Raises nothing."""
    event = _Event()
    try:
        structured = _take_apart(message, event)
        return _understand(event, structured=structured)
    except Malformed as refusal:
        return _give_up(message, event, refusal.rule, sentence(refusal))


def unread(message: KafkaMessage, rule: str, explanation: str) -> UnreadableMessage:
    """The message as it came, where nothing in it could be read."""
    return _give_up(message, _Event(), rule, explanation)


def tenant_in_key(message: KafkaMessage) -> str | None:
    """The tenant that the key of a message names, before the message is read."""
    return _identifier(_TENANT_ID, (message.key or b"").decode("utf-8", "replace"))


# -- the two modes -------------------------------------------------------------------------------------------

_JSON_MEDIA_TYPE: Final = JSONFormat.JSON_CONTENT_TYPE_PATTERN
_NO_CLOUDEVENT: Final = (
    f"this is no CloudEvent: set the header content-type to {JSONFormat.CONTENT_TYPE} (structured mode) "
    "or send the attributes as ce_ headers (binary mode)"
)


def _take_apart(message: KafkaMessage, event: _Event) -> bool:
    """Fill in `event`; True for structured mode."""
    headers = _cloudevents_headers(message)
    content_type = headers.pop(CONTENT_TYPE_HEADER, None)
    media_type = _media_type(content_type) if content_type is not None else None
    if media_type is not None and media_type.startswith("application/cloudevents"):
        if media_type.startswith("application/cloudevents-batch"):
            raise malformed("unsupported-mode", "batched mode is not read: send one event in each message")
        if media_type != JSONFormat.CONTENT_TYPE:
            raise malformed("unsupported-mode", f"the format is not JSON: use {JSONFormat.CONTENT_TYPE}")
        structured = True
    elif headers:
        structured = False
        for name, value in headers.items():
            event.attributes[name.removeprefix(kafka.CE_PREFIX)] = _header_text(value)
        if media_type is not None and not _JSON_MEDIA_TYPE.match(media_type):
            raise malformed("bad-data", "the content-type of the data is not JSON: use application/json")
    else:
        structured = True
        if media_type is not None:
            raise malformed("not-cloudevent", _NO_CLOUDEVENT)
    parsed = parse_json(message.value)
    if not structured:
        event.data = parsed
        return False
    if not isinstance(parsed, dict) or (content_type is None and "specversion" not in parsed):
        raise malformed("not-cloudevent", _NO_CLOUDEVENT)
    event.data = parsed.pop("data", None)
    event.attributes = parsed
    return True


def _cloudevents_headers(message: KafkaMessage) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, value in message.headers:
        name = name.lower()  # noqa: PLW2901
        if name == CONTENT_TYPE_HEADER or name.startswith(kafka.CE_PREFIX):
            if name in found:
                raise malformed("bad-attribute", "a ce_ or content-type header stands twice: send each once")
            found[name] = value
    return found


@lru_cache(maxsize=64)
def _media_type(content_type: bytes) -> str:
    text = content_type.decode("utf-8", "replace").lower()
    media_type, *parameters = [part.strip() for part in text.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise malformed("not-json", "the charset is not UTF-8: send JSON in UTF-8")
    return media_type


def _header_text(value: bytes | None) -> str:
    try:
        return (value or b"").decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("bad-attribute", "a ce_ header is not UTF-8: send text in UTF-8") from None


# -- attributes ----------------------------------------------------------------------------------------------

_EXTENSION_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_ANY_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EXAMPLE: Final = "send it like 2026-01-31T12:00:00Z"
_USUAL: Final = frozenset({*REQUIRED_ATTRIBUTES, *OPTIONAL_ATTRIBUTES, "revision"})
_LIMITS: Final = {"source": MAX_SOURCE_BYTES, "id": MAX_ID_BYTES, "type": MAX_TYPE_BYTES}


def _understand(event: _Event, *, structured: bool) -> InboundMessage:
    attributes, data = event.attributes, event.data
    for name, value in attributes.items():
        if name not in _USUAL or type(value) is not str or not (value.isascii() and value.isprintable()):
            _check_attribute(name, value)
    if attributes.get("specversion") != SPECVERSION_V1_0:
        raise malformed("not-cloudevent", f"specversion is not the text {SPECVERSION_V1_0}: send that one")
    source, id_, type_ = [_required(attributes, name) for name in _LIMITS]
    content_type = attributes.get("datacontenttype")
    if content_type is not None and not (
        isinstance(content_type, str) and _JSON_MEDIA_TYPE.match(_media_type(content_type.encode()))
    ):
        raise malformed("bad-data", "datacontenttype is not JSON: use application/json or leave it out")
    time = _time(attributes.get("time"))
    revision = _revision(attributes.get("revision"), structured=structured)
    model = COMMANDS.get(type_)
    if model is None:
        _unknown_type(type_)
    if not isinstance(data, dict):
        raise malformed("bad-data", "data is missing or no JSON object: send the fields in one")
    canonical = CANONICAL.encode(data).encode()
    command = _command(model, data, canonical)
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


def _check_attribute(name: str, value: object) -> None:
    """The names and types of the CloudEvents specification; null is the same as missing."""
    if name == "data_base64":
        raise malformed("bad-data", "data_base64 is not read: send the JSON object itself as data")
    if name == "data" or not _EXTENSION_NAME.fullmatch(name):
        raise malformed("bad-attribute", "the name of an attribute is not 1 to 64 of a-z, 0-9: rename it")
    if isinstance(value, str):
        if _CONTROL.search(value):
            raise malformed("bad-attribute", f"attribute {name} holds control characters: leave them out")
    elif isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise malformed("bad-attribute", f"attribute {name} does not fit 32 bits: send a smaller one")
    elif value is not None:
        raise malformed("bad-attribute", f"attribute {name} is no text, integer or boolean: send one")


def _required(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name)
    if not isinstance(value, str) or not value:
        raise malformed("bad-attribute", f"attribute {name} is missing, empty or no text: send it")
    if len(value.encode()) > _LIMITS[name]:
        raise malformed("bad-attribute", f"attribute {name} is too long: send at most {_LIMITS[name]} bytes")
    return value


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    if time := instant(text):
        return time
    raise malformed("bad-attribute", f"attribute time {_no_instant(text)}")


def instant(text: object) -> datetime | None:
    if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
        return None
    try:
        return in_utc(datetime.fromisoformat(text.upper()))
    except ValueError:  # the 31st of February
        return None


def _no_instant(text: object) -> str:
    """What is wrong with a time that `instant` has refused."""
    parts = _ANY_RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if parts is None:
        return f"is not RFC 3339 with a zone: {_EXAMPLE}"
    if parts["second"] == "60":
        return "is a leap second, which no clock here can hold: send second 59 of that minute, or the second after it"
    if len(parts["fraction"] or "") > MAX_FRACTION_DIGITS:
        return f"has more than {MAX_FRACTION_DIGITS} digits of a second's fraction: send {MAX_FRACTION_DIGITS} at most"
    return f"is no time of the calendar in the years 1 to 9999, in UTC as well: {_EXAMPLE}"


def _revision(value: object, *, structured: bool) -> int | None:
    if value is None:
        return None
    if not structured and isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if type(value) is int and 0 <= value <= MAX_REVISION:
        return value
    desired_state = "a JSON integer" if structured else "decimal digits"
    raise malformed("bad-attribute", f"attribute revision is not {desired_state} up to {MAX_REVISION}: send it so")


def _unknown_type(type_: str) -> Never:
    near = difflib.get_close_matches(type_, COMMANDS, n=1)
    remedy = f"did you mean {near[0]}? " if near else ""
    raise malformed("unknown-type", f"attribute type is unknown: {remedy}known are {', '.join(COMMANDS)}")


# -- data ----------------------------------------------------------------------------------------------------


def _command(model: type[Command], data: dict[str, Any], canonical: bytes) -> Command:
    try:
        # Strict, or "5" would do for 5; from text, or lists and dates would be refused as well.
        command = model.model_validate_json(canonical, strict=True)
    except ValidationError as error:
        raise malformed("bad-data", _problems(model, error)) from None
    for entry in (data, *data.get("products", ())):
        expires_at = entry.get("expires_at")
        # Pydantic takes "1767225600" for a time as well.
        if expires_at is not None and instant(expires_at) is None:
            raise malformed("bad-data", f"expires_at {_no_instant(expires_at)}")
    return command


def _problems(model: type[Command], error: ValidationError) -> str:
    """The first three, in one line. Names of unknown fields are input too: only near misses are repeated."""
    errors = error.errors(include_url=False, include_context=False)
    lines = []
    for each in errors[:3]:
        *parents, last = ("data", *each["loc"])
        text = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(last), _FIELDS, n=1, cutoff=0.8)
            parents, last = (parents, last) if near else (parents[:-1], parents[-1])
            text = f"unknown field, did you mean {near[0]}?" if near else "holds an unknown field: remove it"
        elif last == "expires_at" and isinstance(each["input"], str):
            text = _no_instant(each["input"])
        lines.append(f"{'.'.join(map(str, [*parents, last]))}: {text}")
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return f"the data of {_TYPES[model]} does not fit: {'; '.join(lines)}{more}"


def _field_names() -> Sequence[str]:
    schemas = [schema for model in COMMANDS.values() for schema in _objects(model.model_json_schema())]
    return sorted({name for schema in schemas for name in schema["properties"]})


def _objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in (schema, *schema.get("$defs", {}).values()) if "properties" in part]


_FIELDS: Final = _field_names()
_TYPES: Final[Mapping[type[Command], str]] = {model: type_ for type_, model in COMMANDS.items()}


# -- what cannot be read -------------------------------------------------------------------------------------

_TENANT_ID: Final = TypeAdapter[str](names.TenantId)
_CUSTOMER_ID: Final = TypeAdapter[str](names.CustomerId)


def _give_up(message: KafkaMessage, event: _Event, rule: str, explanation: str) -> UnreadableMessage:
    body = preserve(message)
    source, id_, type_ = [_storable(event.attributes.get(name), limit) for name, limit in _LIMITS.items()]
    data = event.data if isinstance(event.data, dict) else {}
    return UnreadableMessage(
        rule=rule,
        explanation=explanation,
        source=source,
        id=id_,
        type=type_,
        tenant_id=_identifier(_TENANT_ID, data.get("tenant_id")),
        customer_id=_identifier(_CUSTOMER_ID, data.get("customer_id")),
        digest=hashlib.sha256(body).digest(),
        body=body,
    )


def _storable(value: object, limit: int) -> str | None:
    if not isinstance(value, str) or not value or _CONTROL.search(value) or len(value.encode()) > limit:
        return None
    return value


def _identifier(kind: TypeAdapter[str], value: object) -> str | None:
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError:
        return None
