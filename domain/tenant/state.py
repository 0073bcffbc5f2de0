"""What does commerce want for a tenant?

The state is registers (registers.py): each product has presence, access and license, the tenant has its attributes and
whether it was destroyed. `evolve` merges a fact (events.py) into the registers, in whatever order facts come.
What facts a command comes to is the matter of decisions.py, what follows from the registers (levels and wishes)
that of desired.py.

What the destroy guard holds is a fact as well, `ChangeHeld` or `ClosingHeld`, that writes no register. The tenant keeps
it until it is approved or rejected, or until what came since has overtaken it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeGuard

from domain.event import Cause, Event, Folded, Origin, Recorded, origin_of
from domain.registers import Register, Write, judge, written
from domain.stream_name import StreamName
from domain.tenant.closings import HeldEvent, hold_closing, said_by
from domain.tenant.events import (
    ApprovalRequested,
    ChangesApproved,
    ChangesRejected,
    Closing,
    ClosingHeld,
    Destructive,
    Founder,
    LicenseExpired,
    LicenseUpdated,
    Passing,
    ProductActivated,
    ProductDeactivated,
    ProductEvent,
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


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether commerce has the product activated, and where a pin of its own would put it."""

    state: Literal["activated", "deactivated"]
    residency: Literal["global", "pinned"] | None = None
    region: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ProductAccess:
    state: Literal["open", "suspended"]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class License:
    edition: str
    users: int
    status: Literal["active", "inactive"]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attributes:
    customer_id: str
    site_name: str
    residency: Literal["global", "pinned"]
    region: str | None
    administrator: Founder


@dataclass(frozen=True, slots=True)
class Purge:
    """Began with the event of version `started`; what was there before it goes, and with it those families."""

    started: int
    families: tuple[str, ...]


@dataclass(frozen=True)
class ProductRegisters(Folded):
    """What commerce said of one product; `deactivated_at` is where its retention starts.

    The epochs of its timers are `present_since` and `licensed_since`: the versions that last wrote those registers, as
    `access_since` is of the access.
    """

    presence: Register[Presence] | None = None
    access: Register[ProductAccess] | None = None
    license: Register[License] | None = None
    revisioned: bool = False
    deactivated_at: datetime | None = None
    origin: Origin | None = None
    present_since: int = 0
    licensed_since: int = 0
    access_since: int = 0
    expired: bool = False
    purge: Purge | None = None

    @property
    def activated(self) -> bool:
        return self.presence is not None and self.presence.value.state == "activated"

    @property
    def data_lost(self) -> bool:
        """Active again after a purge took what it once held."""
        return self.activated and self.purge is not None

    @property
    def suspended(self) -> bool:
        return self.access is not None and self.access.value.state == "suspended"

    def is_open(self, now: datetime) -> bool:
        """Whether its own registers have it open: whatever its host or its tenant may be."""
        is_licensed = self.license is not None and not self.expired and _is_in_force(self.license.value, now)
        return self.activated and not self.suspended and is_licensed


@dataclass(frozen=True, slots=True)
class Destroyed:
    """By which message (`source id`), and when the restore window began. `epoch`: the version of the event."""

    message: str
    at: datetime
    reason: str
    epoch: int


@dataclass(frozen=True, slots=True)
class TenantPurge:
    """Began with the event of version `started`; `at` is when the site name begins to cool down."""

    started: int
    at: datetime
    over: bool = False


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A change that the destroy guard holds since the event of version `version`, and what had asked for it."""

    version: int
    event: HeldEvent
    since: datetime
    cause: Cause
    correlation: str


@dataclass(frozen=True)
class Tenant(Folded):
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
    held: tuple[PendingChange, ...] = ()

    @property
    def exists(self) -> bool:
        return self.attributes is not None

    def product(self, key: str) -> ProductRegisters:
        return self.products.get(key, _NO_REGISTERS)


_NO_REGISTERS = ProductRegisters()


def stream_of(tenant_id: str) -> str:
    return str(StreamName("tenant", tenant_id))


# -- evolve --------------------------------------------------------------------------------------------------------


def evolve(tenant: Tenant, recorded: Recorded) -> Tenant:
    """The registers after the fact, and what is still held."""
    after = _evolved(tenant, recorded)
    return _without_overtaken(after) if after.held else after


def _evolved(tenant: Tenant, recorded: Recorded) -> Tenant:
    match recorded.event:
        case (
            ProductActivated()
            | ProductDeactivated()
            | ProductSuspended()
            | ProductUnsuspended()
            | LicenseUpdated() as event
        ):
            return Tenant(
                tenant.id,
                recorded.version,
                tenant.attributes,
                tenant.destroyed,
                {**tenant.products, event.product: _written(tenant.product(event.product), event, recorded)},
                tenant.revisioned,
                tenant.origin,
                tenant.destroyed_revision,
                tenant.purge,
                tenant.held,
            )
        case TenantCreated() as event:
            return tenant.but(
                version=recorded.version,
                attributes=written(tenant.attributes, attributes_of(event), event.revision),
                origin=origin_of(recorded),
                revisioned=tenant.revisioned or event.revision is not None,
            )
        case TenantDestroyed() as event:
            message = f"{recorded.cause.source} {recorded.cause.id}"
            return tenant.but(
                version=recorded.version,
                destroyed=tenant.destroyed or Destroyed(message, recorded.happened, event.reason, recorded.version),
                destroyed_revision=_highest(
                    tenant.destroyed_revision,
                    event.revision,
                    *(held.event.revision for held in tenant.held if held.event.change == "destroy"),
                ),
                origin=origin_of(recorded),
                revisioned=tenant.revisioned or event.revision is not None,
            )
        case TenantMessageStale(type="tenant.destroyed") as event:
            return tenant.but(
                version=recorded.version,
                destroyed_revision=_highest(tenant.destroyed_revision, event.revision),
            )
        case TenantRestored():
            return tenant.but(version=recorded.version, destroyed=None, origin=origin_of(recorded))
        case ApprovalRequested() | ClosingHeld() as event:
            return _holding(tenant, event, recorded)
        case ChangesApproved(changes=changes):
            return tenant.but(
                version=recorded.version,
                held=tuple(held for held in tenant.held if held.version not in changes),
            )
        case ChangesRejected(changes=changes):
            rejected = [held.event for held in tenant.held if held.version in changes]
            dead = [event.revision for event in rejected if event.change == "destroy"]
            return tenant.but(
                version=recorded.version,
                destroyed_revision=_highest(tenant.destroyed_revision, *dead),
                held=tuple(held for held in tenant.held if held.version not in changes),
            )
        case LicenseExpired() | PurgeStarted() | TenantPurgeStarted() | TenantPurged() as event:
            return _passed(tenant, event, recorded).but(version=recorded.version)
        case _:
            return tenant.but(version=recorded.version)


def _highest(*revisions: int | None) -> int | None:
    return max((revision for revision in revisions if revision is not None), default=None)


def _holding(tenant: Tenant, event: HeldEvent, recorded: Recorded) -> Tenant:
    """One change more is held, in place of the same one that was held before under a lower revision.

    No register is written, but who has seen a revision goes on asking for them.
    """
    held = PendingChange(recorded.version, event, recorded.time, recorded.cause, recorded.correlation)
    others = (each for each in tenant.held if not _replaces(event, each.event))
    tenant = tenant.but(version=recorded.version, held=(*others, held))
    if event.revision is None:
        return tenant
    if event.product is None:
        return tenant.but(revisioned=True)
    product = tenant.product(event.product).but(revisioned=True)
    return tenant.but(products={**tenant.products, event.product: product})


def is_same(held: HeldEvent, other: HeldEvent) -> bool:
    return (held.change, held.product) == (other.change, other.product)


def _replaces(event: HeldEvent, held: HeldEvent) -> bool:
    """Whether the same change of a product, but a purge, was held under a lower revision, or under none."""
    is_higher = held.revision is None or event.revision is None or event.revision > held.revision
    return said_by(event) is not None and is_same(held, event) and is_higher


def _without_overtaken(tenant: Tenant) -> Tenant:
    """The tenant without the held changes that would do nothing any more."""
    held = tuple(held for held in tenant.held if tenant.purge is None and stands(tenant, held))
    return tenant if held == tenant.held else tenant.but(held=held)


def stands(tenant: Tenant, held: PendingChange) -> bool:
    """Whether the held change would still do something."""
    match held.event:
        case ApprovalRequested(change="destroy"):
            return tenant.destroyed is None
        case ApprovalRequested(change="purge", product=None, epoch=epoch):
            return tenant.destroyed is not None and tenant.destroyed.epoch == epoch
        case ApprovalRequested(change="purge", product=str(key), epoch=epoch):
            purge = tenant.product(key).purge
            return tenant.product(key).present_since == epoch and (purge is None or purge.started < held.version)
        case event:
            said = said_by(event)
            assert said is not None
            return _would_write(tenant.product(said.product), said, held.version)


def _would_write(product: ProductRegisters, said: ProductEvent, since: int) -> bool:
    """Whether what was said would still land in a register; without a revision: in one not written `since` then."""
    presence, access, license_ = writes_of(said)
    if said.revision is None:
        versions = (
            (presence, product.present_since),
            (access, product.access_since),
            (license_, product.licensed_since),
        )
        return any(value is not None and written < since for value, written in versions)
    return Write.LANDS in verdicts_on(product, said).values()


def verdicts_on(product: ProductRegisters, event: ProductEvent) -> dict[str, Write]:
    """What the event would do to each register that it writes."""
    presence, access, license_ = writes_of(event)
    found: dict[str, Write] = {}
    if presence is not None:
        found["presence"] = judge(product.presence, presence, event.revision)
    if access is not None:
        found["access"] = judge(product.access, access, event.revision)
    if license_ is not None:
        found["license"] = judge(product.license, license_, event.revision)
    return found


def _passed(tenant: Tenant, event: Passing, recorded: Recorded) -> Tenant:
    """The registers after time has spoken; as they were, where its epoch was overtaken."""
    origin = origin_of(recorded)
    match event:
        case LicenseExpired() if tenant.product(event.product).licensed_since == event.epoch:
            product = tenant.product(event.product).but(expired=True, origin=origin)
            return tenant.but(products={**tenant.products, event.product: product})
        case PurgeStarted() if tenant.product(event.product).present_since == event.epoch:
            purge = Purge(recorded.version, event.families)
            gone = {key: tenant.product(key).but(purge=purge, origin=origin) for key in (event.product, *event.apps)}
            return tenant.but(products={**tenant.products, **gone})
        case TenantPurgeStarted() if tenant.destroyed is not None and tenant.destroyed.epoch == event.epoch:
            return tenant.but(purge=TenantPurge(recorded.version, recorded.time), origin=origin)
        case TenantPurged() if tenant.purge is not None:
            return tenant.but(purge=replace(tenant.purge, over=True))
        case _:
            return tenant


def _written(product: ProductRegisters, event: ProductEvent, recorded: Recorded) -> ProductRegisters:
    """The registers of a product after an event that writes some of them."""
    revision = event.revision
    presence, access, license_ = writes_of(event)
    deactivated_at, present_since = product.deactivated_at, product.present_since
    if presence is not None and judge(product.presence, presence, revision) is Write.LANDS:
        deactivated_at = recorded.happened if presence.state == "deactivated" else None
        present_since = recorded.version
    access_since = product.access_since
    if access is not None and judge(product.access, access, revision) is Write.LANDS:
        access_since = recorded.version
    expired, licensed_since = product.expired, product.licensed_since
    if license_ is not None and judge(product.license, license_, revision) is Write.LANDS:
        expired, licensed_since = False, recorded.version
    return ProductRegisters(
        presence=product.presence if presence is None else written(product.presence, presence, revision),
        access=product.access if access is None else written(product.access, access, revision),
        license=product.license if license_ is None else written(product.license, license_, revision),
        revisioned=product.revisioned or revision is not None,
        deactivated_at=deactivated_at,
        origin=origin_of(recorded),
        present_since=present_since,
        licensed_since=licensed_since,
        access_since=access_since,
        expired=expired,
        purge=product.purge,
    )


_Writes = tuple[Presence | None, ProductAccess | None, License | None]


def writes_of(event: ProductEvent) -> _Writes:
    """What an event writes into presence, access and license (the table of the wire); None: it does not."""
    match event:
        case ProductActivated():
            return (
                Presence("activated", event.residency, event.region),
                ProductAccess("open"),
                License(event.edition, event.users, "active", event.expires_at),
            )
        case ProductDeactivated():
            return Presence("deactivated", reason=event.reason), None, None
        case ProductSuspended():
            return None, ProductAccess("suspended", event.reason), None
        case ProductUnsuspended():
            return None, ProductAccess("open"), None
        case LicenseUpdated():
            return None, None, License(event.edition, event.users, event.status, event.expires_at)


def attributes_of(event: TenantCreated) -> Attributes:
    return Attributes(event.customer_id, event.site_name, event.residency, event.region, event.administrator)


# -- the destroy guard ---------------------------------------------------------------------------------------------


def is_guarded(event: Event, tenant: Tenant) -> TypeGuard[Destructive]:
    """Whether the fact takes something from somebody: the deactivation of what is not active does not."""
    match event:
        case ProductDeactivated():
            return tenant.product(event.product).activated
        case TenantDestroyed() | PurgeStarted() | TenantPurgeStarted():
            return True
        case _:
            return False


def _is_in_force(license_: License, now: datetime) -> bool:
    return license_.status == "active" and (license_.expires_at is None or license_.expires_at > now)


def joins_pending(event: Destructive, tenant: Tenant) -> bool:
    """Whether the same change is held already: whoever repeats it must not get it past the guard, however slowly."""
    return any(is_same(held.event, request_approval(event)) for held in tenant.held)


def request_approval(event: Destructive | Closing) -> HeldEvent:
    """The fact that is recorded instead, when the guard stands in the way."""
    tenant_id = event.tenant_id
    match event:
        case TenantDestroyed():
            return ApprovalRequested(
                tenant_id=tenant_id, change="destroy", reason=event.reason, revision=event.revision
            )
        case ProductDeactivated():
            return ApprovalRequested(
                tenant_id=tenant_id,
                change="deactivate",
                product=event.product,
                reason=event.reason,
                revision=event.revision,
            )
        case PurgeStarted():
            return ApprovalRequested(tenant_id=tenant_id, change="purge", product=event.product, epoch=event.epoch)
        case TenantPurgeStarted():
            return ApprovalRequested(tenant_id=tenant_id, change="purge", epoch=event.epoch)
        case _:
            return hold_closing(event)


def is_awaiting_approval(tenant: Tenant, event: Passing) -> bool:
    """Whether the guard holds that purge already."""
    if not isinstance(event, (PurgeStarted, TenantPurgeStarted)):
        return False
    held = request_approval(event)
    return any(other.event == held for other in tenant.held)
