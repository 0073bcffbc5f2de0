"""What is actually there after each fact?"""

from __future__ import annotations

import pytest

from domain.scope.state import (
    Hold,
    Provisioning,
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from domain.scope.steps import DatabaseSpec, Direction, RoleSpec, Scope, SiteSpec, Step, StepSpec
from tests.domain.given import JIRA_FAMILY, NOW, SITE, after, ensured, of

NAME = SiteSpec(site_name="acme", access="open")


def database(*products: str) -> DatabaseSpec:
    return DatabaseSpec(family="jira", roles=tuple(RoleSpec(product=key, login=True) for key in products))


def start(actual: Provisioning, step: Step, spec: StepSpec, direction: Direction = "ensure") -> Provisioning:
    return after(
        actual,
        StepStarted(**of(actual.scope), step=step, direction=direction, generation=actual.version + 1, spec=spec),
    )


def test_what_was_started_is_perhaps_there() -> None:
    actual = start(Provisioning(SITE), Step.SITE, NAME)
    assert not actual.is_empty
    assert not actual.steps[Step.SITE].done
    assert actual.steps[Step.SITE].result is None
    assert actual.intent is not None
    assert actual.intent.generation == actual.version == 1


def test_what_completed_is_there_with_its_facts() -> None:
    actual = ensured(Provisioning(SITE), {Step.SITE: NAME})
    assert actual.steps[Step.SITE].done
    assert actual.steps[Step.SITE].result is not None
    assert actual.intent is None


def test_what_was_removed_is_gone_and_the_scope_is_empty() -> None:
    actual = start(ensured(Provisioning(SITE), {Step.SITE: NAME}), Step.SITE, NAME, "remove")
    assert not actual.is_empty
    assert actual.steps[Step.SITE].leaving
    actual = after(actual, StepCompleted(**of(SITE), step=Step.SITE, direction="remove", generation=actual.version))
    assert actual.is_empty


def test_a_part_is_named_after_the_generation_that_first_named_it() -> None:
    actual = ensured(Provisioning(JIRA_FAMILY), {Step.DATABASE: database("a")})
    actual = ensured(actual, {Step.DATABASE: database("a", "b")})
    assert actual.steps[Step.DATABASE].created_generations == {"": 1, "a": 1, "b": 3}


def test_a_part_that_is_no_longer_wished_is_perhaps_there_until_the_step_completes() -> None:
    actual = ensured(Provisioning(JIRA_FAMILY), {Step.DATABASE: database("a", "b")})
    actual = start(actual, Step.DATABASE, database("a"))
    assert actual.steps[Step.DATABASE].created_generations == {"": 1, "a": 1, "b": 1}
    actual = ensured(actual, {Step.DATABASE: database("a")})
    assert actual.steps[Step.DATABASE].created_generations == {"": 1, "a": 1}
    actual = ensured(actual, {Step.DATABASE: database("a", "b")})
    assert actual.steps[Step.DATABASE].created_generations["b"] == actual.version - 1


def test_a_part_of_an_intent_that_was_overtaken_is_still_perhaps_there() -> None:
    actual = start(Provisioning(JIRA_FAMILY), Step.DATABASE, database("a", "b"))
    actual = start(actual, Step.DATABASE, database("a"))
    assert actual.steps[Step.DATABASE].created_generations == {"": 1, "a": 1, "b": 1}


def test_after_a_removal_what_is_made_anew_has_a_new_name() -> None:
    actual = ensured(Provisioning(JIRA_FAMILY), {Step.DATABASE: database("a")})
    actual = start(actual, Step.DATABASE, database("a"), "remove")
    actual = after(
        actual,
        StepCompleted(**of(JIRA_FAMILY), step=Step.DATABASE, direction="remove", generation=actual.version),
    )
    actual = ensured(actual, {Step.DATABASE: database("a")})
    assert actual.steps[Step.DATABASE].created_generations == {"": 5, "a": 5}


def test_a_failure_of_an_older_generation_does_not_touch_the_intent() -> None:
    actual = start(start(Provisioning(SITE), Step.SITE, NAME), Step.SITE, NAME)
    late = StepFailed(
        **of(SITE), step=Step.SITE, direction="ensure", generation=1, attempt=1, reason="late", retry_at=NOW
    )
    assert after(actual, late).intent == actual.intent


def test_a_scope_that_converged_has_lived_until_it_converges_to_absent() -> None:
    actual = ensured(Provisioning(SITE), {Step.SITE: NAME})
    assert (actual.has_converged, actual.level) == (False, "absent")
    for level in ("open", "closed", "retained"):
        actual = after(actual, ScopeConverged(**of(SITE), level=level, digest="d"))
        assert (actual.has_converged, actual.level) == (True, level)
    assert actual.converged is not None
    assert actual.converged.steps == {Step.SITE: NAME}
    assert not after(actual, ScopeConverged(**of(SITE), level="absent", digest="d")).has_converged


def test_resuming_clears_what_was_given_up_what_was_held_and_the_used_up_intent() -> None:
    actual = start(Provisioning(SITE), Step.SITE, NAME)
    actual = after(actual, ScopeFailed(**of(SITE), digest="d", step=Step.SITE, reason="no"))
    actual = after(actual, ScopePutOnHold(**of(SITE), reason="look"))
    assert actual.failure is not None
    assert actual.on_hold == Hold("look", None)
    actual = after(actual, ScopeResumed(**of(SITE), reason="looked"))
    assert (actual.failure, actual.on_hold, actual.intent) == (None, None, None)
    assert not actual.is_empty


@pytest.mark.parametrize("scope", [SITE, JIRA_FAMILY, Scope("product", "t.1_x", "compass")])
def test_a_scope_is_named_by_its_stream(scope: Scope) -> None:
    assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize("text", ["family:t", "tenant:t", "customer:c", "", "product", "site", "site:", "site:t:key"])
def test_other_streams_name_no_scope(text: str) -> None:
    with pytest.raises(ValueError, match="names no scope"):
        Scope.parse(text)
