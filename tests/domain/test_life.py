"""Does a product, and a tenant, live, rest and go as section 4 of the domain says?

Everything here runs on a virtual clock that is moved by days, months and years, with a worker that does the work in
between. What time brings about is an event in the tenant's stream.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from application.description import describe, describe_scopes
from application.operator_commands import Act
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, Obstacle, Permanent, Refused, Retryable
from domain.event import Event
from domain.operator import Operator
from domain.policy import Policy
from domain.scope.next_action import placement_of
from domain.scope.purges import is_past_return
from domain.scope.state import ScopeConverged, ScopeFailed
from domain.scope.steps import Direction, Scope, SiteSpec, Step
from domain.tenant.events import (
    LicenseExpired,
    PurgeStarted,
    TenantDestroyed,
    TenantMessageStale,
    TenantPurged,
    TenantPurgeStarted,
    TenantRestored,
)
from tests.domain.driver import Cloud
from tests.domain.given import (
    APP,
    CATALOG,
    CONFLUENCE,
    DAY,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    POLICY,
    SERVICE,
    SITE,
    TENANT,
    message,
    recorded,
)
from tests.refusals import refused

YEAR = 365 * DAY
MOMENT = timedelta(seconds=1)


def a_cloud(*products: str, policy: Policy = POLICY) -> Cloud:
    """A tenant with those products, all of them open."""
    cloud = Cloud(policy=policy)
    entries = [{"product": key, "edition": _edition(key), "users": 5, "revision": 1} for key in products]
    cloud.intake.takes(message("tenant.created", 1, products=entries))
    cloud.work()
    assert all(level(cloud, key) == "open" for key in products)
    return cloud


def _edition(key: str) -> str:
    return next(iter(CATALOG[key].editions))


def says(cloud: Cloud, type_: str, revision: int, *, product: str = JIRA, **data: Any) -> None:
    """Commerce says it, and all that can be done at once is done."""
    filled: dict[str, Any] = {} if type_.startswith("tenant.") else {"product": product}
    if type_ in ("product.activated", "license.updated"):
        filled["edition"] = _edition(product)
    cloud.intake.takes(message(type_, revision, **filled | data))
    cloud.work()


def passes(cloud: Cloud, time: timedelta) -> None:
    """Time passes, from timer to timer, and whatever is due is done at its moment."""
    end = cloud.clock() + time
    while cloud.clock() < end:
        timers = [work_item.at for work_item in cloud.log.work_items.values() if cloud.clock() < work_item.at]
        cloud.clock.now = min([end, *timers])
        cloud.work()


def level(cloud: Cloud, key: str = JIRA) -> str:
    return cloud.snapshot().product(key).level


def facts(cloud: Cloud, *types: type[Event]) -> list[Event]:
    return [event for event in cloud.intake.events() if isinstance(event, types)]


def databases(cloud: Cloud) -> dict[str, int]:
    """Family -> the generation of its database."""
    return {family: generation for _, family, generation in cloud.world.databases}


def told(cloud: Cloud, key: str = JIRA) -> dict[str, object]:
    described = describe(cloud.snapshot(), catalog=CATALOG, policy=cloud.policy, now=cloud.clock())
    return dict(described["actual"]["products"][key])


# -- retention and purge ---------------------------------------------------------------------------------------------


def test_when_retention_is_over_a_purge_starts_and_the_product_and_its_family_go() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    assert level(cloud) == "retained"
    passes(cloud, POLICY.retention - MOMENT)
    assert not facts(cloud, PurgeStarted)
    assert databases(cloud)
    passes(cloud, MOMENT)
    deactivated = cloud.snapshot().tenant.product(JIRA).present_since
    assert facts(cloud, PurgeStarted) == [
        PurgeStarted(tenant_id=TENANT, product=JIRA, epoch=deactivated, families=("jira",))
    ]
    snapshot = cloud.snapshot()
    assert (level(cloud), snapshot.family("jira").level) == ("absent", "absent")
    assert snapshot.product(JIRA).is_empty
    assert snapshot.family("jira").is_empty
    assert not databases(cloud)


def test_a_purge_is_recorded_once_and_told_once_however_many_years_go_by() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention)
    recorded_then = len(cloud.log.events)
    passes(cloud, 3 * YEAR)
    assert len(cloud.log.events) == recorded_then
    gone = [event for event in facts(cloud, ScopeConverged) if isinstance(event, ScopeConverged)]
    assert len([event for event in gone if event.level == "absent" and event.kind == "product"]) == 1


def test_retention_runs_from_the_events_own_time_where_that_is_later() -> None:
    cloud = a_cloud(JIRA)
    cloud.intake.takes(message("product.deactivated", 2, time=cloud.clock() + DAY))
    cloud.work()
    passes(cloud, POLICY.retention)
    assert level(cloud) == "retained"
    passes(cloud, DAY)
    assert level(cloud) == "absent"


def test_retention_runs_from_the_recording_where_the_events_own_time_is_more_than_a_day_ahead() -> None:
    cloud = a_cloud(JIRA)
    cloud.intake.takes(message("product.deactivated", 2, time=cloud.clock() + 10 * DAY))
    cloud.work()
    passes(cloud, POLICY.retention)
    assert level(cloud) == "absent"


def test_a_product_that_comes_back_before_the_purge_finds_its_data() -> None:
    cloud = a_cloud(JIRA)
    before = databases(cloud)
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention - MOMENT)
    says(cloud, "product.activated", 3)
    passes(cloud, YEAR)
    assert level(cloud) == "open"
    assert databases(cloud) == before
    assert not cloud.world.dropped
    assert told(cloud)["data_lost"] is False


def test_the_timer_of_a_deactivation_that_was_overtaken_does_nothing() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention - DAY)
    says(cloud, "product.activated", 3)
    says(cloud, "product.deactivated", 4)
    passes(cloud, POLICY.retention - MOMENT)
    assert (level(cloud), facts(cloud, PurgeStarted)) == ("retained", [])
    passes(cloud, MOMENT)
    assert len(facts(cloud, PurgeStarted)) == 1


def test_a_purge_of_an_epoch_that_was_overtaken_changes_nothing() -> None:
    cloud = a_cloud(JIRA)
    late = PurgeStarted(tenant_id=TENANT, product=JIRA, epoch=99, families=("jira",))
    version = cloud.snapshot().tenant.version + 1
    cloud.log.record(UnitOfWork(events=[recorded(f"tenant:{TENANT}", version, late)]))
    assert cloud.snapshot().tenant.product(JIRA).purge is None


def test_a_purge_of_the_whole_that_belongs_to_a_destruction_that_was_undone_changes_nothing() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    first = cloud.snapshot().tenant.destroyed
    assert first is not None
    cloud.restore()
    says(cloud, "tenant.destroyed", 3)
    late = TenantPurgeStarted(tenant_id=TENANT, epoch=first.epoch)
    version = cloud.snapshot().tenant.version + 1
    cloud.log.record(UnitOfWork(events=[recorded(f"tenant:{TENANT}", version, late)]))
    assert cloud.snapshot().tenant.purge is None
    assert cloud.snapshot().tenant.destroyed is not None


def test_an_activation_that_came_first_makes_the_purge_conflict_and_be_decided_again() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)
    decision = cloud.saga.take(JIRA_SCOPE, cloud.snapshot())
    assert isinstance(decision.unit.events[0].event, PurgeStarted)
    cloud.intake.takes(message("product.activated", 3))
    with pytest.raises(Conflict):
        cloud.log.record(decision.unit)
    cloud.work()
    assert (level(cloud), facts(cloud, PurgeStarted)) == ("open", [])
    assert not cloud.world.dropped


def test_an_activation_after_the_point_of_no_return_waits_for_the_removal_and_begins_anew() -> None:
    cloud = a_cloud(JIRA)
    old = databases(cloud)
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)
    decision = cloud.saga.take(JIRA_SCOPE, cloud.snapshot())
    cloud.log.record(decision.unit)
    assert cloud.intake.takes(message("product.activated", 3)) == {"recorded": 1}
    assert cloud.saga.take(JIRA_FAMILY, cloud.snapshot()).order is None  # it waits for the product to be gone
    assert told(cloud)["reason"] == "waits for the end of a purge, to begin anew"
    cloud.work()
    assert level(cloud) == "open"
    assert cloud.world.dropped == [(TENANT, "jira", old["jira"])]
    assert databases(cloud)["jira"] > old["jira"]
    assert told(cloud)["data_lost"] is True
    last = [event for event in facts(cloud, ScopeConverged) if isinstance(event, ScopeConverged) and event.key == JIRA]
    assert (last[-1].level, last[-1].data_lost) == ("open", True)


def test_long_after_a_purge_a_product_begins_anew_and_its_next_life_ends_like_the_first() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention + YEAR)
    says(cloud, "product.activated", 3)
    assert (level(cloud), told(cloud)["data_lost"]) == ("open", True)
    says(cloud, "product.deactivated", 4)
    assert level(cloud) == "retained"
    passes(cloud, POLICY.retention)
    assert level(cloud) == "absent"
    assert len(facts(cloud, PurgeStarted)) == 2
    assert len(cloud.world.dropped) == 2


def test_the_data_of_a_family_lives_as_long_as_any_of_its_products() -> None:
    cloud = a_cloud(JIRA, SERVICE)
    before = databases(cloud)
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention)
    assert (level(cloud, JIRA), level(cloud, SERVICE)) == ("absent", "open")
    assert databases(cloud) == before
    (database,) = cloud.world.databases.values()
    assert {product for product, _ in database.roles} == {SERVICE}
    says(cloud, "product.deactivated", 2, product=SERVICE)
    passes(cloud, POLICY.retention)
    assert not databases(cloud)
    families = [event.families for event in facts(cloud, PurgeStarted) if isinstance(event, PurgeStarted)]
    assert families == [(), ("jira",)]


def test_two_products_of_a_family_that_are_over_at_once_take_it_with_the_second() -> None:
    cloud = a_cloud(JIRA, SERVICE)
    says(cloud, "product.deactivated", 2)
    says(cloud, "product.deactivated", 2, product=SERVICE)
    passes(cloud, POLICY.retention)
    families = [event.families for event in facts(cloud, PurgeStarted) if isinstance(event, PurgeStarted)]
    assert sorted(families) == [(), ("jira",)]
    assert not databases(cloud)


@pytest.mark.parametrize("draining", [False, True])
def test_a_sibling_that_comes_while_its_family_is_purged_waits_and_gets_a_new_database(draining: bool) -> None:
    cloud = a_cloud(JIRA)
    cloud.draining = draining
    old = databases(cloud)
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)
    decision = cloud.saga.take(JIRA_SCOPE, cloud.snapshot())
    cloud.log.record(decision.unit)
    says(cloud, "product.activated", 1, product=SERVICE)
    assert (level(cloud, JIRA), level(cloud, SERVICE)) == ("absent", "open")
    assert databases(cloud)["jira"] > old["jira"]
    assert told(cloud, SERVICE)["data_lost"] is False


def test_a_family_that_has_gone_through_its_purge_wakes_its_products() -> None:
    cloud = a_cloud(JIRA)
    cloud.draining = True
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)
    while not cloud.snapshot().family("jira").is_empty:
        assert cloud.work_once()
    decision = cloud.saga.take(JIRA_FAMILY, cloud.snapshot())
    assert isinstance(decision.unit.events[0].event, ScopeConverged)
    assert str(JIRA_SCOPE) in {work_item.scope for work_item in decision.unit.work_items}


def test_a_pin_that_was_given_up_is_tried_again_when_its_family_lives_elsewhere_no_more() -> None:
    cloud = Cloud()
    cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1))
    cloud.world.trouble = _fails_license_of(JIRA)
    while not cloud.snapshot().family("jira").has_converged:
        assert cloud.work_once()
    cloud.intake.takes(message("product.activated", 1, product=SERVICE, residency="pinned", region="us"))
    cloud.work()
    assert {event.key for event in facts(cloud, ScopeFailed) if isinstance(event, ScopeFailed)} == {JIRA, SERVICE}
    assert (level(cloud, JIRA), level(cloud, SERVICE)) == ("absent", "open")
    placement = placement_of(cloud.snapshot(), "jira")
    assert placement is not None
    assert placement.region == "us"


def _fails_license_of(key: str) -> Callable[[Order, str], None]:
    def trouble(order: Order, when: str) -> None:
        if (order.scope.key, order.step, order.direction, when) == (key, Step.LICENSE, "ensure", "before"):
            raise Permanent("not sold here")

    return trouble


def test_a_family_that_waits_for_a_product_that_is_held_is_listed_as_waiting() -> None:
    cloud = Cloud()
    cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1))

    def trouble(order: Order, when: str) -> None:
        if (order.step, when) == (Step.LICENSE, "before"):
            raise Permanent("the disk is on fire")

    cloud.world.trouble = trouble
    cloud.work()
    assert cloud.snapshot().product(JIRA).on_hold is not None
    told = describe_scopes(cloud.snapshot(), catalog=CATALOG, policy=POLICY, now=cloud.clock())
    assert (told[JIRA_FAMILY]["state"], told[JIRA_FAMILY]["reason"]) == (
        "waiting",
        f"waits for the removal of product {JIRA}",
    )


def test_an_app_goes_with_its_host_and_begins_anew_with_it() -> None:
    cloud = a_cloud(JIRA, APP)
    says(cloud, "product.deactivated", 2)
    assert level(cloud, APP) == "closed"
    passes(cloud, POLICY.retention)
    (purge,) = facts(cloud, PurgeStarted)
    assert isinstance(purge, PurgeStarted)
    assert purge.apps == (APP,)
    assert level(cloud, APP) == "absent"
    says(cloud, "product.activated", 3)
    assert (level(cloud, JIRA), level(cloud, APP)) == ("open", "open")
    assert told(cloud, APP)["data_lost"] is True


def test_a_removal_that_fails_during_a_purge_is_held_and_goes_on_after_a_retry() -> None:
    cloud = a_cloud(JIRA)
    fails = [True]

    def trouble(order: Order, when: str) -> None:
        if fails[0] and order.direction == "remove" and order.step is Step.DATABASE and when == "before":
            raise Permanent("the disk is on fire")

    cloud.world.trouble = trouble
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention)
    says(cloud, "product.activated", 3)
    assert cloud.snapshot().family("jira").on_hold is not None
    assert level(cloud) == "absent"
    fails[0] = False
    cloud.retry_all()
    cloud.work()
    assert (level(cloud), told(cloud)["data_lost"]) == ("open", True)


@pytest.mark.parametrize("held", [JIRA_SCOPE, JIRA_FAMILY, Scope("product", TENANT, APP)], ids=str)
def test_no_purge_begins_of_what_somebody_holds_until_it_is_released(held: Scope) -> None:
    cloud = a_cloud(JIRA, APP)
    cloud.operating().carry_out(Act("hold", held, "its data is being copied"), by=Operator.parse("ada@host"))
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention + YEAR)
    assert not facts(cloud, PurgeStarted)
    assert databases(cloud)
    cloud.operating().carry_out(Act("release", held, "copied"), by=Operator.parse("ada@host"))
    cloud.work()
    assert len(facts(cloud, PurgeStarted)) == 1
    assert not databases(cloud)


@pytest.mark.parametrize("held", [SITE, JIRA_SCOPE, JIRA_FAMILY], ids=str)
def test_no_tenant_is_purged_while_somebody_holds_a_part_of_it(held: Scope) -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    cloud.operating().carry_out(Act("hold", held, "its data is being copied"), by=Operator.parse("ada@host"))
    passes(cloud, POLICY.restore_window + YEAR)
    assert not facts(cloud, TenantPurgeStarted)
    assert databases(cloud)
    cloud.operating().carry_out(Act("release", held, "copied"), by=Operator.parse("ada@host"))
    cloud.work()
    assert len(facts(cloud, TenantPurgeStarted)) == 1
    assert not databases(cloud)


@pytest.mark.parametrize("held", [JIRA_SCOPE, JIRA_FAMILY, Scope("product", TENANT, APP)], ids=str)
def test_a_hold_that_comes_while_a_purge_is_decided_comes_first(held: Scope) -> None:
    cloud = a_cloud(JIRA, APP)
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)

    def first(recording: UnitOfWork) -> None:
        if any(isinstance(fact.event, PurgeStarted) for fact in recording.events):
            cloud.log.before_record = lambda recording: None
            cloud.operating().carry_out(Act("hold", held, "its data is being copied"), by=Operator.parse("ada@host"))

    cloud.log.before_record = first
    cloud.work()
    assert cloud.snapshot().actual(held).is_on_operator_hold
    assert not facts(cloud, PurgeStarted)
    assert databases(cloud)


@pytest.mark.parametrize("held", [SITE, JIRA_SCOPE, JIRA_FAMILY], ids=str)
def test_a_hold_that_comes_while_the_purge_of_a_tenant_is_decided_comes_first(held: Scope) -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    cloud.clock.advance(POLICY.restore_window)

    def first(recording: UnitOfWork) -> None:
        if any(isinstance(fact.event, TenantPurgeStarted) for fact in recording.events):
            cloud.log.before_record = lambda recording: None
            cloud.operating().carry_out(Act("hold", held, "its data is being copied"), by=Operator.parse("ada@host"))

    cloud.log.before_record = first
    cloud.work()
    assert not facts(cloud, TenantPurgeStarted)
    assert databases(cloud)


def test_a_purge_that_begins_while_a_hold_is_decided_comes_first_and_the_hold_knows_of_it() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.deactivated", 2)
    cloud.clock.advance(POLICY.retention)
    purge = cloud.saga.take(JIRA_SCOPE, cloud.snapshot())

    def first(recording: UnitOfWork) -> None:
        cloud.log.before_record = lambda recording: None
        cloud.log.record(purge.unit)

    cloud.log.before_record = first
    cloud.operating().carry_out(Act("hold", JIRA_FAMILY, "its data is being copied"), by=Operator.parse("ada@host"))
    assert cloud.log.conflicts == 1
    assert is_past_return(JIRA_FAMILY, cloud.snapshot(), catalog=CATALOG)
    assert not is_past_return(SITE, cloud.snapshot(), catalog=CATALOG)


def test_a_product_that_never_lived_is_not_purged() -> None:
    cloud = a_cloud()
    cloud.intake.takes(message("product.activated", 1), message("product.deactivated", 2))
    cloud.work()
    passes(cloud, YEAR)
    assert not facts(cloud, PurgeStarted)


# -- expiry ----------------------------------------------------------------------------------------------------------


def test_that_a_license_expired_is_recorded_once() -> None:
    cloud = a_cloud(JIRA)
    ends = cloud.clock() + YEAR
    says(cloud, "license.updated", 2, expires_at=ends)
    written = cloud.snapshot().tenant.product(JIRA).licensed_since
    passes(cloud, YEAR - MOMENT)
    assert (level(cloud), facts(cloud, LicenseExpired)) == ("open", [])
    passes(cloud, MOMENT)
    assert level(cloud) == "closed"
    passes(cloud, YEAR)
    assert facts(cloud, LicenseExpired) == [LicenseExpired(tenant_id=TENANT, product=JIRA, epoch=written)]


def test_a_license_that_expires_while_its_product_is_suspended_is_recorded_as_well() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "product.suspended", 2)
    says(cloud, "license.updated", 2, expires_at=cloud.clock() + DAY)
    passes(cloud, DAY)
    assert len(facts(cloud, LicenseExpired)) == 1
    says(cloud, "product.unsuspended", 3)
    assert level(cloud) == "closed"


def test_a_renewal_opens_an_expired_license_again_and_has_a_timer_of_its_own() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "license.updated", 2, expires_at=cloud.clock() + DAY)
    passes(cloud, 2 * DAY)
    says(cloud, "license.updated", 3, expires_at=cloud.clock() + YEAR)
    assert level(cloud) == "open"
    passes(cloud, YEAR)
    assert level(cloud) == "closed"
    assert len(facts(cloud, LicenseExpired)) == 2


def test_the_timer_of_a_license_that_was_renewed_does_nothing() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "license.updated", 2, expires_at=cloud.clock() + DAY)
    says(cloud, "license.updated", 3, expires_at=None)
    passes(cloud, YEAR)
    assert (level(cloud), facts(cloud, LicenseExpired)) == ("open", [])


def test_the_expiry_of_a_license_that_was_overtaken_changes_nothing() -> None:
    cloud = a_cloud(JIRA)
    late = LicenseExpired(tenant_id=TENANT, product=JIRA, epoch=99)
    version = cloud.snapshot().tenant.version + 1
    cloud.log.record(UnitOfWork(events=[recorded(f"tenant:{TENANT}", version, late)]))
    assert not cloud.snapshot().tenant.product(JIRA).expired


def test_what_was_recorded_as_expired_stays_so_for_a_clock_that_is_behind() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "license.updated", 2, expires_at=cloud.clock() + DAY)
    passes(cloud, DAY)
    cloud.clock.advance(-MOMENT)
    assert not cloud.saga.take(JIRA_SCOPE, cloud.snapshot()).unit.events


# -- destroyed and restored ------------------------------------------------------------------------------------------


def restore(cloud: Cloud) -> TenantRestored:
    event = cloud.restore()
    cloud.work()
    return event


def steps_of(cloud: Cloud, scope: Scope) -> list[tuple[Direction, Step]]:
    return [
        (fact.event.direction, fact.event.step)  # type: ignore[attr-defined]
        for fact in cloud.log.events
        if fact.stream == str(scope) and type(fact.event).__name__ == "StepCompleted"
    ]


def test_a_destroyed_tenant_is_closed_at_once_and_kept_for_the_restore_window() -> None:
    cloud = a_cloud(JIRA, CONFLUENCE)
    says(cloud, "tenant.destroyed", 2)
    assert (level(cloud), level(cloud, CONFLUENCE), cloud.snapshot().site().level) == ("closed", "closed", "closed")
    passes(cloud, POLICY.restore_window - MOMENT)
    assert set(databases(cloud)) == {"jira", "confluence"}
    assert not facts(cloud, TenantPurgeStarted)


def test_when_the_restore_window_is_over_all_goes_but_the_reservation_of_the_name() -> None:
    cloud = a_cloud(JIRA, CONFLUENCE, APP)
    says(cloud, "tenant.destroyed", 2)
    epoch = cloud.snapshot().tenant.version
    passes(cloud, POLICY.restore_window)
    assert facts(cloud, TenantPurgeStarted) == [TenantPurgeStarted(tenant_id=TENANT, epoch=epoch)]
    assert cloud.world.things == {(SITE, Step.SITE): SiteSpec(site_name="acme", access="closed")}
    assert not databases(cloud)
    assert not facts(cloud, TenantPurged)


def test_the_name_cools_down_and_the_stream_ends_with_a_tombstone() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, POLICY.restore_window + POLICY.site_name_cool_down - MOMENT)
    assert cloud.world.taken_names == {"acme": TENANT}
    passes(cloud, MOMENT)
    assert (cloud.world.taken_names, cloud.world.things) == ({}, {})
    passes(cloud, 3 * YEAR)
    stream = [fact.event for fact in cloud.log.events if fact.stream == f"tenant:{TENANT}"]
    assert stream[-1] == TenantPurged(tenant_id=TENANT)
    assert len(facts(cloud, TenantPurged)) == 1
    assert not [work_item for work_item in cloud.log.work_items.values() if work_item.at > cloud.clock()]


def test_the_site_goes_last() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, POLICY.restore_window + POLICY.site_name_cool_down)
    removed = [
        fact.stream
        for fact in cloud.log.events
        if type(fact.event).__name__ == "StepCompleted" and fact.event.direction == "remove"  # type: ignore[attr-defined]
    ]
    first = {stream: removed.index(stream) for stream in removed}
    assert sorted(first, key=lambda stream: first[stream]) == [str(JIRA_SCOPE), str(JIRA_FAMILY), str(SITE)]


def test_who_waits_for_the_name_is_woken_when_it_is_free() -> None:
    cloud = a_cloud()
    cloud.intake.takes(message("tenant.created", 1, tenant_id="t-2", site_name="acme", id="two"))
    cloud.work()
    assert cloud.snapshot("t-2").site().intent is not None
    says(cloud, "tenant.destroyed", 2)
    cloud.clock.advance(POLICY.restore_window)
    cloud.work()
    cloud.clock.advance(POLICY.site_name_cool_down - MOMENT)
    cloud.work()
    assert cloud.world.taken_names == {"acme": TENANT}
    cloud.clock.advance(MOMENT)
    cloud.work()
    assert cloud.world.taken_names == {"acme": "t-2"}
    assert cloud.snapshot("t-2").site().level == "open"


def test_who_waits_for_room_is_woken_when_a_family_goes() -> None:
    calm = POLICY.retry.model_copy(update={"obstacle_poll": 100 * YEAR})
    cloud = a_cloud(JIRA, policy=POLICY.model_copy(update={"retry": calm}))

    def full(order: Order, when: str) -> None:
        is_second = order.scope.tenant_id == "t-2" and order.step is Step.REGION
        if is_second and (JIRA_FAMILY, Step.REGION) in cloud.world.things:
            raise Obstacle("room:eu", "region eu has no room")

    cloud.world.trouble = full
    cloud.intake.takes(message("tenant.created", 1, tenant_id="t-2", site_name="two"))
    cloud.intake.takes(message("product.activated", 1, tenant_id="t-2"))
    cloud.work()
    assert cloud.snapshot("t-2").product(JIRA).level == "absent"
    says(cloud, "product.deactivated", 2)
    passes(cloud, POLICY.retention)
    assert (level(cloud), cloud.snapshot("t-2").product(JIRA).level) == ("absent", "open")


def test_a_site_that_never_had_its_name_does_not_take_it_while_it_is_purged() -> None:
    cloud = a_cloud()
    cloud.intake.takes(message("tenant.created", 1, tenant_id="t-2", site_name="acme", id="two"))
    cloud.work()
    cloud.intake.takes(message("tenant.destroyed", 2, tenant_id="t-2"))
    cloud.clock.advance(POLICY.restore_window)
    cloud.work()
    assert cloud.snapshot("t-2").site().is_empty
    assert facts(cloud, TenantPurged) == [TenantPurged(tenant_id="t-2")]
    assert cloud.world.taken_names == {"acme": TENANT}


def test_the_timer_of_a_scope_that_waits_for_an_obstacle_is_kept() -> None:
    retry = POLICY.retry.model_copy(update={"obstacle_poll": YEAR})
    cloud = a_cloud(policy=POLICY.model_copy(update={"retry": retry}))
    cloud.intake.takes(message("tenant.created", 1, tenant_id="t-2", site_name="acme", id="two"))
    cloud.work()
    cloud.intake.takes(message("tenant.destroyed", 2, tenant_id="t-2"))
    cloud.work()
    passes(cloud, POLICY.restore_window)
    assert facts(cloud, TenantPurged) == [TenantPurged(tenant_id="t-2")]


def test_a_license_expires_at_its_time_while_its_product_waits_for_the_next_attempt() -> None:
    cloud = a_cloud(JIRA)

    def is_busy(order: Order, when: str) -> None:
        raise Retryable("come back tomorrow", delay=DAY)

    cloud.world.trouble = is_busy
    expires_at = cloud.clock() + timedelta(hours=1)
    says(cloud, "license.updated", 2, expires_at=expires_at, status="active", users=5)
    passes(cloud, timedelta(hours=2))
    assert [fact.time for fact in cloud.log.events if isinstance(fact.event, LicenseExpired)] == [expires_at]


def test_a_tenant_for_which_nothing_was_ever_done_ends_with_a_tombstone_as_well() -> None:
    cloud = Cloud()
    cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1), message("tenant.destroyed", 2))
    cloud.clock.advance(POLICY.restore_window)
    cloud.work()
    assert cloud.intake.events()[-2:] == [
        TenantPurgeStarted(tenant_id=TENANT, epoch=3),
        TenantPurged(tenant_id=TENANT),
    ]
    assert not cloud.world.effects


def test_a_restored_tenant_is_as_it_was_with_its_data() -> None:
    cloud = a_cloud(JIRA, CONFLUENCE)
    says(cloud, "product.suspended", 2, product=CONFLUENCE)
    before = databases(cloud)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, POLICY.restore_window - MOMENT)
    event = restore(cloud)
    assert (event.reason, event.operator) == ("the wrong one was called", "ada@host")
    passes(cloud, YEAR)
    assert (level(cloud), level(cloud, CONFLUENCE), cloud.snapshot().site().level) == ("open", "closed", "open")
    assert databases(cloud) == before
    assert not facts(cloud, TenantPurgeStarted, PurgeStarted)


def test_a_restore_is_recorded_as_the_act_of_its_operator() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    restore(cloud)
    (fact,) = [fact for fact in cloud.log.events if isinstance(fact.event, TenantRestored)]
    assert (fact.cause.kind, fact.cause.source) == ("operator", "ada@host")
    assert isinstance(fact.event, TenantRestored)
    assert fact.event.undoes.startswith("commerce ")


@pytest.mark.parametrize("revision", [1, 2])
def test_repeats_of_the_destruction_that_was_undone_stay_dead(revision: int) -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    restore(cloud)
    cloud.intake.takes(message("tenant.destroyed", revision, id="again"))
    cloud.work()
    assert isinstance(facts(cloud, TenantMessageStale, TenantDestroyed)[-1], TenantMessageStale)
    assert level(cloud) == "open"


def test_all_destructions_that_were_known_when_it_was_restored_stay_dead() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    says(cloud, "tenant.destroyed", 5)
    restore(cloud)
    cloud.intake.takes(message("tenant.destroyed", 5, id="again"))
    cloud.work()
    assert level(cloud) == "open"


def test_a_new_destruction_with_a_higher_revision_destroys_again_and_opens_a_new_window() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, 10 * DAY)
    restore(cloud)
    says(cloud, "tenant.destroyed", 3)
    assert level(cloud) == "closed"
    passes(cloud, POLICY.restore_window - MOMENT)
    assert not facts(cloud, TenantPurgeStarted)
    passes(cloud, MOMENT)
    assert level(cloud) == "absent"


def test_a_tenant_that_is_not_destroyed_cannot_be_restored() -> None:
    with refused(Refused, match="tenant t-1 is not destroyed") as refusal:
        restore(a_cloud(JIRA))
    assert refusal.value.rule == "not-destroyed"


def test_when_its_purge_has_begun_a_tenant_is_not_restored() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, POLICY.restore_window)
    with refused(Refused, match="its purge began at 2026-06-15") as refusal:
        restore(cloud)
    assert refusal.value.rule == "restore-window-over"


def test_after_the_restore_window_a_tenant_is_restored_as_long_as_its_purge_has_not_begun() -> None:
    """Nobody has worked since: all of its data is there."""
    cloud = a_cloud(JIRA)
    before = databases(cloud)
    says(cloud, "tenant.destroyed", 2)
    cloud.clock.advance(POLICY.restore_window + YEAR)
    restore(cloud)
    assert (level(cloud), databases(cloud)) == ("open", before)


@pytest.mark.parametrize("held", [SITE, JIRA_SCOPE, JIRA_FAMILY], ids=str)
def test_what_somebody_holds_back_from_its_purge_can_be_restored_with_its_data(held: Scope) -> None:
    cloud = a_cloud(JIRA)
    before = databases(cloud)
    says(cloud, "tenant.destroyed", 2)
    cloud.operating().carry_out(Act("hold", held, "its data is being copied"), by=Operator.parse("ada@host"))
    passes(cloud, POLICY.restore_window + YEAR)
    restore(cloud)
    cloud.operating().carry_out(Act("release", held, "copied"), by=Operator.parse("ada@host"))
    passes(cloud, YEAR)
    assert not facts(cloud, TenantPurgeStarted)
    assert (level(cloud), databases(cloud)) == ("open", before)


def test_what_commerce_said_between_the_window_and_a_late_restore_can_be_retried() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    cloud.operating().carry_out(Act("hold", SITE, "its data is being copied"), by=Operator.parse("ada@host"))
    passes(cloud, POLICY.restore_window + YEAR)
    late = message("product.suspended", 2)
    cloud.intake.takes(late)
    assert cloud.intake.rules() == ["tenant-destroyed"]
    restore(cloud)
    (number,) = cloud.log.quarantine
    cloud.intake.takes(late, released=number)
    cloud.operating().carry_out(Act("release", SITE, "copied"), by=Operator.parse("ada@host"))
    cloud.work()
    assert level(cloud) == "closed"


def test_a_restore_that_came_first_makes_the_purge_conflict() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    cloud.clock.advance(POLICY.restore_window)
    decision = cloud.saga.take(SITE, cloud.snapshot())
    assert isinstance(decision.unit.events[0].event, TenantPurgeStarted)
    restore(cloud)
    with pytest.raises(Conflict):
        cloud.log.record(decision.unit)
    passes(cloud, YEAR)
    assert level(cloud) == "open"


def test_a_restore_is_decided_again_when_somebody_else_records_first() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    others = iter([message("product.suspended", 2)])

    def first(recording: UnitOfWork) -> None:
        if any(isinstance(fact.event, TenantRestored) for fact in recording.events):
            for other in others:
                cloud.intake.takes(other)

    cloud.log.before_record = first
    restore(cloud)
    assert cloud.log.conflicts == 1
    assert (level(cloud), cloud.snapshot().site().level) == ("closed", "open")


def test_a_purged_tenant_is_told_nothing_any_more() -> None:
    cloud = a_cloud(JIRA)
    says(cloud, "tenant.destroyed", 2)
    passes(cloud, POLICY.restore_window + YEAR)
    says(cloud, "product.activated", 9)
    assert cloud.intake.rules() == ["tenant-destroyed"]
    assert not cloud.world.things
