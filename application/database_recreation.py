"""May a database that is missing be made anew, empty?

Only by an operator who accepts the loss, and only where it is missing indeed: the shard is looked at once more, and one
that does not answer is not empty. The act is one fact in the family's stream, on the version that was read.

    DataAbandoned ─▶ products give up step 7 ─▶ step 6 is removed, roles and all ─▶ step 6 is ensured under a new name
                                                                                          │
                                            products converge again, marked data_lost ◀───┘

No effect of its own: the removal and the ensure are the saga's, with intents, generations and fences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from application.operator_commands import ATTEMPTS
from application.ports import Clock, EventLog, NewId, Recording, Wake
from domain.catalog import Catalog
from domain.drift import Observed, place_of
from domain.errors import Conflict, UsageError
from domain.event import Cause, Recorded
from domain.scope.desired import Estate
from domain.scope.next_action import database_of, dependents
from domain.scope.state import DataAbandoned
from domain.scope.steps import Scope


def decide(
    scope: Scope, estate: Estate, observed: Observed, *, catalog: Catalog, reason: str, by: str
) -> DataAbandoned:
    """The fact that the act comes to. Raises UsageError where the data is not lost, or nobody can tell."""
    actual, database = estate.actual(scope), database_of(estate, scope.key)
    if database is None:
        raise UsageError(f"{scope} has no database that could be lost: see `tenantry runs show {scope}`")
    if actual.abandoned:
        raise UsageError(f"{scope} is being made anew already: see `tenantry runs show {scope}`")
    if actual.held_by_hand:
        raise UsageError(f"{scope} is held by somebody: `tenantry runs release {scope}` first")
    if not actual.data_missing and actual.held is None:
        raise UsageError(
            f"nobody has found the database of {scope} missing: `tenantry reconcile --tenant {scope.tenant_id}` looks"
        )
    if (silence := observed.silent.get(database.shard)) is not None:
        raise UsageError(
            f"shard {database.shard} does not answer ({silence}), and unreachable is not absent:"
            " repeat this when it does"
        )
    if place_of(database) in observed.places:
        raise UsageError(f"the database of {scope} is there: `tenantry runs retry {scope}` opens it again")
    members = (key for key in sorted(estate.tenant.products) if key in catalog and catalog.family_of(key) == scope.key)
    return DataAbandoned(
        tenant_id=scope.tenant_id,
        kind=scope.kind,
        key=scope.key,
        products=tuple(key for key in members if estate.product(key).lived),
        reason=reason,
        operator=by,
    )


@dataclass(frozen=True, slots=True)
class Recreating:
    """Loads, looks, decides, records. `observe` says what is there of tenants' things."""

    log: EventLog
    estates: Callable[[Iterable[str]], Mapping[str, Estate]]
    observe: Callable[[Sequence[Estate]], Observed]
    catalog: Catalog
    clock: Clock
    new_id: NewId

    def recreate(self, scope: Scope, *, reason: str, by: str) -> DataAbandoned:
        """The act as it was recorded. Raises UsageError, and Conflict when others record first again and again."""
        for attempt in range(ATTEMPTS):
            estate = self.estates([scope.tenant_id])[scope.tenant_id]
            if not estate.tenant.exists or scope not in estate.scopes:
                raise UsageError(f"there is no scope {scope}: see `tenantry runs list --tenant {scope.tenant_id}`")
            event = decide(scope, estate, self.observe([estate]), catalog=self.catalog, reason=reason, by=by)
            try:
                self.log.record(self._recording(scope, estate, event, by=by))
            except Conflict:
                if attempt + 1 == ATTEMPTS:
                    raise
            else:
                return event
        raise AssertionError("unreachable")

    def _recording(self, scope: Scope, estate: Estate, event: DataAbandoned, *, by: str) -> Recording:
        id_ = self.new_id()
        recorded = Recorded(
            stream=str(scope),
            version=estate.actual(scope).version + 1,
            id=id_,
            time=self.clock(),
            cause=Cause(kind="operator", source=by, id=str(id_)),
            correlation=f"{by} {id_}",
            event=event,
        )
        due = (scope, *dependents(scope, estate, catalog=self.catalog))
        return Recording(events=[recorded], wakes=[Wake(str(each), recorded.time) for each in due])
