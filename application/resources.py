"""Driver of the resources: one look at many tenants, one inventory, and the removal of one orphan.

It knows no resource. Each place is asked once a resource. A place that does not answer is named and not asked again;
what was seen of it before that does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from application.ports.resources import Resource
from domain.drift import CONTROL, Inventory, Observed, Seen, Thing
from domain.errors import Obstacle, Retryable
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import Scope

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources, in the order in which their orphans go. `offered`: the shards that take families; `used`: those
    that hold some, as the control database says."""

    each: Sequence[Resource]
    offered: Callable[[], Iterable[str]]
    used: Callable[[], Iterable[str]]

    def observe(self, snapshots: Sequence[TenantSnapshot]) -> Observed:
        """What is there of these tenants' things. Nothing is locked and nothing is changed."""
        unreachable: dict[str, str] = {}
        seen: dict[tuple[Scope, str], Seen] = {}
        for resource in self.each:
            for where, look in sorted(resource.observe(snapshots).items()):
                for found in _asked(where, look, unreachable):
                    before = seen.get((found.scope, where))
                    findings = (*before.findings, *found.findings) if before else found.findings
                    seen[found.scope, where] = replace(found, findings=findings)
        scopes = (scope for snapshot in snapshots for scope in snapshot.scopes)
        order = {scope: number for number, scope in enumerate(scopes)}
        counted = (found for (_, where), found in seen.items() if where not in unreachable)
        return Observed(tuple(sorted(counted, key=lambda found: order[found.scope])), unreachable)

    def inventory(self) -> Inventory:
        """Everything that is named as ours."""
        unreachable: dict[str, str] = {}
        things: set[Thing] = set()
        for where in (CONTROL, *sorted({*self.offered(), *_asked(CONTROL, self.used, unreachable)})):
            here = [resource for resource in self.each if (resource.lies_on == "control") == (where == CONTROL)]
            found = [_asked(where, partial(resource.things, where), unreachable) for resource in here]
            things.update(thing for each in found for thing in each if where not in unreachable)
        return Inventory(frozenset(things), unreachable)

    def owned(self, actual: Provisioning) -> set[Thing]:
        """The identities of what is the scope's, or perhaps is."""
        return {thing for resource in self.each for thing in resource.owned(actual)}

    def identity(self, thing: Thing) -> Thing:
        """By which `owned` means the thing."""
        return self.of(thing).identity(thing)

    def alone(self, things: Collection[Thing]) -> list[Thing]:
        """Without what goes with others of them anyway; in the order of their names."""
        names = {(thing.where, thing.name): thing for thing in things}
        return sorted(thing for thing in things if names.get(self.of(thing).goes_with(thing), thing) == thing)

    def of(self, thing: Thing) -> Resource:
        """The resource that the thing is."""
        return next(resource for resource in self.each if thing.kind in resource.kinds)

    def in_turn(self, things: Iterable[Thing]) -> list[Thing]:
        """In the order in which they go. Of one kind the last name first: a login role (r_) before its group (g_)."""
        turns = [kind for resource in self.each for kind in resource.kinds]
        return sorted(sorted(things, reverse=True), key=lambda thing: turns.index(thing.kind))


def _asked(where: str, ask: Callable[[], Iterable[Answer]], unreachable: dict[str, str]) -> list[Answer]:
    """What the place says; nothing, with the reason in `unreachable`, where it does not answer."""
    try:
        return [] if where in unreachable else list(ask())
    except (Retryable, Obstacle) as error:
        unreachable[where] = str(error)
        return []
