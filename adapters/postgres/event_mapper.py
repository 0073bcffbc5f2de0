"""Event mapper: events as stored bytes, and stored bytes as events.

A mapper for the eventsourcing library. State is JSON of one shape for ever:

    {"v": schema version, "id": ..., "at": recorded, "cause": {...}, "corr": ..., "data": {...}}

Topics are names that the event classes chose, never module paths. The schema version is the oldest that holds what the
event says, so that it is readable for as many versions of Tenantry as can be (docs/adr/0014). Personal fields of `data`
are encrypted with the key of the customer they belong to, bound to stream, version and path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import Mapper, StoredEvent
from msgspec import DecodeError, Struct, defstruct
from pydantic import ValidationError as PydanticError

from application.ports.encryption import EncryptionKeys
from domain.errors import NewerEvent, UnreadableEvent, problem
from domain.event import Cause, Event, Recorded, schema_of
from domain.event_registry import REGISTRY, EventRegistry
from domain.personal import FORGOTTEN, Path, personal_paths, replace_personal, says_of_persons
from domain.scope.state import StepCompleted
from domain.stored_form import ENCODER, as_json, decoder

ENCRYPTED_MARK = b'"v1.'
"""What every encrypted text begins with: a state without it holds none."""


class _State(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The shape of a stored state; for each topic `cause` and `data` are narrowed to their classes."""

    v: int
    id: UUID
    at: datetime
    cause: Any
    corr: str
    data: Any


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reads the states of a topic."""

    decode: Callable[[bytes], Any]
    personal: tuple[Path, ...]
    newest: int


@cache
def _readers(registry: EventRegistry) -> Mapping[str, _Reader]:
    """A reader for each topic."""
    readers = {}
    for topic, entry in registry.by_topic.items():
        shape = defstruct(
            f"{entry.event.__name__}State", [("cause", Cause), ("data", entry.event)], bases=(_State,), frozen=True
        )
        readers[topic] = _Reader(decoder(shape).decode, personal_paths(entry.event), entry.schema)
    return readers


class EventMapper(Mapper[str]):
    """Maps `Recorded` events; the library's own transcoder is not used."""

    def __init__(self, keys: EncryptionKeys, registry: EventRegistry = REGISTRY) -> None:
        self.registry = registry
        self._keys = keys
        self._readers = _readers(registry)

    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:  # type: ignore[override]
        """The event in the library's form, personal fields encrypted."""
        return self.to_stored(domain_event, self.subject_of(domain_event.event))

    def to_stored(self, domain_event: Recorded, subject: str | None) -> StoredEvent:
        """As `to_stored_event`, where `subject_of` has told the subject."""
        event = domain_event.event
        state = _State(
            schema_of(event),
            domain_event.id,
            domain_event.time,
            domain_event.cause,
            domain_event.correlation,
            event if subject is None else self._encrypted(domain_event, subject),
        )
        return StoredEvent(domain_event.stream, domain_event.version, event.TOPIC, ENCODER.encode(state))

    def subject_of(self, event: Event) -> str | None:
        """The owner of the key that encrypts the event; None where it holds nothing of a person.

        Raises UnreadableEvent for an event that this version does not know.
        """
        if type(event) not in self.registry:
            raise UnreadableEvent(problem("event-unregistered", name=type(event).__name__))
        if not holds_persons(event):
            return None
        subject = self.registry[type(event)].subject
        assert subject is not None, "the registry demands it"
        return subject(event)

    def _encrypted(self, recorded: Recorded, subject: str) -> dict[str, Any]:
        event = recorded.event
        place = _place(recorded.stream, recorded.version)
        return replace_personal(
            as_json(event),
            personal_paths(type(event)),
            lambda value, path: self._keys.encrypt(subject, value.encode(), f"{place}/{path}"),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """The event in our form, personal fields decrypted; raises UnreadableEvent, NewerEvent."""
        return self.to_recorded(
            str(stored_event.originator_id),
            stored_event.originator_version,
            stored_event.topic,
            stored_event.state,
            position=getattr(stored_event, "id", 0),
        )

    def to_recorded(
        self, stream: str, version: int, topic: str, state: bytes, *, position: int, personal: bool = True
    ) -> Recorded:
        """As `to_domain_event`, from the bare columns; without `personal`, encrypted fields stay encrypted."""
        reader = self._readers.get(topic)
        if reader is None:
            raise NewerEvent(self.registry.unreadable(stream, version, topic, 0))
        try:
            if personal and reader.personal and ENCRYPTED_MARK in state:
                raw = msgspec.json.decode(state)
                raw["data"] = replace_personal(
                    raw["data"], reader.personal, lambda value, path: self._decrypted(value, stream, version, path)
                )
                read = reader.decode(ENCODER.encode(raw))
            else:
                read = reader.decode(state)
        except (DecodeError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(stream, version, topic, state, error) from None
        if read.v > reader.newest:
            raise NewerEvent(self.registry.unreadable(stream, version, topic, read.v))
        return Recorded(stream, version, read.id, read.at, read.cause, read.corr, read.data, position)

    def _decrypted(self, value: str, stream: str, version: int, path: str) -> str:
        plain = self._keys.decrypt(value, f"{_place(stream, version)}/{path}")
        return FORGOTTEN if plain is None else plain.decode()

    def _unreadable(self, stream: str, version: int, topic: str, state: bytes, error: Exception) -> UnreadableEvent:
        """What the bytes of a known topic come to that do not fit: those of a newer schema, or damaged ones."""
        try:
            stored = int(msgspec.json.decode(state)["v"])
        except (DecodeError, ValueError, KeyError, TypeError):
            stored = 0
        if why := self.registry.unreadable(stream, version, topic, stored):
            return NewerEvent(why)
        where = f"event {version} of {stream} ({topic})"
        if isinstance(error.__cause__, PydanticError):
            return _misfit_of_part(where, error.__cause__)
        if newer := _OF_A_NEWER_VERSION.match(text := str(error)):
            place = _PLACE.search(text)
            at = ".".join(filter(None, (place and place["at"], newer["field"])))
            return NewerEvent(problem("event-newer", where=where, at=at or "the whole"))
        return UnreadableEvent(problem("event-misfit", where=where, reason=text))


def _misfit_of_part(where: str, error: PydanticError) -> UnreadableEvent:
    """As a part of the configuration tells it."""
    found = error.errors(include_input=False, include_url=False)
    for each in found:
        if each["type"] in _PART_OF_A_NEWER_VERSION:
            return NewerEvent(problem("event-newer", where=where, at=".".join(map(str, each["loc"]))))
    return UnreadableEvent(problem("event-misfit", where=where, reason=found[0]["msg"]))


_OF_A_NEWER_VERSION: Final = re.compile(
    r"Object contains unknown field `(?P<field>[^`]*)`|Invalid enum value |Invalid value "
)
"""Errors that a field, value or kind gives that a later version has added, whatever its schema says."""

_PLACE: Final = re.compile(r" - at `\$\.(?P<at>[^`]*)`$")

_PART_OF_A_NEWER_VERSION: Final = frozenset({"extra_forbidden", "union_tag_invalid", "literal_error", "enum"})
"""The same as pydantic says it."""


def holds_persons(event: Event) -> bool:
    """Whether a personal field of the event holds anything; of a completion, one of its result."""
    holder = event.result if isinstance(event, StepCompleted) else event
    return holder is not None and says_of_persons(holder)


def _place(stream: str, version: int) -> str:
    return f"{stream}/{version}"
