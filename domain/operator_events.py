"""Events of operators' acts on the whole, or on what is no tenant's state.

Acts on runs, tenants and what awaits approval are events of those streams. The others have streams of their own,
which no read model handles:

    operator:TENANT     what concerns a tenant: its messages in the quarantine, and that its persons were shown
    operator:           everything else: rebuilds, positions of the intake, messages that it reads again
    orphans:PLAN        the removal of orphans by the hash of a plan

The content of a message is not stored here, and its tenant only where the id may be one: what a broken message holds
may be about a person, and the log is for ever.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from domain import names
from domain.event import Event, Value, stored_as


class _MessageEvent(Event):
    tenant_id: names.TenantId | None = None
    number: int
    rule: str
    topic: str
    partition: int
    offset: int
    operator: str


class MessageDiscarded(_MessageEvent):
    """A quarantined message was closed without being applied; it is kept."""

    TOPIC: ClassVar[str] = "tenantry.message-discarded"
    reason: names.Reason


class MessageRetried(_MessageEvent):
    """A quarantined message is put through the front door again. Its outcome has events of its own."""

    TOPIC: ClassVar[str] = "tenantry.message-retried"


class ReadModelsRebuilt(Event):
    """Read models were built anew up to a position of the log, and swapped in."""

    TOPIC: ClassVar[str] = "tenantry.read-models-rebuilt"
    read_models: tuple[str, ...]
    position: int
    operator: str
    reason: names.Reason | None = None


class PreviousReadModelsDropped(Event):
    """The generations that a rebuild had replaced were dropped."""

    TOPIC: ClassVar[str] = "tenantry.previous-read-models-dropped"
    read_models: tuple[str, ...]
    operator: str
    reason: names.Reason | None = None


class IntakePositionMoved(Event):
    """The intake goes on from another offset of a partition: what lies between is not taken in, or comes again."""

    TOPIC: ClassVar[str] = "tenantry.intake-position-moved"
    topic: str
    topic_id: str
    partition: int
    before: int | None = None
    offset: int
    operator: str
    reason: names.Reason


class MessagesReread(Event):
    """Messages that an audit missed go through the front door. Their outcomes have events of their own."""

    TOPIC: ClassVar[str] = "tenantry.messages-reread"
    topic: str
    topic_id: str
    partition: int
    offsets: tuple[int, ...]
    operator: str
    reason: names.Reason


class PersonalDataShown(Event):
    """An operator was shown personal data in the clear: a quarantined message, by its number, or a tenant's persons.

    Of what was shown the event has nothing.
    """

    TOPIC: ClassVar[str] = "tenantry.personal-data-shown"
    tenant_id: names.TenantId | None = None
    what: Literal["message", "persons", "evidence"]
    number: int | None = None
    operator: str
    reason: names.Reason | None = None


Act = (
    MessageDiscarded
    | MessageRetried
    | ReadModelsRebuilt
    | PreviousReadModelsDropped
    | IntakePositionMoved
    | MessagesReread
    | PersonalDataShown
)


# -- orphans -------------------------------------------------------------------------------------------------------


class RemovalCandidate(Value):
    """A `Thing`, as an event keeps it."""

    where: str
    kind: str
    name: str


class KeptOrphan(RemovalCandidate):
    """A thing that was not removed."""

    why: str


class OrphansMarkedForRemoval(Event):
    """An operator marked these for removal: all that the plan of that hash showed."""

    TOPIC: ClassVar[str] = "tenantry.orphans-condemned"
    plan: str
    things: tuple[RemovalCandidate, ...]
    reason: names.Reason
    operator: str


class OrphansRemoved(Event):
    """The outcome of a removal: `removed` is gone, `skipped` has an owner again, `left` could not be removed."""

    TOPIC: ClassVar[str] = "tenantry.orphans-removed"
    plan: str
    removed: tuple[RemovalCandidate, ...]
    skipped: tuple[RemovalCandidate, ...] = stored_as("spared", default=())
    left: tuple[KeptOrphan, ...] = ()
    reason: names.Reason
    operator: str
