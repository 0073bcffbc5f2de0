"""What stands in for shards, names and databases in a test of the saga?

A `FakeWorld` keeps in memory what the real executors keep on shards and in the control database, refuses
older generations as they do, counts every act and can be made to fail: `faults` is called before and after
each effect, and what it raises is what the saga sees. After an effect it stands for a worker that was
killed before it could record the outcome.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

from adapters.resources.commerce import Commerce
from adapters.resources.configuration import Configurations
from adapters.resources.entitlement import table_of
from adapters.resources.fences import spec_of
from adapters.resources.identities import Identities
from adapters.resources.login_role import Names
from adapters.resources.site_name import Memberships, site_url
from application.ports.resources import Executor, Order
from domain.catalog import Catalog, default_catalog
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

Faults = Callable[[Order, Literal["before", "after"]], None]


def no_faults(order: Order, when: Literal["before", "after"]) -> None:
    """All goes well."""


@dataclass
class SeededFaults:
    """Fails a share of the acts, half of them after the effect; the same seed fails the same ones."""

    seed: int
    rate: float
    raised: int = 0

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)  # noqa: S311 - chance that can be repeated

    def __call__(self, order: Order, when: Literal["before", "after"]) -> None:
        if self._dice.random() < self.rate / 2:
            self.raised += 1
            raise Retryable(f"fault {self.raised} of seed {self.seed}, {when} {order.idempotency_key}")


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
    """All that is there. `acts` counts what was tried, `completed` what was done, by idempotency key."""

    shards: dict[str, FakeShard] = field(default_factory=default_shards)
    default_region: str = "eu"
    site_domain: str = "tenantry.example"
    catalog: Catalog = field(default_factory=default_catalog)
    faults: Faults = no_faults
    site_names: dict[str, str] = field(default_factory=dict)
    placements: dict[Scope, str] = field(default_factory=dict)
    databases: dict[Scope, DatabaseResult] = field(default_factory=dict)
    entitlements: dict[Scope, LicenseResult] = field(default_factory=dict)
    fences: dict[Scope, int] = field(default_factory=dict)
    acts: Counter[tuple[ScopeKind, Step, Direction]] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.lock = RLock()

    def executors(self) -> dict[tuple[ScopeKind, Step], Executor]:
        """One for every step; the pure ones are the real ones."""
        configurations = Configurations(self.catalog, site_domain=self.site_domain)
        effects: Iterable[tuple[ScopeKind, Step, Executor]] = (
            ("site", Step.COMMERCE, Commerce()),
            ("site", Step.SITE, _SiteNames(self)),
            ("site", Step.CONFIGURATION, configurations),
            ("site", Step.IDENTITY, Identities()),
            ("family", Step.REGION, _Regions(self)),
            ("family", Step.DATABASE, _Databases(self)),
            ("product", Step.SITE, Memberships()),
            ("product", Step.CONFIGURATION, configurations),
            ("product", Step.IDENTITY, Identities()),
            ("product", Step.LICENSE, _Licenses(self)),
        )
        return {(kind, step): _Watched(self, effect) for kind, step, effect in effects}

    def pass_fence(self, order: Order) -> None:
        if order.generation < self.fences.get(order.scope, 0):
            raise Fenced(f"{order.scope} has seen a newer generation than {order.generation}")
        self.fences[order.scope] = order.generation


@dataclass(frozen=True)
class _Watched:
    """Counts, and fails where the world says so. One act at a time, as a transaction would have it."""

    world: FakeWorld
    effect: Executor

    def ensure(self, order: Order) -> StepResult:
        with self._act(order):
            return self.effect.ensure(order)

    def remove(self, order: Order) -> None:
        with self._act(order):
            self.effect.remove(order)

    @contextmanager
    def _act(self, order: Order) -> Iterator[None]:
        world = self.world
        with world.lock:
            world.acts[order.scope.kind, order.step, order.direction] += 1
            world.faults(order, "before")
            yield
            world.completed[order.idempotency_key] += 1
            world.faults(order, "after")


@dataclass(frozen=True)
class _SiteNames:
    world: FakeWorld

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


@dataclass(frozen=True)
class _Regions:
    world: FakeWorld

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
        shard = self.world.placements.pop(order.scope, None)
        if shard is not None:
            self.world.shards[shard].used -= 1


@dataclass(frozen=True)
class _Databases:
    world: FakeWorld

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
                )
                for role in sorted(spec.roles, key=lambda role: role.product)
            ),
        )
        self.world.databases[order.scope] = facts
        return facts

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        self.world.databases.pop(order.scope, None)


@dataclass(frozen=True)
class _Licenses:
    world: FakeWorld

    def ensure(self, order: Order) -> LicenseResult:
        spec, entry = spec_of(order, LicenseSpec), self.world.catalog[order.scope.key]
        reader = entry.host if entry.host is not None and entry.family is None else order.scope.key
        if order.database is None or order.database.role_of(reader) is None:
            raise Retryable(f"{order.scope} has no database with a role for {reader} yet")
        self.world.pass_fence(order)
        facts = LicenseResult(
            **spec.model_dump(exclude={"kind"}), location=f"{order.database.schema_name}.{table_of(reader)}"
        )
        self.world.entitlements[order.scope] = facts
        return facts

    def remove(self, order: Order) -> None:
        self.world.pass_fence(order)
        self.world.entitlements.pop(order.scope, None)
