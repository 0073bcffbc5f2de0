"""The transaction of the application: what it repeats, what it leaves, and what the operator's event says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from application.operator_event import OperatorAct
from application.ports.work_queue import WorkItem
from application.transact import ATTEMPTS, transact
from application.unit_of_work import UnitOfWork
from domain.errors import Conflict, GuardTripped, PositionLost, UsageError
from domain.operator import Operator
from domain.scope.state import ScopeResumed
from tests.domain.given import JIRA_SCOPE, of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DUE = WorkItem("site:t-1", NOW)


class Contended:
    """A log in which others record first, as often as it is told."""

    def __init__(self, *conflicts: Conflict) -> None:
        self.conflicts = list(conflicts)
        self.recorded: list[UnitOfWork] = []

    def record(self, recording: UnitOfWork) -> None:
        if self.conflicts:
            raise self.conflicts.pop(0)
        self.recorded.append(recording)


class Decisions:
    """Counts how often a decision is made; each answers with its number."""

    def __init__(self, unit: UnitOfWork | None = None) -> None:
        self.made = 0
        self.unit = unit if unit is not None else UnitOfWork(work_items=[DUE])

    def decide(self) -> tuple[UnitOfWork, int]:
        self.made += 1
        return self.unit, self.made


def test_the_answer_is_that_of_the_decision_that_was_recorded() -> None:
    log, decisions = Contended(Conflict("first"), Conflict("again")), Decisions()
    assert transact(log, decisions.decide) == 3
    assert log.recorded == [decisions.unit]


def test_a_decision_is_made_ten_times_at_most() -> None:
    log, decisions = Contended(*[Conflict("others")] * (ATTEMPTS + 1)), Decisions()
    with pytest.raises(Conflict, match="others"):
        transact(log, decisions.decide)
    assert decisions.made == ATTEMPTS == 10
    assert not log.recorded


def test_an_empty_unit_of_work_is_not_recorded() -> None:
    log = Contended(Conflict("nobody asks"))
    assert transact(log, Decisions(UnitOfWork()).decide) == 1
    assert log.conflicts


def test_a_refusal_is_not_tried_again() -> None:
    def refuse() -> tuple[UnitOfWork, int]:
        raise UsageError("no")

    with pytest.raises(UsageError):
        transact(Contended(), refuse)


def test_each_conflict_is_reported_before_the_next_attempt_and_may_end_them() -> None:
    seen: list[Conflict] = []

    def on_conflict(conflict: Conflict) -> None:
        seen.append(conflict)
        if isinstance(conflict, PositionLost):
            raise conflict

    tripped, lost, decisions = GuardTripped(0, None), PositionLost("gone"), Decisions()
    with pytest.raises(PositionLost):
        transact(Contended(tripped, lost), decisions.decide, on_conflict=on_conflict)
    assert seen == [tripped, lost]
    assert decisions.made == 2


def test_all_events_of_an_act_name_its_first_event_as_their_cause() -> None:
    first, second = uuid4(), uuid4()
    act = OperatorAct.begun(by=Operator.parse("ada"), clock=lambda: NOW, new_id=lambda: first)
    event = ScopeResumed(**of(JIRA_SCOPE), reason="mended")
    one = act.recorded(event, stream=str(JIRA_SCOPE), version=4)
    two = act.recorded(event, stream=str(JIRA_SCOPE), version=5, event_id=second)
    assert (one.id, two.id) == (first, second)
    assert (one.version, one.time, one.event) == (4, NOW, event)
    for each in (one, two):
        assert each.cause.kind == "operator"
        assert (each.cause.source, each.cause.id) == ("ada", str(first))
        assert each.correlation == f"ada {first}"
