"""What does the domain ask of the world?

Each port is a Protocol with a fake and a real adapter that pass the same contract suite. `Recording` is the unit of
work: everything in it is committed in one transaction, or nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from domain.customer import Customer
from domain.event import Recorded
from domain.scope.steps import DatabaseResult, Direction, RegionResult, Scope, Step, StepResult, StepSpec
from domain.tenant.guarded import Guarded, PendingApprovals
from domain.tenant.state import Tenant
from domain.times import moved

Clock = Callable[[], datetime]
"""The time now, aware, UTC."""

NewId = Callable[[], UUID]
"""A fresh id for an event."""

Dice = Callable[[], float]
"""A number in [0, 1): where chance is wanted (the jitter of retries)."""


# -- the log -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """The next offset to read of a partition; `expected` is what it was when the batch began (None: no row)."""

    topic: str
    topic_id: str
    partition: int
    expected: int | None
    next_offset: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that was seen, for good. `digest` is over its canonical content, keyed, so that nobody can guess at it.

    `outcome` is recorded, stale, waiting or quarantined; only the last two may still change. `is_ahead`: its own time
    was too far ahead of the time of recording to count.
    """

    source: str
    id: str
    digest: bytes
    topic: str
    partition: int
    offset: int
    outcome: str
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message whose tenant does not exist yet. `body` is the canonical message; it is stored sealed."""

    tenant_id: str
    source: str
    id: str
    type: str
    digest: bytes
    topic: str
    partition: int
    offset: int
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A message that cannot be applied, whole; `body` is stored sealed. `subject` names whose key seals it.

    One that comes again while the first still lies open (same `digest`) is counted there.
    """

    digest: bytes
    rule: str
    reason: str
    subject: str
    source: str | None
    id: str | None
    type: str | None
    tenant_id: str | None
    topic: str
    partition: int
    offset: int
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Discarded:
    """A quarantined message that is closed without being applied: by whom, and why."""

    number: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A scope is due at a time, by its stream name; `customer:ID` fans out to all its tenants, `tenant:ID` to all its
    scopes."""

    scope: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """A scope claimed by a worker, with the wake rows it answers."""

    scope: str
    owner: str
    token: int
    work_items: tuple[int, ...]
    until: datetime


CLOCKS_APART: Final = timedelta(minutes=5)
"""How far the clocks of two workers may be apart, and each still respects the other's leases."""


def latest_end(now: datetime, until: datetime) -> datetime:
    """A lease that ends later than this was taken by a clock that has gone back since, or that was wrong: it is over.

    Otherwise a scope whose worker died before its machine's clock went back by hours would be nobody's for hours.
    `until` is when a lease that is taken now would end. Whoever was wrong is fenced out by the token.
    """
    return moved(until, max(until - now, CLOCKS_APART))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A scope waits for a named obstacle."""

    obstacle: str
    scope: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What somebody else's provisioner replied to an order; `key` is the order's idempotency key.

    It counts, and makes the scope due, where a reply to that very order is awaited. `signed_at`: seconds since 1970,
    of a reply that had to be signed; of one order only a later one than the last counts.
    """

    scope: str
    step: int
    key: str
    said: str
    signed_at: int | None = None


@dataclass(slots=True)
class Recording:
    """One transaction.

    `duplicates` counts repeats by (source, id); `waited` names whom the waiting room lets go; `released` numbers
    quarantined messages that went through the front door again, `discarded` those that are closed unapplied; `leases`
    end, and their wake rows go; those that are `kept` must still be ours; `unblocked` names obstacles whose waiting
    scopes become due. `grown` names tenants that have a product more, `woken` those whose scopes are woken, with the
    version of the tenant that they are known from: where it has moved on, the whole tenant is due. `unmoved` names
    streams with the version that was decided on: a fact that was recorded there since makes it conflict. `guarded` is
    counted by the destroy guard; `held` says what it holds of a tenant from here on (None: nothing any more);
    `live_products` by how many the products grow that are active on a tenant that is not destroyed.
    """

    events: list[Recorded] = field(default_factory=list)
    positions: list[KafkaPosition] = field(default_factory=list)
    incoming: list[Incoming] = field(default_factory=list)
    duplicates: dict[tuple[str, str], int] = field(default_factory=dict)
    waiting: list[WaitingMessage] = field(default_factory=list)
    waited: list[tuple[str, str]] = field(default_factory=list)
    quarantined: list[QuarantinedMessage] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)
    customer_tenants: list[tuple[str, str]] = field(default_factory=list)
    work_items: list[WorkItem] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    kept: list[Lease] = field(default_factory=list)
    renewals: list[tuple[Lease, datetime]] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    unblocked: list[str] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    rescheduled: dict[str, int] = field(default_factory=dict)
    unmoved: dict[str, int] = field(default_factory=dict)
    guarded: Guarded | None = None
    held: dict[str, PendingApprovals | None] = field(default_factory=dict)
    live_products: int = 0

    @property
    def is_empty(self) -> bool:
        return not any(getattr(self, name) for name in self.__dataclass_fields__)


class EventLog(Protocol):
    """The one place where facts are kept."""

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        """The facts of each stream after the given version, in order; streams without any are absent.

        Without `personal`, no personal field is unsealed: each holds a text that says nothing.
        """

    def record(self, recording: Recording) -> None:
        """Commit all of it or nothing.

        Raises Conflict, with nothing recorded, where a version, an incoming id, a quarantined message or a lease is
        not what was expected, PositionLost where a Kafka position is not, and GuardTripped where more would be
        destroyed, or closed, than the guard lets pass.
        """

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """Facts in position order, each committed one exactly once to a reader that goes on from its last position."""

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """The digests of those (source, id) that were seen."""

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        """What waits for each tenant, in the order of arrival."""

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        """The numbers of the messages of each tenant that lie open in quarantine under `internal-error`."""

    def faults_since(self, moment: datetime) -> int:
        """How many messages were quarantined under `internal-error` after the moment."""

    def tenants_of(self, customer_id: str) -> Sequence[str]:
        """The tenants of a customer, as committed."""

    def awaiting_approval(self) -> Sequence[str]:
        """The tenants of which the destroy guard holds a change, in the order of their ids."""

    def scheduled(self, names: Iterable[str]) -> dict[str, datetime]:
        """When the work queue has each of those scopes, tenants and customers next; without those that it has not."""

    def claim(
        self,
        *,
        owner: str,
        limit: int,
        now: datetime,
        until: datetime,
        share: int | None = None,
        but_not_of: Sequence[str] = (),
    ) -> list[Lease]:
        """Up to `limit` due scopes that nobody else holds; each stays ours until `until`.

        Of one tenant no more than `share`, of the tenants `but_not_of` none: theirs stay due. A lease that ends after
        `latest_end` is nobody's.
        """


# -- the world -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """One effect to bring about.

    `born`: each part of the step that is perhaps there, and the generation it is named after; for a removal all of
    them go, for an ensure those that the wish does not name. `placement` and `database` are the family's.
    """

    scope: Scope
    step: Step
    direction: Direction
    generation: int
    spec: StepSpec
    created_generations: Mapping[str, int]
    tenant: Tenant
    customer: Customer
    placement: RegionResult | None
    database: DatabaseResult | None

    @property
    def idempotency_key(self) -> str:
        return f"{self.scope}/{int(self.step)}/{self.direction}/{self.generation}"


class Executor(Protocol):
    """Brings one step about. Both acts are ensures: done twice, they change nothing the second time.

    Raises Retryable, Permanent, Obstacle or Fenced (errors.py); anything else counts as retryable.
    """

    def ensure(self, order: Order) -> StepResult:
        """Make the wish true, and say what is now there."""

    def remove(self, order: Order) -> None:
        """Make sure that nothing of it is there."""


class EncryptionKeys(Protocol):
    """Seals personal fields under a data key of their subject (`customer:ID`); keys live outside the log."""

    def seal(self, subject: str, plain: bytes, bound_to: str) -> str:
        """Text that only `unseal` of the same subject and place can read; makes the subject's key if need be."""

    def unseal(self, sealed: str, bound_to: str) -> bytes | None:
        """The plain bytes; None where the subject was forgotten. Raises TenantryError where it was tampered with."""

    def prefetch(self, *, subjects: Iterable[str] = (), sealed: Iterable[str] = ()) -> None:
        """Have the keys at hand for sealing under `subjects` and for unsealing `sealed`, in one go each."""

    def forget(self, subject: str) -> None:
        """Destroy the subject's keys; everything sealed under them is unreadable from here on."""
