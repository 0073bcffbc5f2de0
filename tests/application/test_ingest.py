"""What becomes of a message that is not good, comes twice, or comes too early?"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from application.inbound import Readable, RefusedMessage
from application.ports.inbox import KafkaPosition
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, PositionLost
from domain.tenant.events import ProductActivated, ProductSuspended, TenantCreated, TenantMessageStale
from tests.domain.given import APP, CONFLUENCE, JIRA, NOW, POLICY, Clock, FrontDoor, Intake, message
from tests.fakes.event_log import MemoryEventLog

SMALL_ROOM = POLICY.model_copy(update={"waiting_limit": 2})


def noise(text: bytes = b"noise") -> RefusedMessage:
    return RefusedMessage(
        rule="not-json",
        explanation="not JSON",
        source=None,
        id=None,
        type=None,
        tenant_id=None,
        customer_id=None,
        digest=text,
        body=text,
        topic="tenantry.lifecycle",
        partition=0,
        offset=5,
    )


def outcomes(intake: Intake) -> dict[str, str]:
    return {id_: seen.incoming.outcome for (_, id_), seen in intake.log.incoming.items()}


def due(intake: Intake) -> set[str]:
    return {work_item.scope for work_item in intake.log.work_items.values()}


# -- duplicates and ids --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", ["one", "two"])
def test_a_message_that_comes_twice_is_counted_and_recorded_once(batches: str) -> None:
    intake = Intake()
    created = message("tenant.created", 1)
    if batches == "one":
        assert intake.takes(created, created) == {"recorded": 1, "duplicate": 1}
    else:
        assert intake.takes(created) == {"recorded": 1}
        assert intake.takes(created) == {"duplicate": 1}
    assert len(intake.log.events) == 1
    assert intake.log.incoming["commerce", created.id].duplicates == 1


@pytest.mark.parametrize("batches", ["one", "two"])
def test_the_same_id_with_another_body_is_quarantined_and_the_first_stays(batches: str) -> None:
    intake = Intake()
    first = message("tenant.created", 1, id="1")
    second = message("tenant.created", 1, id="1", site_name="other")
    if batches == "one":
        intake.takes(first, second)
    else:
        intake.takes(first)
        intake.takes(second)
    assert intake.rules() == ["same-id-other-content"]
    assert len(intake.log.events) == 1
    assert outcomes(intake) == {"1": "recorded"}
    assert intake.takes(first) == {"duplicate": 1}


def test_a_creation_that_comes_again_is_compared_with_the_whole_of_the_first() -> None:
    """Also by a process that has seen the tenant since, without its personal fields."""
    log = MemoryEventLog()
    FrontDoor(log, policy=POLICY, clock=Clock()).takes(message("tenant.created"))
    another = FrontDoor(log, policy=POLICY, clock=Clock())
    another.takes(message("product.activated", 1, product=JIRA, edition="standard", users=5))
    assert another.takes(message("tenant.created", id="again")) == {"stale": 1}
    eve = {"account_id": "ada", "name": "Eve", "email": "ada@example.com"}
    assert another.takes(message("tenant.created", administrator=eve)) == {"quarantined": 1}
    assert [each.message.rule for each in log.quarantine.values()] == ["tenant-id-used-twice"]


def test_the_same_id_of_another_source_is_another_message() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1, id="1"), message("product.activated", 1, id="1", source="trial"))
    assert len(intake.log.events) == 2


def test_the_other_body_that_comes_again_and_again_is_counted_in_quarantine() -> None:
    intake = Intake()
    other = message("tenant.created", 1, id="1", site_name="other")
    intake.takes(message("tenant.created", 1, id="1"), other, other)
    intake.takes(other)
    assert [row.repeats for row in intake.log.quarantine.values()] == [2]


# -- waiting -------------------------------------------------------------------------------------------------------


def test_what_comes_before_its_tenant_waits_and_is_merged_when_the_tenant_comes() -> None:
    intake = Intake()
    activated = message("product.activated", 1, users=7)
    assert intake.takes(activated) == {"waiting": 1}
    assert not intake.log.events
    assert outcomes(intake) == {activated.id: "waiting"}
    assert intake.takes(message("tenant.created", 1)) == {"recorded": 2}
    assert [type(event) for event in intake.events()] == [TenantCreated, ProductActivated]
    assert outcomes(intake)[activated.id] == "recorded"
    assert not intake.log.waiting(["t-1"])


def test_what_waited_is_let_in_in_the_order_of_arrival() -> None:
    intake = Intake()
    types = ("product.activated", "product.suspended", "product.unsuspended", "product.deactivated")
    for type_ in types[:2]:
        intake.takes(message(type_))
    intake.takes(*(message(type_) for type_ in types[2:]), message("tenant.created"))
    assert not intake.rules()
    assert not intake.tenant().product(JIRA).activated


def test_a_message_that_waits_and_comes_again_is_a_duplicate() -> None:
    intake = Intake()
    activated = message("product.activated", 1)
    intake.takes(activated)
    assert intake.takes(activated) == {"duplicate": 1}
    assert len(intake.log.waiting(["t-1"])["t-1"]) == 1


def test_what_waited_and_is_refused_then_goes_to_quarantine() -> None:
    intake = Intake()
    suspended = message("product.suspended")
    intake.takes(suspended)
    intake.takes(message("tenant.created"))
    assert intake.rules() == ["not-active"]
    assert outcomes(intake)[suspended.id] == "quarantined"


@pytest.mark.parametrize("size", [1, 3])
def test_more_than_the_bound_of_the_waiting_room_is_quarantined(size: int) -> None:
    intake = Intake(policy=SMALL_ROOM)
    messages = [message("product.suspended", number) for number in range(3)]
    for start in range(0, 3, size):
        intake.takes(*messages[start : start + size])
    assert len(intake.log.waiting(["t-1"])["t-1"]) == 2
    assert intake.rules() == ["waiting-room-full"]
    intake.takes(message("tenant.created", 1))
    number = next(iter(intake.log.quarantine))
    assert intake.takes(messages[2], released=number) == {"recorded": 1}
    assert not intake.rules()


def test_a_refused_creation_lets_nobody_in() -> None:
    intake = Intake()
    intake.takes(message("product.activated", 1))
    bad = [{"product": "minesweeper", "edition": "free", "users": 1, "revision": 1}]
    intake.takes(message("tenant.created", 1, products=bad))
    assert intake.rules() == ["unknown-product"]
    assert len(intake.log.waiting(["t-1"])["t-1"]) == 1


# -- quarantine ----------------------------------------------------------------------------------------------------


def test_a_message_that_cannot_be_read_is_quarantined_whole_with_its_place() -> None:
    intake = Intake()
    assert intake.takes(noise(), message("tenant.created", 1)) == {"quarantined": 1, "recorded": 1}
    (row,) = intake.log.quarantine.values()
    assert (row.message.body, row.message.rule, row.message.offset) == (b"noise", "not-json", 5)


def test_what_is_in_quarantine_and_comes_again_is_a_duplicate() -> None:
    intake = Intake()
    unknown = message("product.activated", 1, product="minesweeper")
    intake.takes(message("tenant.created", 1), unknown)
    assert intake.takes(unknown) == {"duplicate": 1}
    assert len(intake.log.quarantine) == 1


def test_a_retry_goes_through_the_front_door_again() -> None:
    intake = Intake()
    suspended = message("product.suspended")
    intake.takes(message("tenant.created"), suspended)
    assert intake.rules() == ["not-active"]
    intake.takes(message("product.activated"))
    (number,) = intake.log.quarantine
    assert intake.takes(suspended, released=number) == {"recorded": 1}
    assert intake.tenant().product(JIRA).suspended
    assert intake.log.quarantine[number].state == "retried"
    assert outcomes(intake)[suspended.id] == "recorded"
    assert intake.takes(suspended) == {"duplicate": 1}


def test_a_retry_that_is_refused_again_lies_in_quarantine_again() -> None:
    intake = Intake()
    suspended = message("product.suspended")
    intake.takes(message("tenant.created"), suspended)
    (number,) = intake.log.quarantine
    assert intake.takes(suspended, released=number) == {"quarantined": 1}
    assert [row.state for row in intake.log.quarantine.values()] == ["retried", "open"]


def test_a_retry_of_what_was_retried_already_is_a_conflict_and_records_nothing() -> None:
    intake = Intake()
    suspended = message("product.suspended")
    intake.takes(message("tenant.created"), suspended)
    (number,) = intake.log.quarantine
    intake.takes(message("product.activated"))
    intake.takes(suspended, released=number)
    before = len(intake.log.events)
    with pytest.raises(Conflict):
        intake.takes(suspended, released=number)
    assert len(intake.log.events) == before


def test_after_the_restore_window_a_message_is_quarantined() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("tenant.destroyed", 2))
    intake.clock.advance(POLICY.restore_window + timedelta(seconds=1))
    intake.takes(message("product.activated", 1))
    assert intake.rules() == ["tenant-destroyed"]


def test_one_bad_message_does_not_keep_the_others_of_its_batch() -> None:
    intake = Intake()
    counts = intake.takes(
        message("tenant.created", 1),
        message("product.activated", 1, product="minesweeper"),
        message("product.activated", 1),
    )
    assert counts == {"recorded": 2, "quarantined": 1}


# -- what is recorded ----------------------------------------------------------------------------------------------


def test_a_stale_message_is_recorded_as_stale_and_makes_nothing_due() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("product.suspended", 5))
    intake.log.work_items.clear()
    stale = message("product.unsuspended", 4)
    assert intake.takes(stale) == {"stale": 1}
    assert isinstance(intake.events()[-1], TenantMessageStale)
    assert outcomes(intake)[stale.id] == "stale"
    assert not intake.log.work_items


def test_every_fact_names_the_message_that_caused_it() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1, id="17", offset=40))
    (fact,) = intake.log.events
    assert (fact.stream, fact.version, fact.time) == ("tenant:t-1", 1, intake.clock())
    assert (fact.cause.source, fact.cause.id, fact.cause.offset) == ("commerce", "17", 40)
    assert fact.correlation == "commerce 17"


def test_a_change_of_a_product_makes_it_its_apps_and_its_family_due() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("product.activated", 1, product=APP, edition="free"))
    intake.log.work_items.clear()
    intake.takes(message("product.activated", 1))
    assert due(intake) == {
        f"product:t-1:{JIRA}",
        f"product:t-1:{APP}",
        "family:t-1:jira",
    }


def test_a_destroyed_tenant_makes_all_its_scopes_due() -> None:
    intake = Intake()
    activated = [message("product.activated", 1, product=key) for key in (JIRA, CONFLUENCE)]
    intake.takes(message("tenant.created", 1), *activated)
    intake.log.work_items.clear()
    intake.takes(message("tenant.destroyed", 1))
    assert due(intake) == {
        "site:t-1",
        "family:t-1:jira",
        "family:t-1:confluence",
        f"product:t-1:{JIRA}",
        f"product:t-1:{CONFLUENCE}",
    }


def test_of_a_tenant_that_is_created_with_products_the_site_alone_is_due() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("product.activated", 1))
    assert due(intake) == {"site:t-1"}


def test_a_product_that_comes_with_its_tenant_is_due_where_its_license_has_an_end() -> None:
    intake = Intake()
    activated = message("product.activated", 1, expires_at=(NOW + timedelta(days=30)).isoformat())
    intake.takes(message("tenant.created", 1), activated)
    assert due(intake) == {"site:t-1", "family:t-1:jira", f"product:t-1:{JIRA}"}


def test_a_batch_says_which_tenants_have_a_product_more() -> None:
    intake, recordings = Intake(), list[UnitOfWork]()
    intake.log.before_record = recordings.append
    intake.takes(message("tenant.created", 1), message("product.activated", 1))
    intake.takes(message("product.suspended", 2))
    intake.takes(message("product.activated", 1, product=CONFLUENCE))
    assert [recording.grown for recording in recordings] == [[], [], ["t-1"]]


def test_an_update_of_the_customer_makes_the_customer_due() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), message("commerce.customer.updated", 1))
    assert "customer:c-1" in due(intake)
    assert intake.log.tenants_of("c-1") == ["t-1"]


def test_a_scope_that_many_messages_of_a_batch_change_is_woken_once() -> None:
    intake = Intake()
    intake.takes(message("tenant.created", 1), *(message("product.suspended", number) for number in range(9)))
    assert len([work_item for work_item in intake.log.work_items.values() if work_item.scope == "site:t-1"]) == 1


def test_positions_move_with_the_batch() -> None:
    intake = Intake()
    position = KafkaPosition("tenantry.lifecycle", "topic-id", 0, None, 1)
    intake.lifecycle.intake([message("tenant.created", 1)], [position])
    assert intake.log.positions(["topic-id"]) == {("topic-id", 0): 1}
    with pytest.raises(PositionLost):
        intake.lifecycle.intake([message("product.activated", 1)], [position])
    assert len(intake.log.events) == 1


# -- being second --------------------------------------------------------------------------------------------------


def first_be(intake: Intake, other: Readable) -> None:
    """Let somebody else record `other` just before the next recording."""

    def somebody_else(recording: UnitOfWork) -> None:
        intake.log.before_record = lambda later: None
        intake.takes(other)

    intake.log.before_record = somebody_else


def test_who_is_second_decides_again_on_the_new_state() -> None:
    intake = Intake()
    intake.takes(message("tenant.created"), message("product.activated"))
    first_be(intake, message("product.suspended"))
    assert intake.takes(message("product.suspended", id="late")) == {"quarantined": 1}
    assert intake.rules() == ["already-suspended"]
    assert [type(event) for event in intake.events()].count(ProductSuspended) == 1
    assert intake.log.conflicts == 1


def test_who_is_second_with_the_same_message_counts_a_duplicate() -> None:
    intake = Intake()
    created = message("tenant.created", 1)
    first_be(intake, created)
    assert intake.takes(created) == {"duplicate": 1}
    assert len(intake.log.events) == 1


def test_who_is_always_second_says_so_in_the_end() -> None:
    intake = Intake()

    def conflict(recording: UnitOfWork) -> None:
        raise Conflict("somebody else recorded first: decide again")

    intake.log.before_record = conflict
    with pytest.raises(Conflict):
        intake.takes(message("tenant.created", 1))
    intake.log.before_record = lambda recording: None
    assert intake.takes(message("tenant.created", 1)) == {"recorded": 1}


def test_a_message_that_waits_though_its_tenant_is_there_is_let_in_with_the_next_one() -> None:
    """An operator's retry creates the tenant while the intake, on an older state, sends a message to wait."""
    intake = Intake()
    activated = message("product.activated", 1)
    first_be(intake, message("tenant.created", 1))
    intake.takes(activated)
    intake.takes(message("product.suspended", 2))
    assert not intake.log.waiting(["t-1"])
    assert intake.tenant().product(JIRA).activated


def test_without_a_cause_time_a_message_can_still_be_dated() -> None:
    intake = Intake()
    late = msgspec.structs.replace(message("tenant.created", 1), time=intake.clock() + timedelta(hours=1))
    intake.takes(late)
    assert intake.log.events[0].happened == late.time


# -- reserved site names -------------------------------------------------------------------------------------------


def test_a_tenant_with_a_reserved_site_name_is_quarantined_blocks_nobody_and_comes_in_when_the_policy_allows_it() -> (
    None
):
    intake = Intake()
    created = message("tenant.created", 1, site_name="www")
    activated = message("product.activated", 1, product=CONFLUENCE)
    other = message("tenant.created", 1, tenant_id="t-2", site_name="globex")
    assert intake.takes(created, activated, other) == {"quarantined": 1, "waiting": 1, "recorded": 1}
    assert intake.rules() == ["site-name-reserved"]
    [number] = intake.log.quarantine
    intake.lifecycle.policy = POLICY.model_copy(update={"reserved_site_names": ()})
    assert intake.takes(created, released=number) == {"recorded": 2}
    assert [type(event.event) for event in intake.log.events][1:] == [TenantCreated, ProductActivated]
