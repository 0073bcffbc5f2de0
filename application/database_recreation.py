"""Recreation of a database that is missing: anew, empty.

Only by an operator who accepts the loss, and only where it is missing indeed: the shard is looked at once more, and one
that does not answer is not empty. The act is one event in the family's stream, on the version that was read.

    DataAbandoned ─▶ the products fail step 7 ─▶ step 6 is removed, roles and all ─▶ step 6 is ensured under a new name
                                                                                          │
                                            products converge again, marked data_lost ◀───┘

No effect of its own: the removal and the ensure are the saga's, with intents, generations and fences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from application.operator_commands import version_of
from application.operator_event import OperatorAct, check_seen
from application.ports.clock import Clock, NewId
from application.ports.event_log import EventLog
from application.ports.work_queue import WorkItem
from application.transact import transact
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog
from domain.errors import Obstacle, Retryable, UsageError, problem
from domain.operator import Operator
from domain.scope.dependencies import dependents
from domain.scope.next_action import database_of
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import DataAbandoned
from domain.scope.steps import DatabaseResult, Scope

IsThere = Callable[[DatabaseResult], bool]
"""Whether a family's data is there. Raises Retryable, or Obstacle, where its shard does not answer."""


def decide(
    scope: Scope, snapshot: TenantSnapshot, is_there: IsThere, *, catalog: Catalog, reason: str, by: Operator
) -> DataAbandoned:
    """The event of the act. Raises UsageError where the data is not lost, or where that is unknown."""
    actual, database = snapshot.actual(scope), database_of(snapshot, scope.key)
    if database is None:
        raise UsageError(problem("no-database", scope=scope))
    if actual.abandoned:
        raise UsageError(problem("recreation-under-way", scope=scope))
    if actual.on_hold is not None and actual.is_on_operator_hold:
        raise UsageError(
            problem("scope-on-hold", scope=scope, by=actual.on_hold.by or None, reason=actual.on_hold.reason)
        )
    if not actual.data_missing and actual.on_hold is None:
        raise UsageError(problem("database-not-found-missing", scope=scope, tenant=scope.tenant_id))
    try:
        if is_there(database):
            raise UsageError(problem("database-not-missing", scope=scope))
    except (Retryable, Obstacle) as error:
        raise UsageError(problem("shard-unreachable", shard=database.shard, reason=str(error))) from error
    members = (
        key for key in sorted(snapshot.tenant.products) if key in catalog and catalog.family_of(key) == scope.key
    )
    return DataAbandoned(
        tenant_id=scope.tenant_id,
        kind=scope.kind,
        key=scope.key,
        products=tuple(key for key in members if snapshot.product(key).has_converged),
        reason=reason,
        operator=str(by),
    )


@dataclass(frozen=True, slots=True)
class DatabaseRecreation:
    """Loads, looks, decides, records."""

    log: EventLog
    snapshots: Callable[[Iterable[str]], Mapping[str, TenantSnapshot]]
    is_there: IsThere
    catalog: Catalog
    clock: Clock
    new_id: NewId

    def recreate(self, scope: Scope, *, reason: str, by: Operator, seen: str | None = None) -> DataAbandoned:
        """The act as it was recorded. Raises UsageError, and Conflict when others record first again and again."""

        def decided() -> tuple[UnitOfWork, DataAbandoned]:
            snapshot = self.snapshots([scope.tenant_id])[scope.tenant_id]
            if not snapshot.tenant.exists or scope not in snapshot.scopes:
                raise UsageError(problem("scope-unknown", scope=scope, tenant=scope.tenant_id))
            check_seen(scope, seen=seen, now=version_of(scope, snapshot))
            event = decide(scope, snapshot, self.is_there, catalog=self.catalog, reason=reason, by=by)
            return self._recording(scope, snapshot, event, by=by, seen=seen), event

        return transact(self.log, decided)

    def _recording(
        self, scope: Scope, snapshot: TenantSnapshot, event: DataAbandoned, *, by: Operator, seen: str | None
    ) -> UnitOfWork:
        act = OperatorAct.begun(by=by, clock=self.clock, new_id=self.new_id, seen=seen)
        recorded = act.recorded(event, stream=str(scope), version=snapshot.actual(scope).version + 1)
        due = (scope, *dependents(scope, snapshot, catalog=self.catalog))
        return UnitOfWork(events=[recorded], work_items=[WorkItem(str(each), act.time) for each in due])
