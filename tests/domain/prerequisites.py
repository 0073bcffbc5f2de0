"""What must hold between a scope and what it stands on?

Families and products stand on their site, products on their family as well, apps on their host. What is given up
before it lived is undone, and whoever stands on it goes first; unless a product has lived there: that keeps its ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from domain.event import Recorded
from domain.scope import state as provisioning
from domain.scope.state import Provisioning, StepStarted
from domain.scope.steps import Scope
from tests.domain.given import CATALOG

Scopes = Mapping[Scope, Provisioning]


def prerequisites_of(scope: Scope) -> list[Scope]:
    """What the scope stands on."""
    site = Scope("site", scope.tenant_id)
    match scope.kind:
        case "site":
            return []
        case "family":
            return [site]
        case "product":
            host = CATALOG[scope.key].host
            hosts = [Scope("product", scope.tenant_id, host)] if host else []
            return [site, Scope("family", scope.tenant_id, CATALOG.family_of(scope.key)), *hosts]


def is_lived_on(prerequisite: Scope, scopes: Scopes) -> bool:
    """Whether a product that stands on it has lived."""
    products = [(scope, actual) for scope, actual in scopes.items() if scope.kind == "product"]
    if prerequisite.kind == "product":
        return False  # no app lives before its host does: one that has is on its way out, by the purge of both
    return any(actual.has_converged and prerequisite in prerequisites_of(scope) for scope, actual in products)


def is_being_undone(prerequisite: Scope, scopes: Scopes) -> bool:
    actual = scopes.get(prerequisite)
    was_given_up = actual is not None and actual.failure is not None and not actual.has_converged
    return was_given_up and not is_lived_on(prerequisite, scopes)


def check_ground(facts: Iterable[Recorded]) -> None:
    """Nobody begins on what is being undone, and nothing is undone from under what has lived."""
    scopes: dict[Scope, Provisioning] = {}
    for fact in facts:
        if not fact.stream.startswith(("site:", "family:", "product:")):
            continue
        scope = Scope.parse(fact.stream)
        match fact.event:
            case StepStarted(direction="ensure") as event:
                undone = [
                    str(prerequisite)
                    for prerequisite in prerequisites_of(scope)
                    if is_being_undone(prerequisite, scopes)
                ]
                assert not undone, f"{scope} begins step {event.step}, and {undone} is being undone"
            case StepStarted(compensating=True, direction="remove") as event:
                kept = not scopes[scope].has_converged and is_lived_on(scope, scopes)
                assert not kept, f"step {event.step} of {scope} is undone, and something has lived on it"
            case _:
                pass
        scopes[scope] = provisioning.evolve(scopes.get(scope) or Provisioning(scope), fact)


def check_undone(scopes: Scopes) -> None:
    """At rest, nothing is left of what is being undone, nor of what stood on it; unless somebody holds some of it."""
    if any(actual.on_hold for actual in scopes.values()):
        return
    undone = [scope for scope in scopes if is_being_undone(scope, scopes)]
    there = [scope for scope, actual in scopes.items() if not actual.is_empty]
    left = [str(scope) for scope in there if {scope, *prerequisites_of(scope)} & set(undone)]
    assert not left, f"{left} are left, and {[str(scope) for scope in undone]} were given up before they lived"
