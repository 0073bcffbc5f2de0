"""What would a held change say?

The destroy guard holds a change in the place of the message's own fact: a deactivation, or the closing of a product by
a suspension, by a license that is inactive or over, or by an activation with such a license. `said_by` gives the fact
back, as it is recorded at the approval, and as later messages are judged against it meanwhile.

A closing that is beyond its budget:

    message ─▶ ClosingHeld ─▶ approved ─▶ the fact itself, with its own cause: the product closes
                           ─▶ rejected ─▶ nothing
                           ─▶ overtaken by a later revision (an unsuspension, a renewal): nothing
"""

from __future__ import annotations

from typing import assert_never

from domain.tenant.events import (
    ApprovalRequested,
    Closing,
    ClosingHeld,
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

HeldEvent = ApprovalRequested | ClosingHeld
"""What the destroy guard records in the place of a fact."""


def _hold_closing(event: Closing) -> ClosingHeld:
    """The fact that is recorded in place of the closing."""
    content = event.model_dump()
    match event:
        case ProductSuspended():
            return ClosingHeld(change="suspend", **content)
        case LicenseUpdated():
            return ClosingHeld(change="license", **content)
        case ProductActivated():
            return ClosingHeld(change="activate", **content)
        case _:
            assert_never(event)


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
            return _hold_closing(event)


def is_same(held: HeldEvent, other: HeldEvent) -> bool:
    return (held.change, held.product) == (other.change, other.product)


def replaces(event: HeldEvent, held: HeldEvent) -> bool:
    """Whether the same change of a product, but a purge, was held under a lower revision, or under none."""
    is_higher = held.revision is None or event.revision is None or event.revision > held.revision
    return said_by(event) is not None and is_same(held, event) and is_higher


def said_by(held: HeldEvent) -> ProductEvent | None:
    """The fact that is held; None where it concerns the whole tenant, or is a purge, which is decided anew."""
    match held:
        case ApprovalRequested(change="deactivate", product=str(key)):
            reason, revision = held.reason or "", held.revision
            return ProductDeactivated(tenant_id=held.tenant_id, product=key, reason=reason, revision=revision)
        case ApprovalRequested():
            return None
        case ClosingHeld(change="suspend"):
            return ProductSuspended.model_validate(_content(held, ProductSuspended))
        case ClosingHeld(change="license"):
            return LicenseUpdated.model_validate(_content(held, LicenseUpdated))
        case ClosingHeld():
            return ProductActivated.model_validate(_content(held, ProductActivated))
        case _:
            assert_never(held)


def describe_held(held: HeldEvent) -> str:
    """What is held, in words."""
    match held.change:
        case "destroy":
            return "the destruction of its tenant"
        case "deactivate":
            return "a deactivation"
        case "purge":
            return "a purge"
        case "suspend":
            return "a suspension"
        case "license":
            return "a license that is inactive or over"
        case "activate":
            return "an activation whose license is over"


def _content(held: ClosingHeld, kind: type[ProductEvent]) -> dict[str, object]:
    return held.model_dump(include=set(kind.model_fields))
