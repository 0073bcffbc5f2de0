"""What do the steps find that need nothing but the log: commerce, memberships, configuration, identities?"""

from __future__ import annotations

import pytest

from adapters.resources.commerce import Commerce
from adapters.resources.configuration import Configurations
from adapters.resources.identities import Identities
from adapters.resources.membership import MembershipSet
from domain.catalog import default_catalog
from domain.customer import Customer
from domain.scope.steps import (
    CommerceResult,
    CommerceSpec,
    ConfigurationSpec,
    IdentityResult,
    IdentitySpec,
    Membership,
    MembershipResult,
    MembershipSpec,
    Permission,
    RegionResult,
    Scope,
    Step,
)
from tests.adapters.provisioners.orders import ADA, FOUNDER, UNKNOWN_CUSTOMER, customer, order

SITE = Scope("site", "t-1")
PRODUCT = Scope("product", "t-1", "jira-service-management")


def commerce(by: Customer) -> CommerceResult:
    spec = CommerceSpec(customer_id="customer", metadata_version=1, administrators_version=1)
    return Commerce().ensure(order(SITE, Step.COMMERCE, spec, by=by))


def test_a_customer_that_commerce_has_not_spoken_of_is_unknown() -> None:
    assert commerce(UNKNOWN_CUSTOMER) == CommerceResult(customer_id="customer", known=False)


def test_a_known_customer_is_told_with_its_administrators() -> None:
    assert commerce(customer(ADA)) == CommerceResult(
        customer_id="customer", known=True, name="Acme GmbH", country="DE", administrators=("ada",)
    )


def test_a_membership_is_as_it_was_wished() -> None:
    spec = MembershipSpec(product="jira-service-management", access="closed")
    facts = MembershipSet().ensure(order(PRODUCT, Step.SITE, spec))
    assert facts == MembershipResult(product="jira-service-management", access="closed")


# -- configuration -------------------------------------------------------------------------------------------


def test_a_site_is_configured_with_what_is_known() -> None:
    configurations = Configurations(default_catalog(), site_domain="example.com")
    spec = ConfigurationSpec(product=None, residency="pinned", region="eu")
    facts = configurations.ensure(order(SITE, Step.CONFIGURATION, spec, by=customer(ADA)))
    assert facts.organization == "Acme GmbH"
    assert facts.settings == {
        "country": "DE",
        "region": "eu",
        "residency": "pinned",
        "url": "https://acme.example.com",
    }
    unknown = configurations.ensure(order(SITE, Step.CONFIGURATION, spec))
    assert unknown.organization is None
    assert "country" not in unknown.settings


def test_a_product_is_configured_with_the_region_where_it_lives_and_without_its_shard() -> None:
    spec = ConfigurationSpec(product="jira-service-management", residency="global", region=None)
    facts = Configurations(default_catalog(), site_domain="example.com").ensure(
        order(
            PRODUCT,
            Step.CONFIGURATION,
            spec,
            by=customer(ADA),
            placement=RegionResult(region="us", shard="us-2"),
        )
    )
    assert facts.organization is None
    assert facts.settings == {
        "name": "Jira Service Management",
        "region": "us",
        "residency": "global",
        "url": "https://acme.example.com/jira-service-management",
    }


# -- identities ----------------------------------------------------------------------------------------------


def identities(scope: Scope, *, by: Customer, in_force: bool) -> IdentityResult:
    product = scope.key or None
    groups: tuple[str, ...] = ("site-users", "site-administrators")
    if product:
        groups = (f"{product}-users", f"{product}-administrators", f"{product}-customers")
    spec = IdentitySpec(product=product, groups=groups, administrators_version=1, in_force=in_force)
    return Identities().ensure(order(scope, Step.IDENTITY, spec, by=by))


def test_the_founder_administrates_until_commerce_names_somebody() -> None:
    (user,) = identities(SITE, by=UNKNOWN_CUSTOMER, in_force=True).users
    assert (user.account_id, user.email, user.roles) == ("founder", FOUNDER.email, ("site-administrator",))


def test_the_administrators_of_the_customer_replace_the_founder() -> None:
    facts = identities(SITE, by=customer(ADA, ADA), in_force=True)
    assert [(user.account_id, user.roles) for user in facts.users] == [("ada", ("billing",))]
    assert set(facts.memberships) == {
        Membership(group="site-administrators", account_id="ada"),
        Membership(group="site-users", account_id="ada"),
    }


def test_a_customer_without_administrators_leaves_nobody() -> None:
    facts = identities(SITE, by=customer(), in_force=True)
    assert (facts.users, facts.memberships) == ((), ())


def test_permissions_of_a_site() -> None:
    facts = identities(SITE, by=UNKNOWN_CUSTOMER, in_force=True)
    assert set(facts.permissions) == {
        Permission(group="site-administrators", permission="administer"),
        Permission(group="site-users", permission="access"),
    }


def test_permissions_of_a_product_and_its_guests_who_are_not_members() -> None:
    facts = identities(PRODUCT, by=customer(ADA), in_force=True)
    assert {
        (permission.group.removeprefix(PRODUCT.key), permission.permission) for permission in facts.permissions
    } == {
        ("-administrators", "administer-product"),
        ("-users", "use-product"),
        ("-customers", "use-portal"),
    }
    assert {membership.group.removeprefix(PRODUCT.key) for membership in facts.memberships} == {
        "-administrators",
        "-users",
    }


@pytest.mark.parametrize("scope", [SITE, PRODUCT], ids=str)
def test_no_permission_is_in_force_while_it_is_closed(scope: Scope) -> None:
    facts = identities(scope, by=customer(ADA), in_force=False)
    assert facts.permissions == ()
    assert facts.users
    assert facts.memberships
