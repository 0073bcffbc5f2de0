"""What does an operator do with what the destroy guard holds, and what should that be?

She reads the plan, keeps its hash, and later approves or rejects it: what else may have happened meanwhile is the
story's matter. What is held, and what may pass, is asked of the registers that were written down apart from domain/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from application.operator_commands import OperatorCommands
from application.ports.clock import Clock
from domain.errors import UsageError
from domain.event import Recorded
from domain.operator import Operator
from domain.tenant.events import ApprovalRequested, PurgeStarted, TenantPurgeStarted
from tests.simulation.registers import RESTORE_WINDOW, RETENTION, Tenant

Listed = list[tuple[str, str, str, int | None]]
"""Held changes: tenant, change, product ("": all of it) and revision."""


class Desk:
    """Tenants' registers, and the plan that was read last.

    `learn` is called before and after each act: whoever does not tell of facts as they are committed does it then.
    """

    def __init__(
        self,
        operating: Callable[[], OperatorCommands],
        registers: Mapping[str, Tenant],
        clock: Clock,
        *,
        learn: Callable[[], None] = lambda: None,
    ) -> None:
        self._operating = operating
        self._registers = registers
        self._clock = clock
        self._learn = learn
        self._approving = False
        self.plan: tuple[str, Listed] | None = None

    def held(self) -> Listed:
        """What should be held, in the order of tenants and of arrival."""
        return [
            (tenant, each.change, each.product, each.revision)
            for tenant, registers in sorted(self._registers.items())
            for each in registers.held
        ]

    def sees(self, fact: Recorded) -> None:
        """A fact was committed: a purge that time brought about passes where there is room for it, or is held."""
        match fact.event:
            case PurgeStarted() as event:
                self._passes(event.tenant_id, fact)
                since = self._registers[event.tenant_id].products[event.product].deactivated_at
                assert since is not None, f"{event.product} is purged, and commerce has it active"
                assert since + RETENTION <= fact.time, f"{event.product} is purged before its time"
                self._registers[event.tenant_id].purge_began((event.product, *event.apps))
            case TenantPurgeStarted() as event:
                self._passes(event.tenant_id, fact)
                since = self._registers[event.tenant_id].destroyed_at
                assert since is not None, f"{event.tenant_id} is purged, and was not destroyed"
                assert since + RESTORE_WINDOW <= fact.time, f"{event.tenant_id} is purged before its time"
                self._registers[event.tenant_id].purge_began(())
            case ApprovalRequested(change="purge") as event:
                self._registers[event.tenant_id].purge_is_held(event.product or "")
            case _:
                pass

    def _passes(self, tenant: str, fact: Recorded) -> None:
        guard = self._registers[tenant].guard
        if not self._approving:
            assert guard.has_room(fact.time), f"{fact.event} is more than the destroy guard lets pass"
            guard.counts(fact.time)

    def reads(self) -> Listed:
        """The plan, which lists what is held and nothing else."""
        self._learn()
        plan = self._operating().plan()
        listed = [(each.tenant_id, each.change, each.product or "", each.revision) for each in plan.changes]
        assert listed == self.held(), f"the plan is {listed}, and it should be {self.held()}"
        self.plan = (plan.hash, listed)
        return listed

    def decides(self, verdict: Literal["approve", "reject"]) -> str:
        """What comes of the verdict on the plan that was read. Where something else is held by now, it is refused."""
        assert self.plan is not None
        self._learn()
        (plan, seen), self.plan, held = self.plan, None, self.held()
        self._approving = True
        try:
            if verdict == "approve":
                self._operating().approve(plan, reason="she has looked", by=Operator.parse("ada"))
            else:
                self._operating().reject(plan, reason="she has looked", by=Operator.parse("ada"))
        except UsageError as error:
            return f"{verdict} {plan}: {error}"
        else:
            self._learn()
        finally:
            self._approving = False
        assert held in ([], seen), f"plan {plan} is of {seen}, and {held} is held"
        for registers in self._registers.values():
            if verdict == "approve":
                registers.approves(self._clock())
            else:
                registers.rejects()
        return f"{verdict} {plan}"
