"""Do the relations that are derived from the table of dependencies agree with each other?

A scope that reads another one must be among its dependents, and a scope that reads the registers of a product must be
among those that the product concerns: else a change leaves it asleep. Both are tried on random snapshots, and the
events that wake on random stories: after every turn, a scope that could go on is due. Wrong edges are planted, and
caught.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.scope import dependencies
from domain.scope.dependencies import (
    DEPENDENCIES,
    Dependency,
    concerned,
    dependents,
    made_due,
    prerequisites,
    registers_of,
)
from domain.scope.desired import desired_state
from domain.scope.next_action import Nothing, Wait, blockers, next_action
from domain.scope.snapshot import TenantSnapshot
from domain.scope.state import ScopeConverged
from domain.scope.steps import SCOPE_STEPS, Scope, Step
from tests.domain.driver import Killed
from tests.domain.given import APP, CATALOG, CONFLUENCE, JIRA, NOW, POLICY, TENANT, after, of
from tests.domain.prerequisites import prerequisites_of
from tests.domain.scope.snapshots import ALL, SCOPES, HowScopes, Message, how_scopes, said, snapshot, state, tenant
from tests.domain.story import DAY, PRODUCTS, Story

QUIETLY = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150
)
messages = st.lists(said, min_size=1, max_size=6).map(tuple)


def what_it_reads_into(scope: Scope, of: TenantSnapshot) -> tuple[Any, ...]:
    """All that the neighbours and the registers have a say in, but for the words; a purge that begins needs no wake."""
    desired = desired_state(scope, of, catalog=ALL, policy=POLICY, now=NOW)
    way = blockers(scope, desired, of, catalog=ALL)
    free = [each is None for each in (way.before_ensuring, way.before_removing, way.before_converging, way.impossible)]
    return desired.level, desired.steps, desired.pin, desired.purge, desired.awaited is None, *free


def check_neighbours(said: tuple[Message, ...], destroyed: int, scopes: HowScopes, other: tuple[Any, ...]) -> None:
    """Each scope becomes another one, and whatever reads that is among its dependents."""
    registers = tenant(*said, destroyed=destroyed)
    before = snapshot(registers, scopes)
    for number, changed in enumerate(SCOPES):
        if changed not in before.scopes:
            continue
        after = snapshot(registers, (*scopes[:number], other, *scopes[number + 1 :]))
        waits = {*dependents(changed, before, catalog=ALL), *dependents(changed, after, catalog=ALL)}
        for scope in before.scopes:
            if scope == changed or scope in waits:
                continue
            same = what_it_reads_into(scope, before) == what_it_reads_into(scope, after)
            assert same, f"{scope} reads {changed}, and is not among its dependents"


@settings(QUIETLY, max_examples=400)
@given(messages, st.integers(0, 1), how_scopes, state)
def test_a_scope_that_reads_another_one_is_among_its_dependents(
    said: tuple[Message, ...], destroyed: int, scopes: HowScopes, other: tuple[Any, ...]
) -> None:
    check_neighbours(said, destroyed, scopes, other)


@QUIETLY
@given(messages, said, how_scopes)
def test_a_scope_that_reads_the_registers_of_a_product_is_concerned_by_it(
    said: tuple[Message, ...], more: Message, scopes: HowScopes
) -> None:
    before, after = (snapshot(tenant(*each), scopes) for each in (said, (*said, more)))
    _, product = more
    hit = concerned(after.tenant, product, catalog=ALL)
    for scope in before.scopes:
        if scope not in hit and scope.kind != "site":
            assert what_it_reads_into(scope, before) == what_it_reads_into(scope, after), f"{scope} reads {product}"


@given(messages)
def test_what_a_product_concerns_has_its_registers_among_those_that_decide(said: tuple[Message, ...]) -> None:
    registers = tenant(*said)
    everything = dependencies.scopes_with(registers.id, registers.products, ALL)
    for key in registers.products:
        deciding = [each for each in everything if key in registers_of(each, registers, catalog=ALL)]
        assert set(concerned(registers, key, catalog=ALL)) == set(deciding)


def test_the_table_says_what_the_description_of_the_domain_says() -> None:
    for scope in SCOPES:
        if scope.key in CATALOG or scope.kind == "site":
            assert [found for _, found in prerequisites(scope, ALL)] == prerequisites_of(scope)


def test_no_scope_stands_on_itself_and_each_edge_names_a_step_that_its_prerequisite_has() -> None:
    for scope in SCOPES:
        below, left = set[Scope](), [scope]
        while left:
            found = [each for _, each in prerequisites(left.pop(), ALL)]
            assert scope not in found
            left += [each for each in found if each not in below]
            below |= set(found)
    assert all(edge.step in SCOPE_STEPS[edge.prerequisite] for edge in DEPENDENCIES)


def test_a_product_that_keeps_what_failed_makes_due_all_that_stand_on_it() -> None:
    """The site failed while the product converged: the others, which were absent for it, may go on."""
    registers = tenant(("product.activated", JIRA), ("product.activated", CONFLUENCE))
    hows = {"site": (2, ("fails",)), "family": (0, ()), "product": (4, ())}
    before = snapshot(registers, tuple(hows[scope.kind] for scope in SCOPES))
    jira, others = Scope("product", TENANT, JIRA), ("family", "product")
    lived = after(before.actual(jira), event := ScopeConverged(**of(jira), level="open", digest="some"))
    with_it = TenantSnapshot(registers, before.customer, {**before.scopes, jira: lived})
    due = made_due(event, before.actual(jira), with_it, catalog=ALL)
    for scope in [Scope(kind, TENANT, CONFLUENCE) for kind in others]:  # type: ignore[arg-type]
        assert desired_state(scope, before, catalog=ALL, policy=POLICY, now=NOW).level == "absent"
        assert desired_state(scope, with_it, catalog=ALL, policy=POLICY, now=NOW).level == "open"
        assert scope in due
    again = made_due(event, lived, with_it, catalog=ALL)
    assert all(each.kind == "product" for each in again), "an open product wakes no family each time"


# -- what wakes ----------------------------------------------------------------------------------------------------

ACTS = ("product.activated", "product.activated", "product.suspended", "product.unsuspended", "product.deactivated")
FATES = ("none", "none", "none", "retryable", "permanent", "killed after")
act = st.one_of(
    st.tuples(st.just("says"), st.sampled_from(ACTS), st.sampled_from(PRODUCTS)),
    st.tuples(st.just("works"), st.lists(st.sampled_from(FATES), max_size=6)),
    st.tuples(st.just("passes"), st.sampled_from([40, 61 * DAY])),
    st.tuples(st.just("acts"), st.sampled_from(["hold", "release", "retry"]), st.integers(0, 9)),
    st.tuples(st.just("says"), st.just("tenant.destroyed"), st.just("")),
)


def check_queue(story: Story) -> None:
    """No scope could go on that is not due, and is nobody's."""
    cloud = story.cloud
    queued = {item.scope for item in cloud.log.work_items.values()} | set(cloud.log.leases)
    snapshot, now = cloud.snapshot(), cloud.clock()
    for scope, actual in snapshot.scopes.items():
        if str(scope) in queued:
            continue
        desired = desired_state(scope, snapshot, catalog=CATALOG, policy=cloud.policy, now=now)
        action = next_action(desired, actual, blockers(scope, desired, snapshot, catalog=CATALOG), now)
        assert isinstance(action, Wait | Nothing), f"{scope} sleeps, and could go on: {action}"


def tell(acts: list[tuple[Any, ...]]) -> None:
    story = Story()
    story.cloud.draining = True
    for name, *arguments in acts:
        if name != "works":
            getattr(story, name)(*arguments)
            check_queue(story)
            continue
        story.fates = chain(arguments[0], iter(lambda: "none", None))
        going_on = True
        while going_on:
            with suppress(Killed):
                going_on = story.cloud.work_once()
            check_queue(story)


@settings(QUIETLY, max_examples=60)
@given(st.lists(act, min_size=3, max_size=12))
def test_after_every_turn_a_scope_that_could_go_on_is_due(acts: list[tuple[Any, ...]]) -> None:
    tell([*acts, ("works", [])])


# -- planted -------------------------------------------------------------------------------------------------------


def the_table(monkeypatch: pytest.MonkeyPatch, edges: tuple[Dependency, ...]) -> None:
    by_kind = {kind: tuple(edge for edge in edges if edge.dependent == kind) for kind in SCOPE_STEPS}
    monkeypatch.setattr(dependencies, "_STANDS_ON", by_kind)


@pytest.mark.parametrize("number", range(len(DEPENDENCIES)))
def test_an_edge_that_is_missing_is_caught(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    the_table(monkeypatch, DEPENDENCIES[:number] + DEPENDENCIES[number + 1 :])
    with pytest.raises(AssertionError):
        test_the_table_says_what_the_description_of_the_domain_says()


@pytest.mark.parametrize(
    ("relation", "said", "other"),
    [
        ("family", [("product.activated", JIRA)], (2, ("loses its data",))),
        ("host", [("product.activated", JIRA), ("product.activated", APP), ("product.deactivated", JIRA)], (0, ())),
    ],
)
def test_dependents_that_forget_an_edge_are_caught(
    relation: str, said: list[Message], other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product is closed while its family's data is missing, and an app is kept with its host: no blockers at all."""
    the_table(monkeypatch, tuple(edge for edge in DEPENDENCIES if edge.relation != relation))
    with pytest.raises(AssertionError, match="is not among its dependents"):
        check_neighbours(tuple(said), 0, ((4, ("converges",)),) * len(SCOPES), other)


@pytest.mark.parametrize("step", [("site", Step.SITE), ("family", Step.DATABASE), ("product", Step.LICENSE)])
def test_a_step_that_wakes_nobody_is_caught(step: tuple[str, Step], monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: Mapping[Any, Any] = dependencies._WAIT_FOR  # noqa: SLF001
    monkeypatch.setattr(dependencies, "_WAIT_FOR", {key: kinds for key, kinds in waiting.items() if key != step})
    with pytest.raises(AssertionError, match="sleeps, and could go on"):
        tell([("says", "product.activated", "timesheets"), ("works", [])])
