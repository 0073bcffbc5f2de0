"""What does a command on a tenant come to?"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from domain.errors import Contradiction, Malformed, Refused, Rejected
from domain.registers import Register
from domain.tenant.decisions import decide
from domain.tenant.events import ProductActivated, ProductSuspended, TenantCreated, TenantDestroyed, TenantMessageStale
from domain.tenant.product_registers import Presence
from domain.tenant.state import Tenant, evolve
from tests.domain.given import (
    CATALOG,
    CONFLUENCE,
    DAY,
    JIRA,
    NOW,
    POLICY,
    SERVICE,
    TENANT,
    Commerce,
    a_tenant,
    command,
    recorded,
)
from tests.refusals import refused

ENTRY = {"product": JIRA, "edition": "free", "users": 3}


def test_creating_a_tenant_activates_the_products_in_it_with_their_own_revisions() -> None:
    commerce = Commerce()
    events = commerce.says("tenant.created", 7, products=[ENTRY | {"revision": 2}])
    assert [type(event) for event in events] == [TenantCreated, ProductActivated]
    assert commerce.tenant.attributes is not None
    assert commerce.tenant.attributes.revision == 7
    assert commerce.tenant.product(JIRA).presence == Register(Presence("activated"), 2)


def test_the_state_after_the_facts_is_the_state_that_was_decided_on() -> None:
    commerce = a_tenant(JIRA, CONFLUENCE)
    commerce.says("product.suspended", 2)
    again = Tenant(TENANT)
    facts = (
        *Commerce().says("tenant.created", 1),
        ProductActivated(tenant_id=TENANT, product=JIRA, edition="free", users=10, revision=1),
        ProductActivated(tenant_id=TENANT, product=CONFLUENCE, edition="free", users=10, revision=1),
        ProductSuspended(tenant_id=TENANT, product=JIRA, reason="unpaid", revision=2),
    )
    for version, event in enumerate(facts, start=1):
        again = evolve(again, recorded("tenant:t-1", version, event))
    assert again == commerce.tenant


def test_an_event_that_is_lower_than_all_its_registers_is_recorded_as_stale() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.suspended", 5)
    before = commerce.tenant.products
    assert commerce.says("product.unsuspended", 4) == [
        TenantMessageStale(tenant_id=TENANT, type="product.unsuspended", product=JIRA, revision=4)
    ]
    assert commerce.tenant.products == before


def test_an_event_that_is_lower_than_some_of_its_registers_lands_in_the_others() -> None:
    commerce = a_tenant()
    commerce.says("product.suspended", 5)
    assert isinstance(commerce.says("product.activated", 4)[0], ProductActivated)
    product = commerce.tenant.product(JIRA)
    assert product.activated
    assert product.suspended


def test_the_same_revision_that_says_the_same_is_stale() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.suspended", 5)
    assert isinstance(commerce.says("product.suspended", 5)[0], TenantMessageStale)


def test_the_same_revision_with_other_content_is_a_contradiction() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("license.updated", 5, users=10)
    with refused(Contradiction, match="higher revision") as refusal:
        commerce.says("license.updated", 5, users=11)
    assert refusal.value.rule == "same-revision-other-content"


def test_a_suspension_with_a_revision_waits_in_its_register_for_the_activation() -> None:
    commerce = a_tenant()
    assert isinstance(commerce.says("product.suspended", 3)[0], ProductSuspended)
    assert not commerce.tenant.product(JIRA).activated


@pytest.mark.parametrize(
    ("history", "type_", "rule"),
    [
        ([], "product.suspended", "not-active"),
        ([], "product.unsuspended", "not-active"),
        ([], "product.deactivated", "not-active"),
        ([], "license.updated", "not-active"),
        (["product.activated"], "product.activated", "already-active"),
        (["product.activated"], "product.unsuspended", "not-suspended"),
        (["product.activated", "product.suspended"], "product.suspended", "already-suspended"),
        (["product.activated", "product.deactivated"], "product.deactivated", "not-active"),
    ],
)
def test_without_a_revision_the_life_cycle_refuses_what_does_not_fit(history: list[str], type_: str, rule: str) -> None:
    commerce = Commerce()
    commerce.says("tenant.created")
    for earlier in history:
        commerce.says(earlier)
    before = commerce.tenant
    with pytest.raises(Refused) as refusal:
        commerce.says(type_)
    assert refusal.value.rule == rule
    assert commerce.tenant == before


def test_without_revisions_a_product_goes_through_its_whole_life() -> None:
    commerce = Commerce()
    commerce.says("tenant.created")
    for type_ in (
        "product.activated",
        "license.updated",
        "product.suspended",
        "product.unsuspended",
        "product.deactivated",
        "product.activated",
    ):
        assert len(commerce.says(type_)) == 1
    assert commerce.tenant.product(JIRA).activated


def test_a_product_that_has_seen_a_revision_refuses_events_without_one() -> None:
    commerce = a_tenant(JIRA)
    with refused(Refused, match="send the event again with its revision") as refusal:
        commerce.says("product.suspended")
    assert refusal.value.rule == "revision-missing"


def test_a_product_that_has_seen_none_takes_events_without_one_beside_a_revisioned_sibling() -> None:
    commerce = a_tenant(JIRA)
    assert isinstance(commerce.says("product.activated", product=SERVICE)[0], ProductActivated)


def test_a_tenant_that_has_seen_a_revision_refuses_a_destroy_without_one() -> None:
    with pytest.raises(Refused) as refusal:
        a_tenant().says("tenant.destroyed")
    assert refusal.value.rule == "revision-missing"


@pytest.mark.parametrize("revision", [None, 0, 1, 9])
def test_a_second_creation_with_other_data_is_a_contradiction(revision: int | None) -> None:
    commerce = a_tenant()
    with refused(Contradiction, match="never used again") as refusal:
        commerce.says("tenant.created", revision, site_name="other")
    assert refusal.value.rule == "tenant-id-used-twice"


@pytest.mark.parametrize("revision", [None, 0, 1])
def test_a_second_creation_with_the_same_data_is_stale(revision: int | None) -> None:
    assert isinstance(a_tenant().says("tenant.created", revision)[0], TenantMessageStale)


def test_a_second_creation_may_still_bring_a_newer_revision_of_a_product() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.deactivated", 2)
    events = commerce.says("tenant.created", 1, products=[ENTRY | {"revision": 3}])
    assert [type(event) for event in events] == [TenantMessageStale, ProductActivated]


@pytest.mark.parametrize("revision", [0, 1, 99])
def test_destroyed_at_any_revision_beats_created(revision: int) -> None:
    commerce = a_tenant(JIRA)
    assert isinstance(commerce.says("tenant.destroyed", revision)[0], TenantDestroyed)
    commerce.says("tenant.created", 50)
    assert commerce.tenant.destroyed is not None


def test_a_second_destroy_is_stale_and_does_not_move_the_restore_window() -> None:
    commerce = a_tenant()
    commerce.says("tenant.destroyed", 2)
    first = commerce.tenant.destroyed
    commerce.clock.advance(DAY)
    assert isinstance(commerce.says("tenant.destroyed", 3)[0], TenantMessageStale)
    assert commerce.tenant.destroyed == first


def test_in_the_restore_window_the_registers_of_a_destroyed_tenant_are_kept_up_to_date() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("tenant.destroyed", 2)
    commerce.clock.advance(POLICY.restore_window)
    assert isinstance(commerce.says("product.suspended", 2)[0], ProductSuspended)


@pytest.mark.parametrize("type_", ["product.suspended", "tenant.created", "tenant.destroyed"])
def test_after_the_restore_window_everything_is_refused(type_: str) -> None:
    commerce = a_tenant(JIRA)
    commerce.says("tenant.destroyed", 2)
    commerce.clock.advance(POLICY.restore_window + timedelta(seconds=1))
    with refused(Refused, match="restore window is over") as refusal:
        commerce.says(type_, 9)
    assert refusal.value.rule == "tenant-destroyed"


@pytest.mark.parametrize(
    ("type_", "data", "rule"),
    [
        ("product.activated", {"product": "minesweeper"}, "unknown-product"),
        ("product.suspended", {"product": "minesweeper"}, "unknown-product"),
        ("product.activated", {"edition": "platinum"}, "unknown-edition"),
        ("license.updated", {"edition": "platinum"}, "unknown-edition"),
    ],
)
def test_what_the_catalogue_does_not_have_is_malformed(type_: str, data: dict[str, str], rule: str) -> None:
    with pytest.raises(Malformed) as refusal:
        a_tenant().says(type_, 1, **data)
    assert refusal.value.rule == rule


def test_a_creation_with_an_unknown_product_in_it_is_malformed_as_a_whole() -> None:
    with pytest.raises(Rejected):
        Commerce().says("tenant.created", 1, products=[ENTRY | {"product": "minesweeper", "revision": 1}])


def test_retention_starts_at_the_later_of_the_events_time_and_the_recorded_time() -> None:
    commerce = a_tenant(JIRA)
    events = decide(
        commerce.tenant,
        command("product.deactivated"),
        revision=5,
        now=NOW,
        catalog=CATALOG,
        policy=POLICY,
    )
    fact = recorded("tenant:t-1", commerce.tenant.version + 1, events[0], at=NOW)
    for said, since in ((NOW - DAY, NOW), (NOW + DAY, NOW + DAY), (None, NOW)):
        cause = msgspec.structs.replace(fact.cause, time=said)
        moved = type(fact)(fact.stream, fact.version, fact.id, fact.time, cause, "test", fact.event)
        assert evolve(commerce.tenant, moved).product(JIRA).deactivated_at == since


def test_a_stale_deactivation_does_not_move_the_start_of_retention() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.deactivated", 5)
    commerce.clock.advance(DAY)
    commerce.says("product.deactivated", 4)
    assert commerce.tenant.product(JIRA).deactivated_at == NOW


def test_activating_again_ends_retention() -> None:
    commerce = a_tenant(JIRA)
    commerce.says("product.deactivated", 5)
    commerce.says("product.activated", 6)
    assert commerce.tenant.product(JIRA).deactivated_at is None


# -- reserved site names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["www", "api", "admin", "mail", "localhost", "postmaster", "autodiscover", "mta-sts"])
def test_a_new_site_gets_no_name_that_is_reserved(name: str) -> None:
    with refused(Malformed, match=f"the site name {name} is reserved: take another one") as caught:
        Commerce().says("tenant.created", 1, site_name=name)
    assert caught.value.rule == "site-name-reserved"


def test_the_policy_says_which_names_are_reserved() -> None:
    allowed = decide(
        Tenant(TENANT),
        command("tenant.created", site_name="www"),
        revision=1,
        now=NOW,
        catalog=CATALOG,
        policy=POLICY.model_copy(update={"reserved_site_names": ("acme-internal",)}),
    )
    assert [type(event) for event in allowed] == [TenantCreated]


def test_a_site_that_has_the_name_already_keeps_it_and_is_created_again_without_harm() -> None:
    created = msgspec.structs.replace(Commerce().says("tenant.created", 1)[0], site_name="www")
    tenant = evolve(Tenant(TENANT), recorded("tenant:t-1", 1, created))
    for revision, expected in ((1, TenantMessageStale), (2, TenantCreated)):
        events = decide(
            tenant,
            command("tenant.created", site_name="www"),
            revision=revision,
            now=NOW,
            catalog=CATALOG,
            policy=POLICY,
        )
        assert [type(event) for event in events] == [expected]
