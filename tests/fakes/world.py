"""What does a cloud look like that fits into a test's memory?

`World` brings every step about, as an executor does: what it makes is named after the generation that it was born
in, a lower generation than the last is fenced out, and both acts can be done twice. It counts its `effects`.
`trouble` may raise before or after an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from application.ports import Order
from domain.errors import Fenced, Obstacle
from domain.scope.steps import (
    CommerceFacts,
    CommerceWish,
    ConfigurationFacts,
    ConfigurationWish,
    DatabaseFacts,
    DatabaseWish,
    Facts,
    IdentityFacts,
    IdentityWish,
    LicenseFacts,
    LicenseWish,
    MembershipFacts,
    MembershipWish,
    Permission,
    RegionFacts,
    RegionWish,
    RoleFacts,
    Scope,
    SiteFacts,
    SiteWish,
    Step,
    Wish,
)

DEFAULT_REGION = "eu"


def facts_of(wish: Wish, born: Mapping[str, int]) -> Facts:
    """What an executor without any surprises finds after it ensured `wish`."""
    match wish:
        case CommerceWish():
            return CommerceFacts(customer_id=wish.customer_id, known=wish.metadata_version > 0)
        case SiteWish():
            url = f"https://{wish.site_name}.example"
            return SiteFacts(site_name=wish.site_name, url=url, access=wish.access)
        case MembershipWish():
            return MembershipFacts(product=wish.product, access=wish.access)
        case RegionWish():
            region = wish.region or DEFAULT_REGION
            return RegionFacts(region=region, shard=f"{region}-1")
        case ConfigurationWish():
            return ConfigurationFacts(product=wish.product, settings={"residency": wish.residency})
        case IdentityWish():
            permissions = [Permission(group=group, permission="use") for group in wish.groups]
            return IdentityFacts(
                product=wish.product,
                users=(),
                groups=wish.groups,
                memberships=(),
                permissions=tuple(permissions) if wish.in_force else (),
            )
        case DatabaseWish():
            return DatabaseFacts(
                family=wish.family,
                region=DEFAULT_REGION,
                shard=f"{DEFAULT_REGION}-1",
                isolation="schema",
                database="shard",
                schema_name=f"{wish.family}_{born['']}",
                roles=tuple(
                    RoleFacts(
                        product=role.product,
                        role=f"{role.product}_{born[role.product]}",
                        generation=born[role.product],
                        login=role.login,
                    )
                    for role in wish.roles
                ),
            )
        case LicenseWish():
            return LicenseFacts(
                **wish.model_dump(exclude={"kind"}), location=f"there.entitlement_{wish.product.replace('-', '_')}"
            )
    assert_never(wish)


@dataclass(slots=True)
class Database:
    """One database and its roles: name (product and generation) -> may log in. Entitlements: product -> wish."""

    roles: dict[tuple[str, int], bool] = field(default_factory=dict)
    entitlements: dict[str, LicenseWish] = field(default_factory=dict)


class World:
    """Everything there is, outside of the log."""

    def __init__(self) -> None:
        self.trouble: Callable[[Order, Literal["before", "after"]], None] = lambda order, when: None
        self.taken_names: dict[str, str] = {}
        self.things: dict[tuple[Scope, Step], Wish] = {}
        self.databases: dict[tuple[str, str, int], Database] = {}
        self.dropped: list[tuple[str, str, int]] = []
        self.effects = 0
        self._fences: dict[tuple[Scope, Step], int] = {}

    def ensure(self, order: Order) -> Facts:
        """See `domain.ports.Executor.ensure`."""
        self._pass(order)
        wish = order.wish
        if isinstance(wish, SiteWish):
            holder = self.taken_names.setdefault(wish.site_name, order.scope.tenant_id)
            if holder != order.scope.tenant_id:
                raise Obstacle(f"site-name:{wish.site_name}", f"{holder} has the name {wish.site_name}")
        if isinstance(wish, DatabaseWish):
            self._ensure_database(order, wish)
        if isinstance(wish, LicenseWish):
            self._database(order).entitlements[wish.product] = wish
        self.things[order.scope, order.step] = wish
        self.trouble(order, "after")
        return facts_of(wish, order.born)

    def remove(self, order: Order) -> None:
        """See `domain.ports.Executor.remove`."""
        self._pass(order)
        wish = order.wish
        if isinstance(wish, SiteWish) and self.taken_names.get(wish.site_name) == order.scope.tenant_id:
            del self.taken_names[wish.site_name]
        if isinstance(wish, DatabaseWish):
            key = (order.scope.tenant_id, wish.family, order.born[""])
            if self.databases.pop(key, None) is not None:
                self.dropped.append(key)
        if isinstance(wish, LicenseWish):
            for (tenant_id, _, _), database in self.databases.items():
                if tenant_id == order.scope.tenant_id:
                    database.entitlements.pop(wish.product, None)
        self.things.pop((order.scope, order.step), None)
        self.trouble(order, "after")

    def _pass(self, order: Order) -> None:
        self.trouble(order, "before")
        place = (order.scope, order.step)
        if order.generation < self._fences.get(place, 0):
            raise Fenced(f"{order.idempotency_key}: a newer generation has been here")
        self._fences[place] = order.generation
        self.effects += 1

    def _ensure_database(self, order: Order, wish: DatabaseWish) -> None:
        key = (order.scope.tenant_id, wish.family, order.born[""])
        database = self.databases.setdefault(key, Database())
        database.roles = {
            **{name: login for name, login in database.roles.items() if order.born.get(name[0]) != name[1]},
            **{(role.product, order.born[role.product]): role.login for role in wish.roles},
        }

    def _database(self, order: Order) -> Database:
        assert order.database is not None, f"{order.idempotency_key}: no database to lay an entitlement into"
        generation = int(order.database.schema_name.rpartition("_")[2])
        return self.databases[order.scope.tenant_id, order.database.family, generation]
