"""Oracle: the expected state after a stream, and its comparison with the actual state.

The rules of the domain are written here a second time, from their description and without the domain's code. `expect`
computes from the messages what each tenant must have; `compare` reads the read models and the servers (findings.py) and
names every difference. An error is missed only if both programs make the same mistake.

    expect(entries | path, *, now=None, default_region="eu") -> Expected
    compare(expected, database_url, topology) -> list[Disagreement]         asks the databases
    disagreements(expected, found) -> list[Disagreement]                    pure: facts against facts

Both the expected and the actual state are facts: `(tenant, subject, aspect) -> value`. A fact that is only in one of
the two, or that differs, is a disagreement. So an orphan is found in the same way as a missing resource.

Facts that a stream does not decide are left out (`Expected.unsure`): a product that was activated and deactivated
within one wave may have converged in between or not; of two tenants that request one name in the same wave, either one
gets it. The oracle does not check the formats of names, retention that is over, and regions without a shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from adapters.resources.topology import Topology
from demo.entries import Entry, read
from demo.findings import find
from demo.rules import CATALOG, LEVELS, Judge, Level, Product, Register, Tenant, family_of


class Claim(NamedTuple):
    """The key of a value. `subject`: `site`, a product, `family F`, or something else that is counted."""

    tenant: str
    subject: str
    aspect: str


Claims = dict[Claim, Any]


@dataclass(frozen=True, slots=True)
class Disagreement:
    claim: Claim
    expected: Any
    found: Any


# -- the expected state --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Expected:
    """The expected state. `counts` of levels are over products and apps."""

    tenants: dict[str, Tenant]
    customers: dict[str, Register]
    waiting: list[tuple[str, str, str]]
    quarantine: Counter[str]
    duplicates: int
    stale: int
    unsure: set[tuple[str, str]]

    def counts(self) -> dict[Level, int]:
        levels = Counter(product.level for tenant in self.tenants.values() for product in tenant.products.values())
        return {level: levels[level] for level in reversed(LEVELS)}

    def steps(self) -> dict[int, int]:
        """For each of the seven steps the number of scopes that must have it."""
        aspects = Counter(claim.aspect for claim in self.claims())
        return {
            1: len(self.tenants),
            2: aspects["access"] + aspects["in the site's set"],
            3: aspects["region"],
            4: aspects["configuration"],
            5: aspects["users"],
            6: aspects["database"],
            7: aspects["license"],
        }

    def claims(self) -> Claims:
        """Every fact that must be found, and no other."""
        made: Claims = {}
        for tenant in self.tenants.values():
            made |= _site_claims(tenant, self.customers)
            for family, region in tenant.families.items():
                made |= _family_claims(tenant, family, region)
            for key, product in tenant.products.items():
                made |= _product_claims(tenant, key, product, made[Claim(tenant.id, "site", "saga")], self.customers)
        for rule, count in self.quarantine.items():
            made[Claim("", "quarantine", rule)] = count
        for tenant_id, source, id_ in self.waiting:
            made[Claim(tenant_id, f"{source} {id_}", "waits")] = True
        made[Claim("", "messages", "duplicates")] = self.duplicates
        made[Claim("", "messages", "stale")] = self.stale
        return made


def _site_claims(tenant: Tenant, customers: Mapping[str, Register]) -> Claims:
    assert tenant.attributes is not None
    if tenant.blocked:
        return {Claim(tenant.id, "site", "saga"): "waiting"}
    customer_id, site_name, *_ = tenant.attributes[0]
    state = "closed" if tenant.destroyed else "open"
    shown = [product.level == "open" for product in tenant.products.values() if product.level in ("open", "closed")]
    access = "open" if all(shown) else "partial" if any(shown) else "closed"
    made: Claims = {
        Claim(tenant.id, "site", "saga"): f"converged {state}",
        Claim(tenant.id, "site", "name"): site_name,
        Claim(tenant.id, "site", "customer"): customer_id,
        Claim(tenant.id, "site", "state"): state,
        Claim(tenant.id, "site", "access"): access if state == "open" else "closed",
        Claim(tenant.id, "site", "configuration"): True,
        Claim(tenant.id, "site", "users"): _users(tenant, customers),
    }
    if state == "open":
        made[Claim(tenant.id, "site", "permissions")] = "in force"
    return made


def _users(tenant: Tenant, customers: Mapping[str, Register]) -> Any:
    """The customer's administrators, or the founder until commerce has named any."""
    assert tenant.attributes is not None
    customer_id, founder = tenant.attributes[0][0], tenant.attributes[0][-1]
    people = customers[customer_id][0][-1] if customer_id in customers else [(*founder, ("site-administrator",))]
    return sorted(people)


def _family_claims(tenant: Tenant, family: str, region: str) -> Claims:
    members = {key: product.level for key, product in tenant.products.items() if CATALOG[key].get("family") == family}
    level = max(members.values(), key=LEVELS.index, default="absent")
    if level == "absent":
        return {}
    subject = f"family {family}"
    made: Claims = {
        Claim(tenant.id, subject, "saga"): f"converged {level}",
        Claim(tenant.id, subject, "region"): region,
        Claim(tenant.id, subject, "database"): f"where placements say, in {region}",
        Claim(tenant.id, subject, "group role"): "there",
    }
    for key, of_member in members.items():
        if of_member != "absent":
            made[Claim(tenant.id, key, "login role")] = "may log in" if of_member == "open" else "may not log in"
    return made


def _product_claims(tenant: Tenant, key: str, product: Product, site: str, customers: Mapping[str, Register]) -> Claims:
    if product.failure and site != "waiting":
        return {Claim(tenant.id, key, "saga"): "failed"}
    if product.level == "absent":
        return {}
    made: Claims = {
        Claim(tenant.id, key, "saga"): f"converged {product.level}",
        Claim(tenant.id, key, "configuration"): True,
        Claim(tenant.id, key, "users"): _users(tenant, customers),
    }
    if product.level == "open":
        made[Claim(tenant.id, key, "permissions")] = "in force"
    if product.level in ("open", "closed"):
        assert product.license is not None
        edition, users, _, expires_at = product.license[0]
        features = tuple(CATALOG[key]["editions"][edition])
        entitlement = (edition, users, product.level == "open", expires_at, features)
        made[Claim(tenant.id, key, "in the site's set")] = product.level
        made[Claim(tenant.id, key, "license")] = entitlement
        made[Claim(tenant.id, key, "entitlement on the shard")] = entitlement
        made[Claim(tenant.id, key, "entitlement is readable")] = True
    return made


# -- from the messages ----------------------------------------------------------------------------------------------


def expect(stream: Path | Iterable[Entry], *, now: datetime | None = None, default_region: str = "eu") -> Expected:
    """The expected state when the whole stream was taken in and everything has settled, at `now` (UTC)."""
    entries = read(stream) if isinstance(stream, Path) else list(stream)
    judge = Judge(now or datetime.now(UTC), default_region)
    for wave in sorted({entry.wave for entry in entries}):
        for entry in entries:
            if entry.wave == wave:
                judge.take(entry)
        judge.settle()
    return Expected(
        tenants=judge.existing(),
        customers=judge.customers,
        waiting=[(key, event.source, event.id) for key, waiting in judge.backlogs.items() for event in waiting],
        quarantine=judge.quarantine,
        duplicates=judge.duplicates,
        stale=judge.stale,
        unsure=judge.unsure,
    )


# -- the comparison ------------------------------------------------------------------------------------------------


def compare(expected: Expected, database_url: str, topology: Topology) -> list[Disagreement]:
    """Every difference between the expected state and that of the read models and the shards."""
    subjects = {(tenant.id, family_of(key), key) for tenant in expected.tenants.values() for key in tenant.products}
    return disagreements(expected, find(database_url, topology, subjects))


def disagreements(expected: Expected, found: Mapping[Any, Any]) -> list[Disagreement]:
    """The facts that differ; those that the stream does not decide are left out."""
    return list(_differences(expected, {Claim(*claim): value for claim, value in found.items()}))


def _differences(expected: Expected, found: Claims) -> Iterator[Disagreement]:
    must = expected.claims()
    unsure = expected.unsure
    for claim in sorted({*must, *found}):
        if (claim.tenant, "") in unsure or (claim.tenant, claim.subject) in unsure:
            continue
        if must.get(claim, "nothing") != found.get(claim, "nothing"):
            if claim.aspect == "access" and any(tenant == claim.tenant for tenant, _ in unsure):
                continue
            yield Disagreement(claim, must.get(claim, "nothing"), found.get(claim, "nothing"))
