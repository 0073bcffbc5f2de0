"""Does a producer that closes everybody's products get further than the budget of closings lets it?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.operator import Operator
from domain.policy import Guard, Policy
from domain.tenant import state as tenants
from domain.tenant.events import (
    ChangesApproved,
    ClosingAwaitsApproval,
    LicenseUpdated,
    ProductActivated,
    ProductSuspended,
    TenantMessageStale,
)
from domain.tenant.state import Tenant
from tests.application.test_approval import MINUTE, Estates, registers
from tests.domain.driver import Cloud
from tests.domain.given import APP, CONFLUENCE, GUARDED, JIRA, NOW, POLICY, message

PAST = "2026-05-31T00:00:00Z"
WAYS = (
    ("product.suspended", {"reason": "a fault"}),
    ("license.updated", {"status": "inactive"}),
    ("license.updated", {"expires_at": PAST}),
    ("product.activated", {"expires_at": PAST}),
)


def closing(at_least: int = 2, share: float = 0.0) -> Policy:
    return POLICY.model_copy(update={"closing_guard": Guard(at_least=at_least, share=share)})


class Closed(Estates):
    """Some tenants with two products each, all open, under a guard that lets two closings pass."""

    def __init__(self, *, tenants: int = 4, policy: Policy | None = None) -> None:
        super().__init__(tenants=tenants, policy=policy or closing())

    def closes_all(self, type_: str = "product.suspended", revision: int | None = 2, **data: Any) -> None:
        each = (message(type_, revision, tenant_id=tenant, product=JIRA, **data) for tenant in self.ids)
        self.intake.takes(*each)

    def levels(self, product: str = JIRA) -> list[str]:
        self.work()
        return [self.snapshot(tenant).product(product).level for tenant in self.ids]

    def held(self) -> list[tuple[str, str | None, int | None]]:
        return [(each.change, each.product, each.revision) for each in self.operating().plan().changes]

    def restore_all(self, ids: Sequence[str]) -> None:
        for tenant in ids:
            self.operating().restore(tenant, reason="the wrong one was called", by=Operator.parse("ada@host"))

    def reject(self) -> None:
        self.operating().reject(self.operating().plan().hash, reason="a fault", by=Operator.parse("ada@host"))


@pytest.mark.parametrize(("type_", "data"), WAYS)
def test_of_sixty_closings_fifty_pass_and_the_rest_await_approval(type_: str, data: dict[str, Any]) -> None:
    cloud = Cloud(policy=GUARDED)
    ids = [f"t-{number:02}" for number in range(60)]
    for tenant in ids:
        about: dict[str, Any] = {"tenant_id": tenant, "site_name": f"site-{tenant}", "customer_id": f"c-{tenant}"}
        cloud.intake.takes(message("tenant.created", 1, **about))
        cloud.intake.takes(message("product.activated", 1, tenant_id=tenant, product=JIRA))
    cloud.intake.takes(*(message(type_, 2, tenant_id=tenant, product=JIRA, **data) for tenant in ids))
    cloud.work()
    levels = [cloud.snapshot(tenant).product(JIRA).level for tenant in ids]
    assert levels == ["closed"] * 50 + ["open"] * 10
    assert list(cloud.log.awaiting_approval()) == ids[50:]


@pytest.mark.parametrize(("type_", "data"), WAYS)
def test_an_approved_plan_closes_by_the_messages_that_asked_for_it(type_: str, data: dict[str, Any]) -> None:
    closed = Closed()
    closed.closes_all(type_, **data)
    assert closed.levels() == ["closed", "closed", "open", "open"]
    plan = closed.operating().plan()
    assert [change.levels for change in plan.changes] == [((JIRA, "open", "closed"),)] * 2
    assert {change.data for change in plan.changes} == {"none of it goes"}
    closed.approve()
    assert closed.levels() == ["closed"] * 4
    facts = [each for each in closed.log.events if each.stream == "tenant:t-3"]
    [verdict] = [each for each in facts if isinstance(each.event, ChangesApproved)]
    fact = facts[facts.index(verdict) + 1]
    assert verdict.cause.kind == "operator"
    assert isinstance(fact.event, (ProductSuspended, LicenseUpdated, ProductActivated))
    assert fact.cause.kind == "message"
    assert closed.log.awaiting_approval() == []
    closed.clock.advance(10 * MINUTE)
    closed.says("t-0", "product.suspended", 2, product=CONFLUENCE)
    closed.says("t-1", "product.suspended", 2, product=CONFLUENCE)
    assert closed.held() == [], "what was approved is not counted"


def test_the_plan_says_what_license_a_closing_brings() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.closes_all("license.updated", users=7, status="inactive", expires_at=PAST)
    [change] = closed.operating().plan().changes
    assert change.says == "license standard, 7 users, inactive, ends 2026-05-31T00:00:00+00:00"


def test_a_rejected_closing_comes_to_nothing_and_is_asked_for_anew() -> None:
    closed = Closed()
    closed.closes_all()
    closed.reject()
    assert closed.levels() == ["closed", "closed", "open", "open"]
    assert closed.held() == []
    closed.intake.takes(message("product.suspended", 2, id="again", tenant_id="t-3", product=JIRA))
    assert closed.held() == [("suspend", JIRA, 2)], "the budget is still spent"
    closed.reject()
    closed.clock.advance(10 * MINUTE)
    closed.intake.takes(message("product.suspended", 2, id="once more", tenant_id="t-3", product=JIRA))
    assert closed.levels() == ["closed", "closed", "open", "closed"]


def test_an_unsuspension_and_a_renewal_overtake_what_awaits_approval() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.says("t-0", "product.suspended", 2, product=JIRA)
    closed.says("t-0", "license.updated", 3, product=JIRA, status="inactive")
    closed.says("t-0", "product.suspended", 2, product=CONFLUENCE)
    closed.says("t-0", "product.unsuspended", 4, product=JIRA)
    assert closed.held() == [("license", JIRA, 3), ("suspend", CONFLUENCE, 2)]
    closed.says("t-0", "license.updated", 5, product=JIRA, users=77)
    closed.says("t-0", "product.activated", 6, product=CONFLUENCE)
    assert closed.held() == []
    assert closed.log.awaiting_approval() == []


def test_closings_that_are_repeated_stay_held_however_slowly_and_by_whatever_way() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.says("t-0", "product.suspended", 2, product=JIRA)
    closed.intake.lifecycle.policy = closing(9)
    closed.says("t-0", "product.suspended", 3, product=JIRA)
    closed.says("t-0", "license.updated", 4, product=JIRA, status="inactive")
    closed.says("t-0", "product.activated", 5, product=JIRA, expires_at=PAST)
    assert closed.levels() == ["open"]
    assert closed.held() == [("suspend", JIRA, 3), ("license", JIRA, 4), ("activate", JIRA, 5)]
    closed.says("t-0", "product.suspended", 2, product=CONFLUENCE)
    assert closed.levels(CONFLUENCE) == ["closed"], "another product is not asked about"


def test_a_lower_revision_of_a_held_closing_is_stale_and_other_content_a_contradiction() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.says("t-0", "license.updated", 5, product=JIRA, status="inactive")
    closed.says("t-0", "license.updated", 3, product=JIRA, status="inactive")
    assert isinstance(closed.intake.events()[-1], TenantMessageStale)
    closed.says("t-0", "license.updated", 5, product=JIRA, users=7)
    assert closed.intake.rules() == ["same-revision-other-content"]
    closed.says("t-0", "license.updated", 4, product=JIRA, users=7)
    license_ = closed.tenant("t-0").product(JIRA).license
    assert license_ is not None
    assert (license_.value.users, license_.revision) == (7, 4), "it would have been so without a guard, for a while"
    assert closed.held() == [("license", JIRA, 5)]


def test_without_revisions_what_comes_later_overtakes_and_a_second_suspension_is_quarantined() -> None:
    closed = Closed(tenants=0, policy=closing(0))
    closed.intake.takes(message("tenant.created"), message("product.activated"))
    closed.intake.takes(message("product.suspended"))
    closed.intake.takes(message("license.updated", status="inactive"))
    closed.intake.takes(message("license.updated", status="inactive", users=3))
    assert [change for change, _, _ in closed.held()] == ["suspend", "license"]
    closed.intake.takes(message("product.suspended", id="again"))
    assert closed.intake.rules() == ["already-held"]
    closed.intake.takes(message("product.unsuspended"), message("license.updated", users=4))
    assert closed.held() == []
    assert closed.intake.tenant().product(JIRA).is_open(NOW)


def test_what_time_closes_is_not_counted() -> None:
    closed = Closed(policy=closing(0))
    closed.closes_all("license.updated", expires_at=NOW + MINUTE)
    closed.clock.advance(2 * MINUTE)
    assert closed.levels() == ["closed"] * 4
    assert closed.held() == []


def test_what_is_closed_already_can_be_closed_by_other_ways_without_an_approval() -> None:
    closed = Closed()
    closed.closes_all()
    closed.approve()
    closed.closes_all("license.updated", 3, status="inactive")
    assert closed.held() == []


def test_a_suspension_that_comes_before_its_activation_is_not_counted() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.says("t-0", "product.suspended", 2, product="compass")
    closed.says("t-0", "product.activated", 1, product="compass")
    assert closed.held() == []
    assert closed.tenant("t-0").product("compass").suspended


def test_what_one_batch_opens_and_closes_again_is_taken_from_nobody() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    about: dict[str, Any] = {"tenant_id": "t-0", "product": "compass"}
    closed.intake.takes(message("product.activated", 1, **about), message("product.suspended", 2, **about))
    assert closed.tenant("t-0").product("compass").suspended
    assert closed.held() == []


def test_closings_and_destroys_spend_budgets_of_their_own() -> None:
    policy = closing().model_copy(update={"guard": Guard(at_least=1, share=0)})
    closed = Closed(policy=policy)
    closed.intake.takes(
        *(message("product.suspended", 2, tenant_id=tenant, product=JIRA) for tenant in closed.ids),
        *(message("product.deactivated", 2, tenant_id=tenant, product=CONFLUENCE) for tenant in closed.ids),
    )
    assert closed.levels() == ["closed", "closed", "open", "open"]
    assert closed.levels(CONFLUENCE) == ["retained", "open", "open", "open"]


def test_the_budget_grows_with_the_live_products() -> None:
    closed = Closed(policy=closing(1, share=0.4))
    closed.closes_all()
    assert closed.levels() == ["closed", "closed", "closed", "open"]
    closed.reject()
    closed.clock.advance(10 * MINUTE)
    for tenant in closed.ids[:2]:
        closed.says(tenant, "tenant.destroyed", 2)
    for tenant, product in (("t-2", CONFLUENCE), ("t-3", CONFLUENCE)):
        closed.says(tenant, "product.suspended", 3, product=product)
    assert closed.held() == [("suspend", CONFLUENCE, 3)], "four of eight products live"
    closed.reject()
    closed.restore_all(closed.ids[:2])
    closed.says("t-3", "product.suspended", 4, product=CONFLUENCE)
    assert closed.held() == [], "eight live again"


def test_a_held_closing_of_a_host_leaves_its_app_open() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.says("t-0", "product.activated", 1, product=APP)
    closed.closes_all()
    assert closed.levels(APP) == ["open"]
    assert closed.operating().plan().changes[0].levels == ((JIRA, "open", "closed"), (APP, "open", "closed"))
    closed.approve()
    assert closed.levels(APP) == ["closed"]


def test_what_is_held_of_a_destroyed_tenant_is_decided_about_until_its_purge_begins() -> None:
    closed = Closed(tenants=2, policy=closing(0))
    closed.closes_all()
    for tenant in closed.ids:
        closed.says(tenant, "tenant.destroyed", 2)
    assert closed.held() == [("suspend", JIRA, 2)] * 2
    closed.restore_all(["t-0"])
    assert closed.levels() == ["open", "closed"]
    closed.clock.advance(POLICY.restore_window + MINUTE)
    closed.work()
    assert list(closed.log.awaiting_approval()) == ["t-0"], "nothing is asked about what is gone"
    closed.approve()
    assert closed.levels() == ["closed", "absent"]


# -- properties ----------------------------------------------------------------------------------------------------

_TYPES = ("product.activated", "product.suspended", "product.unsuspended", "product.deactivated")
_DATA: tuple[tuple[str, dict[str, Any]], ...] = (
    ("license.updated", {"status": "inactive"}),
    ("license.updated", {"expires_at": PAST}),
    ("license.updated", {}),
)
_SAID = st.tuples(
    st.sampled_from(["t-0", "t-1"]),
    st.sampled_from([*((type_, dict[str, Any]()) for type_ in _TYPES), *_DATA, WAYS[3], *WAYS[:2]]),
    st.sampled_from([JIRA, CONFLUENCE]),
)
Message = tuple[str, tuple[str, dict[str, Any]], str]


def history(policy: Policy, said: Sequence[tuple[int, Message]], pauses: Sequence[int] = ()) -> Closed:
    """What was said, each under a revision of its own; `pauses` are minutes between."""
    closed = Closed(tenants=2, policy=policy)
    for number, (revision, (tenant, (type_, data), product)) in enumerate(said):
        closed.clock.advance(MINUTE * (pauses[number] if number < len(pauses) else 0))
        closed.says(tenant, type_, revision + 2, product=product, **data)
    return closed


@pytest.mark.saga
@settings(max_examples=80, deadline=None)
@given(st.lists(_SAID, max_size=8), st.lists(st.integers(0, 6), max_size=8), st.randoms(use_true_random=False))
def test_any_order_of_arrival_with_all_approved_ends_where_no_guard_would(
    said: list[Message], pauses: list[int], dice: Any
) -> None:
    in_order = list(enumerate(said))
    free = history(POLICY, in_order)
    shuffled = [*in_order, *dice.sample(in_order, len(in_order) // 2)]
    dice.shuffle(shuffled)
    for order in (in_order, shuffled):
        closed = history(closing(1), order, pauses)
        assert max_in_a_window(closed) <= 1
        if closed.log.awaiting_approval():
            closed.approve()
        assert registers(closed) == registers(free)
        assert closed.log.awaiting_approval() == []


def max_in_a_window(closed: Closed) -> int:
    """How many products were closed within a window, as the log alone has it."""
    times: list[datetime] = []
    for tenant in closed.ids:
        state = Tenant(tenant)
        for fact in closed.log.load({f"tenant:{tenant}": 0})[f"tenant:{tenant}"]:
            after = tenants.evolve(state, fact)
            for key in state.products:
                was, now = state.product(key).is_open(fact.time), after.product(key).is_open(fact.time)
                is_gone = state.product(key).activated and not after.product(key).activated
                times += [fact.time] * (was and not now and not is_gone)
            state = after
    window: timedelta = closed.policy.closing_guard.window
    return max((sum(at - window < then <= at for then in times) for at in times), default=0)


def test_a_held_closing_is_a_fact_of_its_own() -> None:
    closed = Closed(tenants=1, policy=closing(0))
    closed.closes_all("license.updated", status="inactive", users=7)
    event = closed.intake.events()[-1]
    assert event == ClosingAwaitsApproval(
        tenant_id="t-0", product=JIRA, revision=2, change="license", edition="standard", users=7, status="inactive"
    )
