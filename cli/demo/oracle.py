"""What must be there after a stream, and is it?

The rules of the domain a second time, read from their description and written without its code: from the messages
alone `expect` works out what each tenant must have, `compare` looks at the read models and at the servers
themselves (findings.py) and names every difference. Two programs that agree by accident would have to make
the same mistake twice.

    expect(entries | path, *, now=None, default_region="eu") -> Expected
    compare(expected, database_url, topology) -> list[Disagreement]         asks the databases
    disagreements(expected, found) -> list[Disagreement]                    pure: facts against facts

Everything is told as facts: `(tenant, subject, aspect) -> value`, both what is expected and what is found. Whatever is
in one and not in the other, or differs, is a disagreement, so that an orphan shows like a thing that is missing.

What a stream does not decide is left out (`Expected.unsure`): what was activated and deactivated within one wave may
have lived or not, one of two tenants that want a name in the same wave gets it, and so on. Not judged here: the
formats of names, retention that is over, and regions without a shard.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from adapters.topology import Topology
from cli.demo.findings import find
from cli.demo.stream import Entry, read

Level = Literal["open", "closed", "retained", "absent"]
LEVELS: Final[tuple[Level, ...]] = ("absent", "retained", "closed", "open")

CATALOG: Final[dict[str, Any]] = tomllib.loads(files("domain").joinpath("catalog.toml").read_text())["products"]


class Fact(NamedTuple):
    """What a value is about. `subject`: `site`, a product, `family F`, or what else there is to count."""

    tenant: str
    subject: str
    aspect: str


Facts = dict[Fact, Any]


@dataclass(frozen=True, slots=True)
class Disagreement:
    fact: Fact
    expected: Any
    found: Any


# -- what must be there --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Product:
    """One product or app of a tenant: registers `name -> (value, revision)`, and its history."""

    presence: tuple[Any, int | None] | None = None
    access: tuple[Any, int | None] | None = None
    license: tuple[Any, int | None] | None = None
    revisioned: bool = False
    maybe_lived: bool = False
    lived: bool = False
    given_up: bool = False
    level: Level = "absent"

    @property
    def activated(self) -> bool:
        return self.presence is not None and self.presence[0][0] == "activated"


@dataclass(slots=True)
class Tenant:
    """One tenant; it exists once it has `attributes`. `families`: family -> the region it lives in."""

    id: str
    attributes: tuple[Any, int | None] | None = None
    destroyed: bool = False
    revisioned: bool = False
    blocked: bool = False
    products: dict[str, Product] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Expected:
    """All there must be. `counts` of levels are over products and apps."""

    tenants: dict[str, Tenant]
    customers: dict[str, tuple[Any, int | None]]
    waiting: list[tuple[str, str, str]]
    quarantine: Counter[str]
    duplicates: int
    stale: int
    unsure: set[tuple[str, str]]

    def counts(self) -> dict[Level, int]:
        levels = Counter(product.level for tenant in self.tenants.values() for product in tenant.products.values())
        return {level: levels[level] for level in reversed(LEVELS)}

    def steps(self) -> dict[int, int]:
        """For each of the seven steps how many scopes must have it."""
        aspects = Counter(fact.aspect for fact in self.facts())
        return {
            1: len(self.tenants),
            2: aspects["access"] + aspects["in the site's set"],
            3: aspects["region"],
            4: aspects["configuration"],
            5: aspects["users"],
            6: aspects["database"],
            7: aspects["license"],
        }

    def facts(self) -> Facts:
        """Every fact that must be found, and no other."""
        made: Facts = {}
        for tenant in self.tenants.values():
            made |= _site_facts(tenant, self.customers)
            for family, region in tenant.families.items():
                made |= _family_facts(tenant, family, region)
            for key, product in tenant.products.items():
                made |= _product_facts(tenant, key, product, made[Fact(tenant.id, "site", "saga")], self.customers)
        for rule, count in self.quarantine.items():
            made[Fact("", "quarantine", rule)] = count
        for tenant_id, source, id_ in self.waiting:
            made[Fact(tenant_id, f"{source} {id_}", "waits")] = True
        made[Fact("", "messages", "duplicates")] = self.duplicates
        made[Fact("", "messages", "stale")] = self.stale
        return made


def _site_facts(tenant: Tenant, customers: Mapping[str, tuple[Any, int | None]]) -> Facts:
    assert tenant.attributes is not None
    if tenant.blocked:
        return {Fact(tenant.id, "site", "saga"): "waiting"}
    customer_id, site_name, *_ = tenant.attributes[0]
    state = "closed" if tenant.destroyed else "open"
    shown = [product.level == "open" for product in tenant.products.values() if product.level in ("open", "closed")]
    access = "open" if all(shown) else "partial" if any(shown) else "closed"
    made: Facts = {
        Fact(tenant.id, "site", "saga"): f"converged {state}",
        Fact(tenant.id, "site", "name"): site_name,
        Fact(tenant.id, "site", "customer"): customer_id,
        Fact(tenant.id, "site", "state"): state,
        Fact(tenant.id, "site", "access"): access if state == "open" else "closed",
        Fact(tenant.id, "site", "configuration"): True,
        Fact(tenant.id, "site", "users"): _users(tenant, customers),
    }
    if state == "open":
        made[Fact(tenant.id, "site", "permissions")] = "in force"
    return made


def _users(tenant: Tenant, customers: Mapping[str, tuple[Any, int | None]]) -> Any:
    """The customer's administrators, or the founder until commerce has named any."""
    assert tenant.attributes is not None
    customer_id, founder = tenant.attributes[0][0], tenant.attributes[0][-1]
    people = customers[customer_id][0][-1] if customer_id in customers else [(*founder, ("site-administrator",))]
    return sorted(people)


def _family_facts(tenant: Tenant, family: str, region: str) -> Facts:
    members = {key: product.level for key, product in tenant.products.items() if CATALOG[key].get("family") == family}
    level = max(members.values(), key=LEVELS.index, default="absent")
    if level == "absent":
        return {}
    subject = f"family {family}"
    made: Facts = {
        Fact(tenant.id, subject, "saga"): f"converged {level}",
        Fact(tenant.id, subject, "region"): region,
        Fact(tenant.id, subject, "database"): f"where placements say, in {region}",
        Fact(tenant.id, subject, "group role"): "there",
    }
    for key, of_member in members.items():
        if of_member != "absent":
            made[Fact(tenant.id, key, "login role")] = "may log in" if of_member == "open" else "may not log in"
    return made


def _product_facts(
    tenant: Tenant, key: str, product: Product, site: str, customers: Mapping[str, tuple[Any, int | None]]
) -> Facts:
    if product.given_up and site != "waiting":
        return {Fact(tenant.id, key, "saga"): "given_up"}
    if product.level == "absent":
        return {}
    made: Facts = {
        Fact(tenant.id, key, "saga"): f"converged {product.level}",
        Fact(tenant.id, key, "configuration"): True,
        Fact(tenant.id, key, "users"): _users(tenant, customers),
    }
    if product.level == "open":
        made[Fact(tenant.id, key, "permissions")] = "in force"
    if product.level in ("open", "closed"):
        assert product.license is not None
        edition, users, _, expires_at = product.license[0]
        features = tuple(CATALOG[key]["editions"][edition])
        told = (edition, users, product.level == "open", expires_at, features)
        made[Fact(tenant.id, key, "in the site's set")] = product.level
        made[Fact(tenant.id, key, "license")] = told
        made[Fact(tenant.id, key, "entitlement on the shard")] = told
        made[Fact(tenant.id, key, "entitlement is readable")] = True
    return made


# -- from the messages ---------------------------------------------------------------------------------------------


def expect(stream: Path | Iterable[Entry], *, now: datetime | None = None, default_region: str = "eu") -> Expected:
    """What must be there when the whole stream was taken in and everything has settled, at `now` (UTC)."""
    entries = read(stream) if isinstance(stream, Path) else list(stream)
    oracle = _Oracle(now or datetime.now(UTC), default_region)
    for wave in sorted({entry.wave for entry in entries}):
        for entry in entries:
            if entry.wave == wave:
                oracle.take(entry)
        oracle.settle()
    return oracle.expected


class _Refused(Exception):
    """The message goes to quarantine, for this rule."""


@dataclass(frozen=True, slots=True)
class _Event:
    source: str
    id: str
    type: str
    revision: int | None
    data: dict[str, Any]
    said: str

    @property
    def tenant_id(self) -> str:
        return str(self.data["tenant_id"])


class _Oracle:
    """Takes messages one by one, as they would arrive. Between two calls of `settle` lies a wave."""

    def __init__(self, now: datetime, default_region: str) -> None:
        self._now = now
        self._default_region = default_region
        self._seen: dict[tuple[str, str], str] = {}
        self._rooms: dict[str, list[_Event]] = {}
        self._tenants: dict[str, Tenant] = {}
        self._owners: dict[str, str] = {}
        self._stale = self._duplicates = 0
        self._quarantine: Counter[str] = Counter()
        self._customers: dict[str, tuple[Any, int | None]] = {}
        self._unsure: set[tuple[str, str]] = set()

    @property
    def expected(self) -> Expected:
        waiting = [(key, event.source, event.id) for key, room in self._rooms.items() for event in room]
        return Expected(
            self._existing(),
            self._customers,
            waiting,
            self._quarantine,
            self._duplicates,
            self._stale,
            self._unsure,
        )

    def _existing(self) -> dict[str, Tenant]:
        return {key: tenant for key, tenant in self._tenants.items() if tenant.attributes is not None}

    # -- arrival

    def take(self, entry: Entry) -> None:
        try:
            event = _event(entry)
        except _Refused as refusal:
            self._quarantine[str(refusal)] += 1
            return
        known = self._seen.get((event.source, event.id))
        if known is not None:
            if known == event.said:
                self._duplicates += 1
            else:
                self._quarantine["same-id-other-content"] += 1
            return
        self._seen[event.source, event.id] = event.said
        if event.type == "commerce.customer.updated":
            self._judge(self._customer, event)
        elif event.type != "tenant.created" and self._tenant(event.tenant_id).attributes is None:
            self._rooms.setdefault(event.tenant_id, []).append(event)
        else:
            self._judge(self._tell, event)
            if self._tenant(event.tenant_id).attributes is not None:
                for waiting in self._rooms.pop(event.tenant_id, []):
                    self._judge(self._tell, waiting)

    def _tenant(self, tenant_id: str) -> Tenant:
        return self._tenants.setdefault(tenant_id, Tenant(tenant_id))

    def _judge(self, decide: Any, event: _Event) -> None:
        """`decide` says whether anything landed, or refuses."""
        try:
            if not decide(event):
                self._stale += 1
        except _Refused as refusal:
            self._quarantine[str(refusal)] += 1

    def _customer(self, event: _Event) -> bool:
        data, register = event.data, self._customers.get(event.data["customer_id"])
        people = [
            (person["account_id"], person["name"], person["email"], tuple(person.get("roles", ())))
            for person in data.get("administrators", ())
        ]
        value = (data["name"], data["country"], data.get("contacts", []), people)
        if event.revision is None and register is not None and register[1] is not None:
            raise _Refused("revision-missing")
        if not _lands(register, value, event.revision):
            return False
        self._customers[data["customer_id"]] = (value, event.revision)
        return True

    def _tell(self, event: _Event) -> bool:
        tenant = self._tenant(event.tenant_id)
        match event.type:
            case "tenant.created":
                return self._create(tenant, event)
            case "tenant.destroyed":
                if tenant.destroyed:
                    return False
                if event.revision is None and tenant.revisioned:
                    raise _Refused("revision-missing")
                tenant.destroyed = True
                tenant.revisioned |= event.revision is not None
                return True
            case _:
                return self._write(tenant, event.type, event.data, event.revision, check=False)

    def _create(self, tenant: Tenant, event: _Event) -> bool:
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
            raise _Refused("tenant-id-used-twice")
        repeats = before is not None and (
            event.revision is None or (before[1] is not None and event.revision <= before[1])
        )
        activations = [each for each in data.get("products", ()) if not repeats or "revision" in each]
        _offered(data.get("products", ()))
        for each in activations:  # all of it or nothing: look before anything is written
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
            product.maybe_lived |= product.activated
            tenant.products[data["product"]] = product
        return bool(landing)

    # -- the end of a wave

    def settle(self) -> None:
        """Everything sent so far has had its effect: what is there now has lived."""
        before = dict(self._owners)
        for tenant in self._existing().values():
            assert tenant.attributes is not None
            name = tenant.attributes[0][1]
            owner = self._owners.setdefault(name, tenant.id)
            tenant.blocked = owner != tenant.id
            if tenant.blocked and name not in before:
                self._unsure |= {(owner, ""), (tenant.id, "")}
        for tenant in self._existing().values():
            if not tenant.blocked:
                self._place(tenant)
            for key, product in tenant.products.items():
                product.given_up &= product.activated
                product.level = "absent" if tenant.blocked else self._level(tenant, key)
                if product.level in ("open", "closed"):
                    product.lived = True
                elif not (product.lived or product.given_up or tenant.blocked) and _maybe_lived(tenant, key):
                    self._unsure |= {(tenant.id, key), (tenant.id, f"family {_family(key)}")}

    def _place(self, tenant: Tenant) -> None:
        """Where families live, and who is pinned to somewhere else."""
        homes: dict[str, dict[str, tuple[str, str | None]]] = {}
        for key, product in tenant.products.items():
            if product.activated and "family" in CATALOG[key]:
                homes.setdefault(_family(key), {})[key] = self._home(tenant, product)
        for family, of_members in homes.items():
            regions = {region or self._default_region for _, region in of_members.values()}
            if family not in tenant.families:
                tenant.families[family] = min(regions)
                if len(regions) > 1:  # who of them comes first decides
                    self._unsure |= {(tenant.id, subject) for subject in (*of_members, f"family {family}")}
            for key, (residency, region) in of_members.items():
                product = tenant.products[key]
                product.given_up = residency == "pinned" and region != tenant.families[family]
                if product.given_up and product.lived:
                    self._unsure.add((tenant.id, key))

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
        if product.given_up or (host is not None and of_host == "absent"):
            return "absent"
        if not product.activated:
            return "retained" if product.lived else "absent"
        assert product.access is not None
        assert product.license is not None
        _, _, status, expires_at = product.license[0]
        licensed = status == "active" and (expires_at is None or expires_at > self._now)
        open_ = licensed and product.access[0] == "open" and not tenant.destroyed
        return "open" if open_ and (host is None or of_host == "open") else "closed"


def _maybe_lived(tenant: Tenant, key: str) -> bool:
    """Whether the saga may have seen it activated, with its host."""
    host = CATALOG[key].get("host")
    return tenant.products[key].maybe_lived and (
        host is None or (host in tenant.products and _maybe_lived(tenant, host))
    )


def _family(key: str) -> str:
    entry = CATALOG[key]
    return str(entry.get("family") or CATALOG[entry["host"]]["family"])


def _lands(register: tuple[Any, int | None] | None, value: Any, revision: int | None) -> bool:
    """Whether a write changes the register. The same revision with another value is a contradiction."""
    if register is None or revision is None or register[1] is None or revision > register[1]:
        return True
    if revision == register[1] and register[0] != value:
        raise _Refused("same-revision-other-content")
    return False


def _writes(type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """The registers that an event writes, with what."""
    match type_:
        case "product.activated":
            return {
                "presence": ("activated", data.get("residency"), data.get("region")),
                "access": "open",
                "license": (data["edition"], data["users"], "active", _time(data.get("expires_at"))),
            }
        case "product.deactivated":
            return {"presence": ("deactivated", data["reason"], None)}
        case "product.suspended":
            return {"access": ("suspended", data["reason"])}
        case "product.unsuspended":
            return {"access": "open"}
        case _:
            return {"license": (data["edition"], data["users"], data["status"], _time(data.get("expires_at")))}


def _check_life_cycle(type_: str, product: Product) -> None:
    """What is refused without a revision."""
    suspended = product.access is not None and product.access[0] != "open"
    if product.revisioned:
        raise _Refused("revision-missing")
    if type_ == "product.activated":
        if product.activated:
            raise _Refused("already-active")
    elif not product.activated:
        raise _Refused("not-active")
    elif type_ == "product.suspended" and suspended:
        raise _Refused("already-suspended")
    elif type_ == "product.unsuspended" and not suspended:
        raise _Refused("not-suspended")


def _offered(wishes: Iterable[dict[str, Any]]) -> None:
    for wish in wishes:
        if wish["product"] not in CATALOG:
            raise _Refused("unknown-product")
        if "edition" in wish and wish["edition"] not in CATALOG[wish["product"]]["editions"]:
            raise _Refused("unknown-edition")


# -- from bytes ----------------------------------------------------------------------------------------------------

_PRODUCT: Final = "tenant_id product"
_FIELDS: Final[dict[str, tuple[str, str]]] = {  # type -> what must be in its data, what may be
    "commerce.customer.updated": ("customer_id name country", "contacts administrators"),
    "tenant.created": ("tenant_id customer_id site_name residency administrator", "region products"),
    "tenant.destroyed": ("tenant_id reason", ""),
    "product.activated": (f"{_PRODUCT} edition users", "expires_at residency region"),
    "product.deactivated": (f"{_PRODUCT} reason", ""),
    "product.suspended": (f"{_PRODUCT} reason", ""),
    "product.unsuspended": (_PRODUCT, ""),
    "license.updated": (f"{_PRODUCT} edition users status", "expires_at"),
}
_KINDS: Final[dict[str, type]] = {
    "users": int,
    "contacts": list,
    "administrators": list,
    "products": list,
    "administrator": dict,
}


def _event(entry: Entry) -> _Event:
    """The event of a message, or the rule it breaks."""
    headers = {name.lower(): content for name, content in entry.headers}
    attributes = {name[3:]: content for name, content in headers.items() if name.startswith("ce_")}
    binary = bool(attributes)
    parsed = _json(entry.value)
    if binary:
        data = parsed
    else:
        if not isinstance(parsed, dict) or "specversion" not in parsed:
            raise _Refused("not-cloudevent")
        attributes, data = {**parsed}, parsed.get("data")
    if attributes.get("specversion") != "1.0":
        raise _Refused("not-cloudevent")
    if not all(isinstance(attributes.get(name), str) and attributes[name] for name in ("source", "id", "type")):
        raise _Refused("bad-attribute")
    revision: Any = attributes.get("revision")
    if binary and revision is not None:
        revision = int(revision)
    if attributes["type"] not in _FIELDS:
        raise _Refused("unknown-type")
    if not isinstance(data, dict) or not _fits(attributes["type"], data):
        raise _Refused("bad-data")
    time = _time(attributes.get("time"))
    said = json.dumps([attributes["type"], str(time), revision, data], sort_keys=True)
    return _Event(attributes["source"], attributes["id"], attributes["type"], revision, data, said)


def _json(value: bytes | None) -> Any:
    if not value:
        raise _Refused("empty")
    if len(value) > 1024 * 1024:
        raise _Refused("too-large")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def never(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(value.decode(), object_pairs_hook=once, parse_constant=never)
    except ValueError:
        raise _Refused("not-json") from None


def _fits(type_: str, data: dict[str, Any]) -> bool:
    required, optional = (names.split() for names in _FIELDS[type_])
    given = {name for name, value in data.items() if value is not None or name in required}
    if not set(required) <= given or not set(data) <= {*required, *optional}:
        return False
    kinds = all(type(data[name]) is _KINDS.get(name, str) for name in given)
    return (
        kinds
        and data.get("status", "active") in ("active", "inactive")
        and data.get("residency", "global") in ("global", "pinned", None)
        and not (data.get("residency") == "pinned" and data.get("region") is None)
        and all(_fits("product.activated", _as_activation(each)) for each in data.get("products", ()))
    )


def _as_activation(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of `products` as if it had come by itself."""
    return {"tenant_id": "", **{name: value for name, value in entry.items() if name != "revision"}}


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


# -- against what is there -----------------------------------------------------------------------------------------


def compare(expected: Expected, database_url: str, topology: Topology) -> list[Disagreement]:
    """Every difference between what must be there and what the read models and the shards say."""
    subjects = {(tenant.id, _family(key), key) for tenant in expected.tenants.values() for key in tenant.products}
    return disagreements(expected, find(database_url, topology, subjects))


def disagreements(expected: Expected, found: Mapping[Any, Any]) -> list[Disagreement]:
    """The facts that differ; those that the stream does not decide are left out."""
    return list(_differences(expected, {Fact(*fact): value for fact, value in found.items()}))


def _differences(expected: Expected, found: Facts) -> Iterator[Disagreement]:
    must = expected.facts()
    unsure = expected.unsure
    for fact in sorted({*must, *found}):
        if (fact.tenant, "") in unsure or (fact.tenant, fact.subject) in unsure:
            continue
        if must.get(fact, "nothing") != found.get(fact, "nothing"):
            if fact.aspect == "access" and any(tenant == fact.tenant for tenant, _ in unsure):
                continue
            yield Disagreement(fact, must.get(fact, "nothing"), found.get(fact, "nothing"))
