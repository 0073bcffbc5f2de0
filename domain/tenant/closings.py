"""Closings that await approval: the event that each stands for.

The destroy guard records a change in place of the message's own event: a deactivation, or the closing of a product by a
suspension, by a license that is inactive or over, or by an activation with such a license. `product_event_of` gives the
event back, as it is recorded at the approval, and as later messages are judged against it meanwhile.

A closing that is beyond its budget:

    message ─▶ ClosingAwaitsApproval ─▶ approved ─▶ the event itself, with its own cause: the product closes
                           ─▶ rejected ─▶ nothing
                           ─▶ overtaken by a later revision (an unsuspension, a renewal): nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec.structs import asdict

from domain.tenant.events import (
    ApprovalRequested,
    Closing,
    ClosingAwaitsApproval,
    Destructive,
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductEvent,
    ProductSuspended,
    PurgeStarted,
    TenantDestroyed,
    TenantPurgeStarted,
)

PendingEvent = ApprovalRequested | ClosingAwaitsApproval
"""What the destroy guard records in the place of an event."""


_CLOSINGS: Final[Mapping[Literal["suspend", "license", "activate"], type[Closing]]] = {
    "suspend": ProductSuspended,
    "license": LicenseUpdated,
    "activate": ProductActivated,
}


def _hold_closing(event: Closing) -> ClosingAwaitsApproval:
    """The event that is recorded in place of the closing."""
    change = next(change for change, kind in _CLOSINGS.items() if isinstance(event, kind))
    return ClosingAwaitsApproval(change=change, **asdict(event))


def request_approval(event: Destructive | Closing) -> PendingEvent:
    """The event that is recorded instead, when the guard stands in the way."""
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
            return _hold_closing(event)


def is_same(pending: PendingEvent, other: PendingEvent) -> bool:
    return (pending.change, pending.product) == (other.change, other.product)


def replaces(event: PendingEvent, pending: PendingEvent) -> bool:
    """Whether the same change of a product, but a purge, awaited approval under a lower revision, or under none."""
    is_higher = pending.revision is None or event.revision is None or event.revision > pending.revision
    return product_event_of(event) is not None and is_same(pending, event) and is_higher


def product_event_of(pending: PendingEvent) -> ProductEvent | None:
    """The event that awaits approval; None where it concerns the whole tenant, or is a purge, which is decided anew."""
    match pending:
        case ApprovalRequested(change="deactivate", product=str(key)):
            reason, revision = pending.reason or "", pending.revision
            return ProductDeactivated(tenant_id=pending.tenant_id, product=key, reason=reason, revision=revision)
        case ApprovalRequested():
            return None
        case ClosingAwaitsApproval():
            kind = _CLOSINGS[pending.change]
            return kind(**{name: getattr(pending, name) for name in kind.__struct_fields__})


_IN_WORDS: Final[Mapping[str, str]] = {
    "destroy": "the destruction of its tenant",
    "deactivate": "a deactivation",
    "purge": "a purge",
    "suspend": "a suspension",
    "license": "a license that is inactive or over",
    "activate": "an activation whose license is over",
}


def describe_pending(pending: PendingEvent) -> str:
    """The change that awaits approval, in words."""
    return _IN_WORDS[pending.change]
