"""The decision about one scope: what is recorded, and which effect follows."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct, field

from application.ports.resources import Order
from application.ports.work_queue import Lease, WorkItem
from application.stream_cache import State
from application.unit_of_work import UnitOfWork
from domain.event import Cause, Origin
from domain.scope.desired import DesiredState
from domain.scope.next_action import Blockers
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import Scope


class Aim(Struct, frozen=True, gc=False):
    """What a decision goes by, found once at `now`: nothing of it changes while steps are ensured (`leaves_aim`)."""

    desired: DesiredState
    blockers: Blockers
    origin: Origin | None
    cause: Cause
    now: datetime


class Decision(Struct):
    """One decision: a unit of work to record, and either an effect to bring about or the end of the lease."""

    scope: Scope
    stream: str = ""
    """Of the scope."""
    unit: UnitOfWork = field(default_factory=UnitOfWork)
    order: Order | None = None
    budget: int | None = None
    """How many purges the destroy guard lets pass; None before it was asked."""
    after: dict[str, State] = {}
    """The streams that the turn adds to, as they are once it is recorded."""

    aim: Aim | None = None

    snapshot: TenantSnapshot | None = None
    """The tenant as it is once the intent of `order` is recorded."""

    opened_after: timedelta | None = None
    """How long after the event that asked for it the product is open; None where it opens nothing."""

    def __post_init__(self) -> None:
        self.stream = str(self.scope)

    def asks_for(self, order: Order, snapshot: TenantSnapshot) -> None:
        """An effect follows."""
        self.order, self.snapshot = order, snapshot

    def due_again(self, at: datetime | None) -> None:
        """The scope is due again at that time, if there is one."""
        if at is not None:
            self.unit.work_items.append(WorkItem(self.stream, at))

    def under(self, lease: Lease) -> UnitOfWork:
        """What to record: the lease ends in it, or must still be ours where an effect follows."""
        (self.unit.leases if self.order is None else self.unit.kept).append(lease)
        return self.unit
