"""How does a fact become bytes, and bytes a fact?

A mapper for the eventsourcing library. State is JSON of one shape for ever:

    {"v": schema version, "id": ..., "at": recorded, "cause": {...}, "corr": ..., "data": {...}}

Topics are names that the event classes chose, never module paths. Personal fields of `data` are sealed under the key of
the customer they belong to, bound to stream, version and path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Mapper, StoredEvent
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from application.ports import EncryptionKeys
from domain import configuration, customer, operator_events, service_keys
from domain.errors import UnreadableEvent
from domain.event import Cause, Event, Recorded
from domain.personal import FORGOTTEN, Path, personal_paths, replace_personal
from domain.scope import state as provisioning
from domain.tenant import events as tenant_events
from domain.tenant import state as tenants

EVENTS: tuple[type[Event], ...] = (
    customer.CustomerUpdated,
    customer.CustomerMessageStale,
    tenant_events.TenantCreated,
    tenant_events.TenantDestroyed,
    tenant_events.ProductActivated,
    tenant_events.ProductDeactivated,
    tenant_events.ProductSuspended,
    tenant_events.ProductUnsuspended,
    tenant_events.LicenseUpdated,
    tenant_events.TenantMessageStale,
    tenant_events.TenantRestored,
    tenant_events.TenantPurgeStarted,
    tenant_events.TenantPurged,
    tenant_events.PurgeStarted,
    tenant_events.LicenseExpired,
    tenant_events.ApprovalRequested,
    tenant_events.ClosingHeld,
    tenant_events.ChangesApproved,
    tenant_events.ChangesRejected,
    provisioning.StepStarted,
    provisioning.StepCompleted,
    provisioning.StepFailed,
    provisioning.StepBlocked,
    provisioning.StepMissing,
    provisioning.ScopeConverged,
    provisioning.ScopeFailed,
    provisioning.ScopePutOnHold,
    provisioning.ScopeResumed,
    provisioning.DataAbandoned,
    provisioning.EnsureRequested,
    operator_events.OrphansMarkedForRemoval,
    operator_events.OrphansRemoved,
    operator_events.MessageDiscarded,
    operator_events.MessageRetried,
    operator_events.ReadModelsRebuilt,
    operator_events.PreviousReadModelsDropped,
    configuration.ConfigurationAdopted,
    operator_events.IntakePositionMoved,
    operator_events.MessagesReread,
    service_keys.ServiceKeyPublished,
    service_keys.ServiceKeyRevoked,
)
"""Every event there is: what is not here cannot be stored."""


ENCRYPTED_MARK = b'"v1.'
"""What every sealed text begins with: a state without it holds none."""


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
    """What reads the states of a topic: validation without the layers above it, for it is done for every fact."""

    validate: Callable[[bytes | str], _State]
    personal: tuple[Path, ...]
    newest: int


def _reader(cls: type[Event]) -> _Reader:
    shape = create_model(f"{cls.__name__}State", __base__=_State, data=(cls, ...))
    return _Reader(shape.__pydantic_validator__.validate_json, personal_paths(cls), cls.SCHEMA_VERSION)


_READERS: dict[str, _Reader] = {cls.TOPIC: _reader(cls) for cls in EVENTS}
_CLASSES: dict[str, type[Event]] = {cls.TOPIC: cls for cls in EVENTS}
assert len(_CLASSES) == len(EVENTS), "two events chose one topic"


class EventMapper(Mapper[str]):
    """Maps `Recorded` facts; the library's own transcoder is not used."""

    def __init__(self, keys: EncryptionKeys) -> None:
        self._keys = keys

    def to_stored_event(self, domain_event: Recorded) -> StoredEvent:  # type: ignore[override]
        """The fact in the library's form, personal fields sealed."""
        event = domain_event.event
        if type(event) is not _CLASSES.get(event.TOPIC):
            raise UnreadableEvent(f"{type(event).__name__} is not in EVENTS of the mapper: add it there")
        state = {
            "v": event.SCHEMA_VERSION,
            "id": domain_event.id,
            "at": domain_event.time,
            "cause": domain_event.cause,
            "corr": domain_event.correlation,
            "data": self._sealed(domain_event) if _holds_persons(event) else event,
        }
        return StoredEvent(domain_event.stream, domain_event.version, event.TOPIC, to_json(state))

    def _sealed(self, recorded: Recorded) -> dict[str, Any]:
        event, subject = recorded.event, _subject(recorded.event)
        place = _place(recorded.stream, recorded.version)
        return replace_personal(
            event.model_dump(mode="json"),
            personal_paths(type(event)),
            lambda value, path: self._keys.seal(subject, value.encode(), f"{place}/{path}"),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Recorded:
        """The fact in our form, personal fields unsealed; raises UnreadableEvent."""
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
        """As `to_domain_event`, from the bare columns; without `personal`, sealed fields stay sealed."""
        reader = _READERS.get(topic)
        if reader is None:
            raise UnreadableEvent(unreadable(stream, version, topic, 0))
        try:
            if personal and reader.personal and ENCRYPTED_MARK in state:
                raw = json.loads(state)
                raw["data"] = replace_personal(
                    raw["data"], reader.personal, lambda value, path: self._unsealed(value, stream, version, path)
                )
                read = reader.validate(json.dumps(raw))
            else:
                read = reader.validate(state)
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise UnreadableEvent(_why(stream, version, topic, state, error)) from None
        if read.v > reader.newest:
            raise UnreadableEvent(_why(stream, version, topic, state, None))
        return Recorded(stream, version, read.id, read.at, read.cause, read.corr, read.data, position)

    def _unsealed(self, value: str, stream: str, version: int, path: str) -> str:
        plain = self._keys.unseal(value, f"{_place(stream, version)}/{path}")
        return FORGOTTEN if plain is None else plain.decode()


def unreadable(stream: str, version: int, topic: str, schema: int) -> str:
    """Why this version cannot read an event of that topic and schema version, and the remedy; empty where it can."""
    if topic not in _CLASSES:
        return f"event {version} of {stream} has the unknown topic {topic}: read it with the version that wrote it"
    known = _CLASSES[topic].SCHEMA_VERSION
    if schema > known:
        where = f"event {version} of {stream} ({topic})"
        return f"{where} has schema version {schema}, this Tenantry reads up to {known}: update it"
    return ""


def newest_schemas() -> dict[str, int]:
    """The newest schema version that this version reads, by topic."""
    return {topic: cls.SCHEMA_VERSION for topic, cls in _CLASSES.items()}


def encrypted_subjects(events: Iterable[Recorded]) -> set[str]:
    """Whose keys the events will be sealed under: for one query ahead of a batch."""
    return {_subject(recorded.event) for recorded in events if _holds_persons(recorded.event)}


def _holds_persons(event: Event) -> bool:
    """Whether the event has personal fields; of a completion that is the matter of what was found."""
    holder = event.facts if isinstance(event, provisioning.StepCompleted) else event
    return holder is not None and bool(personal_paths(type(holder)))


def _place(stream: str, version: int) -> str:
    return f"{stream}/{version}"


def _subject(event: Event) -> str:
    """Whose key seals the event: the customer's where it names one, its tenant's otherwise."""
    match event:
        case customer.CustomerUpdated() | tenant_events.TenantCreated():
            return customer.stream_of(event.customer_id)
        case provisioning.StepCompleted():
            return customer.stream_of(event.customer_id) if event.customer_id else tenants.stream_of(event.tenant_id)
        case _:
            raise UnreadableEvent(f"{type(event).__name__} has personal fields, but names no customer")


def _why(stream: str, version: int, topic: str, state: bytes, error: Exception | None) -> str:
    known = _CLASSES[topic].SCHEMA_VERSION
    try:
        stored = int(json.loads(state)["v"])
    except (ValueError, KeyError, TypeError):
        stored = known
    if why := unreadable(stream, version, topic, stored):
        return why
    where = f"event {version} of {stream} ({topic})"
    detail = (
        error.errors(include_input=False, include_url=False)[0]["msg"] if isinstance(error, ValidationError) else error
    )
    return f"{where} does not fit its schema: {detail}"
