"""Is what the cloud is told the same each time, and never personal?"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from domain.event import Event
from domain.scope.state import ScopeConverged, ScopeFailed, ScopePutOnHold, ScopeResumed, StepBlocked, StepFailed
from domain.scope.steps import CommerceResult, CommerceSpec, Level, Scope, Step
from projections.base import Row
from projections.integration import OUTBOX, PROJECTION
from tests.domain.given import made
from tests.projections.given import at, ensured, history, removed, rows_of, started

SITE = Scope("site", "t1")
OF = {"tenant_id": "t1", "kind": "site"}
COMPLETED = ensured(
    SITE, Step.COMMERCE, CommerceResult(customer_id="c1", known=True, name="Ada Lovelace"), generation=3
)
FAILED = made(
    StepFailed,
    {
        **OF,
        "step": 1,
        "direction": "ensure",
        "generation": 3,
        "attempt": 2,
        "reason": "slow",
        "retry_at": at(9),
    },
)


def outbox(*events: Event) -> Mapping[tuple[object, ...], Row]:
    return rows_of(OUTBOX, PROJECTION, history(*events))


def told(event: Event) -> tuple[str, dict[str, object]]:
    [(key, row)] = outbox(event).items()
    envelope = json.loads(str(row["payload"]))
    assert envelope["type"] == row["type"]
    assert envelope["id"] == str(row["event_id"])
    assert envelope["data"].pop("tenant_id") == row["tenant_id"] == "t1"
    assert envelope["data"].pop("scope")["kind"] == "site"
    assert (envelope["data"].pop("position"),) == key, "the freshness token is the fact's place in the log"
    return envelope["type"], envelope["data"]


def test_a_completed_step_is_a_cloud_event() -> None:
    [(key, row)] = outbox(COMPLETED).items()
    assert key == (1,)
    assert row["created_at"] == at(1)
    assert json.loads(str(row["payload"])) == {
        "specversion": "1.0",
        "id": str(row["event_id"]),
        "source": "/tenantry/provisioning",
        "type": "tenantry.step.completed",
        "subject": "site:t1",
        "time": "2026-03-01T12:01:00Z",
        "datacontenttype": "application/json",
        "partitionkey": "t1",
        "data": {
            "tenant_id": "t1",
            "scope": {"kind": "site", "key": ""},
            "step": {"number": 1, "name": "commerce"},
            "generation": 3,
            "position": 1,
        },
    }


def test_a_removal_is_told_as_undone() -> None:
    assert told(removed(SITE, Step.SITE))[0] == "tenantry.step.undone"


def test_a_failure_says_why_and_when_it_is_tried_again() -> None:
    assert told(FAILED) == (
        "tenantry.step.failed",
        {
            "step": {"number": 1, "name": "commerce"},
            "direction": "ensure",
            "generation": 3,
            "attempt": 2,
            "reason": "slow",
            "retry_at": "2026-03-01T12:09:00Z",
        },
    )


@pytest.mark.parametrize(
    ("level", "word"),
    [("open", "opened"), ("closed", "closed"), ("retained", "retained"), ("absent", "purged")],
)
def test_a_scope_that_converged_is_told_by_its_level(level: Level, word: str) -> None:
    event = made(ScopeConverged, {**OF, "level": level, "digest": "d"})
    assert told(event) == (f"tenantry.site.{word}", {"level": level, "digest": "d"})


def test_a_product_that_began_anew_after_a_purge_is_told_as_data_lost() -> None:
    event = made(ScopeConverged, {**OF, "level": "open", "digest": "d", "data_lost": True})
    assert told(event)[1] == {"level": "open", "digest": "d", "data_lost": True}


def test_a_scope_that_stopped_says_why() -> None:
    step = {"number": 2, "name": "site"}
    gave_up = made(ScopeFailed, {**OF, "digest": "d", "step": 2, "reason": "taken"})
    assert told(gave_up) == ("tenantry.site.failed", {"step": step, "reason": "taken"})
    held = made(ScopePutOnHold, {**OF, "reason": "look"})
    assert told(held) == ("tenantry.site.held", {"step": None, "reason": "look"})


def test_intents_and_waits_are_our_own_affair() -> None:
    spec = CommerceSpec(customer_id="c1", metadata_version=0, administrators_version=0)
    blocked = made(
        StepBlocked, {**OF, "step": 2, "direction": "ensure", "generation": 1, "obstacle": "o", "reason": "r"}
    )
    resumed = made(ScopeResumed, {**OF, "reason": "again"})
    assert outbox(started(SITE, spec, Step.COMMERCE), blocked, resumed) == {}


def test_the_same_fact_has_the_same_id_and_text_each_time() -> None:
    assert outbox(COMPLETED, FAILED) == outbox(COMPLETED, FAILED)
    assert len({row["event_id"] for row in outbox(COMPLETED, COMPLETED).values()}) == 2


def test_no_person_is_named() -> None:
    [row] = outbox(COMPLETED).values()
    assert "Ada" not in str(row)
