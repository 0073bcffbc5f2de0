"""What do the tests of the domain say so often that it has a word?

Commands with their data filled in, facts folded into a state, and a message as the intake reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from application.inbound import Inbound, Readable
from application.ingest import Lifecycle
from application.ports.inbox import WaitingMessage
from application.ports.log_store import LogStore
from domain import customer as customers
from domain.catalog import default_catalog
from domain.commands import COMMANDS, TenantCommand, UpdateCustomer
from domain.customer import Customer
from domain.event import Cause, Event, Recorded, Value
from domain.policy import Guard, Policy, default_policy
from domain.scope import state as provisioning
from domain.scope.desired import DesiredState, desired_state
from domain.scope.snapshot import TenantSnapshot, scopes_of
from domain.scope.state import Provisioning
from domain.scope.steps import Scope, Step
from domain.tenant import decisions as tenant_decisions
from domain.tenant import state as tenants
from domain.tenant.events import TenantEvent
from domain.tenant.state import Tenant
from tests.fakes.event_log import MemoryEventLog
from tests.fakes.world import events_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CATALOG = default_catalog()
GUARDED = default_policy()
UNLIMITED = Guard(at_least=1_000_000)
POLICY = GUARDED.model_copy(update={"guard": UNLIMITED, "closing_guard": UNLIMITED})
"""The default one, without a guard: most tests destroy more in a moment than it lets pass."""
TENANT = "t-1"
CUSTOMER = "c-1"

JIRA = "jira-software"
SERVICE = "jira-service-management"
CONFLUENCE = "confluence"
APP = "timesheets"

Log = TypeVar("Log", bound=LogStore)
V = TypeVar("V", bound=Value)

SITE = Scope("site", TENANT)
JIRA_FAMILY = Scope("family", TENANT, "jira")
JIRA_SCOPE = Scope("product", TENANT, JIRA)
APP_SCOPE = Scope("product", TENANT, APP)


def made(kind: type[V], content: Mapping[str, Any]) -> V:
    """The value with that content, under the names that are stored, as if it was read."""
    return msgspec.convert(content, kind)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


def ids() -> Callable[[], UUID]:
    numbers = count(1)
    return lambda: UUID(int=next(numbers))


# -- commands ------------------------------------------------------------------------------------------------------


def command(type_: str, **data: object) -> Any:
    """The command of that type of CloudEvent; what `data` does not say is filled in."""
    filled: dict[str, object] = {"tenant_id": TENANT}
    match type_:
        case "commerce.customer.updated":
            filled = {"customer_id": CUSTOMER, "name": "Acme", "country": "DE"}
        case "tenant.created":
            filled |= {
                "customer_id": CUSTOMER,
                "site_name": "acme",
                "residency": "global",
                "administrator": {"account_id": "ada", "name": "Ada", "email": "ada@example.com"},
            }
        case "tenant.destroyed":
            filled |= {"reason": "left"}
        case "product.activated":
            filled |= {"product": JIRA, "edition": "standard", "users": 10}
        case "license.updated":
            filled |= {"product": JIRA, "edition": "standard", "users": 10, "status": "active"}
        case "product.deactivated" | "product.suspended":
            filled |= {"product": JIRA, "reason": "unpaid"}
        case _:
            filled |= {"product": JIRA}
    text = json.dumps(filled | data, default=lambda value: value.isoformat())
    return COMMANDS[type_].model_validate_json(text)


def message(
    type_: str,
    revision: int | None = None,
    *,
    id: str | None = None,  # noqa: A002
    source: str = "commerce",
    offset: int = 0,
    time: datetime | None = None,
    **data: object,
) -> Readable:
    """A message as the intake reads it; its id is derived from what it says, unless it is given."""
    said = command(type_, **data)
    body = json.dumps([type_, revision, said.model_dump_json()]).encode()
    digest = hashlib.sha256(body).digest()
    return Readable(
        source=source,
        id=id or digest.hex()[:16],
        type=type_,
        time=time,
        revision=revision,
        command=said,
        tenant_id=getattr(said, "tenant_id", None),
        digest=digest,
        whole=lambda: body,
        topic="tenantry.lifecycle",
        partition=0,
        offset=offset,
    )


# -- states --------------------------------------------------------------------------------------------------------


def recorded(stream: str, version: int, event: Event, *, at: datetime = NOW, id: str = "m") -> Recorded:  # noqa: A002
    cause = Cause(kind="message", source="commerce", id=id)
    return Recorded(stream, version, UUID(int=version), at, cause, "test", event)


class Commerce:
    """A tenant's and its customer's registers, as commands build them up without the intake."""

    def __init__(self, *, clock: Clock | None = None, policy: Policy = POLICY) -> None:
        self.tenant = Tenant(TENANT)
        self.customer = Customer(CUSTOMER)
        self.policy = policy
        self.clock = clock or Clock()

    def says(self, type_: str, revision: int | None = None, **data: object) -> list[Event]:
        """Decide, evolve, and return the facts."""
        said: TenantCommand | UpdateCustomer = command(type_, **data)
        if isinstance(said, UpdateCustomer):
            updates = customers.decide(self.customer, said, revision=revision)
            for update in updates:
                fact = recorded("customer:c-1", self.customer.version + 1, update, at=self.clock())
                self.customer = customers.evolve(self.customer, fact)
            return list(updates)
        events: list[TenantEvent] = tenant_decisions.decide(
            self.tenant, said, revision=revision, now=self.clock(), catalog=CATALOG, policy=self.policy
        )
        for event in events:
            self.notes(event)
        return list(events)

    def notes(self, event: TenantEvent) -> None:
        """Evolve a fact of the tenant, whoever decided on it."""
        fact = recorded("tenant:t-1", self.tenant.version + 1, event, at=self.clock())
        self.tenant = tenants.evolve(self.tenant, fact)

    def snapshot(self, scopes: Iterable[Provisioning] = ()) -> TenantSnapshot:
        return TenantSnapshot(self.tenant, self.customer, {actual.scope: actual for actual in scopes})

    def desired_state(self, scope: Scope, *scopes: Provisioning) -> DesiredState:
        return desired_state(scope, self.snapshot(scopes), catalog=CATALOG, policy=self.policy, now=self.clock())


def a_tenant(*products: str) -> Commerce:
    """Commerce after a tenant was created with those products active."""
    commerce = Commerce()
    commerce.says("tenant.created", 1)
    for product in products:
        edition = next(iter(CATALOG[product].editions))
        commerce.says("product.activated", 1, product=product, edition=edition)
    return commerce


def after(scope: Scope | Provisioning, *events: Event) -> Provisioning:
    """The scope's actual state after the events."""
    actual = scope if isinstance(scope, Provisioning) else Provisioning(scope)
    for event in events:
        actual = provisioning.evolve(actual, recorded(str(actual.scope), actual.version + 1, event))
    return actual


def of(scope: Scope) -> dict[str, Any]:
    """The fields that name the scope in its events."""
    return {"tenant_id": scope.tenant_id, "kind": scope.kind, "key": scope.key}


def ensured(actual: Provisioning, steps: Mapping[Step, Any]) -> Provisioning:
    """The scope after those steps were ensured one after the other."""
    for step, spec in sorted(steps.items()):
        names = {**of(actual.scope), "step": step, "direction": "ensure", "generation": actual.version + 1}
        actual = after(actual, provisioning.StepStarted(**names, spec=spec))
        facts = events_of(spec, actual.steps[step].created_generations)
        actual = after(actual, provisioning.StepCompleted(**names, result=facts))
    return actual


def converged(scope: Scope | Provisioning, desired: DesiredState) -> Provisioning:
    """The scope after it converged to the wish."""
    actual = ensured(scope if isinstance(scope, Provisioning) else Provisioning(scope), desired.steps)
    return after(actual, provisioning.ScopeConverged(**of(actual.scope), level=desired.level, digest=desired.digest))


def all_converged(commerce: Commerce) -> dict[Scope, Provisioning]:
    """Every scope that the tenant has, converged to what is wanted now."""
    found: dict[Scope, Provisioning] = {}
    for scope in scopes_of(commerce.tenant, CATALOG):
        found[scope] = converged(scope, commerce.desired_state(scope, *found.values()))
    return found


# -- the intake ----------------------------------------------------------------------------------------------------


class FrontDoor(Generic[Log]):
    """The lifecycle application on an event log."""

    def __init__(self, log: Log, *, policy: Policy, clock: Clock) -> None:
        self.log = log
        self.clock = clock
        self._seen: dict[bytes, Inbound] = {}
        self.lifecycle = Lifecycle(log, catalog=CATALOG, policy=policy, clock=clock, new_id=ids(), reread=self._reread)

    def _reread(self, waiting: WaitingMessage) -> Inbound:
        return self._seen[waiting.digest]

    def takes(self, *messages: Inbound, released: int | None = None) -> dict[str, int]:
        self._seen |= {each.digest: each for each in messages}
        return dict(self.lifecycle.intake(messages, released=released).counts)

    def tenant(self, tenant_id: str = TENANT) -> Tenant:
        state = Tenant(tenant_id)
        stream = tenants.stream_of(tenant_id)
        for fact in self.log.load({stream: 0}).get(stream, []):
            state = tenants.evolve(state, fact)
        return state


class Intake(FrontDoor[MemoryEventLog]):
    """On an event log in memory."""

    def __init__(self, *, policy: Policy = POLICY, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        super().__init__(MemoryEventLog(clock=clock), policy=policy, clock=clock)

    def events(self) -> list[Event]:
        return [fact.event for fact in self.log.events]

    def rules(self) -> list[str]:
        """The rules by which messages lie open in quarantine."""
        return [row.message.rule for row in self.log.quarantine.values() if row.state == "open"]
