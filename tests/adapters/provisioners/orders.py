"""What does the saga ask of an executor? Orders as it would give them, without the saga."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from application.ports.resources import BoundedExecutor, Order
from domain.customer import Customer, CustomerAdministrator, Details
from domain.registers import Register
from domain.scope.steps import (
    DatabaseResult,
    DatabaseSpec,
    Direction,
    LicenseSpec,
    RegionResult,
    RegionSpec,
    RoleSpec,
    Scope,
    ScopeKind,
    SiteSpec,
    Step,
    StepResult,
    StepSpec,
)
from domain.tenant.events import Founder
from domain.tenant.state import Attributes, Tenant

Executors = Mapping[tuple[ScopeKind, Step], BoundedExecutor]

FOUNDER = Founder(account_id="founder", name="Fay Founder", email="fay@acme.example")
ADA = CustomerAdministrator(account_id="ada", name="Ada Admin", email="ada@acme.example", roles=("billing",))


def new_tenant_id() -> str:
    """One that no other test has: shards and the control database are shared."""
    return f"t-{uuid4().hex[:12]}"


def tenant(tenant_id: str, *, site_name: str = "acme") -> Tenant:
    attributes = Attributes("customer", site_name, "global", None, FOUNDER)
    return Tenant(tenant_id, version=1, attributes=Register(attributes, None))


def customer(*administrators: CustomerAdministrator, country: str = "DE") -> Customer:
    details = Details("Acme GmbH", country, (), administrators)
    return Customer("customer", 1, Register(details, None), 1, 1)


UNKNOWN_CUSTOMER = Customer("customer")


def order(
    scope: Scope,
    step: Step,
    spec: StepSpec,
    *,
    generation: int = 1,
    direction: Direction = "ensure",
    created_generations: Mapping[str, int] | None = None,
    of: Tenant | None = None,
    by: Customer = UNKNOWN_CUSTOMER,
    placement: RegionResult | None = None,
    database: DatabaseResult | None = None,
) -> Order:
    return Order(
        scope=scope,
        step=step,
        direction=direction,
        generation=generation,
        spec=spec,
        created_generations=created_generations
        if created_generations is not None
        else dict.fromkeys(spec.parts, generation),
        tenant=of or tenant(scope.tenant_id),
        customer=by,
        placement=placement,
        database=database,
    )


def license_spec(product: str, *, active: bool = True, users: int = 10) -> LicenseSpec:
    return LicenseSpec(
        product=product,
        edition="standard",
        users=users,
        active=active,
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        features=("boards", "permissions"),
    )


@dataclass
class Family:
    """A family as its process stream would tell of it: generations count up, births are remembered."""

    executors: Executors
    region: str = "eu"
    key: str = "jira"
    tenant_id: str = field(default_factory=new_tenant_id)
    generation: int = 0
    created_generations: dict[str, int] = field(default_factory=dict)
    placement: RegionResult | None = None
    result: DatabaseResult | None = None

    @property
    def scope(self) -> Scope:
        return Scope("family", self.tenant_id, self.key)

    def start(self, logins: Mapping[str, bool]) -> Order:
        """The intent to have these products, each open or closed."""
        if self.placement is None:
            spec = RegionSpec(residency="global", region=self.region)
            placed = self._do(order(self.scope, Step.REGION, spec, generation=self._next()))
            assert isinstance(placed, RegionResult)
            self.placement = placed
        wish_ = DatabaseSpec(
            family=self.key,
            roles=tuple(RoleSpec(product=product, login=login) for product, login in sorted(logins.items())),
        )
        generation = self._next()
        for part in wish_.parts:
            self.created_generations.setdefault(part, generation)
        return self._order(wish_, "ensure")

    def carry_out(self, what: Order) -> DatabaseResult:
        facts = self._do(what)
        assert isinstance(facts, DatabaseResult)
        self.result = facts
        self.created_generations = {part: self.created_generations[part] for part in what.spec.parts}
        return facts

    def have(self, **logins: bool) -> DatabaseResult:
        """Underscores stand for the hyphens of product keys."""
        return self.carry_out(self.start({key.replace("_", "-"): login for key, login in logins.items()}))

    def removal(self) -> Order:
        self._next()
        return self._order(DatabaseSpec(family=self.key, roles=()), "remove")

    def leave(self) -> None:
        """Everything goes, the room as well."""
        self.executors["family", Step.DATABASE].remove(self.removal())
        spec = RegionSpec(residency="global", region=self.region)
        self.executors["family", Step.REGION].remove(
            order(self.scope, Step.REGION, spec, generation=self._next(), direction="remove")
        )
        self.created_generations, self.placement, self.result = {}, None, None

    def license(self, product: str, *, generation: int = 1, active: bool = True) -> StepResult:
        return self.executors["product", Step.LICENSE].ensure(
            self.license_order(product, generation=generation, active=active)
        )

    def license_order(
        self, product: str, *, generation: int = 1, active: bool = True, direction: Direction = "ensure"
    ) -> Order:
        return order(
            Scope("product", self.tenant_id, product),
            Step.LICENSE,
            license_spec(product, active=active),
            generation=generation,
            direction=direction,
            placement=self.placement,
            database=self.result,
        )

    def _next(self) -> int:
        self.generation += 1
        return self.generation

    def _order(self, spec: DatabaseSpec, direction: Direction) -> Order:
        return order(
            self.scope,
            Step.DATABASE,
            spec,
            generation=self.generation,
            direction=direction,
            created_generations=dict(self.created_generations),
            placement=self.placement,
            database=self.result,
        )

    def _do(self, what: Order) -> StepResult:
        return self.executors[what.scope.kind, what.step].ensure(what)


def site_order(tenant_id: str, site_name: str, *, generation: int = 1, direction: Direction = "ensure") -> Order:
    spec = SiteSpec(site_name=site_name, access="open")
    return order(Scope("site", tenant_id), Step.SITE, spec, generation=generation, direction=direction)
