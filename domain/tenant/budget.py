"""Budgets of the destroy guard: what they count, and what is left of them.

Destroys, deactivations and purges have one, changes that close a product another. The second counts what takes an open
product from a customer at once, by its own registers: whatever its host or its tenant may be meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from domain.errors import GuardTripped
from domain.event import Event
from domain.registers import Write
from domain.tenant.closings import PendingEvent, product_event_of
from domain.tenant.events import Closing, ClosingAwaitsApproval, LicenseUpdated, ProductActivated, ProductSuspended
from domain.tenant.guarded import Guarded
from domain.tenant.product_registers import ProductRegisters, landing, verdicts_on
from domain.tenant.state import Tenant


@dataclass(frozen=True, slots=True)
class Budget:
    """What the destroy guard lets pass; None before it was asked."""

    destroys: int | None = None
    closings: int | None = None

    def after(self, tripped: GuardTripped) -> Budget:
        """With what the guard has said is left."""
        return Budget(
            self.destroys if tripped.left is None else tripped.left,
            self.closings if tripped.closings_left is None else tripped.closings_left,
        )

    def has_budget(self, counted: Guarded) -> bool:
        return self.destroys is None or counted.destroys < self.destroys

    def has_budget_to_close(self, counted: Guarded) -> bool:
        return self.closings is None or counted.closings < self.closings


def closes(event: Event, tenant: Tenant, now: datetime) -> TypeGuard[Closing]:
    """Whether the event closes a product that its own registers have open, or that a pending closing would close.

    A license that is active and ends later closes nothing: the end of a license is no producer's fault.
    """
    match event:
        case ProductSuspended():
            register = "access"
        case LicenseUpdated(status="inactive"):
            register = "license"
        case LicenseUpdated(expires_at=datetime() as ends) | ProductActivated(expires_at=datetime() as ends) if (
            ends <= now
        ):
            register = "license"
        case _:
            return False
    product = tenant.product(event.product)
    is_at_stake = product.is_open(now) or holds_closing(tenant, event.product)
    return is_at_stake and verdicts_on(product, event)[register] is Write.LANDS


def holds_closing(tenant: Tenant, key: str) -> bool:
    """Whether a closing of the product awaits an approval."""
    return any(
        isinstance(pending.event, ClosingAwaitsApproval) and pending.event.product == key for pending in tenant.pending
    )


def live_products(tenant: Tenant) -> int:
    """How many products are active; none of a tenant that was destroyed."""
    if tenant.destroyed:
        return 0
    return len([True for product in tenant.products.values() if product.activated])


def with_pending(product: ProductRegisters, pending: Iterable[PendingEvent]) -> ProductRegisters:
    """The registers as they would be if the changes that await approval had passed."""
    for closing in map(product_event_of, pending):
        if closing is not None:
            product = product.but(**landing(product, closing))
    return product
