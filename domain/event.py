"""Event envelope: what is recorded with each event, and how events are linked to each other.

An `Event` is the frozen body of a fact: what happened, in the past tense. `Recorded` is that fact at its place in a
stream, with who caused it. Decide functions return events; the lifecycle application records them.
A stored event is never edited: a new field is `added_in` a schema version, with a default (docs/adr/0014).

Events and the values inside them are msgspec Structs (docs/adr/0021): made in a tenth of the time of a validated model.
The type checker watches over what our own code makes; what is read from the log is checked as it is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Final, Literal, Self, dataclass_transform
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domain.personal import OMITTED, Path, fields_inside
from domain.times import counted


def stored_as(name: str, *, default: Any = msgspec.NODEFAULT) -> Any:
    """A field of an event that is stored under an older name: what is in the log stays as it is."""
    return msgspec.field(name=name, default=default)


def added_in(schema: int, *, default: Any) -> Any:
    """A field that schema version `schema` of the event (or cause) adds, in it or in a value inside it.

    It is written only where it is not `default`: an event without it stays one of the schema before. The default is
    None, False, 0 or empty.
    """
    return _Omitted(schema, default)


def omitted(*, default: Any) -> Any:
    """A field that is written only where it is not `default`."""
    return _Omitted(1, default)


class _Omitted(Struct, frozen=True):
    schema: int
    default: Any


class _ValueMeta(msgspec.StructMeta):
    """Fields are named where a value is made; those that are not always written are listed in the class.

    msgspec leaves a field out (`omit_defaults`) where it holds the very object that is its default, and never one whose
    default a factory makes. So every default that is written is made by a factory.
    """

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        found = {key: each for key, each in namespace.items() if isinstance(each, _Omitted)}
        for key, each in found.items():
            if each.default not in _SINGLE:
                raise TypeError(f"{name}.{key}: two objects may equal its default; let it be None, False, 0 or empty")
        fields = namespace.get("__annotations__", {})
        inherited = {key: each for base in reversed(bases) for key, each in getattr(base, OMITTED, {}).items()}
        namespace |= {
            key: each.default if isinstance(each, _Omitted) else _always_written(each)
            for key, each in namespace.items()
            if key in fields and "ClassVar" not in str(fields[key])
        }
        namespace[OMITTED] = inherited | {key: (each.schema, each.default) for key, each in found.items()}
        return super().__new__(mcs, name, bases, namespace, kw_only=True, **config)


def _always_written(default: Any) -> Any:
    """A field that is written also where it holds its default."""
    field = default if isinstance(default, type(msgspec.field())) else msgspec.field(default=default)
    if field.default is msgspec.NODEFAULT:
        return field
    return msgspec.field(name=field.name, default_factory=lambda: field.default)


_SINGLE: Final = (None, False, 0, "", ())
"""Values of which Python has one object each."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(stored_as, added_in, omitted))
class Value(Struct, metaclass=_ValueMeta, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A frozen value of the domain, compared by its content. It is in no cycle: the garbage collector skips it."""


class Event(Value):
    """The body of a fact. Each class names its TOPIC for ever, so that files may move.

    SCHEMA_VERSION is the oldest schema in which it is written. A field that came later says so itself (`added_in`).
    """

    TOPIC: ClassVar[str]
    SCHEMA_VERSION: ClassVar[int] = 1


def fields_of(model: type[Event] | type[Cause]) -> dict[str, int]:
    """Every field of it and of the values inside it, as it is stored (`parts.*.size`), with the schema version that it
    came with: a field inside one that was added came with that one, or later."""
    found: dict[Path, int] = {}
    for field in fields_inside(model):
        around = max((found.get(field.stored[:length], 1) for length in range(1, len(field.stored))), default=1)
        found[field.stored] = max(field.schema, around)
    return {".".join(stored): schema for stored, schema in found.items()}


def newest_schema(model: type[Event] | type[Cause]) -> int:
    """The newest schema version of it that this version of Tenantry reads."""
    return max([_oldest_schema(model), *(field.schema for field in fields_inside(model))])


def schema_of(value: Event | Cause) -> int:
    """The oldest schema version that holds all that this event (or cause) says: the one that it is written in."""
    return max(_oldest_schema(type(value)), _schema_within(value))


def _oldest_schema(model: type[Event] | type[Cause]) -> int:
    return model.SCHEMA_VERSION if issubclass(model, Event) else 1


def _schema_within(node: object) -> int:
    """The newest schema of the added fields that say something, in the value or in those inside it."""
    if isinstance(node, Value):
        newest = 1
        added, inner = _added_fields(type(node))
        for name, schema, default in added:
            if schema > newest and getattr(node, name) != default:
                newest = schema
        for name in inner:
            newest = max(newest, _schema_within(getattr(node, name)))
        return newest
    if isinstance(node, Mapping):
        node = tuple(node.values())
    return max(map(_schema_within, node), default=1) if isinstance(node, tuple) else 1


@cache
def _added_fields(model: type[Value]) -> tuple[tuple[tuple[str, int, Any], ...], tuple[str, ...]]:
    """Name, schema version and default of each field that was added to the model; and which of its fields may hold
    values with such fields."""
    added = [field for field in fields_inside(model) if field.schema > 1]
    own = tuple((field.path[0], field.schema, field.default) for field in added if len(field.path) == 1)
    return own, tuple(dict.fromkeys(field.path[0] for field in added if len(field.path) > 1))


Channel = Literal["terminal", "console"]
"""The way by which an operator's act came."""


class ActOrigin(Value):
    """What an act has beside its operator's name: the identity, and the version that the operator had seen."""

    channel: Channel
    issuer: str
    subject: str
    seen: str | None = None


class Cause(Value):
    """Why an event was recorded.

    `message`: a CloudEvent, by its source and id, with its time and its place on Kafka. `operator`: a person's act,
    with its origin (domain/operator.py). `event`: an earlier event of ours, by the id it was recorded with (source is
    its stream).
    """

    kind: Literal["message", "operator", "event"]
    source: str
    id: str
    time: datetime | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    act: ActOrigin | None = added_in(2, default=None)


class Recorded(Struct, frozen=True, gc=False):
    """An event at its place. `stream` and `version` (from 1) make it unique; `time` is when it was recorded (UTC).

    `correlation` is shared by everything that follows from one message or act. `position` is its place in the whole
    log, 0 while it is not yet known. Raises nothing.
    """

    stream: str
    version: int
    id: UUID
    time: datetime
    cause: Cause
    correlation: str
    event: Event
    position: int = 0

    @property
    def originator_id(self) -> str:
        """The name that the eventsourcing library gives to a stream."""
        return self.stream

    @property
    def originator_version(self) -> int:
        return self.version

    @property
    def happened(self) -> datetime:
        """The later of the message's own time and the time of recording, as far as that counts: where retention
        starts."""
        return counted(self.cause.time, self.time)


class Origin(Struct, frozen=True):
    """The event that last changed a part of a state: what the saga's own events name as their cause."""

    stream: str
    id: UUID
    time: datetime
    correlation: str


def origin_of(recorded: Recorded) -> Origin:
    return Origin(recorded.stream, recorded.id, recorded.time, recorded.correlation)


class Folded(Struct, frozen=True):
    """What events are folded into."""

    def but(self, **changes: object) -> Self:
        """A copy with those fields changed; TypeError where it has no such field."""
        return replace(self, **changes)
