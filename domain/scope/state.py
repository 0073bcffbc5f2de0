"""Actual state of one scope, folded from its stream.

One stream a scope. An intent (`StepStarted`) is recorded before its effect, so that whatever was started counts as
perhaps there; its outcome is a completion or a failure of the same generation. A generation is the version of the
stream at its intent: it fences out workers that slept, and is part of the names of what was created.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from domain.event import Event, Folded, Origin, Recorded, added_in, omitted, origin_of, stored_as
from domain.scope.steps import Direction, Level, Scope, Step, StepResult, StepSpec

# -- events --------------------------------------------------------------------------------------------------------


class _ScopeEvent(Event):
    tenant_id: str
    kind: Literal["site", "family", "product"]
    key: str = ""

    @property
    def scope(self) -> Scope:
        return Scope(self.kind, self.tenant_id, self.key)


class _StepEvent(_ScopeEvent):
    step: Step
    direction: Direction
    generation: int


class StepStarted(_StepEvent):
    """The intent: from here on the thing is perhaps there (ensure) or perhaps gone (remove).

    A removal carries the spec that it undoes. `generation` is the version of this very event.
    """

    TOPIC: ClassVar[str] = "tenantry.step-started"
    spec: StepSpec = stored_as("wish")
    compensating: bool = stored_as("undoing", default=False)


class StepCompleted(_ScopeEvent):
    """The effect is there. `result` is what was found or made, None after a removal; `customer_id`: of its persons."""

    TOPIC: ClassVar[str] = "tenantry.step-completed"
    customer_id: str | None = None
    step: Step
    direction: Direction
    generation: int
    result: StepResult | None = stored_as("facts", default=None)


class StepFailed(_StepEvent):
    """The effect did not come about; it is tried again at `retry_at`, or the scope has failed (None)."""

    TOPIC: ClassVar[str] = "tenantry.step-failed"
    attempt: int
    reason: str
    retry_at: datetime | None = None


class StepBlocked(_StepEvent):
    """Something with a name stands in the way; the scope waits for its release."""

    TOPIC: ClassVar[str] = "tenantry.step-blocked"
    obstacle: str
    reason: str


class ScopeConverged(_ScopeEvent):
    """The actual state equals the desired state, at this level.

    `purge` says which purge an absent scope has gone through, `data_lost` that a product began anew after one.
    """

    TOPIC: ClassVar[str] = "tenantry.scope-converged"
    level: Level
    digest: str
    purge: int | None = omitted(default=None)
    data_lost: bool = omitted(default=False)


class ScopeFailed(_ScopeEvent):
    """The desired state with this digest is not tried any more; what has converged stays as it last converged."""

    TOPIC: ClassVar[str] = "tenantry.scope-gave-up"
    digest: str
    step: Step
    reason: str


class ScopePutOnHold(_ScopeEvent):
    """An operator must look; `digest` is the desired state that is on hold, None where no other can help.

    `until` is when an operator's hold ends by itself; None where it is ended by a release alone.
    """

    TOPIC: ClassVar[str] = "tenantry.scope-held"
    step: Step | None = None
    reason: str
    digest: str | None = None
    until: datetime | None = added_in(2, default=None)


class ScopeResumed(_ScopeEvent):
    """A failed scope, or one on hold, is tried again: the desired state changed, or an operator retried."""

    TOPIC: ClassVar[str] = "tenantry.scope-resumed"
    reason: str


class StepMissing(_ScopeEvent):
    """Drift detection looked, and the result of the step is not there, or not as it was made.

    `observed_version` is the version of this stream that was read before looking. `data`: what is missing held data,
    which no executor can make again.
    """

    TOPIC: ClassVar[str] = "tenantry.step-missing"
    step: Step
    observed_version: int
    reason: str
    data: bool = False


class DataAbandoned(_ScopeEvent):
    """An operator has accepted the loss of a database that is missing: it is made anew, empty.

    `products`: those whose data it held, which begin anew without their data.
    """

    TOPIC: ClassVar[str] = "tenantry.data-abandoned"
    products: tuple[str, ...]
    reason: str
    operator: str


class EnsureRequested(_ScopeEvent):
    """An operator wants every step of a converged scope ensured again, though none was found missing.

    `rotates` is the product whose login role gets another password by that.
    """

    TOPIC: ClassVar[str] = "tenantry.ensure-requested"
    reason: str
    rotates: str | None = added_in(2, default=None)


ScopeEvent = (
    StepStarted
    | StepCompleted
    | StepFailed
    | StepBlocked
    | StepMissing
    | ScopeConverged
    | ScopeFailed
    | ScopePutOnHold
    | ScopeResumed
    | DataAbandoned
    | EnsureRequested
)


# -- state ---------------------------------------------------------------------------------------------------------


class Ensured(Struct, frozen=True, gc=False):
    """A step that may be there.

    `spec` is what was last started, `result` what the last completion found. `done` says that the two belong together:
    an ensure of `spec` completed and nothing was started since. `created_generations` names, for each part of the step,
    the generation whose intent first named it: what was started is perhaps there until a completion says otherwise.
    `leaving` says that a removal was started since: no other scope may build on it until it was ensured again.
    """

    spec: StepSpec
    result: StepResult | None
    done: bool
    created_generations: Mapping[str, int]
    leaving: bool = False


class Intent(Struct, frozen=True, gc=False):
    """Started, with no outcome yet."""

    step: Step
    direction: Direction
    generation: int
    spec: StepSpec
    failures: int = 0
    retry_at: datetime | None = None
    obstacle: str | None = None
    reason: str | None = None
    blocked_since: datetime | None = None
    """Since when that obstacle has stood in the way without a break."""


class Failure(Struct, frozen=True, gc=False):
    digest: str
    step: Step
    reason: str


class Hold(Struct, frozen=True, gc=False):
    """`by` names the operator, where one did it; `digest` is None where no other desired state can help; `until` is
    when the hold ends by itself."""

    reason: str
    digest: str | None
    by: str | None = None
    until: datetime | None = None


class Converged(Struct, frozen=True, gc=False):
    """The last desired state that was reached, and its steps."""

    level: Level
    digest: str
    steps: Mapping[Step, StepSpec]


class Provisioning(Folded, frozen=True):
    """A scope's actual state as of `version` of its stream."""

    scope: Scope
    version: int = 0
    steps: Mapping[Step, Ensured] = field(default_factory=dict)
    intent: Intent | None = None
    converged: Converged | None = None
    failure: Failure | None = None
    on_hold: Hold | None = None
    purged: int = 0
    """The last purge that it has gone through."""

    at_rest: bool = False
    """Converged, and nothing was started or resumed since."""
    data_missing: bool = False
    """Its database was seen to be missing, and has not been ensured or removed since."""
    abandoned: bool = False
    """The missing database is to be made anew: what is left of the old one goes first."""
    data_lost: frozenset[str] = frozenset()
    """The products whose data was in a database that was abandoned."""
    rotations: Mapping[str, int] = field(default_factory=dict)
    """The products whose passwords were rotated, each with the version of the last rotation."""
    resumed: Origin | None = None
    """The operator's act by which it was last tried again: the cause of what follows until that changes."""

    @property
    def level(self) -> Level:
        """The level it last converged to."""
        return self.converged.level if self.converged else "absent"

    @property
    def has_converged(self) -> bool:
        """Converged at least once in this incarnation: what is there now holds data."""
        return self.converged is not None and self.converged.level != "absent"

    @property
    def is_on_operator_hold(self) -> bool:
        """On hold whatever the desired state is: by an operator, not by the saga after a failure."""
        return self.on_hold is not None and self.on_hold.digest is None

    @property
    def is_empty(self) -> bool:
        """Nothing of it is there, not even perhaps."""
        return not self.steps and self.intent is None


def evolve(actual: Provisioning, recorded: Recorded) -> Provisioning:
    """The actual state after the event."""
    version = recorded.version
    match recorded.event:
        case StepStarted() as event:
            return _started(actual, event, version)
        case StepCompleted() as event:
            return _completed(actual, event, version)
        case StepFailed() as event if actual.intent and actual.intent.generation == event.generation:
            return actual.but(
                version=version,
                intent=replace(
                    actual.intent,
                    failures=event.attempt,
                    retry_at=event.retry_at,
                    obstacle=None,
                    reason=event.reason,
                    blocked_since=None,
                ),
            )
        case StepBlocked() as event if actual.intent and actual.intent.generation == event.generation:
            same = actual.intent.obstacle == event.obstacle
            return actual.but(
                version=version,
                intent=replace(
                    actual.intent,
                    obstacle=event.obstacle,
                    reason=event.reason,
                    retry_at=None,
                    blocked_since=actual.intent.blocked_since if same else recorded.time,
                ),
            )
        case StepMissing() as event if event.step in actual.steps:
            missing = replace(actual.steps[event.step], done=False)
            return actual.but(
                version=version,
                steps={**actual.steps, event.step: missing},
                at_rest=False,
                data_missing=actual.data_missing or event.data,
            )
        case ScopeConverged() as event:
            steps = {step: ensured.spec for step, ensured in actual.steps.items()}
            converged = Converged(event.level, event.digest, steps)
            return actual.but(version=version, converged=converged, purged=event.purge or actual.purged, at_rest=True)
        case ScopeFailed() as event:
            return actual.but(version=version, failure=Failure(event.digest, event.step, event.reason))
        case ScopePutOnHold() as event:
            by = recorded.cause.source if recorded.cause.kind == "operator" else None
            return actual.but(version=version, on_hold=Hold(event.reason, event.digest, by, event.until))
        case ScopeResumed():
            resumed = origin_of(recorded) if recorded.cause.kind == "operator" else None
            return actual.but(version=version, on_hold=None, failure=None, intent=None, at_rest=False, resumed=resumed)
        case EnsureRequested() as event:
            again = {step: replace(ensured, done=False) for step, ensured in actual.steps.items()}
            rotations = {**actual.rotations, **({event.rotates: version} if event.rotates else {})}
            return actual.but(
                version=version, steps=again, at_rest=False, resumed=origin_of(recorded), rotations=rotations
            )
        case DataAbandoned() as event:
            return _abandoned(actual, event, recorded)
        case _:
            return actual.but(version=version)


def _abandoned(actual: Provisioning, event: DataAbandoned, recorded: Recorded) -> Provisioning:
    """As after a resumption, with a database that is not there and must not count as there."""
    database = replace(actual.steps[Step.DATABASE], done=False)
    return actual.but(
        version=recorded.version,
        steps={**actual.steps, Step.DATABASE: database},
        on_hold=None,
        failure=None,
        intent=None,
        at_rest=False,
        resumed=origin_of(recorded),
        data_missing=True,
        abandoned=True,
        data_lost=actual.data_lost | set(event.products),
    )


def _started(actual: Provisioning, event: StepStarted, version: int) -> Provisioning:
    before = actual.steps.get(event.step)
    created_generations = dict(before.created_generations) if before else {}
    if event.direction == "ensure":
        for part in event.spec.parts:
            created_generations.setdefault(part, event.generation)
    ensured = Ensured(
        event.spec,
        before.result if before else None,
        done=False,
        created_generations=created_generations,
        leaving=event.direction == "remove" or (before is not None and before.leaving),
    )
    return actual.but(
        version=version,
        steps={**actual.steps, event.step: ensured},
        intent=Intent(event.step, event.direction, event.generation, event.spec),
        at_rest=False,
    )


def _completed(actual: Provisioning, event: StepCompleted, version: int) -> Provisioning:
    steps = dict(actual.steps)
    if event.direction == "remove":
        steps.pop(event.step, None)
    else:
        spec = steps[event.step].spec
        created_generations = {part: steps[event.step].created_generations[part] for part in spec.parts}
        steps[event.step] = Ensured(spec, event.result, done=True, created_generations=created_generations)
    goes_on = event.step is not Step.DATABASE
    return actual.but(
        version=version,
        steps=steps,
        intent=None,
        data_missing=actual.data_missing and goes_on,
        abandoned=actual.abandoned and goes_on,
    )
