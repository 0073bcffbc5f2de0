"""Drift: differences between the actual state in the log and the real resources, and what is seen of those.

    expected  what a completed step says is there, and where         pure, by the resource
    seen      what a look at that place found different              the resource alone knows how to look
    things    everything in a place that is named as ours            orphans are those that no scope owns

Only steps that are *done* are compared: what is under way is the saga's. Steps whose results are all there is of them
(1, 4, 5, and the membership of a product) cannot drift, and those of other teams' provisioners cannot be seen. A place
that did not answer is neither there nor missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from domain.policy import Drift
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import Provisioning
from domain.scope.steps import Scope, Step, StepResult

CONTROL: Final = "the control database"

Result = TypeVar("Result", bound=StepResult)
Known = TypeVar("Known")


class Thing(NamedTuple):
    """Something that an executor makes. `name` is unique for its kind in that place."""

    where: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that is named as ours. `unreachable`: places that did not answer, and why."""

    things: frozenset[Thing]
    unreachable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """A step that is not as the log says. `data`: what held data is gone, and cannot be made again."""

    step: Step
    kind: Literal["missing", "differs", "data"]
    text: str


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


Look = Callable[[], Iterable[Seen]]
"""Looks at one place. Raises Retryable, or Obstacle, where it does not answer."""


@dataclass(frozen=True, slots=True)
class Expected(Generic[Known]):
    """What the log says is there of a scope in one place (a shard, or CONTROL)."""

    actual: Provisioning
    where: str
    result: Known

    def seen(self, findings: Iterable[Finding]) -> Seen:
        """The findings of one look at it."""
        return Seen(self.actual.scope, self.actual.version, self.where, tuple(findings))


def by_place(
    expected: Iterable[Expected[Known]], look: Callable[[str, Sequence[Expected[Known]]], Iterable[Seen]]
) -> dict[str, Look]:
    """One look at each place, for all that is expected there."""
    places: dict[str, list[Expected[Known]]] = {}
    for each in expected:
        places.setdefault(each.where, []).append(each)
    return {where: partial(look, where, there) for where, there in places.items()}


@dataclass(frozen=True, slots=True)
class Observed:
    """Each scope that could be looked at, in each place; `unreachable`: the places that did not answer, and why."""

    seen: tuple[Seen, ...]
    unreachable: Mapping[str, str]


def completed(
    snapshots: Iterable[TenantSnapshot], step: Step, kind: type[Result]
) -> Iterator[tuple[TenantSnapshot, Provisioning, Result]]:
    """The scopes in which that step is done, with its result."""
    for snapshot in snapshots:
        for actual in snapshot.scopes.values():
            ensured = actual.steps.get(step)
            if ensured is not None and ensured.done and isinstance(ensured.result, kind):
                yield snapshot, actual, ensured.result


def suspicious(absent: Mapping[str, int], looked_at: Mapping[str, int], bounds: Drift) -> tuple[str, ...]:
    """The places where so much is missing that each looks like a wrong or an empty server; both count scopes."""
    return tuple(where for where in sorted(absent) if bounds.is_too_much(absent[where], looked_at[where]))
