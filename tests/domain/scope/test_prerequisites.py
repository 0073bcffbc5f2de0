"""What becomes of those who stand on what is given up before it lived?

A site is the ground of families and products, a family and a host that of products. Nobody begins on ground that is
being undone, and who stands on it goes first. Ground on which something has lived stays: data goes only by purge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from application.operator_commands import Act
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.errors import Permanent, Retryable
from domain.operator import Operator
from domain.scope.state import ScopeFailed, StepStarted
from domain.scope.steps import Scope, Step
from domain.tenant.events import PurgeStarted
from tests.domain.driver import Cloud
from tests.domain.given import (
    APP,
    APP_SCOPE,
    CATALOG,
    CONFLUENCE,
    JIRA,
    JIRA_FAMILY,
    JIRA_SCOPE,
    POLICY,
    SERVICE,
    SITE,
    TENANT,
    message,
)
from tests.domain.prerequisites import check_ground, check_undone

CONFLUENCE_SCOPE = Scope("product", TENANT, CONFLUENCE)
SERVICE_SCOPE = Scope("product", TENANT, SERVICE)


class Ground(Cloud):
    """A tenant with those products, whose scopes take turns after each effect.

    What is in `slow` fails for now, what is in `broken` for good.
    """

    def __init__(self, *products: str) -> None:
        super().__init__()
        self.draining = True
        self.slow: set[tuple[Scope, Step]] = set()
        self.broken: set[tuple[Scope, Step]] = set()
        self.world.trouble = self._trouble
        self.intake.takes(message("tenant.created", 1))
        for product in products:
            self.says("product.activated", product)

    def _trouble(self, order: Order, when: str) -> None:
        if order.direction == "ensure" and when == "before":
            if (order.scope, order.step) in self.broken:
                raise Permanent("no")
            if (order.scope, order.step) in self.slow:
                raise Retryable("not yet")

    def says(self, type_: str, product: str = JIRA, revision: int = 1, **data: Any) -> None:
        if type_ in ("product.activated", "license.updated"):
            data["edition"] = next(iter(CATALOG[product].editions))
        self.intake.takes(message(type_, revision, product=product, **data))

    def does(self, kind: Literal["hold", "release"], scope: Scope) -> None:
        self.operating().carry_out(Act(kind, scope, "she thinks so"), by=Operator.parse("ada@host"))

    def works_until(self, has_come: Callable[[], object]) -> None:
        while not has_come():
            assert self.work_once(), "it never came"

    def has(self, scope: Scope, step: Step) -> bool:
        ensured = self.snapshot().actual(scope).steps.get(step)
        return ensured is not None and ensured.done

    def levels(self) -> dict[str, str]:
        """Of the products that are there."""
        return {
            scope.key: actual.level
            for scope, actual in self.snapshot().scopes.items()
            if scope.kind == "product" and not actual.is_empty
        }

    def left(self) -> list[str]:
        """The scopes of which something is there."""
        return [str(scope) for scope, actual in self.snapshot().scopes.items() if not actual.is_empty]

    def begun(self, scope: Scope) -> list[tuple[str, int]]:
        return [
            (fact.event.direction, int(fact.event.step))
            for fact in self.log.events
            if fact.stream == str(scope) and isinstance(fact.event, StepStarted)
        ]

    def rests(self) -> None:
        """All is worked off, and by the law."""
        self.settle()
        check_ground(self.log.events)
        check_undone(self.snapshot().scopes)

    def just_before(self, stream: str, is_it: Callable[[object], bool], happens: Callable[[], object]) -> None:
        """Once: when such a fact of the stream was decided, and is not committed yet."""

        def first(recording: UnitOfWork) -> None:
            if any(fact.stream == stream and is_it(fact.event) for fact in recording.events):
                self.log.before_record = lambda recording: None
                happens()

        self.log.before_record = first

    def worked_before(self, stream: str, is_it: Callable[[object], bool], happens: Callable[[], object]) -> None:
        """As `just_before`, and then all is worked off."""
        done: list[object] = []
        self.just_before(stream, is_it, lambda: done.append(happens()))
        self.rests()
        assert done, "it was never decided"


def is_removal(event: object) -> bool:
    return isinstance(event, StepStarted) and event.direction == "remove"


def is_giving_up(event: object) -> bool:
    return isinstance(event, ScopeFailed)


# -- nobody begins, and who stands on it goes first ------------------------------------------------------------------


def test_nobody_begins_on_a_site_that_is_being_undone() -> None:
    cloud = Ground()
    cloud.broken = {(SITE, Step.IDENTITY)}
    cloud.works_until(lambda: ("remove", 5) in cloud.begun(SITE))
    cloud.says("product.activated")
    cloud.rests()
    assert cloud.begun(JIRA_FAMILY) == []
    assert cloud.begun(SITE)[-4:] == [("remove", 5), ("remove", 4), ("remove", 2), ("remove", 1)]
    assert cloud.left() == []


def test_who_stands_on_a_site_that_is_being_undone_goes_first() -> None:
    cloud = Ground(JIRA, CONFLUENCE)
    cloud.slow = {(SITE, Step.IDENTITY), (JIRA_SCOPE, Step.IDENTITY), (CONFLUENCE_SCOPE, Step.LICENSE)}
    cloud.work()
    cloud.broken = {(SITE, Step.IDENTITY)}
    cloud.rests()
    assert cloud.left() == []


def test_who_stands_on_a_family_that_is_being_undone_goes_first() -> None:
    cloud = Ground(JIRA)
    cloud.works_until(lambda: cloud.has(JIRA_SCOPE, Step.SITE))
    cloud.broken = {(JIRA_FAMILY, Step.DATABASE)}
    cloud.says("product.activated", SERVICE)
    cloud.rests()
    assert cloud.left() == [str(SITE)]


def test_an_app_goes_with_a_host_that_is_being_undone() -> None:
    """Else it would wait for the host, and the removal of their family for the app."""
    cloud = Ground(JIRA, APP)
    cloud.works_until(lambda: cloud.has(APP_SCOPE, Step.SITE))
    cloud.broken = {(JIRA_SCOPE, Step.LICENSE)}
    cloud.says("license.updated", revision=2, users=99)
    cloud.rests()
    assert cloud.left() == [str(SITE)]


def test_when_the_ground_is_tried_again_all_come_back() -> None:
    cloud = Ground(JIRA, APP, CONFLUENCE)
    cloud.slow = {(SITE, Step.IDENTITY), (JIRA_SCOPE, Step.IDENTITY), (CONFLUENCE_SCOPE, Step.LICENSE)}
    cloud.work()
    cloud.broken = {(SITE, Step.IDENTITY)}
    cloud.rests()
    cloud.slow, cloud.broken = set(), set()
    cloud.retry_all()
    cloud.rests()
    assert cloud.levels() == {JIRA: "open", APP: "open", CONFLUENCE: "open"}


# -- what has lived keeps its ground ---------------------------------------------------------------------------------


def test_a_site_on_which_something_has_lived_is_not_undone_and_others_may_come() -> None:
    cloud = Ground(JIRA)
    cloud.slow = {(SITE, Step.IDENTITY)}
    cloud.work()
    cloud.broken = {(SITE, Step.IDENTITY)}
    cloud.settle()
    cloud.says("product.activated", CONFLUENCE)
    cloud.rests()
    assert cloud.snapshot().site().failure is not None
    assert not [step for direction, step in cloud.begun(SITE) if direction == "remove"]
    assert cloud.levels() == {JIRA: "open", CONFLUENCE: "open"}


def test_what_has_lived_on_a_site_that_was_given_up_is_closed_all_the_same() -> None:
    cloud = Ground(JIRA)
    cloud.slow = {(SITE, Step.IDENTITY)}
    cloud.work()
    cloud.broken = {(SITE, Step.IDENTITY)}
    cloud.settle()
    cloud.says("product.suspended", revision=2)
    cloud.rests()
    assert cloud.levels() == {JIRA: "closed"}


# -- whoever was first -----------------------------------------------------------------------------------------------


def test_a_family_that_is_taken_away_is_kept_for_who_came_to_live_in_it_meanwhile() -> None:
    cloud = Ground(JIRA)
    cloud.works_until(lambda: cloud.has(JIRA_FAMILY, Step.DATABASE))
    cloud.says("product.deactivated", revision=2)

    def lives() -> None:
        cloud.says("product.activated", revision=3)
        cloud.work()
        assert cloud.levels() == {JIRA: "open"}

    cloud.worked_before(str(JIRA_FAMILY), is_removal, lives)
    assert cloud.world.dropped == []
    assert cloud.levels() == {JIRA: "open"}


def test_a_family_that_is_given_up_is_kept_for_who_came_to_live_in_it_meanwhile() -> None:
    cloud = Ground(JIRA)
    cloud.works_until(lambda: cloud.has(JIRA_FAMILY, Step.DATABASE))
    cloud.does("hold", JIRA_SCOPE)
    cloud.broken = {(JIRA_FAMILY, Step.DATABASE)}
    cloud.says("product.activated", SERVICE)

    def lives() -> None:
        cloud.does("release", JIRA_SCOPE)
        cloud.work()
        assert cloud.levels() == {JIRA: "open"}

    cloud.worked_before(str(JIRA_FAMILY), is_giving_up, lives)
    assert cloud.world.dropped == []
    assert cloud.levels() == {JIRA: "open"}


def test_a_site_that_is_given_up_is_kept_for_who_came_to_live_on_it_meanwhile() -> None:
    cloud = Ground(JIRA)
    cloud.does("hold", JIRA_FAMILY)
    cloud.broken = {(SITE, Step.IDENTITY)}

    def lives() -> None:
        cloud.does("release", JIRA_FAMILY)
        cloud.work()
        assert cloud.levels() == {JIRA: "open"}

    cloud.worked_before(str(SITE), is_giving_up, lives)
    assert cloud.world.taken_names == {"acme": TENANT}
    assert cloud.levels() == {JIRA: "open"}


def test_a_family_whose_purge_was_decided_is_kept_for_who_came_to_live_in_it_meanwhile() -> None:
    """A sibling that was given up is tried again by an operator: nothing of that is in the tenant's stream."""
    cloud = Ground(JIRA)
    cloud.rests()
    cloud.broken = {(SERVICE_SCOPE, Step.LICENSE)}
    cloud.says("product.activated", SERVICE)
    cloud.says("product.deactivated", revision=2)
    cloud.rests()
    assert cloud.levels() == {JIRA: "retained"}
    cloud.broken.clear()
    cloud.clock.advance(POLICY.retention)

    def lives() -> None:
        cloud.retry_all()
        cloud.work()
        assert cloud.levels() == {JIRA: "retained", SERVICE: "open"}

    cloud.worked_before(f"tenant:{TENANT}", lambda event: isinstance(event, PurgeStarted), lives)
    assert cloud.world.dropped == []
    assert cloud.levels() == {SERVICE: "open"}
    cloud.says("product.activated", revision=3)
    cloud.rests()
    assert cloud.levels() == {JIRA: "open", SERVICE: "open"}
    assert cloud.snapshot().tenant.product(JIRA).data_lost
    assert not cloud.snapshot().tenant.product(SERVICE).data_lost
