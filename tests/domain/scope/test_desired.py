"""Which level and which wishes follow from the registers?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.scope.snapshot import scopes_of
from domain.scope.state import ScopeFailed
from domain.scope.steps import (
    CommerceSpec,
    ConfigurationSpec,
    DatabaseSpec,
    IdentitySpec,
    LicenseSpec,
    MembershipSpec,
    RegionSpec,
    Scope,
    SiteSpec,
    Step,
)
from tests.domain.given import (
    APP,
    APP_SCOPE,
    CATALOG,
    CONFLUENCE,
    DAY,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    NOW,
    POLICY,
    SERVICE,
    SITE,
    TENANT,
    Commerce,
    a_tenant,
    after,
    all_converged,
    converged,
    of,
)

HOUR = timedelta(hours=1)


def logins(commerce: Commerce, family: Scope = JIRA_FAMILY, *scopes: object) -> dict[str, bool]:
    spec = commerce.desired_state(family, *scopes).steps[Step.DATABASE]  # type: ignore[arg-type]
    assert isinstance(spec, DatabaseSpec)
    return {role.product: role.login for role in spec.roles}


# -- products ------------------------------------------------------------------------------------------------------


def test_an_active_product_is_open_in_all_its_steps() -> None:
    spec = a_tenant(JIRA).desired_state(JIRA_SCOPE)
    assert spec.level == "open"
    assert spec.steps == {
        Step.SITE: MembershipSpec(product=JIRA, access="open"),
        Step.CONFIGURATION: ConfigurationSpec(product=JIRA, residency="global", region=None),
        Step.IDENTITY: IdentitySpec(
            product=JIRA,
            groups=(f"{JIRA}-users", f"{JIRA}-administrators"),
            administrators_version=0,
            in_force=True,
        ),
        Step.LICENSE: LicenseSpec(
            product=JIRA, edition="free", users=10, active=True, expires_at=None, features=("boards",)
        ),
    }


def suspended(commerce: Commerce) -> None:
    commerce.says("product.suspended", 5)


def inactive(commerce: Commerce) -> None:
    commerce.says("license.updated", 5, status="inactive")


def expired(commerce: Commerce) -> None:
    commerce.says("license.updated", 5, expires_at=NOW)


def destroyed(commerce: Commerce) -> None:
    commerce.says("tenant.destroyed", 5)


@pytest.mark.parametrize("cause", [suspended, inactive, expired, destroyed])
def test_each_cause_alone_closes_a_product_and_its_role_and_keeps_everything(cause: object) -> None:
    commerce = a_tenant(JIRA)
    before = commerce.desired_state(JIRA_SCOPE)
    cause(commerce)  # type: ignore[operator]
    spec = commerce.desired_state(JIRA_SCOPE)
    assert spec.level == "closed"
    assert spec.steps.keys() == before.steps.keys()
    assert spec.steps[Step.SITE] == MembershipSpec(product=JIRA, access="closed")
    identity, license_ = spec.steps[Step.IDENTITY], spec.steps[Step.LICENSE]
    assert isinstance(identity, IdentitySpec)
    assert isinstance(license_, LicenseSpec)
    assert (identity.in_force, license_.active) == (False, False)
    assert logins(commerce) == {JIRA: False}
    assert commerce.desired_state(JIRA_FAMILY).level == "closed"


def test_a_product_is_open_until_the_very_moment_of_its_expiry_and_wakes_then() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 5, expires_at=NOW + HOUR)
    assert commerce.desired_state(JIRA_SCOPE).level == "open"
    assert commerce.desired_state(JIRA_SCOPE).due_again_at == NOW + HOUR
    assert commerce.desired_state(JIRA_FAMILY).due_again_at == NOW + HOUR
    commerce.clock.advance(HOUR)
    assert commerce.desired_state(JIRA_SCOPE).level == "closed"
    assert commerce.desired_state(JIRA_SCOPE).due_again_at is None
    assert logins(commerce) == {JIRA: False}


def test_renewing_an_expired_license_opens_it_again() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 5, expires_at=NOW)
    commerce.says("license.updated", 6)
    assert commerce.desired_state(JIRA_SCOPE).level == "open"


def test_a_product_that_was_never_activated_is_absent() -> None:
    commerce = a_tenant()
    commerce.says("product.suspended", 5)
    assert commerce.desired_state(JIRA_SCOPE).level == "absent"
    assert not commerce.desired_state(JIRA_SCOPE).steps
    assert commerce.desired_state(JIRA_FAMILY).level == "absent"


def test_a_product_that_was_deactivated_before_it_lived_is_absent() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.deactivated", 2)
    assert commerce.desired_state(JIRA_SCOPE).level == "absent"


def test_a_product_that_lived_and_was_deactivated_is_retained_until_retention_is_over() -> None:
    commerce = a_tenant(JIRA)
    there = converged(JIRA_SCOPE, commerce.desired_state(JIRA_SCOPE))
    commerce.says("product.deactivated", 2)
    spec = commerce.desired_state(JIRA_SCOPE, there)
    assert spec.level == "retained"
    assert spec.steps.keys() == {Step.CONFIGURATION, Step.IDENTITY}
    assert spec.steps[Step.CONFIGURATION] == there.steps[Step.CONFIGURATION].spec
    identity = spec.steps[Step.IDENTITY]
    assert isinstance(identity, IdentitySpec)
    assert not identity.in_force
    assert spec.due_again_at == NOW + POLICY.retention
    assert logins(commerce, JIRA_FAMILY, there) == {JIRA: False}
    assert commerce.desired_state(JIRA_FAMILY, there).level == "retained"


def test_a_retained_product_that_is_activated_again_is_open() -> None:
    commerce = a_tenant(JIRA)
    there = converged(JIRA_SCOPE, commerce.desired_state(JIRA_SCOPE))
    commerce.says("product.deactivated", 2)
    there = converged(there, commerce.desired_state(JIRA_SCOPE, there))
    commerce.says("product.activated", 3)
    assert commerce.desired_state(JIRA_SCOPE, there).level == "open"


def test_a_time_that_is_past_wakes_nobody() -> None:
    commerce = a_tenant(JIRA)
    scopes = all_converged(commerce)
    commerce.says("product.deactivated", 2)
    commerce.says("tenant.destroyed", 2)
    commerce.clock.advance(POLICY.retention + DAY)
    for scope in scopes:
        assert commerce.desired_state(scope, *scopes.values()).due_again_at is None


# -- apps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [suspended, inactive, expired, destroyed])
def test_an_app_is_closed_with_its_host(cause: object) -> None:
    commerce = a_tenant(JIRA, APP)
    assert commerce.desired_state(APP_SCOPE).level == "open"
    cause(commerce)  # type: ignore[operator]
    assert commerce.desired_state(APP_SCOPE).level == "closed"


def test_an_app_is_closed_while_its_host_lives_on() -> None:
    commerce = a_tenant(JIRA, APP)
    commerce.says("product.suspended", 2, product=APP)
    assert commerce.desired_state(APP_SCOPE).level == "closed"
    assert commerce.desired_state(JIRA_SCOPE).level == "open"


def test_an_app_is_closed_while_its_host_is_retained_and_absent_where_it_is_absent() -> None:
    commerce = a_tenant(JIRA, APP)
    host = converged(JIRA_SCOPE, commerce.desired_state(JIRA_SCOPE))
    commerce.says("product.deactivated", 2)
    assert commerce.desired_state(APP_SCOPE, host).level == "closed"
    assert commerce.desired_state(APP_SCOPE).level == "absent"


def test_an_app_has_no_role_in_the_database_of_its_hosts_family() -> None:
    assert logins(a_tenant(JIRA, APP)) == {JIRA: True}


def test_an_app_wakes_when_its_hosts_license_expires() -> None:
    commerce = a_tenant(JIRA, APP)
    commerce.says("license.updated", 2, expires_at=NOW + HOUR)
    assert commerce.desired_state(APP_SCOPE).due_again_at == NOW + HOUR


# -- sites ---------------------------------------------------------------------------------------------------------


def test_a_site_is_wanted_in_its_four_steps() -> None:
    assert a_tenant().desired_state(SITE).steps == {
        Step.COMMERCE: CommerceSpec(customer_id="c-1", metadata_version=0, administrators_version=0),
        Step.SITE: SiteSpec(site_name="acme", access="open"),
        Step.CONFIGURATION: ConfigurationSpec(product=None, residency="global", region=None),
        Step.IDENTITY: IdentitySpec(
            product=None,
            groups=("site-users", "site-administrators"),
            administrators_version=0,
            in_force=True,
        ),
    }


def test_a_destroyed_tenant_closes_its_site_and_wakes_it_when_the_restore_window_is_over() -> None:
    commerce = a_tenant()
    commerce.says("tenant.destroyed", 2)
    spec = commerce.desired_state(SITE)
    assert spec.level == "closed"
    assert spec.steps[Step.SITE] == SiteSpec(site_name="acme", access="closed")
    assert spec.due_again_at == NOW + POLICY.restore_window


def test_a_suspended_product_leaves_its_site_and_its_sibling_open() -> None:
    commerce = a_tenant(JIRA, SERVICE)
    commerce.says("product.suspended", 2)
    assert commerce.desired_state(SITE).level == "open"
    assert commerce.desired_state(Scope("product", TENANT, SERVICE)).level == "open"
    assert logins(commerce) == {JIRA: False, SERVICE: True}
    assert commerce.desired_state(JIRA_FAMILY).level == "open"


def test_new_metadata_of_the_customer_changes_steps_one_and_four_of_the_site_only() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("commerce.customer.updated", 1)
    before, product = commerce.desired_state(SITE), commerce.desired_state(JIRA_SCOPE)
    commerce.says("commerce.customer.updated", 2, country="FR")
    changed = {step for step, spec in commerce.desired_state(SITE).steps.items() if spec != before.steps[step]}
    assert changed == {Step.COMMERCE, Step.CONFIGURATION}
    assert commerce.desired_state(JIRA_SCOPE) == product


def test_new_administrators_change_steps_one_and_five_of_the_site_and_step_five_of_products() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("commerce.customer.updated", 1)
    before = commerce.desired_state(SITE), commerce.desired_state(JIRA_SCOPE)
    ada = {"account_id": "ada", "name": "Ada", "email": "ada@example.com"}
    commerce.says("commerce.customer.updated", 2, administrators=[ada])
    now = commerce.desired_state(SITE), commerce.desired_state(JIRA_SCOPE)
    changed = [
        {step for step, spec in later.steps.items() if spec != earlier.steps[step]}
        for earlier, later in zip(before, now, strict=True)
    ]
    assert changed == [{Step.COMMERCE, Step.IDENTITY}, {Step.IDENTITY}]


# -- families ------------------------------------------------------------------------------------------------------


def test_a_family_has_a_role_for_each_of_its_products_and_none_for_others() -> None:
    assert logins(a_tenant(JIRA, SERVICE, CONFLUENCE)) == {JIRA: True, SERVICE: True}


def test_a_product_that_was_given_up_before_it_lived_does_not_count_for_its_family() -> None:
    commerce = a_tenant(JIRA, SERVICE)
    spec = commerce.desired_state(JIRA_SCOPE)
    failure = after(JIRA_SCOPE, ScopeFailed(**of(JIRA_SCOPE), digest=spec.digest, step=Step.LICENSE, reason="no"))
    assert logins(commerce, JIRA_FAMILY, failure) == {SERVICE: True}
    commerce.says("license.updated", 9)
    assert logins(commerce, JIRA_FAMILY, failure) == {JIRA: True, SERVICE: True}


def test_a_product_that_lived_counts_for_its_family_though_its_last_wish_was_given_up() -> None:
    commerce = a_tenant(JIRA)
    has_converged = converged(JIRA_SCOPE, commerce.desired_state(JIRA_SCOPE))
    commerce.says("license.updated", 9, users=99)
    spec = commerce.desired_state(JIRA_SCOPE)
    failure = after(has_converged, ScopeFailed(**of(JIRA_SCOPE), digest=spec.digest, step=Step.LICENSE, reason="no"))
    assert logins(commerce, JIRA_FAMILY, failure) == {JIRA: True}


@pytest.mark.parametrize(
    ("tenant", "product", "home"),
    [
        ({}, {}, ("global", None)),
        ({"region": "us"}, {}, ("global", "us")),
        ({"region": "us"}, {"region": "eu"}, ("global", "eu")),
        ({}, {"residency": "pinned", "region": "eu"}, ("pinned", "eu")),
        ({"residency": "pinned", "region": "us"}, {}, ("pinned", "us")),
        ({"residency": "pinned", "region": "us"}, {"region": "eu"}, ("pinned", "eu")),
        ({"residency": "pinned", "region": "us"}, {"residency": "global"}, ("global", None)),
        ({"residency": "pinned", "region": "us"}, {"residency": "pinned", "region": "eu"}, ("pinned", "eu")),
    ],
)
def test_family_configuration_and_pin_agree_on_where_a_product_lives(
    tenant: dict[str, str], product: dict[str, str], home: tuple[str, str | None]
) -> None:
    commerce = Commerce()
    commerce.says("tenant.created", 1, **tenant)
    commerce.says("product.activated", 1, **product)
    region = commerce.desired_state(JIRA_FAMILY).steps[Step.REGION]
    spec = commerce.desired_state(JIRA_SCOPE)
    configuration = spec.steps[Step.CONFIGURATION]
    assert isinstance(region, RegionSpec)
    assert isinstance(configuration, ConfigurationSpec)
    assert (region.residency, region.region) == home
    assert (configuration.residency, configuration.region) == home
    assert spec.pin == (home[1] if home[0] == "pinned" else None)


def test_a_pin_of_any_product_goes_before_the_hints_of_the_others() -> None:
    commerce = Commerce()
    commerce.says("tenant.created", 1)
    commerce.says("product.activated", 1, product=JIRA, region="us")
    commerce.says("product.activated", 1, product=SERVICE, residency="pinned", region="eu")
    assert commerce.desired_state(JIRA_FAMILY).steps[Step.REGION] == RegionSpec(residency="pinned", region="eu")


def test_where_a_family_lives_it_stays() -> None:
    commerce = a_tenant(JIRA)
    family = converged(JIRA_FAMILY, commerce.desired_state(JIRA_FAMILY))
    before = family.steps[Step.REGION].spec
    commerce.says("product.activated", 2, residency="pinned", region="us")
    assert commerce.desired_state(JIRA_FAMILY, family).steps[Step.REGION] == before


# -- all -----------------------------------------------------------------------------------------------------------


def test_a_tenant_has_a_scope_for_its_site_each_family_and_each_product() -> None:
    assert [str(scope) for scope in scopes_of(a_tenant(JIRA, APP, CONFLUENCE).tenant, CATALOG)] == [
        "site:t-1",
        "family:t-1:confluence",
        "family:t-1:jira",
        "product:t-1:confluence",
        "product:t-1:jira-software",
        "product:t-1:timesheets",
    ]


def test_equal_wishes_have_equal_digests_and_other_wishes_have_others() -> None:
    one, same, other = a_tenant(JIRA), a_tenant(JIRA), a_tenant(JIRA)
    other.says("license.updated", 2, users=11)
    assert one.desired_state(JIRA_SCOPE).digest == same.desired_state(JIRA_SCOPE).digest
    assert one.desired_state(JIRA_SCOPE).digest != other.desired_state(JIRA_SCOPE).digest


def test_before_its_tenant_is_created_nothing_is_wanted() -> None:
    assert Commerce().desired_state(SITE).level == "absent"
