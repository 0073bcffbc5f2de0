"""The merge of units of work: no field is forgotten, and none can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import pytest

from application.ports.inbox import Discarded, Incoming, KafkaPosition, QuarantinedMessage, WaitingMessage
from application.ports.work_queue import Blocked, Lease, Reply, WorkItem
from application.unit_of_work import APPENDED, UnitOfWork, merged
from domain.event import Cause, Recorded
from domain.policy import Guard
from domain.scope.state import ScopeResumed
from domain.tenant.guarded import Guarded, PendingApprovals
from tests.domain.given import JIRA_SCOPE, of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LEASE = Lease("site:t-1", "a", 1, (1,), NOW)
EVENT = ScopeResumed(**of(JIRA_SCOPE), reason="mended")
CAUSE = Cause(kind="operator", source="ada", id="1")

FULL: dict[str, Any] = {
    "events": [Recorded(str(JIRA_SCOPE), 1, uuid4(), NOW, CAUSE, "ada 1", EVENT)],
    "positions": [KafkaPosition("t", "id", 0, 1, 2)],
    "incoming": [Incoming("commerce", "1", b"d", "t", 0, 1, "recorded")],
    "duplicates": {("commerce", "1"): 2},
    "waiting": [WaitingMessage("t-1", "commerce", "1", "x", b"d", "t", 0, 1, b"", NOW)],
    "waited": [("commerce", "2")],
    "quarantined": [QuarantinedMessage(b"d", "r", "why", "s", None, None, None, None, "t", 0, 1, b"", NOW)],
    "released": [3],
    "discarded": [Discarded(4, "ada", "why")],
    "customer_tenants": [("c-1", "t-1")],
    "work_items": [WorkItem("site:t-1", NOW)],
    "leases": [LEASE],
    "kept": [LEASE],
    "renewals": [(LEASE, NOW)],
    "blocked": [Blocked("room:eu", "family:t-1:jira")],
    "unblocked": ["room:eu"],
    "replies": [Reply("site:t-1", 1, "key", "done")],
    "grown": ["t-1"],
    "rescheduled": {"t-1": 3},
    "unmoved": {"tenant:t-1": 3},
    "guarded": Guarded(Guard(), NOW, destroys=1),
    "pending_approvals": {"t-1": PendingApprovals(1, NOW)},
    "live_products": 2,
}


def full() -> UnitOfWork:
    copies: dict[str, Any] = {
        name: value.copy() if isinstance(value, list | dict) else value for name, value in FULL.items()
    }
    return UnitOfWork(**copies)


def test_every_field_has_a_value_here() -> None:
    assert tuple(FULL) == UnitOfWork.__struct_fields__


@pytest.mark.parametrize("name", UnitOfWork.__struct_fields__)
def test_a_merge_takes_over_each_field(name: str) -> None:
    one = UnitOfWork(**{name: FULL[name]})
    whole = UnitOfWork()
    whole.merge(one)
    assert whole == one
    assert not whole.is_empty


def test_a_merge_changes_nothing_of_the_other_unit() -> None:
    whole, other = UnitOfWork(), full()
    whole.merge(other)
    whole.merge(full())
    assert other == full()


def test_two_units_with_the_same_fields_become_both() -> None:
    whole = full()
    whole.merge(full())
    for name, value in FULL.items():
        if isinstance(value, list):
            assert getattr(whole, name) == value * 2, name
    assert whole.duplicates == {("commerce", "1"): 4}
    assert whole.guarded == replace(FULL["guarded"], destroys=2)
    assert whole.live_products == 4


def test_of_two_versions_that_a_decision_rests_on_the_earlier_one_counts() -> None:
    for first, then in ((3, 5), (5, 3)):
        whole = UnitOfWork(rescheduled={"t-1": first}, unmoved={"tenant:t-1": first})
        whole.merge(UnitOfWork(rescheduled={"t-1": then}, unmoved={"tenant:t-1": then, "tenant:t-2": 1}))
        assert whole.rescheduled == {"t-1": 3}
        assert whole.unmoved == {"tenant:t-1": 3, "tenant:t-2": 1}


def test_of_what_awaits_approval_the_later_count_holds() -> None:
    whole = UnitOfWork(pending_approvals={"t-1": PendingApprovals(2, NOW)})
    whole.merge(UnitOfWork(pending_approvals={"t-1": None}))
    assert whole.pending_approvals == {"t-1": None}


def test_work_that_several_units_ask_for_is_asked_for_once() -> None:
    later = WorkItem("site:t-1", NOW + timedelta(seconds=1))
    units = [UnitOfWork(work_items=[WorkItem("site:t-1", NOW)]) for _ in range(3)]
    assert merged([*units, UnitOfWork(work_items=[later])]).work_items == [WorkItem("site:t-1", NOW), later]


class Forgetful(UnitOfWork):
    """A unit with a new field for which nobody wrote a rule."""

    invoices: list[str] = msgspec.field(default_factory=list)


class Grown(UnitOfWork):
    """A unit with a new field."""

    invoices: Annotated[list[str], APPENDED] = msgspec.field(default_factory=list)


def test_a_new_field_without_a_rule_stops_the_first_merge() -> None:
    with pytest.raises(TypeError, match=r"Forgetful\.invoices has no rule for a merge"):
        Forgetful().merge(Forgetful())


def test_a_new_field_is_merged_and_counts_as_content() -> None:
    whole = Grown()
    assert whole.is_empty
    whole.merge(Grown(invoices=["1"]))
    assert whole.invoices == ["1"]
    assert not whole.is_empty
