"""What can happen to a cloud, and what of it do the registers hear?

A `Story` is told act by act: by hypothesis in test_saga_model.py, and on each way between two levels in
test_saga_coverage.py. What commerce says goes to the intake and to the registers of tests/simulation/registers.py,
written from the description and not taken from domain/. What must be so when it ends: convergence_checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

from application.operator_commands import Act
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.errors import Permanent, Refused, Retryable, UsageError
from domain.operator import Operator
from domain.policy import Guard
from domain.scope.state import ScopeConverged
from domain.scope.steps import Step
from domain.tenant.events import (
    ApprovalRequested,
    ClosingAwaitsApproval,
    LicenseExpired,
    PurgeStarted,
    TenantPurgeStarted,
)
from tests.domain.driver import LEASE, Cloud, CloudOn, Keeper, Killed
from tests.domain.given import APP, CATALOG, CONFLUENCE, JIRA, POLICY, SERVICE, TENANT, FrontDoor, message
from tests.domain.keeper import ClockAhead
from tests.domain.prerequisites import check_undone
from tests.simulation import registers
from tests.simulation.desk import Desk
from tests.simulation.registers import Message

DAY = 86400
PRODUCTS = (JIRA, SERVICE, CONFLUENCE, APP)
UNLIMITED = 1_000_000


class Story:
    """A cloud to which things happen.

    `limit`, `closing_limit`: how much the destroy guard lets pass, how many closings; `log`: another than in memory.
    """

    def __init__(self, *, limit: int = UNLIMITED, closing_limit: int = UNLIMITED, log: Keeper | None = None) -> None:
        budgets = {"guard": Guard(at_least=limit, share=0), "closing_guard": Guard(at_least=closing_limit, share=0)}
        policy = POLICY.model_copy(update=budgets)
        self.cloud: CloudOn = Cloud(policy=policy)
        if log is not None:
            self.cloud = CloudOn(FrontDoor(log, policy=policy, clock=ClockAhead()), policy=policy)
        self.registers = registers.Tenant(registers.Guard(limit=limit), registers.Guard(limit=closing_limit))
        self.desk = Desk(self.cloud.operating, {TENANT: self.registers}, self.cloud.clock, learn=self._learn)
        self.revision = 1
        self.fates: Iterator[str] = iter(())
        self.sent: list[Message] = []
        self.wire: list[Message] = []
        self.broken: tuple[str, int] | None = None
        self._learned = 0
        self.overtaking = False
        self.cloud.log.before_record = self._overtake
        self.cloud.world.trouble = self._trouble
        now, entry = self.cloud.clock(), {"users": 5, "edition": "standard"}
        created = {"products": [{"product": JIRA, "revision": 1, **entry}]}
        self._comes(Message("1", "tenant.created", TENANT, "", 1, now, created))
        self.registers.hears(Message("its product", "product.activated", TENANT, JIRA, 1, now, entry), now)

    # -- commerce -----------------------------------------------------------------------------------------------------

    def says(self, type_: str, key: str) -> None:
        """Commerce says it under its next revision, and it comes at once."""
        self._comes(self._said(type_, key))

    def delays(self, type_: str, key: str) -> None:
        """Commerce says it, and it comes another day."""
        self.wire.append(self._said(type_, key))

    def comes(self, number: int) -> None:
        """One of what is under way comes at last."""
        self._comes(self.wire.pop(number % len(self.wire)))

    def repeats(self, number: int) -> None:
        """One of what has come before comes again."""
        self._comes(self.sent[number % len(self.sent)])

    def _said(self, type_: str, key: str) -> Message:
        self.revision += 1
        at, data = self.cloud.clock(), dict[str, Any]()
        if type_ == "product.deactivated ahead":
            type_, at = "product.deactivated", at + timedelta(days=20)
        if type_ in ("product.activated", "license.updated", "license expires soon", "license is inactive"):
            data = {"users": self.revision, "edition": "standard"}
        if type_ == "license expires soon":
            type_, data = "license.updated", data | {"expires_at": at + timedelta(hours=2)}
        if type_ == "license is inactive":
            type_, data = "license.updated", data | {"status": "inactive"}
        if type_ == "commerce.customer.updated":
            data = {"name": f"Acme {self.revision}"}
        return Message(f"{self.revision}", type_, TENANT, key, self.revision, at, data)

    def _comes(self, said: Message) -> None:
        """The message comes in, and the registers hear of it."""
        self._learn()
        now = self.cloud.clock()
        data = said.data | ({"product": said.product} if said.product else {})
        self.cloud.intake.takes(message(said.type, said.revision, id=said.id, time=said.at, **data))
        if said.type != "commerce.customer.updated":
            self.registers.hears(said, now)
        self.sent.append(said)
        self._check_held()

    def _learn(self) -> None:
        """The registers are told what time has brought about."""
        for fact in self.cloud.log.read(self._learned, UNLIMITED):
            self._learned = fact.position
            self.desk.sees(fact)

    def _check_held(self) -> None:
        """The destroy guard holds what the registers say."""
        held = self.cloud.intake.tenant().pending
        listed = [(TENANT, each.event.change, each.event.product or "", each.event.revision) for each in held]
        assert listed == self.desk.held()
        assert list(self.cloud.log.awaiting_approval()) == [TENANT] * bool(listed)

    def retires(self, key: str, type_: str = "product.deactivated") -> None:
        """The product is deactivated, and its retention ends before anybody looks again, said ahead or not."""
        self.says(type_, key)
        self.works(["none"])
        self.passes(61 * DAY)

    def overtakes(self) -> None:
        """When a product is next spoken of for time, or held, commerce will have activated it just before."""
        self.overtaking = True

    def destroys(self) -> None:
        self.says("tenant.destroyed", "")

    def leaves(self) -> None:
        """The tenant is destroyed, and neither the window to restore it nor its name's cool-down is used."""
        self.destroys()
        self.works(["none"])
        for wait in (self.cloud.policy.restore_window, self.cloud.policy.site_name_cool_down):
            self.cloud.clock.advance(wait)
            self.works(["none"])

    def restores(self) -> None:
        """An operator does, where it can be done, and an echo of the destruction comes after it."""
        destroyed = self.cloud.snapshot().tenant.destroyed_revision
        self._learn()
        try:
            self.cloud.restore()
        except Refused:
            assert self.registers.is_going, "it was not restored, and its data is still there"
            return
        assert not self.registers.is_going, "it was restored after its purge had begun"
        self.registers.restores()
        echo = f"echo {len(self.sent)}"
        self._comes(Message(echo, "tenant.destroyed", TENANT, "", destroyed, self.cloud.clock(), {}))

    def acts(self, kind: Literal["hold", "release", "retry"], number: int) -> None:
        """An operator does so to one of the scopes, where it is in a state for it."""
        scopes = sorted(self.cloud.snapshot().scopes)
        with suppress(UsageError):
            act = Act(kind, scopes[number % len(scopes)], "she thinks so")
            self.cloud.operating().carry_out(act, by=Operator.parse("ada@host"))

    def reads(self) -> None:
        """An operator reads what the destroy guard holds."""
        self.desk.reads()

    def approves(self) -> None:
        """She lets it pass, by what she has read; whatever may have come since."""
        self._decides("approve")

    def rejects(self) -> None:
        """She drops it."""
        self._decides("reject")

    def _decides(self, verdict: Literal["approve", "reject"]) -> None:
        if self.desk.plan is None:
            self.desk.reads()
        self.desk.decides(verdict)
        self._check_held()

    def _overtake(self, recording: UnitOfWork) -> None:
        for fact in recording.events:
            if self.overtaking and isinstance(
                fact.event, (PurgeStarted, LicenseExpired, ApprovalRequested, ClosingAwaitsApproval)
            ):
                self.overtaking = False
                self.says("product.activated", fact.event.product or JIRA)

    def works(self, fates: list[str]) -> None:
        self.fates = iter(fates)
        try:
            while self.cloud.work_once():
                pass
        except Killed:
            self.cloud.new_worker()
        finally:
            self.fates = iter(())
        self._learn()

    def passes(self, seconds: int) -> None:
        self.cloud.clock.advance(timedelta(seconds=seconds))

    def ends(self) -> None:
        """What is broken stays so for a day.

        Then no more trouble: all comes, leases run out, an operator lets everything go on, and all is worked off.
        """
        self.overtaking = False
        self.cloud.clock.advance(LEASE)
        self.cloud.settle()
        check_undone(self.cloud.snapshot().scopes)
        self.broken = None
        while self.wire:
            self.comes(0)
        self.cloud.clock.advance(LEASE)
        self.cloud.settle()
        for _ in range(3):
            self.cloud.retry_all()
            self.cloud.settle()
        self._learn()
        self._check_held()

    def _trouble(self, order: Order, when: Literal["before", "after"]) -> None:
        self._data_is_safe(order)
        if when == "before":
            self._fate = next(self.fates, "none")
            if (order.scope.kind, order.step, order.direction) == (*(self.broken or ()), "ensure"):
                self._fate = "permanent"
        match self._fate, when:
            case ("killed before", "before") | ("killed after", "after"):
                raise Killed
            case ("retryable", "before") | ("retryable after", "after"):
                raise Retryable("the network is slow")
            case "permanent", "before":
                raise Permanent("the disk is on fire")
            case _:
                pass

    def _data_is_safe(self, order: Order) -> None:
        """A database goes only by a purge that named it, or while no product has lived in it."""
        if (order.direction, order.step) != ("remove", Step.DATABASE):
            return
        family, facts = order.scope.key, self.cloud.log.events
        intents = [fact.position for fact in facts if fact.stream == str(order.scope)]
        since = [fact for fact in facts if fact.position > intents[order.created_generations[""] - 1]]
        has_converged, named = set[str](), False
        for fact in since:
            match fact.event:
                case ScopeConverged(kind="product") as event if event.level != "absent":
                    has_converged |= {event.key} if CATALOG.family_of(event.key) == family else set()
                case PurgeStarted() as event:
                    has_converged -= {event.product, *event.apps}
                    named = named or family in event.families
                case TenantPurgeStarted():
                    named = True
                case _:
                    pass
        assert named or not has_converged, f"{order.idempotency_key} would drop the data of {has_converged}"
