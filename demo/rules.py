"""Rules of the oracle: registers, refusals, the backlog and levels.

They are the rules of the domain, written a second time from their description and without the domain's code.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import Any, Final, Literal

from demo.entries import Entry
from demo.reading import Message, Refused, instant, read_event

Level = Literal["open", "closed", "retained", "absent"]
LEVELS: Final[tuple[Level, ...]] = ("absent", "retained", "closed", "open")

CATALOG: Final[dict[str, Any]] = tomllib.loads(files("domain").joinpath("catalog.toml").read_text())["products"]

Register = tuple[Any, int | None]
"""A value, and the revision that wrote it."""


@dataclass(slots=True)
class Product:
    """One product or app of a tenant: registers `name -> (value, revision)`, and its history."""

    presence: Register | None = None
    access: Register | None = None
    license: Register | None = None
    revisioned: bool = False
    may_have_converged: bool = False
    has_converged: bool = False
    failure: bool = False
    level: Level = "absent"

    @property
    def activated(self) -> bool:
        return self.presence is not None and self.presence[0][0] == "activated"


@dataclass(slots=True)
class Tenant:
    """One tenant; it exists once it has `attributes`. `families`: family -> its region."""

    id: str
    attributes: Register | None = None
    destroyed: bool = False
    revisioned: bool = False
    blocked: bool = False
    products: dict[str, Product] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)


class Judge:
    """The expected state of all tenants, from messages one by one. A wave is between two calls of `settle`."""

    def __init__(self, now: datetime, default_region: str) -> None:
        self._now = now
        self._default_region = default_region
        self._seen: dict[tuple[str, str], str] = {}
        self.backlogs: dict[str, list[Message]] = {}
        self.tenants: dict[str, Tenant] = {}
        self._owners: dict[str, str] = {}
        self.stale = self.duplicates = 0
        self.quarantine: Counter[str] = Counter()
        self.customers: dict[str, Register] = {}
        self.unsure: set[tuple[str, str]] = set()

    def existing(self) -> dict[str, Tenant]:
        """The tenants that were created."""
        return {key: tenant for key, tenant in self.tenants.items() if tenant.attributes is not None}

    # -- arrival

    def take(self, entry: Entry) -> None:
        try:
            event = read_event(entry)
        except Refused as refusal:
            self.quarantine[str(refusal)] += 1
            return
        known = self._seen.get((event.source, event.id))
        if known is not None:
            if known == event.content:
                self.duplicates += 1
            else:
                self.quarantine["same-id-other-content"] += 1
            return
        self._seen[event.source, event.id] = event.content
        if event.type == "commerce.customer.updated":
            self._judge(self._customer, event)
        elif event.type != "tenant.created" and self._tenant(event.tenant_id).attributes is None:
            self.backlogs.setdefault(event.tenant_id, []).append(event)
        else:
            self._judge(self._tell, event)
            if self._tenant(event.tenant_id).attributes is not None:
                for waiting in self.backlogs.pop(event.tenant_id, []):
                    self._judge(self._tell, waiting)

    def _tenant(self, tenant_id: str) -> Tenant:
        return self.tenants.setdefault(tenant_id, Tenant(tenant_id))

    def _judge(self, decide: Callable[[Message], bool], event: Message) -> None:
        """`decide` returns whether anything changed, or refuses."""
        try:
            if not decide(event):
                self.stale += 1
        except Refused as refusal:
            self.quarantine[str(refusal)] += 1

    def _customer(self, event: Message) -> bool:
        data, register = event.data, self.customers.get(event.data["customer_id"])
        people = [
            (person["account_id"], person["name"], person["email"], tuple(person.get("roles", ())))
            for person in data.get("administrators", ())
        ]
        value = (data["name"], data["country"], data.get("contacts", []), people)
        if event.revision is None and register is not None and register[1] is not None:
            raise Refused("revision-missing")
        if not _lands(register, value, event.revision):
            return False
        self.customers[data["customer_id"]] = (value, event.revision)
        return True

    def _tell(self, event: Message) -> bool:
        tenant = self._tenant(event.tenant_id)
        match event.type:
            case "tenant.created":
                return self._create(tenant, event)
            case "tenant.destroyed":
                if tenant.destroyed:
                    return False
                if event.revision is None and tenant.revisioned:
                    raise Refused("revision-missing")
                tenant.destroyed = True
                tenant.revisioned |= event.revision is not None
                return True
            case _:
                return self._write(tenant, event.type, event.data, event.revision, check=False)

    def _create(self, tenant: Tenant, event: Message) -> bool:
        data, founder = event.data, event.data["administrator"]
        value = (
            data["customer_id"],
            data["site_name"],
            data["residency"],
            data.get("region"),
            (founder["account_id"], founder["name"], founder["email"]),
        )
        before = tenant.attributes
        if before is not None and before[0] != value:
            _offered(data.get("products", ()))
            raise Refused("tenant-id-used-twice")
        repeats = before is not None and (
            event.revision is None or (before[1] is not None and event.revision <= before[1])
        )
        activations = [each for each in data.get("products", ()) if not repeats or "revision" in each]
        _offered(data.get("products", ()))
        for each in activations:  # all or nothing: check everything before the first write
            self._write(tenant, "product.activated", each, each.get("revision"), check=True)
        landed = [
            self._write(tenant, "product.activated", each, each.get("revision"), check=False) for each in activations
        ]
        if not repeats:
            tenant.attributes = (value, event.revision)
            tenant.revisioned |= event.revision is not None
        return any(landed) or not repeats

    def _write(self, tenant: Tenant, type_: str, data: dict[str, Any], revision: int | None, *, check: bool) -> bool:
        """Write a product's registers, or (`check`) only see whether it may be; says whether any of them changes."""
        _offered([data])
        product = tenant.products.get(data["product"], Product())
        if revision is None:
            _check_life_cycle(type_, product)
        writes = _writes(type_, data)
        landing = {name: value for name, value in writes.items() if _lands(getattr(product, name), value, revision)}
        if landing and not check:
            for name, value in landing.items():
                setattr(product, name, (value, revision))
            product.revisioned |= revision is not None
            product.may_have_converged |= product.activated
            tenant.products[data["product"]] = product
        return bool(landing)

    # -- the end of a wave

    def settle(self) -> None:
        """Everything sent so far has had its effect: all open and closed scopes have converged."""
        before = dict(self._owners)
        for tenant in self.existing().values():
            assert tenant.attributes is not None
            name = tenant.attributes[0][1]
            owner = self._owners.setdefault(name, tenant.id)
            tenant.blocked = owner != tenant.id
            if tenant.blocked and name not in before:
                self.unsure |= {(owner, ""), (tenant.id, "")}
        for tenant in self.existing().values():
            if not tenant.blocked:
                self._place(tenant)
            for key, product in tenant.products.items():
                product.failure &= product.activated
                product.level = "absent" if tenant.blocked else self._level(tenant, key)
                if product.level in ("open", "closed"):
                    product.has_converged = True
                elif not (product.has_converged or product.failure or tenant.blocked) and _may_have_converged(
                    tenant, key
                ):
                    self.unsure |= {(tenant.id, key), (tenant.id, f"family {family_of(key)}")}

    def _place(self, tenant: Tenant) -> None:
        """The regions of the families, and the products that are pinned to another region."""
        homes: dict[str, dict[str, tuple[str, str | None]]] = {}
        for key, product in tenant.products.items():
            if product.activated and "family" in CATALOG[key]:
                homes.setdefault(family_of(key), {})[key] = self._home(tenant, product)
        for family, of_members in homes.items():
            regions = {region or self._default_region for _, region in of_members.values()}
            if family not in tenant.families:
                tenant.families[family] = min(regions)
                if len(regions) > 1:  # the first product decides
                    self.unsure |= {(tenant.id, subject) for subject in (*of_members, f"family {family}")}
            for key, (residency, region) in of_members.items():
                product = tenant.products[key]
                product.failure = residency == "pinned" and region != tenant.families[family]
                if product.failure and product.has_converged:
                    self.unsure.add((tenant.id, key))

    def _home(self, tenant: Tenant, product: Product) -> tuple[str, str | None]:
        assert tenant.attributes is not None
        assert product.presence is not None
        _, residency, region = product.presence[0]
        _, _, of_tenant, near, _ = tenant.attributes[0]
        residency = residency or of_tenant
        return residency, region or (near if residency == of_tenant else None)

    def _level(self, tenant: Tenant, key: str) -> Level:
        product, host = tenant.products[key], CATALOG[key].get("host")
        of_host: Level = self._level(tenant, host) if host in tenant.products else "absent"
        if product.failure or (host is not None and of_host == "absent"):
            return "absent"
        if not product.activated:
            return "retained" if product.has_converged else "absent"
        assert product.access is not None
        assert product.license is not None
        _, _, status, expires_at = product.license[0]
        licensed = status == "active" and (expires_at is None or expires_at > self._now)
        open_ = licensed and product.access[0] == "open" and not tenant.destroyed
        return "open" if open_ and (host is None or of_host == "open") else "closed"


def _may_have_converged(tenant: Tenant, key: str) -> bool:
    """Whether the saga may have seen it activated, with its host."""
    host = CATALOG[key].get("host")
    return tenant.products[key].may_have_converged and (
        host is None or (host in tenant.products and _may_have_converged(tenant, host))
    )


def family_of(key: str) -> str:
    entry = CATALOG[key]
    return str(entry.get("family") or CATALOG[entry["host"]]["family"])


def _lands(register: Register | None, value: Any, revision: int | None) -> bool:
    """Whether a write changes the register. The same revision with another value is a contradiction."""
    if register is None or revision is None or register[1] is None or revision > register[1]:
        return True
    if revision == register[1] and register[0] != value:
        raise Refused("same-revision-other-content")
    return False


def _writes(type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """The registers that an event writes, with their values."""
    match type_:
        case "product.activated":
            return {
                "presence": ("activated", data.get("residency"), data.get("region")),
                "access": "open",
                "license": (data["edition"], data["users"], "active", instant(data.get("expires_at"))),
            }
        case "product.deactivated":
            return {"presence": ("deactivated", data["reason"], None)}
        case "product.suspended":
            return {"access": ("suspended", data["reason"])}
        case "product.unsuspended":
            return {"access": "open"}
        case _:
            return {"license": (data["edition"], data["users"], data["status"], instant(data.get("expires_at")))}


def _check_life_cycle(type_: str, product: Product) -> None:
    """Refusals of events without a revision."""
    suspended = product.access is not None and product.access[0] != "open"
    if product.revisioned:
        raise Refused("revision-missing")
    if type_ == "product.activated":
        if product.activated:
            raise Refused("already-active")
    elif not product.activated:
        raise Refused("not-active")
    elif type_ == "product.suspended" and suspended:
        raise Refused("already-suspended")
    elif type_ == "product.unsuspended" and not suspended:
        raise Refused("not-suspended")


def _offered(offers: Iterable[dict[str, Any]]) -> None:
    for spec in offers:
        if spec["product"] not in CATALOG:
            raise Refused("unknown-product")
        if "edition" in spec and spec["edition"] not in CATALOG[spec["product"]]["editions"]:
            raise Refused("unknown-edition")
