"""Commerce's metadata of the customer (step 1)."""

from __future__ import annotations

from adapters.resources.fences import spec_of
from application.ports.resources import Order, StepExecutor
from domain.scope.steps import CommerceResult, CommerceSpec, Step


class Commerce(StepExecutor):
    """Takes the customer as the log has it; unknown, where commerce has not spoken of it yet, will do."""

    serves = (("site", Step.COMMERCE),)

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
