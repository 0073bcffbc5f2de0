"""Is what the log says is there really there?

`compare` holds the completed steps of a tenant's scopes against what was seen of the real things. Only steps that are
*done* are compared: what is under way is the saga's. Steps whose facts are all there is of them (1, 4, 5, and the
membership of a product) cannot drift, and those of other people's provisioners cannot be seen.

    site      2  the reservation of the site's name             control database
    family    3  the room on its shard                          control database
    family    6  schema or database, and who else may use it;   shard
                 login roles, may log in by their password, may use it, no more
    product   7  the entitlement                                shard

What was not looked at (a shard that is silent) is neither there nor missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple

from domain.catalog import Catalog
from domain.policy import Drift
from domain.scope.next_action import database_of
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import DatabaseResult, LicenseResult, RegionResult, Scope, SiteResult, Step, StepResult

CONTROL: Final = "the control database"

_IS_WITH_US: Final = re.compile(r"[a-z0-9_]+\.entitlement_[a-z0-9_]+")
"""A table in a schema. Somebody else's provisioner says where it lays an entitlement down in words of its own."""


class Place(NamedTuple):
    """Where a family's data lies."""

    shard: str
    database: str
    schema: str


@dataclass(frozen=True, slots=True)
class Role:
    """A login role; `places` names the schemas or databases that it can use, `beyond` what it was never given.

    `locked_out`: why no product gets in by it, though it may log in (another password, an end that is over).
    """

    login: bool
    places: frozenset[str]
    beyond: tuple[str, ...] = ()
    locked_out: str | None = None


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a product can read of its license."""

    edition: str
    users: int
    active: bool
    expires_at: datetime | None
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen. `silent`: the shards (or CONTROL) that did not answer, and why."""

    site_names: Mapping[str, str] = field(default_factory=dict)
    """Site name -> tenant."""
    rooms: Mapping[str, str] = field(default_factory=dict)
    """Family scope -> shard."""
    places: frozenset[Place] = frozenset()
    unexpected_grants: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    """Who else was let into a place."""
    roles: Mapping[tuple[str, str], Role] = field(default_factory=dict)
    """(shard, role)"""
    entitlements: Mapping[tuple[str, str, str], Entitlement] = field(default_factory=dict)
    """(shard, location, subject)"""
    unreachable: Mapping[str, str] = field(default_factory=dict)


Kind = Literal["schema", "database", "role", "site name", "room", "entitlement"]


class Thing(NamedTuple):
    """Something that an executor makes. `name` is unique for its kind in that place."""

    where: str
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that is named as ours. `silent`: places that did not answer, and why."""

    things: frozenset[Thing]
    unreachable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """A step that is not as the log says. `data`: what held data is gone, and nobody can make it again."""

    step: Step
    kind: Literal["missing", "differs", "data"]
    said: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One scope as seen in one place, at the version of its stream that was read before looking."""

    scope: Scope
    version: int
    where: str
    findings: tuple[Finding, ...]

    @property
    def is_absent(self) -> bool:
        return any(finding.kind != "differs" for finding in self.findings)


def compare(snapshot: TenantSnapshot, observed: Observed, *, catalog: Catalog) -> Iterator[Seen]:
    """Each scope of the tenant that could be looked at, in each place where it has something."""
    for scope, actual in snapshot.scopes.items():
        match scope.kind:
            case "site":
                if isinstance(facts := _done(actual, Step.SITE), SiteResult) and CONTROL not in observed.unreachable:
                    yield Seen(scope, actual.version, CONTROL, tuple(_site_name(scope, facts, observed)))
            case "family":
                if (
                    isinstance(facts := _done(actual, Step.REGION), RegionResult)
                    and CONTROL not in observed.unreachable
                ):
                    yield Seen(scope, actual.version, CONTROL, tuple(_room(scope, facts, observed)))
                facts = _done(actual, Step.DATABASE)
                if isinstance(facts, DatabaseResult) and facts.shard not in observed.unreachable:
                    yield Seen(scope, actual.version, facts.shard, tuple(_database(facts, observed)))
            case "product":
                license_, database = entitled(scope, snapshot, catalog=catalog)
                if license_ is None or database is None or database.shard in observed.unreachable:
                    continue
                if place_of(database) in observed.places:  # otherwise the family's database tells of it
                    findings = tuple(_entitlement(scope, license_, database, observed))
                    yield Seen(scope, actual.version, database.shard, findings)


def place_of(facts: DatabaseResult) -> Place:
    return Place(facts.shard, facts.database, facts.schema_name)


def entitled(
    scope: Scope, snapshot: TenantSnapshot, *, catalog: Catalog
) -> tuple[LicenseResult | None, DatabaseResult | None]:
    """The entitlement that the product's step 7 laid down with us, and the database it should lie in.

    What the catalogue says now is not enough: it may have changed since, or be another one than that of the workers.
    """
    facts = _done(snapshot.actual(scope), Step.LICENSE)
    if scope.key not in catalog or not isinstance(facts, LicenseResult):
        return None, None
    if Step.LICENSE in catalog[scope.key].executors:
        return None, None
    if not _IS_WITH_US.fullmatch(facts.location):
        return None, None
    return facts, database_of(snapshot, catalog.family_of(scope.key))


def _done(actual: Provisioning, step: Step) -> StepResult | None:
    ensured = actual.steps.get(step)
    return ensured.facts if ensured is not None and ensured.done else None


def _site_name(scope: Scope, facts: SiteResult, observed: Observed) -> Iterator[Finding]:
    owner = observed.site_names.get(facts.site_name)
    if owner is None:
        yield Finding(Step.SITE, "missing", f"the site name {facts.site_name} is not reserved")
    elif owner != scope.tenant_id:
        yield Finding(Step.SITE, "differs", f"the site name {facts.site_name} is reserved for another tenant")


def _room(scope: Scope, facts: RegionResult, observed: Observed) -> Iterator[Finding]:
    if str(scope) not in observed.rooms:
        yield Finding(Step.REGION, "missing", f"its room on shard {facts.shard} is not reserved")


def _database(facts: DatabaseResult, observed: Observed) -> Iterator[Finding]:
    name = facts.schema_name if facts.isolation == "schema" else facts.database
    if place_of(facts) not in observed.places:
        yield Finding(Step.DATABASE, "data", f"data_missing: {facts.isolation} {name} is not on shard {facts.shard}")
        return
    for wished in facts.roles:
        role = observed.roles.get((facts.shard, wished.role))
        if role is None:
            yield Finding(Step.DATABASE, "missing", f"login role {wished.role} of {wished.product} is not there")
        elif role.login != wished.login:
            can, should = ("can", "must not") if role.login else ("cannot", "should")
            said = f"login role {wished.role} of {wished.product} {can} log in, and {should}"
            yield Finding(Step.DATABASE, "differs", said)
        elif role.locked_out is not None:
            said = f"login role {wished.role} of {wished.product} {role.locked_out}"
            yield Finding(Step.DATABASE, "differs", said)
        elif name not in role.places:
            said = f"login role {wished.role} of {wished.product} may not use {name}"
            yield Finding(Step.DATABASE, "differs", said)
        elif role.beyond:
            said = f"login role {wished.role} of {wished.product} has what it was never given: {', '.join(role.beyond)}"
            yield Finding(Step.DATABASE, "differs", said)
    if unexpected_grants := observed.unexpected_grants.get(place_of(facts)):
        yield Finding(Step.DATABASE, "differs", f"{name} is open to others: {', '.join(unexpected_grants)}")


def _entitlement(scope: Scope, facts: LicenseResult, database: DatabaseResult, observed: Observed) -> Iterator[Finding]:
    location = f"{database.database}.{facts.location}"
    found = observed.entitlements.get((database.shard, location, scope.key))
    wished = Entitlement(facts.edition, facts.users, facts.active, facts.expires_at, facts.features)
    if found is None:
        yield Finding(Step.LICENSE, "missing", f"the entitlement is not in {facts.location}")
    elif found != wished:
        yield Finding(Step.LICENSE, "differs", f"the entitlement in {facts.location} is not what was laid down")


def suspicious(absent: Mapping[str, int], looked_at: Mapping[str, int], bounds: Drift) -> tuple[str, ...]:
    """The places where so much is missing that each looks like a wrong or an empty server; both count scopes."""
    return tuple(where for where in sorted(absent) if bounds.is_too_much(absent[where], looked_at[where]))
