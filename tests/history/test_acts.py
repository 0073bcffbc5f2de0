"""Which facts are acts, on what, and what of them is told?"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from domain.event import Cause, Event, Recorded
from domain.operator_events import KeptOrphan, OrphansRemoved, RemovalCandidate
from domain.scope.state import ScopePutOnHold, StepMissing
from domain.scope.steps import Step
from history.acts import acts_in

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ADA = Cause(kind="operator", source="Ada (ada@console)", id="1")
SAGA = Cause(kind="event", source="product:t-1:jira-software", id="1")


def fact(stream: str, event: Event, cause: Cause = ADA) -> Recorded:
    return Recorded(stream, 1, UUID(int=1), NOW, cause, "c", event, 7)


def test_what_the_saga_holds_by_itself_is_no_act() -> None:
    held = ScopePutOnHold(tenant_id="t-1", kind="product", key="jira-software", reason="a step failed")
    assert list(acts_in([fact("product:t-1:jira-software", held, SAGA)])) == []
    [act] = acts_in([fact("product:t-1:jira-software", held)])
    assert (act.who, act.what) == ("Ada (ada@console)", "scope put on hold")
    assert (act.tenant_id, act.why) == ("t-1", "a step failed")


def test_what_was_removed_and_what_was_left_of_orphans_is_told_thing_by_thing() -> None:
    gone = RemovalCandidate(where="eu-1", kind="database", name="t_one")
    left = KeptOrphan(where="eu-1", kind="database", name="t_two", why="somebody is in it")
    removed = OrphansRemoved(plan="feed", removed=(gone,), left=(left,), reason="litter", operator="Ada (ada@console)")
    [act] = acts_in([fact("orphans:feed", removed)])
    assert (act.tenant_id, act.why) == (None, "litter")
    assert act.details == {
        "plan": "feed",
        "removed": [{"where": "eu-1", "kind": "database", "name": "t_one"}],
        "left": [{"where": "eu-1", "kind": "database", "name": "t_two", "why": "somebody is in it"}],
    }


def test_what_a_sweep_found_missing_is_an_act_of_who_swept() -> None:
    missing = StepMissing(
        tenant_id="t-1", kind="site", key="", step=Step.SITE, observed_version=3, reason="its name is gone"
    )
    [act] = acts_in([fact("site:t-1", missing)], by="ADA", what="missing", tenant="t-1", since=NOW)
    assert (act.on, act.what, act.why) == ("site:t-1", "step missing", "its name is gone")
    assert list(acts_in([fact("site:t-1", missing)], until=NOW)) == []
