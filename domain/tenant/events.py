"""Events of a tenant.

The events of a tenant's stream. Time speaks too: that a license expired, that a purge has begun. Each such event names
the `epoch` that its timer was set in, which is the version of the event that set it; where another event has set it
anew since, the event changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from domain import names
from domain.event import Event, Value
from domain.personal import Personal


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
    """An operator revoked the destruction in time; `undoes` is the message (`source id`) that had done it."""

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


class ApprovalRequested(_TenantEvent):
    """The destroy guard stood in the way: nothing changes, access included, until an operator approves.

    `product` is None where the whole tenant is meant; `epoch` is that of a purge.
    """

    TOPIC: ClassVar[str] = "tenantry.change-held"
    change: Literal["destroy", "deactivate", "purge"]
    product: names.ProductKey | None = None
    reason: names.Reason | None = None
    epoch: int | None = None


class ClosingAwaitsApproval(_TenantEvent):
    """The closing of a product was beyond its budget: it awaits an approval, and changes nothing until then.

    It holds what the message said: a suspension (`reason`), a license that is inactive or over (`license`: the whole of
    it), or an activation with such a license (`activate`).
    """

    TOPIC: ClassVar[str] = "tenantry.closing-held"
    change: Literal["suspend", "license", "activate"]
    product: names.ProductKey
    reason: names.Reason | None = None
    edition: names.Edition | None = None
    users: int | None = None
    status: Literal["active", "inactive"] | None = None
    expires_at: datetime | None = None
    residency: Literal["global", "pinned"] | None = None
    region: names.Region | None = None


class ChangesApproved(_TenantEvent):
    """An operator approved the `changes` (versions of their events) of a plan: their events follow."""

    TOPIC: ClassVar[str] = "tenantry.changes-approved"
    changes: tuple[int, ...]
    plan: str
    reason: names.Reason
    operator: str


class ChangesRejected(_TenantEvent):
    """An operator rejected the `changes` (versions of their events) of a plan: nothing comes of them."""

    TOPIC: ClassVar[str] = "tenantry.changes-rejected"
    changes: tuple[int, ...]
    plan: str
    reason: names.Reason
    operator: str


ProductEvent = ProductActivated | ProductDeactivated | ProductSuspended | ProductUnsuspended | LicenseUpdated
Passing = LicenseExpired | PurgeStarted | TenantPurgeStarted | TenantPurged
"""What the saga records when time has passed, or when all is gone."""

Guarding = ApprovalRequested | ClosingAwaitsApproval | ChangesApproved | ChangesRejected
"""What the destroy guard, and the operators whom it asks, record."""

TenantEvent = TenantCreated | TenantDestroyed | TenantRestored | ProductEvent | Passing | TenantMessageStale | Guarding

Destructive = TenantDestroyed | ProductDeactivated | PurgeStarted | TenantPurgeStarted
"""What the guard counts, where it takes something from a customer."""

Closing = ProductSuspended | LicenseUpdated | ProductActivated
"""What the guard counts, by a budget of its own, where it closes a product that was open."""
