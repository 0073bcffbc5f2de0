"""Retired products: what the streams say of a product that no catalogue has.

A store that is older than adopted configurations may hold products that its catalogue lost before the first adoption.
The streams tell what is needed to close and to remove them: which family's database names a role of the product, or in
whose table its entitlement lies, which editions it was licensed for, which groups it had.
"""

from __future__ import annotations

from collections.abc import Iterable

from domain.catalog import Product
from domain.event import Recorded
from domain.scope.state import StepCompleted, StepStarted
from domain.scope.steps import DatabaseSpec, IdentitySpec, LicenseResult, LicenseSpec
from domain.tenant.events import LicenseUpdated, ProductActivated


def product_from(key: str, events: Iterable[Recorded]) -> Product:
    """The product as the events of some tenants that have it tell. `events`: of all streams of each, in any order.

    One that was never provisioned anywhere gets a family of its own name, in which nothing lives.
    """
    family: str | None = None
    host: str | None = None
    products: set[str] = set()
    groups: tuple[str, ...] = ()
    editions: dict[str, tuple[str, ...]] = {}
    tables: set[str] = set()
    for recorded in events:
        match recorded.event:
            case StepStarted(spec=DatabaseSpec() as spec):
                products |= {role.product for role in spec.roles}
                family = spec.family if any(role.product == key for role in spec.roles) else family
            case StepStarted(spec=IdentitySpec(product=product) as spec) if product == key:
                groups = tuple(name for name in spec.groups if name not in (f"{key}-users", f"{key}-administrators"))
            case StepStarted(spec=LicenseSpec(product=product) as spec) if product == key:
                editions[spec.edition] = spec.features
            case StepCompleted(result=LicenseResult(product=product) as found) if product == key:
                tables.add(found.location.rpartition(".entitlement_")[2])
            case ProductActivated(product=product, edition=edition) if product == key:
                editions.setdefault(edition, ())
            case LicenseUpdated(product=product, edition=edition) if product == key:
                editions.setdefault(edition, ())
            case _:
                pass
    if family is None:
        host = next((each for each in sorted(products - {key}) if each.replace("-", "_") in tables), None)
    return Product(
        name=key,
        family=family or (None if host else key),
        host=host,
        groups=groups,
        editions=editions or {"unknown": ()},
    )
