"""Random snapshots of one tenant: what commerce says of five products, each scope in any state, reachable or not."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from domain.catalog import Catalog
from domain.customer import Customer
from domain.scope import state as provisioning
from domain.scope.dependencies import scopes_with
from domain.scope.desired import desired_state
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import Scope, Step, StepSpec
from domain.tenant import decisions
from domain.tenant import state as tenants
from domain.tenant.state import Tenant
from tests.domain.given import (
    APP,
    CATALOG,
    CONFLUENCE,
    CUSTOMER,
    JIRA,
    NOW,
    POLICY,
    SERVICE,
    TENANT,
    after,
    command,
    ensured,
    of,
    recorded,
)

HOME_APP: Final = "app-with-a-home"
"""An app that has a family of its own, beside that of its host."""

ALL: Final = Catalog(
    products={**CATALOG.products, HOME_APP: CATALOG[APP].model_copy(update={"host": CONFLUENCE, "family": "home"})}
)
PRODUCTS: Final = (JIRA, SERVICE, CONFLUENCE, APP, HOME_APP)
SCOPES: Final = scopes_with(TENANT, PRODUCTS, ALL)

Message = tuple[str, str]
"""A type of message, and the product that it is about."""

said = st.tuples(
    st.sampled_from(["product.activated", "product.activated", "product.suspended", "product.deactivated"]),
    st.sampled_from(PRODUCTS),
)
"""What commerce may say of a product."""

_TURNS: Final = ("converges", "fails", "fails another wish", "is held", "leaves", "starts", "loses its data", "resumes")

state = st.tuples(st.integers(0, 4), st.lists(st.sampled_from(_TURNS), max_size=3).map(tuple))
"""How many steps of a scope are done, and what came then."""

HowScopes = tuple[tuple[int, tuple[str, ...]], ...]
how_scopes = st.tuples(*[state for _ in SCOPES])


@cache
def tenant(*messages: Message, destroyed: int = 0) -> Tenant:
    """The registers after commerce has said that."""
    found = Tenant(TENANT)
    told: list[tuple[str, dict[str, Any]]] = [("tenant.created", {})]
    for type_, product in messages:
        edition = {"edition": next(iter(ALL[product].editions))} if type_ == "product.activated" else {}
        told.append((type_, {"product": product, **edition}))
    told += [("tenant.destroyed", {})] * destroyed
    for revision, (type_, data) in enumerate(told, 1):
        events = decisions.decide(found, command(type_, **data), revision=revision, now=NOW, catalog=ALL, policy=POLICY)
        for event in events:
            found = tenants.evolve(found, recorded(f"tenant:{TENANT}", found.version + 1, event))
    return found


def snapshot(registers: Tenant, scopes: HowScopes) -> TenantSnapshot:
    known = scopes_with(TENANT, registers.products, ALL)
    found = {scope: _state(scope, *how) for scope, how in zip(SCOPES, scopes, strict=True) if scope in known}
    return TenantSnapshot(registers, Customer(CUSTOMER), found)


@cache
def specs() -> dict[Scope, dict[Step, StepSpec]]:
    """What each scope converges to where all is open."""
    bare = TenantSnapshot(tenant(*(("product.activated", product) for product in PRODUCTS)), Customer(CUSTOMER))
    return {scope: dict(desired_state(scope, bare, catalog=ALL, policy=POLICY, now=NOW).steps) for scope in SCOPES}


@cache
def _state(scope: Scope, done: int, turns: tuple[str, ...]) -> Provisioning:
    steps = specs()[scope]
    actual = ensured(Provisioning(scope), dict(sorted(steps.items())[:done]))
    for turn in turns:
        actual = _turned(actual, turn, steps)
    return actual


def _turned(actual: Provisioning, turn: str, steps: dict[Step, StepSpec]) -> Provisioning:
    names = of(actual.scope)
    last = max(actual.steps, default=None)
    generation = actual.version + 1
    match turn:
        case "converges" if last is not None:
            return after(actual, provisioning.ScopeConverged(**names, level="open", digest="some"))
        case "fails" | "fails another wish":
            step = last or min(steps)
            return after(actual, provisioning.ScopeFailed(**names, digest=turn, step=step, reason="no"))
        case "is held":
            return after(actual, provisioning.ScopePutOnHold(**names, reason="wait"))
        case "resumes":
            return after(actual, provisioning.ScopeResumed(**names, reason="go on"))
        case "leaves" if last is not None:
            intent: dict[str, Any] = {
                "step": last,
                "direction": "remove",
                "generation": generation,
                "spec": actual.steps[last].spec,
            }
            return after(actual, provisioning.StepStarted(**names, **intent))
        case "starts":
            intent = {"step": min(steps), "direction": "ensure", "generation": generation, "spec": steps[min(steps)]}
            return after(actual, provisioning.StepStarted(**names, **intent))
        case "loses its data" if Step.DATABASE in actual.steps:
            lost: dict[str, Any] = {
                "step": Step.DATABASE,
                "observed_version": actual.version,
                "reason": "gone",
                "data": True,
            }
            return after(actual, provisioning.StepMissing(**names, **lost))
        case _:
            return actual
