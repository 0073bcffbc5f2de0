"""Does the saga end where it should, whatever happens on the way?

A state machine of hypothesis tells stories: what commerce says of four products (two of a family, one of another, an
app), in which order and how often it comes, how much work is done between, which effects fail or kill their worker, how
time passes (licenses expire, retention and restore windows end), that commerce speaks at the very moment at which the
saga speaks for time, and what an operator does: she restores, holds, retries, releases, and decides about what the
destroy guard holds, which in some stories lets next to nothing pass. In a quarter of them the tenant leaves for good at
last, in another she rejects its destruction where that is held. Then all trouble ends, she lets everything go on, and
the world is compared with what the registers say.

The same stories are told on a log in memory and, fewer of them, on real PostgreSQL. That nothing was left out is
counted: each message, and each fact that a tenant or a scope can have, was met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any, Final, Literal, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from domain.commands import COMMANDS
from domain.scope.state import DataAbandoned, EnsureRequested, ScopeEvent, StepBlocked, StepMissing
from domain.tenant.events import TenantCreated, TenantEvent
from tests.domain.convergence_checks import check_end
from tests.domain.keeper import PostgresKeeper
from tests.domain.story import DAY, PRODUCTS, UNLIMITED, Story

pytestmark = pytest.mark.saga

EXAMPLES = 400
EXAMPLES_ON_POSTGRESQL = 25
STEPS = 25

ELSEWHERE: Final = {StepBlocked, StepMissing, DataAbandoned, EnsureRequested}
"""Facts that need two tenants, or a world that loses things: tests/simulation, test_drift.py."""

product = st.sampled_from(PRODUCTS)
number = st.integers(0, 11)
trouble = st.sampled_from(["killed before", "killed after", "retryable", "retryable after", "permanent"])
of_product = st.sampled_from(
    (
        *["product.activated", "product.deactivated"] * 2,
        *("product.suspended", "product.unsuspended", "product.deactivated ahead"),
        *("license.updated", "license expires soon", "license is inactive"),
    )
)
breakable = st.sampled_from([("site", 4), ("family", 6), ("product", 2), ("product", 5), ("product", 7)])
of_tenant = st.sampled_from(["commerce.customer.updated", "tenant.created", "tenant.destroyed"])
said = st.one_of(st.tuples(of_product, product), st.tuples(of_product, product), st.tuples(of_tenant, st.just("")))


class Stories(RuleBasedStateMachine):
    """Each rule is an act of the story. `log` opens another log than one in memory; `met` counts what was there."""

    def __init__(self, met: Counter[Any], log: Callable[[ExitStack], Any] = lambda stack: None) -> None:
        super().__init__()
        self._met, self._open_log = met, log
        self._stack = ExitStack()
        self._story: Story | None = None
        self._at_last = "work"

    @property
    def story(self) -> Story:
        assert self._story is not None
        return self._story

    @initialize(
        limit=st.sampled_from([0, 1, 2, UNLIMITED, UNLIMITED]),
        closing_limit=st.sampled_from([0, 1, UNLIMITED, UNLIMITED]),
        living=st.lists(product, unique=True),
        broken=st.one_of(st.none(), st.none(), breakable),
        take_turns=st.booleans(),
        at_last=st.sampled_from(["work", "work", "tenant leaves", "destruction is rejected"]),
    )
    def begins(
        self,
        limit: int,
        closing_limit: int,
        living: list[str],
        broken: tuple[str, int] | None,
        *,
        take_turns: bool,
        at_last: str,
    ) -> None:
        self._at_last = at_last
        self._story = Story(limit=limit, closing_limit=closing_limit, log=self._open_log(self._stack))
        self.story.cloud.draining, self.story.broken = take_turns, broken
        for key in living:
            self.story.says("product.activated", key)
        if living:
            self.story.works(["none"])

    # -- commerce -----------------------------------------------------------------------------------------------------

    @rule(what=said)
    def commerce_says(self, what: tuple[str, str]) -> None:
        self.story.says(*what)

    @rule(what=said)
    def a_message_is_late(self, what: tuple[str, str]) -> None:
        self.story.delays(*what)

    @precondition(lambda self: self.story.wire)
    @rule(which=number)
    def a_late_message_comes(self, which: int) -> None:
        self.story.comes(which)

    @rule(which=number)
    def a_message_comes_again(self, which: int) -> None:
        self.story.repeats(which)

    @precondition(lambda self: not self.story.overtaking)
    @rule()
    def commerce_is_first_at_the_point_of_no_return(self) -> None:
        self.story.overtakes()

    # -- work and time ------------------------------------------------------------------------------------------------

    @rule()
    def work_is_done(self) -> None:
        self.story.works(["none"])

    @rule(after=number, fate=trouble)
    def work_meets_trouble(self, after: int, fate: str) -> None:
        self.story.works(["none"] * after + [fate])

    @rule(what=breakable)
    def something_is_broken_from_here_on(self, what: tuple[str, int]) -> None:
        self.story.broken = what

    @precondition(lambda self: self.story.broken)
    @rule()
    def it_is_mended(self) -> None:
        self.story.broken = None

    @rule(seconds=st.sampled_from([1, 40, 3600, 15 * DAY, 40 * DAY, 61 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.story.passes(seconds)

    @rule(key=product, type_=st.sampled_from(["product.deactivated", "product.deactivated ahead"]))
    def a_product_retires(self, key: str, type_: str) -> None:
        self.story.retires(key, type_)

    # -- operators ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.story.registers.destroyed_at)
    @rule()
    def she_restores(self) -> None:
        self.story.restores()

    @rule(kind=st.sampled_from(["hold", "release", "release", "retry"]), which=number)
    def she_acts(self, kind: Literal["hold", "release", "retry"], which: int) -> None:
        self.story.acts(kind, which)

    @precondition(lambda self: self.story.registers.held)
    @rule()
    def she_reads_what_is_held(self) -> None:
        self.story.reads()

    @precondition(lambda self: self.story.registers.held)
    @rule()
    def she_approves_it(self) -> None:
        self.story.approves()

    @precondition(lambda self: self.story.registers.held)
    @rule()
    def she_rejects_it(self) -> None:
        self.story.rejects()

    # -- the end ------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        with self._stack:
            if self._story is None:
                return
            if self._at_last == "tenant leaves":
                self.story.leaves()
            if self._at_last == "destruction is rejected":
                self.story.destroys()
                if self.story.registers.held:
                    self.story.reads()
                    self.story.rejects()
            self.story.ends()
            check_end(self.story)
            self._met.update(each.type for each in self.story.sent)
            self._met.update(type(fact.event) for fact in self.story.cloud.log.events)


QUIETLY = settings(
    deadline=None, derandomize=True, stateful_step_count=STEPS, suppress_health_check=[HealthCheck.too_slow]
)


def tell(examples: int, log: Callable[[ExitStack], Any] = lambda stack: None) -> Counter[Any]:
    """So many stories; what was met in them."""
    met = Counter[Any]()

    class Rules(Stories):
        def __init__(self) -> None:
            super().__init__(met, log)

    run_state_machine_as_test(Rules, settings=settings(QUIETLY, max_examples=examples))
    return met


def missed(met: Counter[Any], things: Iterable[Any]) -> list[Any]:
    return [thing for thing in things if not met[thing]]


@pytest.mark.timeout(300)
def test_every_story_ends_with_the_world_as_commerce_wants_it() -> None:
    met = tell(EXAMPLES)
    facts = {*get_args(TenantEvent), *get_args(ScopeEvent)} - ELSEWHERE
    for each in sorted(facts, key=lambda fact: fact.__name__):
        print(f"{each.__name__:22}{met[each]:>8}")  # noqa: T201 - shown by `pytest -rP`
    assert missed(met, COMMANDS) == []
    assert missed(met, facts) == []


@pytest.mark.slow
def test_every_story_ends_so_on_postgresql(fresh_database: Callable[[], AbstractContextManager[str]]) -> None:
    def opened(stack: ExitStack) -> PostgresKeeper:
        return stack.enter_context(closing(PostgresKeeper(stack.enter_context(fresh_database()))))

    assert tell(EXAMPLES_ON_POSTGRESQL, opened)[TenantCreated] >= EXAMPLES_ON_POSTGRESQL
