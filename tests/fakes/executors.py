"""Fake world: what stands in for shards, names and databases in a test of the saga.

A `FakeWorld` keeps in memory what the real resources keep on shards and in the control database. Its resources are the
real ones but for their reads and writes. It refuses older generations, counts every act and can be made to fail:
`faults` is called before and after each effect, and what it raises is what the saga sees. After an effect it stands for
a worker that was killed before it could record the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

import psycopg
from msgspec.structs import asdict

from adapters.resources import capacity, database, entitlement, login_role, site_name
from adapters.resources.capacity import Regions
from adapters.resources.database import Databases
from adapters.resources.entitlement import Entitlements, Laid, entitlement_of, table_of
from adapters.resources.executors import in_the_log
from adapters.resources.fences import spec_of
from adapters.resources.login_role import LoginRoles, Names, Role
from adapters.resources.places import Place, name_of
from adapters.resources.site_name import SiteNames, site_url
from adapters.resources.topology import Shard, Topology
from application.ports.resources import BoundedExecutor, IsClaimed, Order, StepExecutor
from application.resources import Resources
from domain.catalog import Catalog, default_catalog
from domain.drift import Expected, Seen, Thing
from domain.errors import Fenced, Obstacle, Permanent, Retryable
from domain.scope.steps import (
    DatabaseResult,
    DatabaseSpec,
    Direction,
    LicenseResult,
    LicenseSpec,
    RegionResult,
    RegionSpec,
    RoleResult,
    Scope,
    ScopeKind,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
)
from domain.stream_name import EntitlementName, ObstacleName, SiteReservation

Faults = Callable[[Order, Literal["before", "after"]], None]


def no_faults(order: Order, when: Literal["before", "after"]) -> None:
    """All goes well."""


@dataclass
class FakeShard:
    """A shard with room for so many families."""

    region: str
    capacity: int = 1000
    isolation: Literal["schema", "database"] = "schema"
    used: int = 0


def default_shards() -> dict[str, FakeShard]:
    """The same regions as the embedded topology."""
    return {f"{region}-{number}": FakeShard(region) for region in ("eu", "us") for number in (1, 2)}


@dataclass
class FakeWorld:
    """All that is there. `acts` counts what was tried, `completed` what was done, by idempotency key. `answers` raises
    for a place that does not answer; `asked` names each look."""

    shards: dict[str, FakeShard] = field(default_factory=default_shards)
    default_region: str = "eu"
    site_domain: str = "tenantry.example"
    catalog: Catalog = field(default_factory=default_catalog)
    faults: Faults = no_faults
    site_names: dict[str, str] = field(default_factory=dict)
    placements: dict[Scope, str] = field(default_factory=dict)
    databases: dict[Scope, DatabaseResult] = field(default_factory=dict)
    entitlements: dict[Scope, LicenseResult] = field(default_factory=dict)
    roles: dict[Scope, dict[str, Role]] = field(default_factory=dict)
    grants: dict[Place, tuple[str, ...]] = field(default_factory=dict)
    answers: Callable[[str], None] = lambda where: None
    asked: list[str] = field(default_factory=list)
    fences: dict[Scope, int] = field(default_factory=dict)
    acts: Counter[tuple[ScopeKind, Step, Direction]] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lock = RLock()
        shards = [Shard(name, shard.region, url="") for name, shard in self.shards.items()]
        self.topology = Topology(shards, default_region=shards[0].region)

    def look_at(self, where: str) -> None:
        """Raises what the place says where it does not answer."""
        self.asked.append(where)
        self.answers(where)

    def places(self) -> frozenset[Place]:
        """Where data is."""
        return frozenset(map(Place.of, self.databases.values()))

    def resources(self) -> Resources:
        """One of each that lies outside the log."""
        each = (_Databases(self), _Entitlements(self), _Regions(self), _SiteNames(self), _LoginRoles(self))
        return Resources(each, lambda: self.shards, tuple)

    def executors(self) -> dict[tuple[ScopeKind, Step], BoundedExecutor]:
        """One for every step; those of which nothing lies outside the log are the real ones."""
        executors = (*self.resources().each, *in_the_log(self.catalog, site_domain=self.site_domain))
        return {
            place: _Watched(self, executor)
            for executor in executors
            if isinstance(executor, StepExecutor)
            for place in executor.serves
        }

    def pass_fence(self, order: Order) -> None:
        if order.generation < self.fences.get(order.scope, 0):
            raise Fenced(f"{order.scope} has seen a newer generation than {order.generation}")
        self.fences[order.scope] = order.generation


@dataclass(frozen=True)
class _Watched:
    """Counts, and fails where the world says so. One act at a time, as a transaction would have it."""

    world: FakeWorld
    effect: StepExecutor

    def ensure(self, order: Order) -> StepResult:
        with self._act(order):
            return self.effect.ensure(order)

    def remove(self, order: Order) -> None:
        with self._act(order):
            self.effect.remove(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self.effect.bulkheads(order)

    @contextmanager
    def _act(self, order: Order) -> Iterator[None]:
        world = self.world
        with world.lock:
            world.acts[order.scope.kind, order.step, order.direction] += 1
            world.faults(order, "before")
            yield
            world.completed[order.idempotency_key] += 1
            world.faults(order, "after")


def _nowhere() -> psycopg.Connection:
    raise AssertionError("a fake resource opens no session")


class _SiteNames(SiteNames):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__(_nowhere, site_domain=world.site_domain)
        self.world = world

    def ensure(self, order: Order) -> SiteResult:
        spec, names = spec_of(order, SiteSpec), self.world.site_names
        self.world.pass_fence(order)
        if names.get(spec.site_name, order.scope.tenant_id) != order.scope.tenant_id:
            raise Obstacle(f"site-name:{spec.site_name}", f"the site name {spec.site_name} is taken")
        self.remove(order)
        names[spec.site_name] = order.scope.tenant_id
        url = site_url(spec.site_name, self.world.site_domain)
        return SiteResult(site_name=spec.site_name, url=url, access=spec.access)

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        names = self.world.site_names
        for name in [name for name, owner in names.items() if owner == order.scope.tenant_id]:
            del names[name]

    def look(self, where: str, sites: Sequence[Expected[SiteResult]]) -> Iterator[Seen]:
        self.world.look_at(where)
        for site in sites:
            yield site.seen(site_name.findings(site, self.world.site_names.get(site.result.site_name)))

    def things(self, where: str) -> Iterable[Thing]:
        return [Thing(where, "site name", str(SiteReservation(*each))) for each in self.world.site_names.items()]

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        if is_claimed():
            return None
        name = SiteReservation.parse(thing.name).site_name
        self.world.site_names.pop(name, None)
        return [str(ObstacleName("site name", name))]


class _Regions(Regions):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__(_nowhere, world.topology)
        self.world = world

    def ensure(self, order: Order) -> RegionResult:
        spec, world = spec_of(order, RegionSpec), self.world
        world.pass_fence(order)
        if (placed := world.placements.get(order.scope)) is not None:
            region = world.shards[placed].region
            if spec.residency == "pinned" and spec.region not in (None, region):
                raise Permanent(f"pinned to region {spec.region} but lives in {region}")
            return RegionResult(region=region, shard=placed)
        region = spec.region or world.default_region
        regions = sorted({shard.region for shard in world.shards.values()})
        if region not in regions:
            raise Permanent(f"region {region} has no shard (regions: {', '.join(regions)})")
        free = {
            name: shard.capacity - shard.used
            for name, shard in sorted(world.shards.items())
            if shard.region == region and shard.used < shard.capacity
        }
        if not free:
            raise Obstacle(f"room:{region}", f"no room in region {region}")
        shard = max(free, key=lambda name: free[name])
        world.shards[shard].used += 1
        world.placements[order.scope] = shard
        return RegionResult(region=region, shard=shard)

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        self._free(order.scope)

    def look(self, where: str, families: Sequence[Expected[RegionResult]]) -> Iterator[Seen]:
        self.world.look_at(where)
        for family in families:
            yield family.seen(capacity.findings(family, set(map(str, self.world.placements))))

    def things(self, where: str) -> Iterable[Thing]:
        return [Thing(where, "room", str(scope)) for scope in self.world.placements]

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        if is_claimed():
            return None
        shard = self._free(Scope.parse(thing.name))
        return [str(ObstacleName("capacity", shard.region))] if shard is not None else []

    def _free(self, scope: Scope) -> FakeShard | None:
        placed = self.world.placements.pop(scope, None)
        if placed is None:
            return None
        self.world.shards[placed].used -= 1
        return self.world.shards[placed]


class _Databases(Databases):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__(world.topology, master_key=b"")
        self.world = world

    def ensure(self, order: Order) -> DatabaseResult:
        spec, names = spec_of(order, DatabaseSpec), Names.of(order)
        if order.placement is None:
            raise Retryable(f"{order.scope} has no placement yet")
        self.world.pass_fence(order)
        shard = self.world.shards[order.placement.shard]
        in_schema = shard.isolation == "schema"
        facts = DatabaseResult(
            family=spec.family,
            region=shard.region,
            shard=order.placement.shard,
            isolation=shard.isolation,
            database=order.placement.shard if in_schema else names.place,
            schema_name=names.place if in_schema else "public",
            roles=tuple(
                RoleResult(
                    product=role.product,
                    role=names.logins[role.product],
                    generation=order.created_generations[role.product],
                    login=role.login,
                    rotation=role.rotation,
                )
                for role in sorted(spec.roles, key=lambda role: role.product)
            ),
        )
        self.world.databases[order.scope] = facts
        self.world.roles[order.scope] = {role.role: Role(role.login, opens=True) for role in facts.roles}
        return facts

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        self.world.databases.pop(order.scope, None)
        self.world.roles.pop(order.scope, None)

    def look(self, shard: str, made: Sequence[Expected[DatabaseResult]]) -> Iterator[Seen]:
        self.world.look_at(shard)
        for family in made:
            yield family.seen(database.findings(family.result, self.world.places(), self.world.grants))

    def things(self, where: str) -> Iterator[Thing]:
        here = [facts for facts in self.world.databases.values() if facts.shard == where]
        yield from (Thing(where, facts.isolation, name_of(facts)) for facts in here)

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        if is_claimed():
            return None
        for scope in [scope for scope, facts in self.world.databases.items() if name_of(facts) == thing.name]:
            del self.world.databases[scope]
        return []


class _LoginRoles(LoginRoles):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__(world.topology, master_key=b"")
        self.world = world

    def look(self, shard: str, made: Sequence[Expected[DatabaseResult]]) -> Iterator[Seen]:
        self.world.look_at(shard)
        for family in made:
            if Place.of(family.result) in self.world.places():
                roles = self.world.roles.get(family.actual.scope, {})
                yield family.seen(login_role.findings(family.result, roles))

    def things(self, where: str) -> Iterator[Thing]:
        here = [scope for scope in self.world.roles if self.world.placements.get(scope) == where]
        yield from (Thing(where, "role", role) for scope in here for role in self.world.roles[scope])

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        if is_claimed():
            return None
        for roles in self.world.roles.values():
            roles.pop(thing.name, None)
        return []


class _Entitlements(Entitlements):
    def __init__(self, world: FakeWorld) -> None:
        super().__init__(world.topology, world.catalog)
        self.world = world

    def ensure(self, order: Order) -> LicenseResult:
        spec, entry = spec_of(order, LicenseSpec), self.world.catalog[order.scope.key]
        reader = entry.host if entry.host is not None and entry.family is None else order.scope.key
        if order.database is None or order.database.role_of(reader) is None:
            raise Retryable(f"{order.scope} has no database with a role for {reader} yet")
        self.world.pass_fence(order)
        facts = LicenseResult(**asdict(spec), location=f"{order.database.schema_name}.{table_of(reader)}")
        self.world.entitlements[order.scope] = facts
        return facts

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        self.world.entitlements.pop(order.scope, None)

    def look(self, shard: str, products: Sequence[Expected[Laid]]) -> Iterator[Seen]:
        self.world.look_at(shard)
        for product in products:
            license_, home = product.result
            if Place.of(home) in self.world.places():
                found = self.world.entitlements.get(product.actual.scope)
                location = f"{home.database}.{license_.location}"
                rows = {(location, product.actual.scope.key): entitlement_of(found)} if found else {}
                yield product.seen(entitlement.findings(product, rows))

    def things(self, where: str) -> Iterator[Thing]:
        yield from self._laid(where)

    def discard(self, thing: Thing, *, is_claimed: IsClaimed) -> Sequence[str] | None:
        if is_claimed():
            return None
        scope = self._laid(thing.where).get(thing)
        if scope is not None:
            del self.world.entitlements[scope]
        return []

    def _laid(self, where: str) -> dict[Thing, Scope]:
        homes = {scope: facts for scope, facts in self.world.databases.items() if facts.shard == where}
        family_of = self.world.catalog.family_of
        families = {each: Scope("family", each.tenant_id, family_of(each.key)) for each in self.world.entitlements}
        return {
            Thing(where, "entitlement", str(EntitlementName(scope.key, name_of(homes[family])))): scope
            for scope, family in families.items()
            if family in homes
        }
