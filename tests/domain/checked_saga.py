"""The saga, with one law more: what a decision keeps of its aim is what it would find again."""

from __future__ import annotations

from application.reconcile import Saga
from application.scope_decision import Decision
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import ScopeEvent


class CheckedSaga(Saga):
    """Looks at the aim anew after each event that leaves it (`leaves_aim`)."""

    def _add(self, decision: Decision, event: ScopeEvent, snapshot: TenantSnapshot) -> TenantSnapshot:
        after = super()._add(decision, event, snapshot)
        if (kept := decision.aim) is not None:
            found = self._aim(decision.scope, after)
            assert kept.desired == found.desired, f"{event} changes what {decision.scope} should be"
            assert kept.blockers == found.blockers, f"{event} changes what is in the way of {decision.scope}"
            assert kept.origin == found.origin, f"{event} changes why {decision.scope} is decided on"
        return after
