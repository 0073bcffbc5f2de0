"""Is a scope's state one word of one list, wherever it is told?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.scope.desired import desired_state
from domain.scope.next_action import Nothing, Wait, blockers, next_action
from domain.scope.states import SCOPE_STATES
from domain.scope.status import status_of
from projections.provisionings import PROVISIONINGS
from tests.domain.given import NOW, POLICY
from tests.domain.scope.snapshots import ALL, HowScopes, Message, how_scopes, said, snapshot, tenant


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(st.lists(said, min_size=1, max_size=6).map(tuple), how_scopes)
def test_a_scope_that_has_more_to_do_has_not_converged_and_one_that_waits_says_why(
    said: tuple[Message, ...], scopes: HowScopes
) -> None:
    found = snapshot(tenant(*said), scopes)
    for scope, actual in found.scopes.items():
        desired = desired_state(scope, found, catalog=ALL, policy=POLICY, now=NOW)
        status = status_of(scope, desired, found, catalog=ALL, now=NOW)
        action = next_action(desired, actual, blockers(scope, desired, found, catalog=ALL), NOW)
        assert status.state in SCOPE_STATES
        if status.state == "converged":
            assert isinstance(action, Nothing)
        if status.state in ("on_hold", "failed", "waiting"):
            assert status.reason
        if isinstance(action, Wait):
            assert status.state != "converged"
        assert (status.state == "on_hold") == (actual.on_hold is not None)


def test_the_read_model_stores_words_of_the_same_list() -> None:
    computed = PROVISIONINGS.c.state.computed
    assert computed is not None
    assert {word for word in SCOPE_STATES if f"'{word}'" in str(computed.sqltext)} == {"in_progress", "waiting"}
