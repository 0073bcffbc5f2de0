"""What does a cloud look like that fits into a test's memory?

`World` brings every step about, as an executor does: what it makes is named after the generation that it was born
in, a lower generation than the last is fenced out, and both acts can be done twice. It counts its `effects`.
`trouble` may raise before or after an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from msgspec.structs import asdict

from adapters.resources.capacity import Regions
from adapters.resources.database import Databases
from adapters.resources.entitlement import Entitlements
from adapters.resources.site_name import SiteNames
from application.ports.resources import Order, StepExecutor, bulkheads
from domain.errors import Fenced, Obstacle
from domain.scope.steps import (
    CommerceResult,
    CommerceSpec,
    ConfigurationResult,
    ConfigurationSpec,
    DatabaseResult,
    DatabaseSpec,
    IdentityResult,
    IdentitySpec,
    LicenseResult,
    LicenseSpec,
    MembershipResult,
    MembershipSpec,
    Permission,
    RegionResult,
    RegionSpec,
    RoleResult,
    Scope,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
    StepSpec,
)

DEFAULT_REGION = "eu"
_RESOURCES: tuple[type[StepExecutor], ...] = (SiteNames, Regions, Databases, Entitlements)
OUTSIDE = {place: each.lies_on for each in _RESOURCES for place in each.serves}
"""The steps of which something lies outside the log, and where."""


def events_of(spec: StepSpec, created_generations: Mapping[str, int]) -> StepResult:
    """What an executor without any surprises finds after it ensured `wish`."""
    match spec:
        case CommerceSpec():
            return CommerceResult(customer_id=spec.customer_id, known=spec.metadata_version > 0)
        case SiteSpec():
            url = f"https://{spec.site_name}.example"
            return SiteResult(site_name=spec.site_name, url=url, access=spec.access)
        case MembershipSpec():
            return MembershipResult(product=spec.product, access=spec.access)
        case RegionSpec():
            region = spec.region or DEFAULT_REGION
            return RegionResult(region=region, shard=f"{region}-1")
        case ConfigurationSpec():
            return ConfigurationResult(product=spec.product, settings={"residency": spec.residency})
        case IdentitySpec():
            permissions = [Permission(group=group, permission="use") for group in spec.groups]
            return IdentityResult(
                product=spec.product,
                users=(),
                groups=spec.groups,
                memberships=(),
                permissions=tuple(permissions) if spec.in_force else (),
            )
        case DatabaseSpec():
            return DatabaseResult(
                family=spec.family,
                region=DEFAULT_REGION,
                shard=f"{DEFAULT_REGION}-1",
                isolation="schema",
                database="shard",
                schema_name=f"{spec.family}_{created_generations['']}",
                roles=tuple(
                    RoleResult(
                        product=role.product,
                        role=f"{role.product}_{created_generations[role.product]}",
                        generation=created_generations[role.product],
                        login=role.login,
                    )
                    for role in spec.roles
                ),
            )
        case LicenseSpec():
            return LicenseResult(**asdict(spec), location=f"there.entitlement_{spec.product.replace('-', '_')}")
    assert_never(spec)


@dataclass(slots=True)
class Database:
    """One database and its roles: name (product and generation) -> may log in. Entitlements: product -> wish."""

    roles: dict[tuple[str, int], bool] = field(default_factory=dict)
    entitlements: dict[str, LicenseSpec] = field(default_factory=dict)


class World:
    """Everything there is, outside of the log."""

    def __init__(self) -> None:
        self.trouble: Callable[[Order, Literal["before", "after"]], None] = lambda order, when: None
        self.taken_names: dict[str, str] = {}
        self.things: dict[tuple[Scope, Step], StepSpec] = {}
        self.databases: dict[tuple[str, str, int], Database] = {}
        self.dropped: list[tuple[str, str, int]] = []
        self.effects = 0
        self._fences: dict[tuple[Scope, Step], int] = {}

    def ensure(self, order: Order) -> StepResult:
        """See `domain.ports.Executor.ensure`."""
        self._pass(order)
        spec = order.spec
        if isinstance(spec, SiteSpec):
            holder = self.taken_names.setdefault(spec.site_name, order.scope.tenant_id)
            if holder != order.scope.tenant_id:
                raise Obstacle(f"site-name:{spec.site_name}", f"{holder} has the name {spec.site_name}")
        if isinstance(spec, DatabaseSpec):
            self._ensure_database(order, spec)
        if isinstance(spec, LicenseSpec):
            self._database(order).entitlements[spec.product] = spec
        self.things[order.scope, order.step] = spec
        self.trouble(order, "after")
        return events_of(spec, order.created_generations)

    def remove(self, order: Order) -> None:
        """See `domain.ports.Executor.remove`."""
        self._pass(order)
        spec = order.spec
        if isinstance(spec, SiteSpec) and self.taken_names.get(spec.site_name) == order.scope.tenant_id:
            del self.taken_names[spec.site_name]
        if isinstance(spec, DatabaseSpec):
            key = (order.scope.tenant_id, spec.family, order.created_generations[""])
            if self.databases.pop(key, None) is not None:
                self.dropped.append(key)
        if isinstance(spec, LicenseSpec):
            for (tenant_id, _, _), database in self.databases.items():
                if tenant_id == order.scope.tenant_id:
                    database.entitlements.pop(spec.product, None)
        self.things.pop((order.scope, order.step), None)
        self.trouble(order, "after")

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        """Those of the real executors."""
        return bulkheads(order, OUTSIDE.get((order.scope.kind, order.step), "the log"))

    def _pass(self, order: Order) -> None:
        self.trouble(order, "before")
        place = (order.scope, order.step)
        if order.generation < self._fences.get(place, 0):
            raise Fenced(f"{order.idempotency_key}: a newer generation has been here")
        self._fences[place] = order.generation
        self.effects += 1

    def _ensure_database(self, order: Order, spec: DatabaseSpec) -> None:
        key = (order.scope.tenant_id, spec.family, order.created_generations[""])
        database = self.databases.setdefault(key, Database())
        database.roles = {
            **{
                name: login
                for name, login in database.roles.items()
                if order.created_generations.get(name[0]) != name[1]
            },
            **{(role.product, order.created_generations[role.product]): role.login for role in spec.roles},
        }

    def _database(self, order: Order) -> Database:
        assert order.database is not None, f"{order.idempotency_key}: no database to lay an entitlement into"
        generation = int(order.database.schema_name.rpartition("_")[2])
        return self.databases[order.scope.tenant_id, order.database.family, generation]
