"""Does the progress of a scope follow its events?"""

from __future__ import annotations

from typing import TypedDict

from msgspec.structs import replace

from domain.event import Event
from domain.scope.state import (
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepBlocked,
    StepFailed,
)
from domain.scope.steps import MembershipResult, MembershipSpec, Scope, Step
from projections.base import Row
from projections.provisionings import PROJECTION, PROVISIONINGS, STEPS
from tests.domain.given import made
from tests.projections.given import at, ensured, history, removed, rows_of, started

JIRA = Scope("product", "t1", "jira")


class _Of(TypedDict):
    tenant_id: str
    kind: str
    key: str


OF: _Of = {"tenant_id": "t1", "kind": "product", "key": "jira"}
START = started(JIRA, MembershipSpec(product="jira", access="open"), Step.SITE, generation=1)
DONE = ensured(JIRA, Step.SITE, MembershipResult(product="jira", access="open"), generation=1)
UNDO = replace(START, direction="remove", generation=4, compensating=True)
FAILED = made(
    StepFailed,
    {
        **OF,
        "step": 2,
        "direction": "ensure",
        "generation": 1,
        "attempt": 2,
        "reason": "no answer",
        "retry_at": at(9),
    },
)
BLOCKED = made(
    StepBlocked,
    {**OF, "step": 2, "direction": "ensure", "generation": 1, "obstacle": "site-name:acme", "reason": "taken"},
)
CONVERGED = made(ScopeConverged, {**OF, "level": "open", "digest": "d1"})
GAVE_UP = made(ScopeFailed, {**OF, "digest": "d1", "step": 2, "reason": "cannot be"})
HELD = made(ScopePutOnHold, {**OF, "step": 2, "reason": "data_missing"})
RESUMED = made(ScopeResumed, {**OF, "reason": "another wish came"})


def scope(*events: Event) -> Row:
    """What is stored of the scope, with `state` as PostgreSQL makes it of the two."""
    row = dict(rows_of(PROVISIONINGS, PROJECTION, history(*events))["t1", "product", "jira"])
    row["state"] = row.get("outcome") or ("waiting" if row.get("obstacle") else "in_progress")
    return row


def step(*events: Event) -> Row:
    return rows_of(STEPS, PROJECTION, history(*events))["t1", "product", "jira", 2]


def test_a_step_that_was_started_puts_its_scope_in_progress() -> None:
    assert scope(START)["state"] == "in_progress"
    assert step(START) == {
        "state": "started",
        "direction": "ensure",
        "generation": 1,
        "attempt": 0,
        "reason": None,
    }


def test_a_step_that_failed_says_why_and_when_it_is_tried_again() -> None:
    row = step(START, FAILED)
    assert (row["state"], row["attempt"], row["reason"]) == ("failed", 2, "no answer")
    row = scope(START, FAILED)
    assert (row["state"], row["retry_at"]) == ("in_progress", at(9))


def test_a_step_that_is_blocked_makes_its_scope_wait() -> None:
    assert step(START, BLOCKED)["state"] == "blocked"
    row = scope(START, BLOCKED)
    assert (row["state"], row["obstacle"]) == ("waiting", "site-name:acme")


def test_a_released_obstacle_is_gone_once_the_step_goes_on() -> None:
    assert scope(START, BLOCKED, DONE)["state"] == "in_progress"
    assert scope(START, BLOCKED, FAILED)["state"] == "in_progress"


def test_a_product_that_began_anew_after_a_purge_says_that_its_data_is_lost() -> None:
    assert scope(START, DONE, replace(CONVERGED, data_lost=True))["reason"] == "data_lost"
    assert scope(START, DONE, CONVERGED)["reason"] is None


def test_a_scope_converges_to_a_level() -> None:
    row = scope(START, FAILED, DONE, CONVERGED)
    assert (row["state"], row["level"], row["retry_at"]) == ("converged", "open", None)
    assert step(START, FAILED, DONE)["state"] == "done"


def test_the_next_start_puts_it_in_progress_again_at_its_old_level() -> None:
    row = scope(START, DONE, CONVERGED, START)
    assert (row["state"], row["level"]) == ("in_progress", "open")


def test_a_scope_stays_failed_while_it_is_compensated() -> None:
    compensating = (START, FAILED, GAVE_UP, UNDO)
    assert (scope(*compensating)["state"], scope(*compensating)["reason"]) == ("failed", "cannot be")
    undone = (*compensating, removed(JIRA, Step.SITE, generation=4))
    assert (scope(*undone)["state"], scope(*undone)["reason"]) == ("failed", "cannot be")
    assert step(*undone)["state"] == "removed"


def test_a_scope_that_cannot_be_undone_is_held() -> None:
    row = scope(START, GAVE_UP, UNDO, HELD)
    assert (row["state"], row["reason"]) == ("on_hold", "data_missing")


def test_a_resumed_scope_is_in_progress_without_a_reason() -> None:
    for stopped in (GAVE_UP, HELD):
        row = scope(START, stopped, RESUMED)
        assert (row["state"], row["reason"]) == ("in_progress", None)
