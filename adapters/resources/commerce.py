"""What does commerce know of the customer? (step 1)"""

from __future__ import annotations

from adapters.resources.fences import spec_of
from application.ports.resources import Order
from domain.scope.steps import CommerceResult, CommerceSpec


class Commerce:
    """Takes the customer as the log has it; unknown, where commerce has not spoken of it yet, will do."""

    def ensure(self, order: Order) -> CommerceResult:
        spec = spec_of(order, CommerceSpec)
        if order.customer.details is None:
            return CommerceResult(customer_id=spec.customer_id, known=False)
        details = order.customer.details.value
        return CommerceResult(
            customer_id=spec.customer_id,
            known=True,
            name=details.name,
            country=details.country,
            administrators=tuple(dict.fromkeys(person.account_id for person in details.administrators)),
        )

    def remove(self, order: Order) -> None:
        """The customer is commerce's, and stays."""
