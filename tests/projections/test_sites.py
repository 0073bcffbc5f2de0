"""Are the sites, and the products on them, what step 2 made of them?"""

from msgspec.structs import replace

from domain.scope.steps import Access, MembershipResult, Scope, SiteResult, Step
from domain.tenant.events import Founder, TenantCreated, TenantDestroyed, TenantPurged, TenantRestored
from projections.sites import PROJECTION, SITE_PRODUCTS, SITES_BASE
from tests.projections.given import at, ensured, history, removed, rows_of

SITE, JIRA, CONFLUENCE = (
    Scope("site", "t1"),
    Scope("product", "t1", "jira"),
    Scope("product", "t1", "confluence"),
)

CREATED = TenantCreated(
    tenant_id="t1",
    customer_id="c1",
    site_name="acme",
    residency="global",
    administrator=Founder(account_id="a1", name="Ada", email="ada@example.com"),
)


def site(access: Access) -> SiteResult:
    return SiteResult(site_name="acme", url="https://acme.example.com", access=access)


def member(product: str, access: Access) -> MembershipResult:
    return MembershipResult(product=product, access=access)


def test_a_site_has_no_state_before_its_step_2() -> None:
    row = rows_of(SITES_BASE, PROJECTION, history(CREATED))["t1",]
    assert row == {"customer_id": "c1", "site_name": "acme", "created_at": at(1)}


def test_a_site_is_as_open_as_step_2_left_it() -> None:
    log = history(CREATED, ensured(SITE, Step.SITE, site("open")), ensured(SITE, Step.SITE, site("closed")))
    assert rows_of(SITES_BASE, PROJECTION, log)["t1",] == {
        "customer_id": "c1",
        "site_name": "acme",
        "url": "https://acme.example.com",
        "state": "closed",
        "created_at": at(1),
    }


def test_a_tenant_that_is_created_again_was_created_the_first_time() -> None:
    log = history(CREATED, replace(CREATED, revision=7))
    assert rows_of(SITES_BASE, PROJECTION, log)["t1",]["created_at"] == at(1)


def test_a_destroyed_site_stays_in_the_read_model_as_absent() -> None:
    log = history(
        CREATED,
        ensured(SITE, Step.SITE, site("open")),
        TenantDestroyed(tenant_id="t1", reason="contract over"),
        removed(SITE, Step.SITE),
    )
    row = rows_of(SITES_BASE, PROJECTION, log)["t1",]
    assert (row["state"], row["destroyed_at"]) == ("absent", at(3))


def test_a_restored_site_is_not_destroyed_any_more() -> None:
    log = history(
        CREATED,
        TenantDestroyed(tenant_id="t1", reason="contract over"),
        TenantRestored(tenant_id="t1", reason="not over", operator="ada@host", undoes="/commerce 2"),
    )
    assert rows_of(SITES_BASE, PROJECTION, log)["t1",]["destroyed_at"] is None


def test_a_purged_site_vanishes() -> None:
    log = history(
        CREATED,
        ensured(SITE, Step.SITE, site("closed")),
        ensured(JIRA, Step.SITE, member("jira", "closed")),
        removed(SITE, Step.SITE),
        TenantPurged(tenant_id="t1"),
    )
    assert rows_of(SITES_BASE, PROJECTION, log) == {}
    assert rows_of(SITE_PRODUCTS, PROJECTION, log) == {}


def test_products_join_and_leave_their_site() -> None:
    log = history(
        ensured(JIRA, Step.SITE, member("jira", "open")),
        ensured(CONFLUENCE, Step.SITE, member("confluence", "open")),
        ensured(JIRA, Step.SITE, member("jira", "closed")),
        removed(CONFLUENCE, Step.SITE),
    )
    assert rows_of(SITE_PRODUCTS, PROJECTION, log) == {("t1", "jira"): {"access": "closed"}}
    assert rows_of(SITES_BASE, PROJECTION, log) == {}
