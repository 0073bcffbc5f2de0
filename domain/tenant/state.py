"""State of a tenant: the registers that commerce writes.

The state is registers: each product has its own (product_registers.py), the tenant has its attributes and whether it
was destroyed. `evolve` merges an event (events.py) into the registers, in whatever order events come.
What events a command comes to is the matter of decisions.py, what follows from the registers (levels and specs)
that of desired.py.

A change that awaits approval is an event as well (`ApprovalRequested`, `ClosingAwaitsApproval`), which writes no
register. The tenant keeps it until it is approved or rejected, or until a later change has overtaken it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeGuard

from msgspec import Struct, field
from msgspec.structs import replace

from domain.event import Cause, Event, Folded, Origin, Recorded, origin_of
from domain.registers import Register, written
from domain.stream_name import stream
from domain.tenant.closings import PendingEvent, is_same, product_event_of, replaces, request_approval
from domain.tenant.events import (
    ApprovalRequested,
    ChangesApproved,
    ChangesRejected,
    ClosingAwaitsApproval,
    Destructive,
    Founder,
    LicenseExpired,
    LicenseUpdated,
    Passing,
    ProductActivated,
    ProductDeactivated,
    ProductSuspended,
    ProductUnsuspended,
    PurgeStarted,
    TenantCreated,
    TenantDestroyed,
    TenantMessageStale,
    TenantPurged,
    TenantPurgeStarted,
    TenantRestored,
)
from domain.tenant.product_registers import NO_REGISTERS, ProductRegisters, Purge, would_write
from domain.tenant.product_registers import after as registers_after


class Attributes(Struct, frozen=True):
    customer_id: str
    site_name: str
    residency: Literal["global", "pinned"]
    region: str | None
    administrator: Founder


class Destroyed(Struct, frozen=True):
    """By which message (`source id`), and when the restore window began. `epoch`: the version of the event."""

    message: str
    at: datetime
    reason: str
    epoch: int


class TenantPurge(Struct, frozen=True):
    """Began with the event of version `started`; `at` is when the site name begins to cool down."""

    started: int
    at: datetime
    over: bool = False


class PendingChange(Struct, frozen=True):
    """A change that the destroy guard holds since the event of version `version`, and what had asked for it."""

    version: int
    event: PendingEvent
    since: datetime
    cause: Cause
    correlation: str


class Tenant(Folded, frozen=True):
    """A tenant's registers as of `version` of its stream (0: it does not exist yet).

    `destroyed_revision` is the highest that a destruction came with: after a restore, repeats of that one stay dead.
    """

    id: str
    version: int = 0
    attributes: Register[Attributes] | None = None
    destroyed: Destroyed | None = None
    products: Mapping[str, ProductRegisters] = field(default_factory=dict)
    revisioned: bool = False
    origin: Origin | None = None
    destroyed_revision: int | None = None
    purge: TenantPurge | None = None
    pending: tuple[PendingChange, ...] = ()

    @property
    def exists(self) -> bool:
        return self.attributes is not None

    def product(self, key: str) -> ProductRegisters:
        return self.products.get(key, NO_REGISTERS)


def stream_of(tenant_id: str) -> str:
    return stream("tenant", tenant_id)


# -- evolve --------------------------------------------------------------------------------------------------------


def evolve(tenant: Tenant, recorded: Recorded) -> Tenant:
    """The registers after the event, and what still awaits approval."""
    after = tenant.but(version=recorded.version, **_changes(tenant, recorded))
    return _without_overtaken(after) if after.pending else after


def _changes(tenant: Tenant, recorded: Recorded) -> dict[str, object]:
    """What the event changes, by the name of the field."""
    match recorded.event:
        case (
            LicenseUpdated()
            | ProductActivated()
            | ProductDeactivated()
            | ProductSuspended()
            | ProductUnsuspended() as event
        ):
            registers = registers_after(tenant.product(event.product), event, recorded)
            return {"products": {**tenant.products, event.product: registers}}
        case TenantCreated() as event:
            return {
                "attributes": written(tenant.attributes, attributes_of(event), event.revision),
                "origin": origin_of(recorded),
                "revisioned": tenant.revisioned or event.revision is not None,
            }
        case TenantDestroyed() as event:
            message = f"{recorded.cause.source} {recorded.cause.id}"
            pending = (pending.event.revision for pending in tenant.pending if pending.event.change == "destroy")
            return {
                "destroyed": tenant.destroyed or Destroyed(message, recorded.happened, event.reason, recorded.version),
                "destroyed_revision": _highest(tenant.destroyed_revision, event.revision, *pending),
                "origin": origin_of(recorded),
                "revisioned": tenant.revisioned or event.revision is not None,
            }
        case TenantMessageStale(type="tenant.destroyed", revision=revision):
            return {"destroyed_revision": _highest(tenant.destroyed_revision, revision)}
        case TenantRestored():
            return {"destroyed": None, "origin": origin_of(recorded)}
        case ApprovalRequested() | ClosingAwaitsApproval() as event:
            return _holding(tenant, event, recorded)
        case ChangesApproved(changes=changes):
            return {"pending": tuple(pending for pending in tenant.pending if pending.version not in changes)}
        case ChangesRejected(changes=changes):
            rejected = [pending.event for pending in tenant.pending if pending.version in changes]
            dead = [event.revision for event in rejected if event.change == "destroy"]
            return {
                "destroyed_revision": _highest(tenant.destroyed_revision, *dead),
                "pending": tuple(pending for pending in tenant.pending if pending.version not in changes),
            }
        case _:
            return _passed(tenant, recorded)


def _with(tenant: Tenant, products: Mapping[str, ProductRegisters]) -> dict[str, object]:
    return {"products": {**tenant.products, **products}}


def _highest(*revisions: int | None) -> int | None:
    return max((revision for revision in revisions if revision is not None), default=None)


def _passed(tenant: Tenant, recorded: Recorded) -> dict[str, object]:
    """What time changes once it has spoken; nothing, where its epoch was overtaken."""
    origin = origin_of(recorded)
    match recorded.event:
        case LicenseExpired(product=key, epoch=epoch) if tenant.product(key).licensed_since == epoch:
            return _with(tenant, {key: tenant.product(key).but(expired=True, origin=origin)})
        case PurgeStarted(product=key) as event if tenant.product(key).present_since == event.epoch:
            purge = Purge(recorded.version, event.families)
            return _with(
                tenant, {each: tenant.product(each).but(purge=purge, origin=origin) for each in (key, *event.apps)}
            )
        case TenantPurgeStarted(epoch=epoch) if tenant.destroyed is not None and tenant.destroyed.epoch == epoch:
            return {"purge": TenantPurge(recorded.version, recorded.time), "origin": origin}
        case TenantPurged() if tenant.purge is not None:
            return {"purge": replace(tenant.purge, over=True)}
        case _:
            return {}


# -- what awaits approval ------------------------------------------------------------------------------------------


def _holding(tenant: Tenant, event: PendingEvent, recorded: Recorded) -> dict[str, object]:
    """One change more awaits approval, in place of the same one that did before under a lower revision.

    No register is written, but who has seen a revision goes on asking for them.
    """
    pending = PendingChange(recorded.version, event, recorded.time, recorded.cause, recorded.correlation)
    changes: dict[str, object] = {
        "pending": (*(each for each in tenant.pending if not replaces(event, each.event)), pending)
    }
    if event.revision is None:
        return changes
    if event.product is None:
        return {**changes, "revisioned": True}
    return {**changes, **_with(tenant, {event.product: tenant.product(event.product).but(revisioned=True)})}


def _without_overtaken(tenant: Tenant) -> Tenant:
    """The tenant without the changes awaiting approval that would do nothing any more."""
    pending = tuple(pending for pending in tenant.pending if tenant.purge is None and stands(tenant, pending))
    return tenant if pending == tenant.pending else tenant.but(pending=pending)


def stands(tenant: Tenant, pending: PendingChange) -> bool:
    """Whether the change would still do something."""
    match pending.event:
        case ApprovalRequested(change="destroy"):
            return tenant.destroyed is None
        case ApprovalRequested(change="purge", product=None, epoch=epoch):
            return tenant.destroyed is not None and tenant.destroyed.epoch == epoch
        case ApprovalRequested(change="purge", product=str(key), epoch=epoch):
            purge = tenant.product(key).purge
            return tenant.product(key).present_since == epoch and (purge is None or purge.started < pending.version)
        case event:
            closing = product_event_of(event)
            assert closing is not None
            return would_write(tenant.product(closing.product), closing, pending.version)


def attributes_of(event: TenantCreated) -> Attributes:
    return Attributes(event.customer_id, event.site_name, event.residency, event.region, event.administrator)


# -- the destroy guard ---------------------------------------------------------------------------------------------


def is_guarded(event: Event, tenant: Tenant) -> TypeGuard[Destructive]:
    """Whether the event takes something from a customer: the deactivation of what is not active does not."""
    match event:
        case ProductDeactivated():
            return tenant.product(event.product).activated
        case TenantDestroyed() | PurgeStarted() | TenantPurgeStarted():
            return True
        case _:
            return False


def joins_pending(event: Destructive, tenant: Tenant) -> bool:
    """Whether the same change awaits approval already: repeating it must not get it past the guard, however slowly."""
    return any(is_same(pending.event, request_approval(event)) for pending in tenant.pending)


def is_awaiting_approval(tenant: Tenant, event: Passing) -> bool:
    """Whether the guard holds that purge already."""
    if not isinstance(event, (PurgeStarted, TenantPurgeStarted)):
        return False
    pending = request_approval(event)
    return any(other.event == pending for other in tenant.pending)
