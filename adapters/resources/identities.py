"""Identities: the users, groups and permissions of a site, and of a product on it (step 5).

Always the whole set: a person who is not in it any more has no access any more. The customer's administrators,
once commerce has named them, replace the person who founded the tenant.
"""

from __future__ import annotations

from adapters.resources.fences import spec_of
from application.ports.resources import Order, StepExecutor
from domain.scope.steps import IdentityResult, IdentitySpec, Membership, Permission, Step, User


class Identities(StepExecutor):
    """Pure: from the spec, the customer and the tenant."""

    serves = (("site", Step.IDENTITY), ("product", Step.IDENTITY))

    def ensure(self, order: Order) -> IdentityResult:
        spec = spec_of(order, IdentitySpec)
        users = _users(order)
        granted = _permissions(spec.product)
        joined = [group for group in spec.groups if group in granted]
        return IdentityResult(
            product=spec.product,
            users=users,
            groups=spec.groups,
            memberships=tuple(
                Membership(group=group, account_id=user.account_id) for group in joined for user in users
            ),
            permissions=tuple(
                Permission(group=group, permission=granted.get(group, "use-portal"))
                for group in (spec.groups if spec.in_force else ())
            ),
        )


def _permissions(product: str | None) -> dict[str, str]:
    """Of the default groups, which all users are members of; any other group is for a product's guests."""
    if product is None:
        return {"site-administrators": "administer", "site-users": "access"}
    return {f"{product}-administrators": "administer-product", f"{product}-users": "use-product"}


def _users(order: Order) -> tuple[User, ...]:
    if order.customer.details is not None:
        people = {person.account_id: person for person in order.customer.details.value.administrators}
        return tuple(
            User(account_id=person.account_id, name=person.name, email=person.email, roles=person.roles)
            for person in people.values()
        )
    if order.tenant.attributes is None:
        return ()
    founder = order.tenant.attributes.value.administrator
    return (
        User(
            account_id=founder.account_id,
            name=founder.name,
            email=founder.email,
            roles=("site-administrator",),
        ),
    )
