"""Registry of events: for each its word and kind in timelines, which fields are reported, its key, and its projections.

Every table of events in the house is taken from here: the mapper's topics and schemas, what projections handle, the
words of timelines and acts. To add an event is one class and one line of `REGISTRY`, its evolve, and the handlers of
the projections that the line names. An event that is not here cannot be stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from domain import configuration, customer, export_grants, in_force, service_keys
from domain import operator_events as operators
from domain.event import Event, newest_schema
from domain.personal import personal_paths
from domain.scope import state as scopes
from domain.tenant import events as tenants
from domain.tenant import state as tenant_state

Kind = Literal["decided", "step", "scope", "timer"]
"""What an event is in a timeline, unless an operator caused it: then it is an act."""


@dataclass(frozen=True)
class EventEntry:
    """One event. Either projections handle it, by name, or `ignored` says why none does.

    `word` is for runs and timelines, where it is not that of the topic. `subject` gives the owner of the data key that
    encrypts its personal fields: `customer:ID` or `tenant:ID`.
    """

    event: type[Event]
    kind: Kind = "decided"
    word: str = ""
    projected_by: tuple[str, ...] = ()
    ignored: str = ""
    subject: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        name = self.event.__name__
        if bool(self.projected_by) == bool(self.ignored):
            raise ValueError(f"{name}: name the projections that handle it, or say why none does")
        if bool(personal_paths(self.event)) != (self.subject is not None):
            raise ValueError(f"{name}: an event with personal fields, and no other, names whose key encrypts them")

    @property
    def title(self) -> str:
        """The words of its class: its name in acts, and in timelines of what is no scope."""
        return re.sub("(?<=[a-z])(?=[A-Z])", " ", self.event.__name__).lower()

    @cached_property
    def schema(self) -> int:
        """The newest schema version that this version of Tenantry reads."""
        return newest_schema(self.event)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The fields that are reported to people and programs: none that holds a person, or is reported beside it."""
        personal = {path[0] for path in personal_paths(self.event)}
        fields = dict(zip(self.event.__struct_fields__, self.event.__struct_encode_fields__, strict=True))
        names = [name for name, stored in fields.items() if not {name, stored} & (_NOT_SHOWN | personal)]
        return (*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST))


def words_of(name: str) -> str:
    """`tenantry.tenant-created` or `tenant.created` as `tenant created`."""
    return name.removeprefix("tenantry.").replace("-", " ").replace(".", " ")


_NOT_SHOWN: Final = {
    *("tenant_id", "kind", "key", "step", "country", "topic_id", "observed_version", "data", "purge", "data_lost"),
    *("catalog", "policy", "topology", "public_key"),
}
_FIRST: Final = (
    *("product", "change", "type", "customer_id", "site_name", "residency", "region", "edition", "users", "status"),
    *("expires_at", "reason", "revision", "undoes", "changes", "plan", "apps", "families", "epoch", "operator"),
    *("number", "rule", "topic", "partition", "before", "offset", "offsets", "read_models", "position"),
)
"""The order in which fields are reported; one that is not named here comes after them."""


class EventRegistry:
    """The events that one version of Tenantry knows, by class and by topic. Raises ValueError for a topic of two."""

    def __init__(self, entries: Iterable[EventEntry]) -> None:
        self._by_event: Mapping[type[Event], EventEntry] = {entry.event: entry for entry in entries}
        self.by_topic: Mapping[str, EventEntry] = {entry.event.TOPIC: entry for entry in self}
        if len(self.by_topic) != len(self._by_event):
            raise ValueError("two events have one topic: give each its own")

    def __iter__(self) -> Iterator[EventEntry]:
        return iter(self._by_event.values())

    def __getitem__(self, event: type[Event]) -> EventEntry:
        return self._by_event[event]

    def __contains__(self, event: type[Event]) -> bool:
        return event in self._by_event

    @property
    def events(self) -> frozenset[type[Event]]:
        return frozenset(self._by_event)

    def projected_by(self, projection: str) -> frozenset[type[Event]]:
        """What the read model of that name is built from."""
        return frozenset(entry.event for entry in self if projection in entry.projected_by)

    @cached_property
    def schemas(self) -> Mapping[str, int]:
        """The newest schema version of each event that this version of Tenantry reads, by topic."""
        return {topic: entry.schema for topic, entry in self.by_topic.items()}

    def unreadable(self, stream: str, version: int, topic: str, schema: int) -> str:
        """Why an event of that topic and schema version cannot be read, and the remedy; empty where it can."""
        if topic not in self.by_topic:
            return f"event {version} of {stream} has the unknown topic {topic}: read it with the version that wrote it"
        if schema > (known := self.by_topic[topic].schema):
            where = f"event {version} of {stream} ({topic})"
            return f"{where} has schema version {schema}, this Tenantry reads up to {known}: update it"
        return ""


def _of_customer(event: customer.CustomerUpdated | tenants.TenantCreated) -> str:
    return customer.stream_of(event.customer_id)


def _of_result(event: scopes.StepCompleted) -> str:
    return customer.stream_of(event.customer_id) if event.customer_id else tenant_state.stream_of(event.tenant_id)


_CONTEXTS: Final = ("contexts",)
_RUNS: Final = ("provisionings",)
_RUNS_PUBLISHED: Final = ("provisionings", "integration")
_STALE: Final = "changed nothing; the audit trail shows it"
_ACT: Final = "an operator's act that changes nothing of a tenant; the timeline shows it"
_OF_THE_GUARD: Final = "the destroy guard's: what awaits approval is read from the log, what passed has its own events"
_IN_FORCE: Final = "of no tenant: an explanation finds it by the position that it names"
_ORPHANS: Final = "it belonged to no scope, so no read model shows it; the audit trail does"
_ADOPTED: Final = "what every process decides with: read where it is decided, and shown by a command"

REGISTRY: Final = EventRegistry(
    [
        EventEntry(customer.CustomerUpdated, projected_by=("customers",), subject=_of_customer),
        EventEntry(customer.CustomerMessageStale, ignored=_STALE),
        EventEntry(tenants.TenantCreated, projected_by=("customers", "sites", "contexts"), subject=_of_customer),
        EventEntry(tenants.TenantDestroyed, projected_by=("sites", "contexts")),
        EventEntry(tenants.ProductActivated, projected_by=_CONTEXTS),
        EventEntry(tenants.ProductDeactivated, projected_by=_CONTEXTS),
        EventEntry(tenants.ProductSuspended, projected_by=_CONTEXTS),
        EventEntry(tenants.ProductUnsuspended, projected_by=_CONTEXTS),
        EventEntry(tenants.LicenseUpdated, projected_by=_CONTEXTS),
        EventEntry(tenants.TenantMessageStale, ignored=_STALE),
        EventEntry(tenants.TenantRestored, projected_by=("sites", "contexts")),
        EventEntry(tenants.TenantPurgeStarted, "timer", projected_by=_CONTEXTS),
        EventEntry(tenants.TenantPurged, "timer", projected_by=("sites", "contexts")),
        EventEntry(tenants.PurgeStarted, "timer", projected_by=_CONTEXTS),
        EventEntry(tenants.LicenseExpired, "timer", projected_by=_CONTEXTS),
        EventEntry(tenants.ApprovalRequested, ignored=_OF_THE_GUARD),
        EventEntry(tenants.ClosingAwaitsApproval, ignored=_OF_THE_GUARD),
        EventEntry(tenants.ChangesApproved, ignored=_OF_THE_GUARD),
        EventEntry(tenants.ChangesRejected, ignored=_OF_THE_GUARD),
        EventEntry(scopes.StepStarted, "step", "started", (*_RUNS, *_CONTEXTS)),
        EventEntry(
            scopes.StepCompleted,
            "step",
            "completed",
            ("sites", "configurations", "identities", "licenses", "placements", *_RUNS_PUBLISHED, *_CONTEXTS),
            subject=_of_result,
        ),
        EventEntry(scopes.StepFailed, "step", "attempt failed", _RUNS_PUBLISHED),
        EventEntry(scopes.StepBlocked, "step", "blocked", _RUNS),
        EventEntry(scopes.StepMissing, "step", "missing", (*_RUNS, *_CONTEXTS)),
        EventEntry(scopes.ScopeConverged, "scope", "converged", (*_RUNS_PUBLISHED, *_CONTEXTS)),
        EventEntry(scopes.ScopeFailed, "scope", "failed", _RUNS_PUBLISHED),
        EventEntry(scopes.ScopePutOnHold, "scope", "on hold", _RUNS_PUBLISHED),
        EventEntry(scopes.ScopeResumed, "scope", "resumed", _RUNS),
        EventEntry(scopes.DataAbandoned, "step", "abandoned", (*_RUNS, *_CONTEXTS)),
        EventEntry(scopes.EnsureRequested, "step", "ensured again", _RUNS),
        EventEntry(operators.OrphansMarkedForRemoval, ignored=_ORPHANS),
        EventEntry(operators.OrphansRemoved, ignored=_ORPHANS),
        EventEntry(operators.MessageDiscarded, ignored=_ACT),
        EventEntry(operators.MessageRetried, ignored=_ACT),
        EventEntry(operators.ReadModelsRebuilt, ignored=_ACT),
        EventEntry(operators.PreviousReadModelsDropped, ignored=_ACT),
        EventEntry(configuration.ConfigurationAdopted, projected_by=_CONTEXTS),
        EventEntry(operators.IntakePositionMoved, ignored=_ACT),
        EventEntry(operators.MessagesReread, ignored=_ACT),
        EventEntry(service_keys.ServiceKeyPublished, projected_by=_CONTEXTS),
        EventEntry(service_keys.ServiceKeyRevoked, projected_by=_CONTEXTS),
        EventEntry(export_grants.ExportGranted, ignored=_ACT),
        EventEntry(export_grants.ExportGrantRevoked, ignored=_ACT),
        EventEntry(operators.PersonalDataShown, ignored=_ACT),
        EventEntry(in_force.InForce, "timer", ignored=_IN_FORCE),
    ]
)
"""Every event there is."""
