"""Dependencies of scopes: one table says which scope stands on which; everything else is derived from it.

    site  ◀── family            the site's step 2, before anything of a family or product is ensured
    site  ◀── product
    family ◀── product          the family's step 6
    host  ◀── product (an app)  the host's step 7, while the app is to be open

From the table follow the blockers of a scope (next_action.py), the scopes that a removed or failed prerequisite takes
along (desired.py), the scopes that an event makes due (`made_due`, for the saga; `dependents`, for operators),
and the scopes that the registers of a product decide (`concerned`, for the intake). A scope waits only for what it
reads, and whatever it reads makes it due: tests/domain/scope/test_dependencies.py holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from domain.catalog import Catalog
from domain.scope.state import (
    Provisioning,
    ScopeConverged,
    ScopeEvent,
    ScopeFailed,
    ScopeResumed,
    StepCompleted,
    StepStarted,
)
from domain.scope.steps import LEVELS, SCOPE_STEPS, Level, Scope, ScopeKind, Step
from domain.stream_name import StreamKind
from domain.tenant.state import Tenant

Relation = Literal["site", "family", "host"]
"""What a prerequisite is to the scope that stands on it."""

ONLY_OPEN: Final[tuple[Level, ...]] = ("open",)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One edge of the table: a `dependent` stands on its site, its family, or its host.

    `step` of the prerequisite must be there before a step of the dependent is ensured, while the dependent is desired
    at one of `levels`. `outlasts`: the prerequisite is removed after the dependent, and a product that has converged
    keeps it; a host is not kept by its apps, no app has converged before its host. `lives_first`: the dependent has
    not converged before the prerequisite has.
    """

    dependent: ScopeKind
    relation: Relation
    step: Step
    levels: tuple[Level, ...] = LEVELS
    outlasts: bool = True
    lives_first: bool = False

    @property
    def prerequisite(self) -> ScopeKind:
        return "product" if self.relation == "host" else self.relation


DEPENDENCIES: Final[tuple[Dependency, ...]] = (
    Dependency("family", "site", Step.SITE),
    Dependency("product", "site", Step.SITE),
    Dependency("product", "family", Step.DATABASE),
    Dependency("product", "host", Step.LICENSE, levels=ONLY_OPEN, outlasts=False, lives_first=True),
)
"""In the order in which a scope waits for them."""

HOLDS_DATA: Final[tuple[ScopeKind, Step]] = ("family", Step.DATABASE)
"""The step whose removal cannot be made good."""

FOLLOWS_CUSTOMER: Final[Collection[StreamKind]] = ("site", "product", "tenant")
"""The kinds of scopes whose desired state follows from the customer's metadata and administrators; and, where the
catalogue does not know all products of a tenant, the tenant itself."""


_STANDS_ON: Final[Mapping[ScopeKind, tuple[Dependency, ...]]] = {
    kind: tuple(edge for edge in DEPENDENCIES if edge.dependent == kind) for kind in SCOPE_STEPS
}


# -- relations -----------------------------------------------------------------------------------------------------


def prerequisites(scope: Scope, catalog: Catalog) -> Iterator[tuple[Dependency, Scope]]:
    """What the scope stands on. Of a product that the catalogue does not know, only the site."""
    for edge in _STANDS_ON[scope.kind]:
        if (found := _related(scope, edge.relation, catalog)) is not None:
            yield edge, found


def _related(scope: Scope, relation: Relation, catalog: Catalog) -> Scope | None:
    if relation == "site":
        return Scope("site", scope.tenant_id)
    if scope.key not in catalog:
        return None
    if relation == "family":
        return Scope("family", scope.tenant_id, catalog.family_of(scope.key))
    host = catalog[scope.key].host
    return Scope("product", scope.tenant_id, host) if host is not None else None


def goes_first(scope: Scope, prerequisite: Scope, catalog: Catalog) -> bool:
    """Whether `prerequisite` may be removed only after `scope`, and a product `scope` that has converged keeps it."""
    return any(
        edge.outlasts
        and edge.prerequisite == prerequisite.kind
        and _related(scope, edge.relation, catalog) == prerequisite
        for edge in _STANDS_ON[scope.kind]
    )


def scopes_with(tenant_id: str, products: Iterable[str], catalog: Catalog) -> tuple[Scope, ...]:
    """Every scope of a tenant whose registers speak of `products`: the site, then families, then products."""
    offered = sorted(key for key in products if key in catalog)
    return (Scope("site", tenant_id), *_with_families(tenant_id, offered, catalog))


def _with_families(tenant_id: str, products: Sequence[str], catalog: Catalog) -> tuple[Scope, ...]:
    """A family is as high as its products: what matters to a product matters to its family."""
    families = sorted({catalog.family_of(key) for key in products})
    return (
        *(Scope("family", tenant_id, key) for key in families),
        *(Scope("product", tenant_id, key) for key in products),
    )


class Snapshot(Protocol):
    """What is known of a tenant: its registers, and its scopes."""

    @property
    def tenant(self) -> Tenant: ...

    @property
    def scopes(self) -> Mapping[Scope, Provisioning]: ...


def dependents(scope: Scope, snapshot: Snapshot, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes that may wait for `scope`, or whose desired state may follow from it.

    They stand on it; or it stands on them, for a removal goes the other way; or they stand beside it on a prerequisite
    that failed, which it keeps from being undone; or they are the family of such a product.
    """
    return _near(scope, snapshot, catalog, kinds=_EVERY_KIND)


def _near(scope: Scope, snapshot: Snapshot, catalog: Catalog, *, kinds: Collection[ScopeKind]) -> tuple[Scope, ...]:
    """As `dependents`; only those of `kinds` are looked for. Families are found by their products."""
    products = [key for key in snapshot.tenant.products if key in catalog]
    everything: tuple[Scope, ...] = tuple(Scope("product", scope.tenant_id, key) for key in products)
    if kinds != _PRODUCTS:
        everything = (Scope("site", scope.tenant_id), *_with_families(scope.tenant_id, products, catalog))
    others = tuple(each for each in everything if each != scope)
    if not others:
        return ()
    near = {found for _, found in prerequisites(scope, catalog)}
    bases = {scope, *_kept_by(scope, snapshot, catalog)}
    near.update(each for each in others if _stands_on_one_of(each, bases, catalog))
    near.update([_family(each, catalog) for each in (scope, *near) if each.kind == "product" and each.key in catalog])
    return tuple(other for other in others if other in near)


def _stands_on_one_of(scope: Scope, bases: Collection[Scope], catalog: Catalog) -> bool:
    kinds = {each.kind for each in bases}
    edges = (edge for edge in _STANDS_ON[scope.kind] if edge.prerequisite in kinds)
    return any(_related(scope, edge.relation, catalog) in bases for edge in edges)


def _kept_by(scope: Scope, snapshot: Snapshot, catalog: Catalog) -> list[Scope]:
    """The prerequisites of a product that failed before they converged: once it has converged they are kept."""
    if scope.kind != "product":
        return []
    found = [each for edge, each in prerequisites(scope, catalog) if edge.outlasts]
    known = [(each, actual) for each in found if (actual := snapshot.scopes.get(each)) is not None]
    return [each for each, actual in known if actual.failure is not None and not actual.has_converged]


def _family(product: Scope, catalog: Catalog) -> Scope:
    return Scope("family", product.tenant_id, catalog.family_of(product.key))


# -- registers -----------------------------------------------------------------------------------------------------


def registers_of(scope: Scope, tenant: Tenant, *, catalog: Catalog) -> Iterable[str]:
    """The products whose registers have a say in the desired state of the scope, the nearest first.

    A product's own and its host's; those of its products in a family's.
    """
    match scope.kind:
        case "site":
            return ()
        case "family":
            members = (key for key in tenant.products if key in catalog and catalog.family_of(key) == scope.key)
            return dict.fromkeys(each for key in members for each in _deciding(key, catalog))
        case "product":
            return _deciding(scope.key, catalog)


def _deciding(product: str, catalog: Catalog) -> tuple[str, ...]:
    host = catalog[product].host if product in catalog else None
    return (product,) if host is None else (product, host)


def concerned(tenant: Tenant, key: str, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The scopes whose desired state may follow from the registers of a product: it, its apps, the families of all."""
    products = [other for other in tenant.products if other in catalog and key in _deciding(other, catalog)]
    return _with_families(tenant.id, products, catalog)


# -- events --------------------------------------------------------------------------------------------------------

_WAIT_FOR: Final[Mapping[tuple[ScopeKind, Step], tuple[ScopeKind, ...]]] = {
    (edge.prerequisite, edge.step): tuple(
        each.dependent for each in DEPENDENCIES if (each.prerequisite, each.step) == (edge.prerequisite, edge.step)
    )
    for edge in DEPENDENCIES
}
"""The kinds of scopes that wait for a step until it is there."""

_LIVE_AFTER: Final = {
    kind: tuple(e.dependent for e in DEPENDENCIES if e.lives_first and e.prerequisite == kind) for kind in SCOPE_STEPS
}
"""The kinds of scopes that converge only after such a scope has."""


def made_due(event: ScopeEvent, before: Provisioning, snapshot: Snapshot, *, catalog: Catalog) -> tuple[Scope, ...]:
    """The dependents that may wait for this event, or whose desired state may change by it."""
    kinds = _kinds_due(event, before)
    if isinstance(event, ScopeConverged) and not before.has_converged and _kept_by(event.scope, snapshot, catalog):
        kinds = _EVERY_KIND
    if not kinds:
        return ()
    found = _near(event.scope, snapshot, catalog, kinds=kinds)
    return tuple(each for each in found if each.kind in kinds)


_EVERY_KIND: Final[tuple[ScopeKind, ...]] = tuple(SCOPE_STEPS)
_PRODUCTS: Final[tuple[ScopeKind, ...]] = ("product",)


def _kinds_due(event: ScopeEvent, before: Provisioning) -> tuple[ScopeKind, ...]:
    match event:
        case StepCompleted(direction="ensure"):
            waiting = _WAIT_FOR.get((event.kind, event.step), ())
            if before.steps[event.step].result is not None:
                return waiting
            # there for the first time: they have waited for it alone, or for these as well
            return tuple(kind for kind in waiting if _stands_on_only(kind, event.kind)) or waiting
        case ScopeConverged(kind="product", purge=None, level="retained" | "absent"):
            return ("family", *_LIVE_AFTER["product"])  # a family is as high as its products
        case ScopeConverged(purge=None):
            return _LIVE_AFTER[event.kind]
        case StepCompleted() | ScopeConverged() | ScopeFailed() | ScopeResumed():
            return _EVERY_KIND
        case _:
            return ()


def _stands_on_only(kind: ScopeKind, prerequisite: ScopeKind) -> bool:
    return {edge.prerequisite for edge in _STANDS_ON[kind]} == {prerequisite}


def removes_prerequisite(event: ScopeEvent) -> bool:
    """Whether the event takes a prerequisite away from scopes that may have begun on it since it was decided.

    Nothing follows from it in the same decision: once it is recorded no scope begins there any more, and the next look
    at the neighbours sees those that were first.
    """
    match event:
        case ScopeFailed():
            return any(edge.outlasts and edge.prerequisite == event.kind for edge in DEPENDENCIES)
        case StepStarted(direction="remove"):
            return (event.kind, event.step) == HOLDS_DATA
        case _:
            return False
