"""The tenant context: what a service needs to know of one tenant, as one document that closes on intent.

A document is derived from the folded streams of a tenant (its registers, its scopes) and the configuration in use, by
one pure function. What commerce said and what is provisioned are both in it, and the lower of the two counts:

    level, users     the lower of desired and actual         features    those that are in both
    expires_at       the earlier one, an app's host's too    edition     actual; the desired one if that adds none
    placement, role  the actual one                          host        that of the site, while its name is reserved

So a suspension closes with its event, and opens when the saga has recorded that the scope has converged. Time is no
part of it: a license that ends closes by the reader's clock. A change that awaits approval closes nothing.

A document carries the position of the event that last changed it. The same streams and the same configuration give the
same document, whatever the batches were in which they came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from domain.catalog import Catalog
from domain.customer import Customer
from domain.event import Event
from domain.event_registry import REGISTRY
from domain.scope.desired import product_level
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning, StepStarted
from domain.scope.steps import (
    LEVELS,
    ConfigurationResult,
    DatabaseResult,
    Level,
    LicenseResult,
    Scope,
    SiteResult,
    Step,
)
from domain.tenant.state import Tenant
from tenantry_client.context.document import Access, Placement, Product, TenantContext

HANDLED: Final = REGISTRY.projected_by("contexts")

WITHOUT_EFFECT: Final[frozenset[type[Event]]] = frozenset({StepStarted})
"""Handled because later events build on it; it changes no document."""

RULES: Final = 1
"""The version of the rules below: another one derives all documents anew."""

R = TypeVar("R")

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
"""The time at which nothing has ended: the end of a license is for the reader's clock."""


@dataclass(frozen=True, slots=True)
class ContextRules:
    """What documents are derived with besides the log of a tenant; `addresses` are host:port by the shard's name."""

    catalog: Catalog
    addresses: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Another one means that documents may be other ones."""
        parts = {
            key: [product.family, product.host, {name: list(each) for name, each in self.catalog.editions(key).items()}]
            for key, product in self.catalog.known.items()
        }
        text = json.dumps([RULES, parts, dict(self.addresses)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(slots=True)
class TenantStreams:
    """The folded streams of one tenant. `actual` holds its scopes."""

    tenant: Tenant
    actual: dict[Scope, Provisioning] = field(default_factory=dict)

    @property
    def snapshot(self) -> TenantSnapshot:
        return TenantSnapshot(self.tenant, Customer(""), self.actual)


def document_of(streams: TenantStreams, rules: ContextRules, *, version: int) -> TenantContext | None:
    """The document; None where the tenant does not exist, or is purged for good."""
    tenant, snapshot = streams.tenant, streams.snapshot
    if tenant.attributes is None or (tenant.purge is not None and tenant.purge.over):
        return None
    attributes, site = tenant.attributes.value, snapshot.site()
    products = dict(_products(snapshot, rules.catalog))
    families = sorted({each.family for each in products.values()})
    host = _result(site, Step.SITE, SiteResult)
    is_open = tenant.destroyed is None and tenant.purge is None and site.level == "open"
    access: Access = "open" if is_open else "closed"
    return TenantContext(
        tenant_id=tenant.id,
        customer_id=attributes.customer_id,
        site_name=host.site_name if host else attributes.site_name,
        host=(urlsplit(host.url).hostname or "") if host else "",
        lifecycle="purging" if tenant.purge else "destroyed" if tenant.destroyed else "active",
        access=access,
        version=version,
        products=products,
        placements=dict(_placements(families, snapshot, rules.addresses)),
    )


def halted(before: TenantContext | None, tenant_id: str, *, version: int, reason: str) -> TenantContext:
    """The document of a tenant whose events cannot be handled: readers answer 503 for it, and for no other."""
    if before is None:
        before = TenantContext(tenant_id, "", "", "", "unknown", "closed", version)
    return replace(before, version=version, halted=reason)


def says_the_same(one: TenantContext | None, other: TenantContext | None) -> bool:
    """Whether the two differ in their versions at most."""
    if one is None or other is None:
        return one is other
    return replace(one, version=0) == replace(other, version=0)


def _products(snapshot: TenantSnapshot, catalog: Catalog) -> Iterable[tuple[str, Product]]:
    """Hosts before their apps, which are never more open; what is absent is not told."""
    found: dict[str, Product] = {}
    known = sorted(key for key in snapshot.tenant.products if key in catalog)
    for key in sorted(known, key=lambda key: catalog[key].host is not None):
        desired = product_level(key, snapshot, catalog=catalog, now=_NEVER)
        product = _product(key, desired, snapshot, catalog)
        host = catalog[key].host
        if host is not None:
            product = _under(product, found.get(host))
        found[key] = product
    return ((key, found[key]) for key in known if found[key].level != "absent")


def _product(key: str, desired: Level, snapshot: TenantSnapshot, catalog: Catalog) -> Product:
    family_key = catalog.family_of(key)
    actual, family = snapshot.product(key), snapshot.family(family_key)
    registers = snapshot.tenant.product(key).license
    licensed, entitled = registers.value if registers else None, _result(actual, Step.LICENSE, LicenseResult)
    configured = _result(actual, Step.CONFIGURATION, ConfigurationResult)
    database = _result(family, Step.DATABASE, DatabaseResult)
    role = database.role_of(key) if database else None
    levels = (desired, actual.level, family.level)
    product = Product(
        level=min(levels, key=LEVELS.index),
        family=family_key,
        users=0,
        configuration=dict(configured.settings) if configured else {},
        role=role.role if role else None,
    )
    if licensed is None or entitled is None:
        return product
    features = catalog.features(key, licensed.edition)
    ends = [each.timestamp() for each in (licensed.expires_at, entitled.expires_at) if each is not None]
    return replace(
        product,
        edition=licensed.edition if set(features) <= set(entitled.features) else entitled.edition,
        users=min(licensed.users, entitled.users),
        features=tuple(each for each in entitled.features if each in features),
        expires_at=min(ends, default=None),
    )


def _under(app: Product, host: Product | None) -> Product:
    """An app as its host lets it be: absent without it, closed where it is not open."""
    if host is None or host.level == "absent":
        return replace(app, level="absent")
    ends = [each for each in (app.expires_at, host.expires_at) if each is not None]
    level = app.level if host.level == "open" or app.level != "open" else "closed"
    return replace(app, level=level, expires_at=min(ends, default=None))


def _placements(
    families: Iterable[str], snapshot: TenantSnapshot, addresses: Mapping[str, str]
) -> Iterable[tuple[str, Placement]]:
    for key in families:
        database = _result(snapshot.family(key), Step.DATABASE, DatabaseResult)
        if database is not None:
            yield (
                key,
                Placement(
                    region=database.region,
                    shard=database.shard,
                    address=addresses.get(database.shard, ""),
                    database=database.database,
                    schema=database.schema_name,
                ),
            )


def _result(actual: Provisioning, step: Step, kind: type[R]) -> R | None:
    """What the step's last completion found, while the step is not removed."""
    ensured = actual.steps.get(step)
    return ensured.result if ensured is not None and isinstance(ensured.result, kind) else None
