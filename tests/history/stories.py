"""What happens to many tenants, at random, but the same for the same seed?

Plausible facts of every kind that a read model handles: products come and go, sets of identities change, steps fail
and are blocked, customers are renamed, tenants are destroyed. The facts of a tenant lie in several streams, as they do
in life; those of different tenants are shuffled together.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.log_reader import LogReader
from application.ports.encryption import EncryptionKeys
from application.unit_of_work import UnitOfWork
from domain.customer import CustomerAdministrator, CustomerUpdated
from domain.event import Cause, Event, Recorded
from domain.scope.state import (
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepMissing,
    StepStarted,
)
from domain.scope.steps import (
    SCOPE_STEPS,
    Access,
    CommerceResult,
    ConfigurationResult,
    DatabaseResult,
    IdentityResult,
    LicenseResult,
    LicenseSpec,
    Membership,
    MembershipResult,
    Permission,
    RegionResult,
    RoleResult,
    Scope,
    SiteResult,
    Step,
    StepResult,
    User,
)
from domain.tenant.events import Founder, TenantCreated, TenantDestroyed
from projections import PROJECTIONS
from projections.base import Projection
from runtime.compose.projector import projector_engine
from tests.domain.given import made

START = datetime(2026, 1, 1, tzinfo=UTC)
CAUSE = Cause(kind="event", source="tenant:t", id="1")
ADA = Founder(account_id="ada", name="Ada", email="ada@example.com")
_ACCESS: tuple[Access, ...] = ("open", "closed")
PRODUCTS = ("jira-software", "confluence", "compass")


class Stories:
    """An endless supply of facts. `tenants` says how many there are to happen to."""

    def __init__(self, seed: int, *, tenants: int, prefix: str = "t") -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same seed, the same story
        self._tenants = [f"{prefix}{number}" for number in range(tenants)]
        self._versions: dict[str, int] = {}
        self._made = 0
        self._seed = seed

    def take(self, count: int) -> list[Recorded]:
        facts = self.facts()
        return [next(facts) for _ in range(count)]

    def facts(self) -> Iterator[Recorded]:
        while True:
            tenant = self._random.choice(self._tenants)
            if f"tenant:{tenant}" not in self._versions:
                yield self._recorded(f"tenant:{tenant}", self._created(tenant))
                continue
            yield self._something(tenant)

    def licenses(self, count: int) -> list[Recorded]:
        """The plainest facts: one entitlement for each tenant in turn."""
        facts = []
        for number in range(count):
            scope = Scope("product", self._tenants[number % len(self._tenants)], "jira-software")
            facts.append(self._recorded(str(scope), self._completed(scope, Step.LICENSE)))
        return facts

    def _recorded(self, stream: str, event: Event) -> Recorded:
        self._made += 1
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        number = UUID(int=(self._seed << 64) + self._made)
        return Recorded(stream, version, number, START + timedelta(seconds=self._made), CAUSE, "c", event)

    def _created(self, tenant: str) -> TenantCreated:
        return TenantCreated(
            tenant_id=tenant,
            customer_id=f"c{tenant}",
            site_name=f"site-{tenant}",
            residency="global",
            region=None,
            administrator=ADA,
        )

    def _something(self, tenant: str) -> Recorded:
        dice = self._random.random()
        if dice < 0.02:
            return self._recorded(f"tenant:{tenant}", TenantDestroyed(tenant_id=tenant, reason="over"))
        if dice < 0.06:
            customer = f"c{tenant}"
            person = CustomerAdministrator(
                account_id="ada", name=f"Ada {dice}", email="ada@example.com", roles=("billing",)
            )
            updated = CustomerUpdated(
                customer_id=customer, name=f"Acme {dice}", country="NL", contacts=(), administrators=(person,)
            )
            return self._recorded(f"customer:{customer}", updated)
        scope = self._random.choice(
            [Scope("site", tenant), Scope("family", tenant, "jira")]
            + [Scope("product", tenant, product) for product in PRODUCTS]
        )
        return self._recorded(str(scope), self._of_scope(scope))

    def _of_scope(self, scope: Scope) -> Event:
        step = self._random.choice(SCOPE_STEPS[scope.kind])
        of = {"tenant_id": scope.tenant_id, "kind": scope.kind, "key": scope.key}
        a_step = {**of, "step": step, "direction": "ensure", "generation": self._random.randrange(1, 99)}
        dice = self._random.random()
        if dice < 0.55:
            return self._completed(scope, step)
        if dice < 0.65:
            return made(StepCompleted, {**a_step, "direction": "remove"})
        if dice < 0.75:
            return made(StepStarted, {**a_step, "wish": _spec(scope), "undoing": dice < 0.67})
        if dice < 0.8:
            return made(StepFailed, {**a_step, "attempt": 1, "reason": "no", "retry_at": START})
        if dice < 0.81:
            return made(StepMissing, {**of, "step": step, "observed_version": 3, "reason": "not there"})
        if dice < 0.85:
            return made(StepBlocked, {**a_step, "obstacle": "room:eu", "reason": "full"})
        if dice < 0.93:
            return made(ScopeConverged, {**of, "level": "open", "digest": "d"})
        if dice < 0.95:
            return made(ScopeFailed, {**of, "digest": "d", "step": step, "reason": "given up"})
        if dice < 0.97:
            return made(ScopePutOnHold, {**of, "step": step, "reason": "held"})
        return made(ScopeResumed, {**of, "reason": "again"})

    def _completed(self, scope: Scope, step: Step) -> StepCompleted:
        return StepCompleted(
            tenant_id=scope.tenant_id,
            kind=scope.kind,
            key=scope.key,
            customer_id=f"c{scope.tenant_id}",
            step=step,
            direction="ensure",
            generation=self._random.randrange(1, 99),
            result=self._facts(scope, step),
        )

    def _facts(self, scope: Scope, step: Step) -> StepResult:
        product = scope.key or None
        match step:
            case Step.COMMERCE:
                return CommerceResult(customer_id="c", known=False)
            case Step.SITE if scope.kind == "site":
                url = f"https://{scope.tenant_id}.example.com"
                return SiteResult(site_name=f"site-{scope.tenant_id}", url=url, access=self._access())
            case Step.SITE:
                return MembershipResult(product=scope.key, access=self._access())
            case Step.REGION:
                return RegionResult(region="eu", shard=self._random.choice(["eu-1", "eu-2"]))
            case Step.CONFIGURATION:
                settings = {"theme": self._random.choice(["dark", "light"])}
                return ConfigurationResult(product=product, settings=settings)
            case Step.IDENTITY:
                return self._identities(product)
            case Step.DATABASE:
                role = RoleResult(product="jira-software", role=f"r_{scope.tenant_id}", generation=1, login=True)
                return DatabaseResult(
                    family=scope.key,
                    region="eu",
                    shard="eu-1",
                    isolation="schema",
                    database="shard",
                    schema_name=f"s_{scope.tenant_id}",
                    roles=(role,),
                )
            case Step.LICENSE:
                return LicenseResult(
                    product=scope.key,
                    edition=self._random.choice(["free", "standard"]),
                    users=self._random.randrange(1, 500),
                    active=True,
                    expires_at=START,
                    features=("sandbox", "audit-log"),
                    location=f"vault/{scope.tenant_id}",
                )

    def _identities(self, product: str | None) -> IdentityResult:
        names = self._random.sample(["ada", "bob", "eve", "joe"], self._random.randrange(1, 4))
        return IdentityResult(
            product=product,
            users=tuple(User(account_id=name, name=name.title(), email=f"{name}@example.com") for name in names),
            groups=("admins", "users"),
            memberships=tuple(Membership(group="users", account_id=name) for name in names),
            permissions=(Permission(group="admins", permission="administer"),),
        )

    def _access(self) -> Access:
        return self._random.choice(_ACCESS)


class OpenKeys:
    """`SealingKeys` that seal nothing, the same in every process."""

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        return plain.decode()

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        return encrypted.encode()

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        pass

    def forget(self, subject: str) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class PlainSources:
    """`history.loading.Sources` for facts without persons' keys; it travels to other processes."""

    url: str
    keys: EncryptionKeys = field(default_factory=OpenKeys)

    def reader(self) -> LogReader:
        return LogReader(self.url, self.keys)

    def engine(self) -> Engine:
        return projector_engine(self.url)

    def read_models(self) -> Sequence[Projection]:
        return PROJECTIONS


def _spec(scope: Scope) -> LicenseSpec:
    return LicenseSpec(
        product=scope.key or "compass", edition="free", users=1, active=True, expires_at=None, features=()
    )


def append(log: PostgresEventLog, facts: list[Recorded], *, batch: int = 1000) -> int:
    """Record the facts; the high-water mark after them."""
    for start in range(0, len(facts), batch):
        log.record(UnitOfWork(events=facts[start : start + batch]))
    return log.advance_mark()
