"""What may an operator do to a run?

    retry      what was given up, or held because a step failed, is tried again
    hold       nothing is begun for the scope, whatever commerce says, until it is released
    release    what a person (or a guard) held goes on

Each act is one event in the scope's own stream, with who and why, decided on the version that was read: whoever was
first makes the other decide again. A retry and a release wake the scope, and whoever may wait for it, in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from domain.catalog import Catalog
from domain.convergence import dependents
from domain.errors import Conflict, UsageError
from domain.event import Cause, Recorded
from domain.ports import Clock, EventLog, NewId, Recording, Wake
from domain.provisioning import Provisioning, ScopeHeld, ScopeResumed
from domain.steps import Scope
from domain.wanted import Estate

ATTEMPTS = 10
"""How often an act is decided again when others record first."""


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator wants of a scope, and why."""

    kind: Literal["retry", "hold", "release"]
    scope: Scope
    reason: str


def decide(act: Act, actual: Provisioning) -> ScopeHeld | ScopeResumed:
    """The fact that the act comes to. Raises UsageError where the scope is in no state for it."""
    match act.kind:
        case "retry":
            return _retry(act, actual)
        case "hold":
            return _hold(act, actual)
        case "release":
            return _release(act, actual)


def _retry(act: Act, actual: Provisioning) -> ScopeResumed:
    if is_held_by_hand(actual):
        raise UsageError(f"{act.scope} is held{_by_whom(actual)}: `tenantry runs release {act.scope}` lets it go on")
    if actual.held is None and actual.given_up is None:
        raise UsageError(f"nothing of {act.scope} is held or given up: see `tenantry runs show {act.scope}`")
    return _resumed(act)


def _hold(act: Act, actual: Provisioning) -> ScopeHeld:
    if is_held_by_hand(actual):
        raise UsageError(f"{act.scope} is held already{_by_whom(actual)}: release it first")
    return ScopeHeld(tenant_id=act.scope.tenant_id, kind=act.scope.kind, key=act.scope.key, reason=act.reason)


def _release(act: Act, actual: Provisioning) -> ScopeResumed:
    if actual.held is None:
        raise UsageError(f"nothing of {act.scope} is held: see `tenantry runs show {act.scope}`")
    if not is_held_by_hand(actual):
        raise UsageError(
            f"{act.scope} is held because a step failed ({actual.held.reason}): mend that, then `tenantry runs retry"
            f" {act.scope}`"
        )
    return _resumed(act)


def _resumed(act: Act) -> ScopeResumed:
    return ScopeResumed(tenant_id=act.scope.tenant_id, kind=act.scope.kind, key=act.scope.key, reason=act.reason)


def is_held_by_hand(actual: Provisioning) -> bool:
    """Held whatever the wish is: by a person or a guard, not by the saga for want of success."""
    return actual.held is not None and actual.held.digest is None


def _by_whom(actual: Provisioning) -> str:
    assert actual.held is not None
    by = f" by {actual.held.by}" if actual.held.by else ""
    return f"{by} ({actual.held.reason})"


@dataclass(frozen=True, slots=True)
class Operating:
    """Loads, decides, records. `estates` gives the tenants as committed now."""

    log: EventLog
    estates: Callable[[Iterable[str]], Mapping[str, Estate]]
    catalog: Catalog
    clock: Clock
    new_id: NewId

    def carry_out(self, act: Act, *, by: str) -> Recorded:
        """The act as it was recorded. Raises UsageError where it is refused, Conflict when others record first again
        and again."""
        for attempt in range(ATTEMPTS):
            estate = self.estates([act.scope.tenant_id])[act.scope.tenant_id]
            recording = self._recording(act, estate, by=by)
            try:
                self.log.record(recording)
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return recording.events[0]
        raise AssertionError("unreachable")

    def _recording(self, act: Act, estate: Estate, *, by: str) -> Recording:
        if not estate.tenant.exists or act.scope not in estate.scopes:
            raise UsageError(f"there is no scope {act.scope}: see `tenantry runs list --tenant {act.scope.tenant_id}`")
        actual, act_id = estate.actual(act.scope), self.new_id()
        event = decide(act, actual)
        recorded = Recorded(
            stream=str(act.scope),
            version=actual.version + 1,
            id=act_id,
            time=self.clock(),
            cause=Cause(kind="operator", source=by, id=str(act_id)),
            correlation=f"{by} {act_id}",
            event=event,
        )
        due: tuple[Scope, ...] = ()
        if isinstance(event, ScopeResumed):
            due = (act.scope, *dependents(act.scope, estate, catalog=self.catalog))
        return Recording(events=[recorded], wakes=[Wake(str(scope), recorded.time) for scope in due])
