"""Event mapper: events as stored bytes, and stored bytes as events.

A mapper for the eventsourcing library. State is JSON of one shape for ever:

    {"v": schema version, "id": ..., "at": recorded, "cause": {...}, "corr": ..., "data": {...}}

Topics are names that the event classes chose, never module paths. The schema version is the oldest that holds what the
event says, so that it is readable for as many versions of Tenantry as can be (docs/adr/0014). Personal fields of `data`
are encrypted with the key of the customer they belong to, bound to stream, version and path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import Mapper, StoredEvent
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from application.ports.encryption import EncryptionKeys
from domain.errors import NewerEvent, UnreadableEvent, problem
from domain.event import Cause, Event, Recorded, schema_of
from domain.event_registry import REGISTRY, EventRegistry
from domain.personal import FORGOTTEN, Path, personal_paths, replace_personal
from domain.scope.state import StepCompleted

ENCRYPTED_MARK = b'"v1.'
"""What every encrypted text begins with: a state without it holds none."""


class _State(BaseModel):
    """The shape of a stored state; `data` is narrowed to the event's class for each topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    v: int
    id: UUID
    at: datetime
    cause: Cause
    corr: str
    data: Any


@dataclass(frozen=True, slots=True)
class _Reader:
    """What reads the states of a topic: validation without the layers above it, for it is done for every event."""

    validate: Callable[[bytes | str], _State]
    personal: tuple[Path, ...]
    newest: int


@cache
def _readers(registry: EventRegistry) -> Mapping[str, _Reader]:
    """A reader for each topic."""
    readers = {}
    for topic, entry in registry.by_topic.items():
        shape = create_model(f"{entry.event.__name__}State", __base__=_State, data=(entry.event, ...))
        personal = personal_paths(entry.event)
        readers[topic] = _Reader(shape.__pydantic_validator__.validate_json, personal, entry.schema)
    return readers


class EventMapper(Mapper[str]):
    """Maps `Recorded` events; the library's own transcoder is not used."""

    def __init__(self, keys: EncryptionKeys, registry: EventRegistry = REGISTRY) -> None:
        self.registry = registry
        self._keys = keys
        self._readers = _readers(registry)

    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:  # type: ignore[override]
        """The event in the library's form, personal fields encrypted."""
        event = domain_event.event
        if type(event) not in self.registry:
            raise UnreadableEvent(problem("event-unregistered", name=type(event).__name__))
        state = {
            "v": schema_of(event),
            "id": domain_event.id,
            "at": domain_event.time,
            "cause": domain_event.cause,
            "corr": domain_event.correlation,
            "data": self._encrypted(domain_event) if _holds_persons(event) else event,
        }
        return StoredEvent(domain_event.stream, domain_event.version, event.TOPIC, to_json(state))

    def _encrypted(self, recorded: Recorded) -> dict[str, Any]:
        event, subject = recorded.event, _subject(self.registry, recorded.event)
        place = _place(recorded.stream, recorded.version)
        return replace_personal(
            event.model_dump(mode="json"),
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
                raw = json.loads(state)
                raw["data"] = replace_personal(
                    raw["data"], reader.personal, lambda value, path: self._decrypted(value, stream, version, path)
                )
                read = reader.validate(json.dumps(raw))
            else:
                read = reader.validate(state)
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(stream, version, topic, state, error) from None
        if read.v > reader.newest:
            raise NewerEvent(self.registry.unreadable(stream, version, topic, read.v))
        return Recorded(stream, version, read.id, read.at, read.cause, read.corr, read.data, position)

    def _decrypted(self, value: str, stream: str, version: int, path: str) -> str:
        plain = self._keys.decrypt(value, f"{_place(stream, version)}/{path}")
        return FORGOTTEN if plain is None else plain.decode()

    def encrypted_subjects(self, events: Iterable[Recorded]) -> set[str]:
        """Whose keys the events will be encrypted with: for one query ahead of a batch."""
        return {_subject(self.registry, recorded.event) for recorded in events if _holds_persons(recorded.event)}

    def _unreadable(self, stream: str, version: int, topic: str, state: bytes, error: Exception) -> UnreadableEvent:
        """What the bytes of a known topic come to that do not fit: those of a newer schema, or damaged ones."""
        try:
            stored = int(json.loads(state)["v"])
        except (ValueError, KeyError, TypeError):
            stored = 0
        if why := self.registry.unreadable(stream, version, topic, stored):
            return NewerEvent(why)
        where = f"event {version} of {stream} ({topic})"
        if not isinstance(error, ValidationError):
            return UnreadableEvent(problem("event-misfit", where=where, reason=error))
        found = error.errors(include_input=False, include_url=False)
        for each in found:
            if each["type"] in _OF_A_NEWER_VERSION:
                at = ".".join(map(str, each["loc"]))
                return NewerEvent(problem("event-newer", where=where, at=at))
        return UnreadableEvent(problem("event-misfit", where=where, reason=found[0]["msg"]))


_OF_A_NEWER_VERSION: Final = frozenset({"extra_forbidden", "union_tag_invalid", "literal_error", "enum"})
"""Errors of pydantic that a field, kind or value gives that a later version has added, whatever its schema says."""


def _holds_persons(event: Event) -> bool:
    """Whether the event has personal fields; of a completion that is the matter of what was found."""
    holder = event.result if isinstance(event, StepCompleted) else event
    return holder is not None and bool(personal_paths(type(holder)))


def _place(stream: str, version: int) -> str:
    return f"{stream}/{version}"


def _subject(registry: EventRegistry, event: Event) -> str:
    """The owner of the key that encrypts the event."""
    subject = registry[type(event)].subject
    assert subject is not None, "the registry demands it"
    return subject(event)
