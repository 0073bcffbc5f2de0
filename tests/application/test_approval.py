"""Does the destroy guard hold what is too much, and does nothing get lost by that?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.operator_commands import Act
from domain.errors import UsageError
from domain.operator import Operator
from domain.policy import Guard, Policy
from domain.scope.steps import Scope
from domain.tenant import state as tenants
from domain.tenant.events import (
    ApprovalRequested,
    ChangesApproved,
    ProductDeactivated,
    PurgeStarted,
    TenantDestroyed,
    TenantMessageStale,
    TenantPurgeStarted,
)
from domain.tenant.state import Tenant
from tests.domain.driver import Cloud
from tests.domain.given import CONFLUENCE, GUARDED, JIRA, POLICY, message
from tests.refusals import refused

MINUTE = timedelta(minutes=1)


def guarded(at_least: int = 2, share: float = 0.0) -> Policy:
    return GUARDED.model_copy(update={"guard": Guard(at_least=at_least, share=share)})


class Estates(Cloud):
    """Some tenants with two products each, all open, under a guard that lets two pass."""

    def __init__(self, *, tenants: int = 4, policy: Policy | None = None) -> None:
        super().__init__(policy=policy or guarded())
        self.ids = [f"t-{number}" for number in range(tenants)]
        for tenant in self.ids:
            self.says(tenant, "tenant.created", 1, site_name=f"site-{tenant}", customer_id=f"c-{tenant}")
            for product in (JIRA, CONFLUENCE):
                self.says(tenant, "product.activated", 1, product=product)
        self.work()

    def says(self, tenant: str, type_: str, revision: int | None = None, **data: Any) -> None:
        self.intake.takes(message(type_, revision, tenant_id=tenant, **data))

    def destroys_all(self) -> None:
        self.intake.takes(*(message("tenant.destroyed", 2, tenant_id=tenant) for tenant in self.ids))

    def tenant(self, tenant: str) -> Tenant:
        return self.intake.tenant(tenant)

    def destroyed(self) -> list[str]:
        return [tenant for tenant in self.ids if self.tenant(tenant).destroyed]

    def approve(self) -> None:
        self.operating().approve(self.operating().plan().hash, reason="they left", by=Operator.parse("ada@host"))


def test_what_is_beyond_the_limit_is_held_and_changes_nothing() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    snapshots.work()
    assert snapshots.destroyed() == ["t-0", "t-1"]
    assert [fact.event.change for fact in snapshots.log.events if isinstance(fact.event, ApprovalRequested)] == [
        "destroy"
    ] * 2
    assert snapshots.log.awaiting_approval() == ["t-2", "t-3"]
    assert {snapshots.snapshot("t-3").product(key).level for key in (JIRA, CONFLUENCE)} == {"open"}
    assert snapshots.intake.log.quarantine == {}


def test_several_batches_count_together_until_the_window_is_over() -> None:
    snapshots = Estates()
    for tenant in snapshots.ids[:3]:
        snapshots.says(tenant, "product.deactivated", 2, product=JIRA)
    assert snapshots.log.awaiting_approval() == ["t-2"]
    snapshots.clock.advance(10 * MINUTE)
    snapshots.says("t-3", "product.deactivated", 2, product=JIRA)
    assert snapshots.log.awaiting_approval() == ["t-2"]


def test_the_limit_grows_with_the_live_tenants() -> None:
    snapshots = Estates(policy=guarded(at_least=1, share=0.75))
    snapshots.destroys_all()
    assert len(snapshots.destroyed()) == 3


def test_an_approved_plan_is_carried_out_with_who_and_why() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    plan = snapshots.operating().plan()
    assert [(change.tenant_id, change.change) for change in plan.changes] == [("t-2", "destroy"), ("t-3", "destroy")]
    assert plan.changes[0].levels == ((CONFLUENCE, "open", "closed"), (JIRA, "open", "closed"))
    assert "14 days after the approval" in plan.changes[0].data
    snapshots.approve()
    snapshots.work()
    assert snapshots.destroyed() == snapshots.ids
    assert snapshots.snapshot("t-3").product(JIRA).level == "closed"
    approved = [fact for fact in snapshots.log.events if isinstance(fact.event, ChangesApproved)]
    assert [(fact.cause.kind, fact.cause.source) for fact in approved] == [("operator", "ada@host")] * 2
    assert {fact.event.plan for fact in approved if isinstance(fact.event, ChangesApproved)} == {plan.hash}
    assert snapshots.log.awaiting_approval() == []


def test_approving_twice_finds_nothing_held() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    old = snapshots.operating().plan().hash
    snapshots.approve()
    count = len(snapshots.log.events)
    assert snapshots.operating().approve(old, reason="again", by=Operator.parse("ada@host")).changes == ()
    assert len(snapshots.log.events) == count


def test_an_old_hash_is_refused_when_the_plan_has_changed() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    old = snapshots.operating().plan().hash
    snapshots.says("t-3", "product.suspended", 3, product=JIRA)
    with refused(UsageError, match=rf"is not plan {old}, it is plan"):
        snapshots.operating().approve(old, reason="they left", by=Operator.parse("ada@host"))
    assert snapshots.destroyed() == ["t-0", "t-1"]


def test_the_hash_is_the_same_as_long_as_nothing_happens() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    before = snapshots.operating().plan().hash
    snapshots.clock.advance(10 * MINUTE)
    assert snapshots.operating().plan().hash == before


def test_somebody_who_records_while_a_plan_is_approved_has_it_checked_again() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    old = snapshots.operating().plan().hash

    def first(recording: Any) -> None:
        snapshots.log.before_record = lambda recording: None
        snapshots.says("t-3", "product.suspended", 3, product=JIRA)

    snapshots.log.before_record = first
    with refused(UsageError, match="is not plan"):
        snapshots.operating().approve(old, reason="they left", by=Operator.parse("ada@host"))


def test_a_rejected_plan_comes_to_nothing_and_its_repeats_stay_dead() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    operating = snapshots.operating()
    operating.reject(operating.plan().hash, reason="a script went wild", by=Operator.parse("ada@host"))
    snapshots.clock.advance(11 * MINUTE)
    snapshots.says("t-3", "tenant.destroyed", 2, reason="once more")
    assert snapshots.destroyed() == ["t-0", "t-1"]
    assert isinstance(snapshots.intake.events()[-1], TenantMessageStale)


def test_a_later_activation_overtakes_a_held_deactivation() -> None:
    snapshots = Estates(policy=guarded(at_least=0))
    snapshots.says("t-0", "product.deactivated", 2, product=JIRA)
    assert snapshots.tenant("t-0").pending
    snapshots.says("t-0", "product.activated", 3, product=JIRA)
    assert snapshots.tenant("t-0").pending == ()
    assert snapshots.log.awaiting_approval() == []


def test_a_held_deactivation_that_is_repeated_stays_held_however_slowly_and_under_the_last_revision() -> None:
    snapshots = Estates(tenants=1, policy=guarded(at_least=0))
    snapshots.says("t-0", "product.deactivated", 2, product=JIRA)
    snapshots.intake.lifecycle.policy = guarded(at_least=9)
    for revision in (3, 4):
        snapshots.clock.advance(11 * MINUTE)
        snapshots.says("t-0", "product.deactivated", revision, product=JIRA)
    assert snapshots.tenant("t-0").product(JIRA).activated
    assert [change.revision for change in snapshots.operating().plan().changes] == [4]
    snapshots.approve()
    assert not snapshots.tenant("t-0").product(JIRA).activated
    assert snapshots.log.awaiting_approval() == []


def test_a_lower_revision_of_a_held_deactivation_is_stale_and_other_products_pass() -> None:
    snapshots = Estates(tenants=1, policy=guarded(at_least=0))
    snapshots.says("t-0", "product.deactivated", 5, product=JIRA)
    snapshots.says("t-0", "product.deactivated", 3, product=JIRA)
    assert isinstance(snapshots.intake.events()[-1], TenantMessageStale)
    snapshots.intake.lifecycle.policy = guarded(at_least=1)
    snapshots.says("t-0", "product.deactivated", 2, product=CONFLUENCE)
    assert not snapshots.tenant("t-0").product(CONFLUENCE).activated
    assert [(change.product, change.revision) for change in snapshots.operating().plan().changes] == [(JIRA, 5)]


def test_a_revision_below_a_held_deactivation_writes_what_it_would_write_without_a_guard() -> None:
    snapshots, free = Estates(tenants=1, policy=guarded(at_least=0)), Estates(tenants=1, policy=POLICY)
    for each in (snapshots, free):
        each.says("t-0", "product.deactivated", 2, product=JIRA)
        each.says("t-0", "product.deactivated", 3, product=JIRA)
        each.says("t-0", "product.activated", 2, product=JIRA, users=77)
    snapshots.approve()
    assert registers(snapshots) == registers(free)


def test_an_activation_without_a_revision_overtakes_as_well() -> None:
    cloud = Cloud(policy=guarded(at_least=0))
    for type_ in ("tenant.created", "product.activated", "product.deactivated"):
        cloud.intake.takes(message(type_))
    assert cloud.intake.tenant().pending
    cloud.intake.takes(message("product.activated", id="again", users=7))
    assert cloud.intake.tenant().pending == ()
    assert cloud.intake.rules() == []


def test_the_revision_of_a_held_deactivation_with_other_content_is_a_contradiction() -> None:
    snapshots = Estates(policy=guarded(at_least=0))
    snapshots.says("t-0", "product.deactivated", 2, product=JIRA)
    snapshots.says("t-0", "product.activated", 2, product=JIRA)
    assert snapshots.intake.rules() == ["same-revision-other-content"]


def test_the_deactivation_of_what_is_not_active_is_not_counted() -> None:
    snapshots = Estates(policy=guarded(at_least=0))
    snapshots.says("t-0", "product.deactivated", 2, product="compass")
    assert isinstance(snapshots.intake.events()[-1], ProductDeactivated)


def test_a_purge_beyond_the_limit_waits_uses_no_attempt_and_is_approved() -> None:
    snapshots = Estates()
    snapshots.destroys_all()
    snapshots.approve()
    snapshots.work()
    snapshots.clock.advance(POLICY.restore_window + MINUTE)
    snapshots.work()
    purges = [fact for fact in snapshots.log.events if isinstance(fact.event, TenantPurgeStarted)]
    assert len(purges) == 2
    held = snapshots.log.awaiting_approval()
    assert len(held) == 2
    assert snapshots.snapshot(held[0]).product(JIRA).level == "closed"
    assert {change.data for change in snapshots.operating().plan().changes} == {"all of it goes at once"}
    snapshots.approve()
    snapshots.work()
    assert {snapshots.snapshot(tenant).product(JIRA).level for tenant in snapshots.ids} == {"absent"}


def test_a_tenant_whose_purge_is_held_can_still_be_restored() -> None:
    cloud = Cloud(policy=guarded(at_least=1))
    cloud.intake.takes(message("tenant.created", 1), message("product.activated", 1))
    cloud.work()
    cloud.intake.takes(message("tenant.destroyed", 2))
    cloud.work()
    cloud.policy = guarded(at_least=0)
    cloud.new_worker()
    cloud.clock.advance(POLICY.restore_window + MINUTE)
    cloud.work()
    assert cloud.intake.tenant().pending
    cloud.restore()
    cloud.work()
    assert cloud.snapshot().product(JIRA).level == "open"
    assert cloud.log.awaiting_approval() == []


def test_a_purge_cannot_be_rejected() -> None:
    snapshots = Estates(tenants=1, policy=guarded(at_least=1))
    snapshots.says("t-0", "product.deactivated", 2, product=JIRA)
    snapshots.work()
    snapshots.policy = guarded(at_least=0)
    snapshots.new_worker()
    snapshots.clock.advance(POLICY.retention + MINUTE)
    snapshots.work()
    assert not any(isinstance(fact.event, PurgeStarted) for fact in snapshots.log.events)
    operating = snapshots.operating()
    with refused(UsageError, match="only purges await approval"):
        operating.reject(operating.plan().hash, reason="no", by=Operator.parse("ada@host"))
    snapshots.approve()
    snapshots.work()
    assert snapshots.snapshot("t-0").product(JIRA).level == "absent"


def test_an_approval_purges_nothing_that_somebody_holds() -> None:
    snapshots = Estates(tenants=1, policy=guarded(at_least=1))
    snapshots.says("t-0", "product.deactivated", 2, product=JIRA)
    snapshots.work()
    snapshots.policy = guarded(at_least=0)
    snapshots.new_worker()
    snapshots.clock.advance(POLICY.retention + MINUTE)
    snapshots.work()
    scope = Scope("product", "t-0", JIRA)
    snapshots.operating().carry_out(Act("hold", scope, "its data is being copied"), by=Operator.parse("ada@host"))
    assert snapshots.operating().plan().changes[0].data == "nothing changes: overtaken, or on hold"
    snapshots.approve()
    snapshots.work()
    assert snapshots.snapshot("t-0").product(JIRA).level == "retained"
    snapshots.operating().carry_out(Act("release", scope, "copied"), by=Operator.parse("ada@host"))
    snapshots.work()
    snapshots.approve()
    snapshots.work()
    assert snapshots.snapshot("t-0").product(JIRA).level == "absent"


# -- properties ----------------------------------------------------------------------------------------------------

_SAID = st.tuples(
    st.sampled_from(["t-0", "t-1", "t-2"]),
    st.sampled_from(["product.activated", "product.deactivated", "product.suspended", "tenant.destroyed"]),
    st.sampled_from([JIRA, CONFLUENCE]),
    st.integers(1, 6),
    st.integers(0, 6),
)


def history(policy: Policy, said: Sequence[tuple[str, str, str, int, int]]) -> Estates:
    snapshots = Estates(tenants=3, policy=policy)
    for tenant, type_, product, revision, minutes in said:
        snapshots.clock.advance(minutes * MINUTE)
        data = {} if type_ == "tenant.destroyed" else {"product": product}
        snapshots.says(tenant, type_, revision, **data)
    return snapshots


def registers(snapshots: Estates) -> dict[str, Any]:
    return {
        tenant: (
            state.destroyed is not None,
            state.destroyed_revision,
            {key: (each.presence, each.access, each.license) for key, each in sorted(state.products.items())},
        )
        for tenant in snapshots.ids
        for state in [snapshots.tenant(tenant)]
    }


@pytest.mark.saga
@settings(max_examples=60, deadline=None)
@given(st.lists(_SAID, max_size=14))
def test_no_window_holds_more_than_the_limit_and_approval_leads_where_no_guard_would(
    said: list[tuple[str, str, str, int, int]],
) -> None:
    snapshots, free = history(guarded(), said), history(POLICY, said)
    times: list[datetime] = []
    active: set[tuple[str, str]] = set()
    for fact in snapshots.log.events:
        match fact.event:
            case TenantDestroyed():
                times.append(fact.time)
            case ProductDeactivated() as event if (event.tenant_id, event.product) in active:
                times.append(fact.time)
            case _:
                pass
        for tenant in snapshots.ids:
            if fact.stream == f"tenant:{tenant}" and getattr(fact.event, "product", None):
                state = _as_of(snapshots, fact.stream, fact.version)
                key = (tenant, str(getattr(fact.event, "product", "")))
                (active.add if state.product(key[1]).activated else active.discard)(key)
    window = GUARDED.guard.window
    assert all(sum(at - window < then <= at for then in times) <= 2 for at in times)
    snapshots.approve()
    assert registers(snapshots) == registers(free)


def _as_of(snapshots: Estates, stream: str, version: int) -> Tenant:
    state = Tenant(stream.removeprefix("tenant:"))
    for fact in snapshots.log.load({stream: 0})[stream][:version]:
        state = tenants.evolve(state, fact)
    return state
