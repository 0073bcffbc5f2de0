"""What does commerce want for a tenant?

Events, state, and what a message does to them. The state is registers (registers.py): each product has presence,
access and license, the tenant has its attributes and whether it was destroyed. `decide` turns a command into facts or
a refusal; `evolve` merges a fact into the registers, in whatever order facts come.
What follows from the registers (levels and wishes) is the matter of wanted.py.

Time speaks too: that a license expired, that a purge has begun. Each such fact names the `epoch` that its timer was set
in, which is the version of the event that set it; where another event has set it anew since, the fact changes nothing.

What the destroy guard holds is a fact as well, `ChangeHeld`, that writes no register. The tenant keeps it until it is
approved or rejected, or until what came since has overtaken it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Literal, TypeGuard

from domain import names
from domain.catalog import Catalog
from domain.commands import (
    ActivateProduct,
    Activation,
    CreateTenant,
    DeactivateProduct,
    DestroyTenant,
    ProductCommand,
    RestoreTenant,
    SuspendProduct,
    TenantCommand,
    UnsuspendProduct,
    UpdateLicense,
)
from domain.errors import Contradiction, Malformed, Refused
from domain.event import Cause, Event, Folded, Origin, Recorded, Value, origin_of
from domain.personal import FORGOTTEN, Personal
from domain.policy import Policy
from domain.registers import Register, Write, judge, written

# -- events --------------------------------------------------------------------------------------------------------


class Founder(Value):
    """The person who administrates the site until commerce names the customer's administrators."""

    account_id: names.AccountId
    name: Personal
    email: Personal


class _TenantEvent(Event):
    tenant_id: names.TenantId
    revision: int | None = None


class TenantCreated(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.tenant-created"
    customer_id: names.CustomerId
    site_name: names.SiteName
    residency: Literal["global", "pinned"]
    region: names.Region | None = None
    administrator: Founder


class TenantDestroyed(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.tenant-destroyed"
    reason: names.Reason


class ProductActivated(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.product-activated"
    product: names.ProductKey
    edition: names.Edition
    users: int
    expires_at: datetime | None = None
    residency: Literal["global", "pinned"] | None = None
    region: names.Region | None = None


class ProductDeactivated(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.product-deactivated"
    product: names.ProductKey
    reason: names.Reason


class ProductSuspended(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.product-suspended"
    product: names.ProductKey
    reason: names.Reason


class ProductUnsuspended(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.product-unsuspended"
    product: names.ProductKey


class LicenseUpdated(_TenantEvent):
    TOPIC: ClassVar[str] = "tenantry.license-updated"
    product: names.ProductKey
    edition: names.Edition
    users: int
    status: Literal["active", "inactive"]
    expires_at: datetime | None = None


class TenantMessageStale(_TenantEvent):
    """A message came that was lower than every register it would have written, or said again what they hold."""

    TOPIC: ClassVar[str] = "tenantry.tenant-message-stale"
    type: str
    product: names.ProductKey | None = None


class TenantRestored(_TenantEvent):
    """An operator undid the destruction in time; `undoes` is the message (`source id`) that had done it."""

    TOPIC: ClassVar[str] = "tenantry.tenant-restored"
    reason: names.Reason
    operator: str
    undoes: str


class LicenseExpired(_TenantEvent):
    """The end of a license has passed. `epoch`: the version of the event that wrote that license."""

    TOPIC: ClassVar[str] = "tenantry.license-expired"
    product: names.ProductKey
    epoch: int


class PurgeStarted(_TenantEvent):
    """The point of no return: retention is over, the product's data goes. `epoch`: the version of its deactivation.

    With it go the `apps` that lived in it, and, database and all, the `families` in which no other product is left.
    """

    TOPIC: ClassVar[str] = "tenantry.purge-started"
    product: names.ProductKey
    epoch: int
    apps: tuple[names.ProductKey, ...] = ()
    families: tuple[names.FamilyKey, ...] = ()


class TenantPurgeStarted(_TenantEvent):
    """The point of no return: the restore window is over, everything goes. `epoch`: the version of the destruction."""

    TOPIC: ClassVar[str] = "tenantry.tenant-purge-started"
    epoch: int


class TenantPurged(_TenantEvent):
    """The tombstone: nothing of the tenant is left, and its site name is free."""

    TOPIC: ClassVar[str] = "tenantry.tenant-purged"


class ChangeHeld(_TenantEvent):
    """The destroy guard stood in the way: nothing changes, access included, until an operator approves.

    `product` is None where the whole tenant is meant; `epoch` is that of a purge.
    """

    TOPIC: ClassVar[str] = "tenantry.change-held"
    change: Literal["destroy", "deactivate", "purge"]
    product: names.ProductKey | None = None
    reason: names.Reason | None = None
    epoch: int | None = None


class ChangesApproved(_TenantEvent):
    """An operator let the held `changes` (versions of their events) of a plan pass: their facts follow."""

    TOPIC: ClassVar[str] = "tenantry.changes-approved"
    changes: tuple[int, ...]
    plan: str
    reason: names.Reason
    operator: str


class ChangesRejected(_TenantEvent):
    """An operator dropped the held `changes` (versions of their events) of a plan: nothing comes of them."""

    TOPIC: ClassVar[str] = "tenantry.changes-rejected"
    changes: tuple[int, ...]
    plan: str
    reason: names.Reason
    operator: str


ProductEvent = ProductActivated | ProductDeactivated | ProductSuspended | ProductUnsuspended | LicenseUpdated
Passing = LicenseExpired | PurgeStarted | TenantPurgeStarted | TenantPurged
"""What the saga records when time has passed, or when all is gone."""

Guarding = ChangeHeld | ChangesApproved | ChangesRejected
"""What the destroy guard, and the operators whom it asks, record."""

TenantEvent = TenantCreated | TenantDestroyed | TenantRestored | ProductEvent | Passing | TenantMessageStale | Guarding


# -- state ---------------------------------------------------------------------------------------------------------


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

    The epochs of its timers are `present_since` and `licensed_since`: the versions that last wrote those registers.
    """

    presence: Register[Presence] | None = None
    access: Register[ProductAccess] | None = None
    license: Register[License] | None = None
    revisioned: bool = False
    deactivated_at: datetime | None = None
    origin: Origin | None = None
    present_since: int = 0
    licensed_since: int = 0
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
class Held:
    """A change that the destroy guard holds since the event of version `version`, and what had asked for it."""

    version: int
    event: ChangeHeld
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
    held: tuple[Held, ...] = ()

    @property
    def exists(self) -> bool:
        return self.attributes is not None

    def product(self, key: str) -> ProductRegisters:
        return self.products.get(key, _NO_REGISTERS)


_NO_REGISTERS = ProductRegisters()


def stream_of(tenant_id: str) -> str:
    return f"tenant:{tenant_id}"


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
                attributes=written(tenant.attributes, _attributes(event), event.revision),
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
        case ChangeHeld() as event:
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


def _holding(tenant: Tenant, event: ChangeHeld, recorded: Recorded) -> Tenant:
    """One change more is held, in place of the same one that was held before under a lower revision.

    No register is written, but who has seen a revision goes on asking for them.
    """
    held = Held(recorded.version, event, recorded.time, recorded.cause, recorded.correlation)
    others = (each for each in tenant.held if not _replaces(event, each.event))
    tenant = tenant.but(version=recorded.version, held=(*others, held))
    if event.revision is None:
        return tenant
    if event.product is None:
        return tenant.but(revisioned=True)
    product = tenant.product(event.product).but(revisioned=True)
    return tenant.but(products={**tenant.products, event.product: product})


def _is_same(held: ChangeHeld, other: ChangeHeld) -> bool:
    return (held.change, held.product) == (other.change, other.product)


def _replaces(event: ChangeHeld, held: ChangeHeld) -> bool:
    """Whether the same deactivation was held under a lower revision, or under none."""
    register = Register(deactivation(held), held.revision)
    is_higher = judge(register, deactivation(event), event.revision) is Write.LANDS
    return event.change == "deactivate" and _is_same(held, event) and is_higher


def _without_overtaken(tenant: Tenant) -> Tenant:
    """The tenant without the held changes that would do nothing any more."""
    held = tuple(held for held in tenant.held if tenant.purge is None and stands(tenant, held))
    return tenant if held == tenant.held else tenant.but(held=held)


def stands(tenant: Tenant, held: Held) -> bool:
    """Whether the held change would still do something."""
    match held.event:
        case ChangeHeld(change="destroy"):
            return tenant.destroyed is None
        case ChangeHeld(change="purge", product=None, epoch=epoch):
            return tenant.destroyed is not None and tenant.destroyed.epoch == epoch
        case ChangeHeld(change="purge", product=str(key), epoch=epoch):
            purge = tenant.product(key).purge
            return tenant.product(key).present_since == epoch and (purge is None or purge.started < held.version)
        case ChangeHeld(product=key, revision=revision):
            assert key is not None
            product = tenant.product(key)
            if revision is None:
                return product.present_since < held.version
            return judge(product.presence, deactivation(held.event), revision) is Write.LANDS


def deactivation(held: ChangeHeld) -> Presence:
    """What a held deactivation would write."""
    return Presence("deactivated", reason=held.reason)


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
    presence, access, license_ = _writes(event)
    deactivated_at, present_since = product.deactivated_at, product.present_since
    if presence is not None and judge(product.presence, presence, revision) is Write.LANDS:
        deactivated_at = recorded.happened if presence.state == "deactivated" else None
        present_since = recorded.version
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
        expired=expired,
        purge=product.purge,
    )


_Writes = tuple[Presence | None, ProductAccess | None, License | None]


def _writes(event: ProductEvent) -> _Writes:
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


def _attributes(event: TenantCreated) -> Attributes:
    return Attributes(event.customer_id, event.site_name, event.residency, event.region, event.administrator)


# -- decide --------------------------------------------------------------------------------------------------------


def decide(
    tenant: Tenant,
    command: TenantCommand,
    *,
    revision: int | None,
    now: datetime,
    catalog: Catalog,
    policy: Policy,
) -> list[TenantEvent]:
    """The facts that follow from a command on a tenant that exists, or on none for `CreateTenant`.

    Raises Malformed (unknown product or edition), Refused (the life cycle forbids it; only without a revision, or
    after the restore window) and Contradiction (the same revision with other content).
    """
    if tenant.destroyed and (tenant.purge or now > tenant.destroyed.at + policy.restore_window):
        raise Refused("tenant-destroyed", f"tenant {tenant.id} was destroyed and its restore window is over")
    match command:
        case CreateTenant():
            return _create(tenant, command, revision=revision, catalog=catalog)
        case DestroyTenant():
            return _destroy(tenant, command, revision=revision)
        case _:
            _check_offer(command, catalog)
            return [_product_event(tenant, _body(command, revision), type_of=_TYPES[type(command)])]


def _create(tenant: Tenant, command: CreateTenant, *, revision: int | None, catalog: Catalog) -> list[TenantEvent]:
    for entry in command.products:
        _check_offer(entry, catalog)
    event = TenantCreated(
        tenant_id=command.tenant_id,
        customer_id=command.customer_id,
        site_name=command.site_name,
        residency=command.residency,
        region=command.region,
        administrator=Founder(**command.administrator.model_dump()),
        revision=revision,
    )
    if tenant.attributes is not None and not _same(tenant.attributes.value, _attributes(event)):
        raise Contradiction(
            "tenant-id-used-twice",
            f"tenant {tenant.id} exists with other data: a tenant id is never used again, take a new one",
        )
    higher = tenant.attributes is not None and revision is not None and revision > (tenant.attributes.revision or -1)
    repeats = tenant.exists and not higher
    events: list[TenantEvent] = [_stale(tenant.id, "tenant.created", revision) if repeats else event]
    for entry in command.products:
        if tenant.exists and entry.revision is None:
            continue  # said again without a revision: it was applied, or refused, the first time
        body = ProductActivated(tenant_id=tenant.id, **entry.model_dump())
        events.append(_product_event(tenant, body, type_of="tenant.created"))
    return events


def _same(known: Attributes, sent: Attributes) -> bool:
    """Whether a repeated creation says the same; of a founder who was forgotten only the account can be compared."""
    if known.administrator.name == FORGOTTEN and known.administrator.account_id == sent.administrator.account_id:
        sent = replace(sent, administrator=known.administrator)
    return known == sent


def _destroy(tenant: Tenant, command: DestroyTenant, *, revision: int | None) -> list[TenantEvent]:
    undone = tenant.destroyed_revision is not None and revision is not None and revision <= tenant.destroyed_revision
    if tenant.destroyed or undone or any(held.event.change == "destroy" for held in tenant.held):
        return [_stale(tenant.id, "tenant.destroyed", revision)]
    if revision is None and tenant.revisioned:
        raise _revision_missing(f"tenant {tenant.id}")
    return [TenantDestroyed(tenant_id=tenant.id, reason=command.reason, revision=revision)]


def restore(tenant: Tenant, command: RestoreTenant) -> TenantRestored:
    """The fact that undoes a destruction. Refused where there is none, or its purge has begun.

    No clock is asked: when the window is over the purge is due, and until it has begun all is still there.
    """
    if tenant.destroyed is None:
        raise Refused("not-destroyed", f"tenant {tenant.id} is not destroyed: there is nothing to restore")
    if tenant.purge:
        raise Refused(
            "restore-window-over",
            f"the restore window of tenant {tenant.id} was over, and its purge began at"
            f" {tenant.purge.at:%Y-%m-%d %H:%M} UTC: its data is gone or going, create a new tenant",
        )
    return TenantRestored(
        tenant_id=tenant.id, reason=command.reason, operator=command.operator, undoes=tenant.destroyed.message
    )


def _product_event(tenant: Tenant, event: ProductEvent, *, type_of: str) -> TenantEvent:
    """The event itself where it lands in any register; that it was stale where it does not."""
    product = tenant.product(event.product)
    if event.revision is None:
        if product.revisioned:
            raise _revision_missing(f"product {event.product} of tenant {tenant.id}")
        _check_life_cycle(product, event, _held_deactivations(tenant, event.product))
        return event
    presence, access, license_ = _writes(event)
    verdicts = {
        "presence": presence and judge(product.presence, presence, event.revision),
        "access": access and judge(product.access, access, event.revision),
        "license": license_ and judge(product.license, license_, event.revision),
    }
    for name, verdict in verdicts.items():
        if verdict is Write.CONTRADICTS:
            raise Contradiction(
                "same-revision-other-content",
                f"revision {event.revision} of product {event.product} of tenant {tenant.id} came before with another"
                f" {name}: commerce must send the correction under a higher revision",
            )
    match _against_held(tenant, event, presence):
        case Write.CONTRADICTS:
            raise Contradiction(
                "same-revision-other-content",
                f"revision {event.revision} of product {event.product} of tenant {tenant.id} came before as a"
                " deactivation, which is held: commerce must send the correction under a higher revision",
            )
        case Write.REPEATS | Write.STALE if isinstance(event, ProductDeactivated):
            return _stale(tenant.id, type_of, event.revision, product=event.product)
        case _:
            pass
    if Write.LANDS in verdicts.values():
        return event
    return _stale(tenant.id, type_of, event.revision, product=event.product)


def _against_held(tenant: Tenant, event: ProductEvent, presence: Presence | None) -> Write | None:
    """How what the event says of presence stands to a deactivation that is held; None where there is none of both."""
    for held in _held_deactivations(tenant, event.product):
        if presence is not None:
            return judge(Register(deactivation(held), held.revision), presence, event.revision)
    return None


def _held_deactivations(tenant: Tenant, key: str) -> list[ChangeHeld]:
    return [held.event for held in tenant.held if held.event.change == "deactivate" and held.event.product == key]


def _check_life_cycle(product: ProductRegisters, event: ProductEvent, held: Sequence[ChangeHeld]) -> None:
    """What the state allows to an event without a revision; Refused names what would be allowed.

    An activation overtakes a deactivation that is `held`.
    """
    key = event.product
    match event:
        case ProductActivated() if held:
            return
        case ProductDeactivated() if held:
            raise Refused("already-held", f"a deactivation of product {key} is held already: approve or reject that")
        case ProductActivated() if product.activated:
            raise Refused("already-active", f"product {key} is active: change its licence with license.updated")
        case ProductActivated():
            return
        case _ if not product.activated:
            raise Refused("not-active", f"product {key} is not active: activate it first")
        case ProductSuspended() if product.suspended:
            raise Refused("already-suspended", f"product {key} is suspended already")
        case ProductUnsuspended() if not product.suspended:
            raise Refused("not-suspended", f"product {key} is not suspended")


def _check_offer(command: ProductCommand | Activation, catalog: Catalog) -> None:
    """Malformed where the catalogue does not have the product or the edition."""
    if command.product not in catalog:
        raise Malformed(
            "unknown-product",
            f"product {command.product} is not in the catalogue: add it there, then retry the message",
        )
    edition = getattr(command, "edition", None)
    if edition is not None and edition not in catalog[command.product].editions:
        raise Malformed(
            "unknown-edition",
            f"product {command.product} has no edition {edition}: it has "
            f"{', '.join(catalog[command.product].editions)}",
        )


_TYPES: dict[type[ProductCommand], str] = {
    ActivateProduct: "product.activated",
    DeactivateProduct: "product.deactivated",
    SuspendProduct: "product.suspended",
    UnsuspendProduct: "product.unsuspended",
    UpdateLicense: "license.updated",
}

_BODIES: dict[type[ProductCommand], type[ProductEvent]] = {
    ActivateProduct: ProductActivated,
    DeactivateProduct: ProductDeactivated,
    SuspendProduct: ProductSuspended,
    UnsuspendProduct: ProductUnsuspended,
    UpdateLicense: LicenseUpdated,
}


def _body(command: ProductCommand, revision: int | None) -> ProductEvent:
    return _BODIES[type(command)](**command.model_dump(), revision=revision)


def _stale(tenant_id: str, type_: str, revision: int | None, product: str | None = None) -> TenantMessageStale:
    return TenantMessageStale(tenant_id=tenant_id, type=type_, product=product, revision=revision)


def _revision_missing(what: str) -> Refused:
    return Refused("revision-missing", f"{what} is kept by revision: send the event again with its revision")


# -- the destroy guard ---------------------------------------------------------------------------------------------

Destructive = TenantDestroyed | ProductDeactivated | PurgeStarted | TenantPurgeStarted
"""What the guard counts, where it takes something from somebody."""


def is_guarded(event: Event, tenant: Tenant) -> TypeGuard[Destructive]:
    """Whether the fact takes something from somebody: the deactivation of what is not active does not."""
    match event:
        case ProductDeactivated():
            return tenant.product(event.product).activated
        case TenantDestroyed() | PurgeStarted() | TenantPurgeStarted():
            return True
        case _:
            return False


def joins_held(event: Destructive, tenant: Tenant) -> bool:
    """Whether the same change is held already: whoever repeats it must not get it past the guard, however slowly."""
    return any(_is_same(held.event, hold(event)) for held in tenant.held)


def hold(event: Destructive) -> ChangeHeld:
    """The fact that is recorded instead, when the guard stands in the way."""
    tenant_id = event.tenant_id
    match event:
        case TenantDestroyed():
            return ChangeHeld(tenant_id=tenant_id, change="destroy", reason=event.reason, revision=event.revision)
        case ProductDeactivated():
            return ChangeHeld(
                tenant_id=tenant_id,
                change="deactivate",
                product=event.product,
                reason=event.reason,
                revision=event.revision,
            )
        case PurgeStarted():
            return ChangeHeld(tenant_id=tenant_id, change="purge", product=event.product, epoch=event.epoch)
        case TenantPurgeStarted():
            return ChangeHeld(tenant_id=tenant_id, change="purge", epoch=event.epoch)


def is_held(tenant: Tenant, event: Passing) -> bool:
    """Whether the guard holds that purge already."""
    if not isinstance(event, (PurgeStarted, TenantPurgeStarted)):
        return False
    held = hold(event)
    return any(other.event == held for other in tenant.held)
