"""Stories of tenants for the demo's stream.

Each function is one story; together they reach every level and break every rule of the life cycle. A story continues in
the next wave, when its earlier events have had their effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from demo.telling import PRODUCTS, Teller

PAST: Final = "2026-01-01T00:00:00Z"
FUTURE: Final = "2056-01-01T00:00:00Z"


def _one_product(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(2))
    tenant.created(tenant.rng.choice(PRODUCTS), near=tenant.rng.choice(("eu", "us", None)))


def _a_family_and_more(tenant: Teller) -> None:
    """Three products in one database, an app, a wiki in its own; an administrator leaves. The tour at the end."""
    stays, goes = tenant.team(2)
    tenant.administrated(stays, goes, country="US")
    tenant.created("jira-software", "jira-service-management", pinned="us")
    tenant.activated("jira-product-discovery")
    tenant.activated("timesheets")
    tenant.activated("confluence")
    tenant.suspended("jira-product-discovery")
    tenant.next_wave()
    tenant.administrated(stays, country="US")
    tenant.deactivated("confluence")


def _a_second_site_of_that_customer(tenant: Teller) -> None:
    """An administrator that leaves the customer loses access here as well."""
    tenant.customer_id = tenant.world.tenants[1].customer_id
    tenant.created("atlas", pinned="us")


def _a_pair_pinned(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("jira-software", "jira-service-management", pinned=tenant.rng.choice(("eu", "us")))


def _nobody_knows_the_customer(tenant: Teller) -> None:
    tenant.created("compass", near="us")


def _products_before_their_tenant(tenant: Teller) -> None:
    """Everything waits; the tenant comes last."""
    tenant.messages.shuffled = False
    for revision, product in enumerate(("confluence", "atlas"), 1):
        tenant.say("product.activated", tenant.offer(product), revision=revision)
    tenant.say("product.suspended", {"product": "atlas", "reason": "unpaid"}, revision=9)
    data = {
        "customer_id": tenant.customer_id,
        "site_name": tenant.site_name,
        "residency": "global",
        "administrator": tenant.world.person(tenant.site_name),
        "products": [],
    }
    tenant.say("tenant.created", data, revision=1)


def _suspended(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("confluence", "atlas")
    tenant.suspended("confluence")


def _suspended_later_then_unsuspended(tenant: Teller) -> None:
    tenant.created("jira-software", near="eu")
    tenant.next_wave()
    tenant.suspended("jira-software")
    tenant.next_wave()
    tenant.unsuspended("jira-software")


def _suspended_and_unsuspended_at_once(tenant: Teller) -> None:
    tenant.created("compass", "confluence")
    tenant.suspended("compass")
    tenant.unsuspended("compass")


def _license_inactive(tenant: Teller) -> None:
    tenant.created("jira-service-management", near="us")
    tenant.licensed("jira-service-management", status="inactive")


def _expired(tenant: Teller) -> None:
    tenant.created()
    tenant.activated("confluence", expires_at=PAST)
    tenant.activated("atlas", expires_at=FUTURE)


def _expired_then_renewed(tenant: Teller) -> None:
    tenant.created("compass")
    tenant.licensed("compass", expires_at=PAST)
    tenant.next_wave()
    tenant.licensed("compass", expires_at=FUTURE)


def _upgraded_with_stale_news(tenant: Teller) -> None:
    """An older event of the license arrives after a newer one, and changes nothing."""
    tenant.created("confluence")
    for _ in range(3):
        tenant.licensed("confluence")
    tenant.next_wave()
    tenant.say(
        "license.updated",
        {**tenant.offer("confluence", users=1), "status": "inactive"},
        revision=tenant.revisions["confluence"] - 1,
    )


def _left_after_living(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(2))
    tenant.created("confluence", "compass", near=tenant.rng.choice(("eu", "us")))
    tenant.next_wave()
    tenant.deactivated("confluence")


def _one_of_a_family_left(tenant: Teller) -> None:
    tenant.created("jira-software", "jira-product-discovery")
    tenant.next_wave()
    tenant.deactivated("jira-product-discovery")


def _left_and_came_back(tenant: Teller) -> None:
    tenant.created("atlas")
    tenant.next_wave()
    tenant.deactivated("atlas")
    tenant.next_wave()
    tenant.activated("atlas")


def _never_converged(tenant: Teller) -> None:
    """Deactivated before the activation arrives, and by a higher revision: it is never provisioned."""
    tenant.created("compass")
    before = tenant.revision("jira-software")
    activation = tenant.offer("jira-software")
    tenant.deactivated("jira-software")
    tenant.next_wave()
    tenant.say("product.activated", activation, revision=before)


def _destroyed(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(1))
    tenant.created("jira-software", "confluence", near="us")
    tenant.next_wave()
    tenant.deactivated("confluence")
    tenant.next_wave()
    tenant.destroyed()


def _destroyed_at_once(tenant: Teller) -> None:
    tenant.created("jira-software")
    tenant.destroyed()


def _apps(tenant: Teller) -> None:
    """One app is open with its host, one closed with a suspended host, one is taken away alone."""
    tenant.created("jira-software", "confluence")
    tenant.activated("timesheets")
    tenant.activated("diagrams")
    tenant.suspended("confluence")
    tenant.next_wave()
    tenant.deactivated("timesheets")


def _an_app_without_its_host(tenant: Teller) -> None:
    tenant.created("compass")
    tenant.activated("diagrams")


def _an_empty_site(tenant: Teller) -> None:
    tenant.administrated(*tenant.team(3), country="CH")
    tenant.created()


def _two_regions_on_one_site(tenant: Teller) -> None:
    tenant.created("jira-software", near="eu")
    tenant.activated("confluence", residency="pinned", region="us")


def _no_revisions(tenant: Teller) -> None:
    """A trial system without revisions: the order of arrival decides."""
    tenant.without_revisions()
    tenant.created("jira-software", "confluence", near=tenant.rng.choice(("eu", "us")))
    tenant.suspended("jira-software")
    tenant.suspended("confluence")
    tenant.unsuspended("confluence")
    tenant.licensed("confluence")
    tenant.next_wave()
    tenant.deactivated("confluence")
    tenant.activated("compass")


def _refused_by_the_life_cycle(tenant: Teller) -> None:
    """Each event of the second wave contradicts the current state: already-suspended, not-active and so on."""
    tenant.without_revisions()
    tenant.created("confluence")
    tenant.suspended("confluence")
    tenant.next_wave()
    tenant.suspended("confluence")
    tenant.activated("confluence")
    tenant.deactivated("atlas")
    tenant.unsuspended("confluence")
    tenant.unsuspended("confluence")


def _forgot_its_revision(tenant: Teller) -> None:
    tenant.created("atlas")
    tenant.next_wave()
    tenant.say("product.suspended", {"product": "atlas", "reason": "unpaid"})


def _name_is_taken(tenant: Teller) -> None:
    """Wants the site name of an earlier tenant, and waits for it."""
    tenant.wave = 2
    tenant.site_name = tenant.world.tenants[0].site_name
    tenant.created("confluence")


def _pinned_away_from_its_family(tenant: Teller) -> None:
    """A permanent failure: the product fails, its sibling stays open."""
    tenant.created("jira-software", near="eu")
    tenant.next_wave()
    tenant.activated("jira-service-management", residency="pinned", region="us")


SCENARIOS: Final[tuple[Callable[[Teller], None], ...]] = (
    _one_product,
    _a_family_and_more,
    _a_second_site_of_that_customer,
    _a_pair_pinned,
    _nobody_knows_the_customer,
    _products_before_their_tenant,
    _suspended,
    _suspended_later_then_unsuspended,
    _suspended_and_unsuspended_at_once,
    _license_inactive,
    _expired,
    _expired_then_renewed,
    _upgraded_with_stale_news,
    _left_after_living,
    _one_of_a_family_left,
    _left_and_came_back,
    _never_converged,
    _destroyed,
    _destroyed_at_once,
    _apps,
    _an_app_without_its_host,
    _an_empty_site,
    _two_regions_on_one_site,
    _no_revisions,
    _refused_by_the_life_cycle,
    _forgot_its_revision,
    _name_is_taken,
    _pinned_away_from_its_family,
)
