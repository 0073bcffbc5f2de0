"""Membership: which products are on the site (step 2 of a product)."""

from __future__ import annotations

from adapters.resources.fences import spec_of
from application.ports.resources import Order, StepExecutor
from domain.scope.steps import MembershipResult, MembershipSpec, Step


class MembershipSet(StepExecutor):
    """The result is all there is of it: the log is where the set is kept."""

    serves = (("product", Step.SITE),)

    def ensure(self, order: Order) -> MembershipResult:
        spec = spec_of(order, MembershipSpec)
        return MembershipResult(product=spec.product, access=spec.access)
