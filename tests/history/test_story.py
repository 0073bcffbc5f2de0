"""Does the story of a scope read as it happened, from its facts alone?"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

from application.operator_commands import Act
from application.ports.resources import Order
from domain import customer as customers
from domain.errors import Obstacle, Permanent, Retryable
from domain.operator import Operator
from domain.scope.steps import Scope, Step
from domain.tenant import state as tenants
from domain.times import clock
from history.story import Run, Standing, standing, tell
from tests.domain.driver import Cloud
from tests.domain.given import APP, CUSTOMER, JIRA, JIRA_FAMILY, JIRA_SCOPE, NOW, SITE, TENANT, message


class Story:
    """A tenant with one product, what goes wrong for it, and the story of each of its scopes."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        product = {"product": JIRA, "edition": "standard", "users": 5, "revision": 1}
        self.cloud.intake.takes(message("tenant.created", 1, id="m-1", offset=7, products=[product]))

    def operator(self, act: Act) -> None:
        self.cloud.operating().carry_out(act, by=Operator.parse("Ada (ada@console)"))

    def story(self, scope: Scope = JIRA_SCOPE) -> list[Run]:
        causing = (tenants.stream_of(TENANT), customers.stream_of(CUSTOMER))
        facts = self.cloud.log.load({str(scope): 0}).get(str(scope), [])
        causes = self.cloud.log.load(dict.fromkeys(causing, 0)).values()
        return tell(facts, {fact.id: fact for stream in causes for fact in stream})

    def standing(self, scope: Scope = JIRA_SCOPE) -> Standing:
        return standing(self.cloud.log.load({str(scope): 0}).get(str(scope), []))


def words(run: Run) -> list[str]:
    return [f"{int(line.step)} {line.what}" if line.step else line.what for line in run.lines]


def said(run: Run, what: str) -> str:
    return next(line.text for line in run.lines if line.what == what)


def test_a_run_that_goes_well_begins_with_the_message_that_asked_for_it() -> None:
    told = Story()
    told.cloud.work()
    (run,) = told.story()
    assert words(run) == [
        "wished",
        *(f"{step} {what}" for step in (2, 4, 5, 7) for what in ("started", "completed")),
        "converged",
    ]
    assert said(run, "wished") == ("product activated, by message m-1 of commerce at tenantry.lifecycle/0@7")
    assert run.lines[1].text == f"product {JIRA}, access open"
    assert said(run, "converged") == "has its desired state: open"
    assert told.standing() == Standing()


def test_what_is_somewhere_is_told_with_its_place() -> None:
    told = Story()
    told.cloud.work()
    (run,) = told.story(JIRA_FAMILY)
    completed = [line.text for line in run.lines if line.what == "completed"]
    assert completed == ["on shard eu-1 in eu", "schema jira_3 of database shard on shard eu-1"]
    (spec,) = [line.text for line in run.lines if (line.what, line.step) == ("started", Step.DATABASE)]
    assert spec == f"database of jira, login roles for {JIRA}"


def test_a_failure_for_good_was_compensated_retried_and_came_about_is_told_in_order() -> None:
    told = Story()
    failures = iter([Retryable("busy", delay=timedelta(seconds=5)), Permanent("no such table")])

    def fails(order: Order, when: str) -> None:
        if order.scope == JIRA_SCOPE and order.step is Step.LICENSE and order.direction == "ensure":
            error = next(failures, None)
            if error is not None:
                raise error

    told.cloud.world.trouble = fails
    told.cloud.work()
    assert told.standing() == Standing(Step.LICENSE, 1, NOW + timedelta(seconds=5), "busy")
    told.cloud.settle()
    assert told.standing() == Standing(Step.LICENSE, 2, reason="no such table")
    told.operator(Act("retry", JIRA_SCOPE, "the table is there"))
    told.cloud.work()
    first, second = told.story()
    assert words(first)[-12:] == [
        "7 started",
        "7 attempt failed",
        "7 attempt failed",
        "7 failed",
        *(f"{step} {what}" for step in (7, 5, 4, 2) for what in ("compensating", "compensated")),
    ]
    failed = [line.text for line in first.lines if line.what == "attempt failed"]
    assert failed == [
        f"attempt 1: busy; tried again at {clock(NOW + timedelta(seconds=5))}",
        "attempt 2: no such table; not tried again",
    ]
    assert said(first, "failed").startswith("no such table;")
    assert words(second)[0] == "resumed"
    assert said(second, "resumed") == "by Ada (ada@console): the table is there"
    assert words(second)[-1] == "converged"


def test_a_hold_and_a_release_say_who_and_why() -> None:
    told = Story()
    told.cloud.work()
    told.operator(Act("hold", JIRA_SCOPE, "moving house"))
    told.operator(Act("release", JIRA_SCOPE, "moved"))
    told.cloud.work()
    _, run = told.story()
    assert words(run) == ["on hold", "resumed", "converged"]
    assert said(run, "on hold") == "by Ada (ada@console): moving house; no step starts until `tenantry runs release`"
    assert said(run, "resumed") == "by Ada (ada@console): moved"


def test_a_closing_that_fails_is_held_with_what_to_do() -> None:
    told = Story()
    told.cloud.work()

    def fails(order: Order, when: str) -> None:
        if order.step is Step.LICENSE and when == "before":
            raise Permanent("the disk is on fire")

    told.cloud.world.trouble = fails
    told.cloud.intake.takes(message("product.suspended", 2))
    told.cloud.work()
    *_, run = told.story()
    assert words(run)[-1] == "7 on hold"
    assert (
        said(run, "on hold")
        == "the disk is on fire; repair it, then run `tenantry runs retry`, unless the desired state changes first"
    )


def test_a_life_that_begins_anew_says_that_its_data_is_lost() -> None:
    told = Story()
    told.cloud.work()
    told.cloud.intake.takes(message("product.deactivated", 2))
    told.cloud.work()
    told.cloud.clock.advance(timedelta(days=61))
    told.cloud.work()
    told.cloud.intake.takes(message("product.activated", 3))
    told.cloud.work()
    *_, gone, anew = told.story()
    assert said(gone, "converged") == "is removed completely"
    assert (
        said(anew, "converged") == "has its desired state: open, started again without data: its earlier data is lost"
    )


def test_another_wish_begins_another_run_with_its_own_message() -> None:
    told = Story()
    told.cloud.work()
    told.cloud.clock.advance(timedelta(hours=1))
    told.cloud.intake.takes(message("product.suspended", 2, id="m-2", offset=8, reason="unpaid"))
    told.cloud.work()
    _, second = told.story()
    assert said(second, "wished") == (
        "product suspended (unpaid), by message m-2 of commerce at tenantry.lifecycle/0@8"
    )
    assert said(second, "converged") == "has its desired state: closed"


def test_an_app_that_closes_with_its_host_names_what_was_said_of_the_host() -> None:
    told = Story()
    told.cloud.intake.takes(message("product.activated", 1, product=APP))
    told.cloud.work()
    told.cloud.clock.advance(timedelta(hours=1))
    told.cloud.intake.takes(message("product.suspended", 2, id="m-2", offset=8, reason="unpaid"))
    told.cloud.work()
    *_, run = told.story(Scope("product", TENANT, APP))
    assert said(run, "wished") == (
        f"product suspended of {JIRA} (unpaid), by message m-2 of commerce at tenantry.lifecycle/0@8"
    )
    assert said(run, "converged") == "has its desired state: closed"


def test_what_stands_in_the_way_is_named() -> None:
    told = Story()

    def taken(order: Order, when: str) -> None:
        if order.scope == SITE and order.step is Step.SITE:
            raise Obstacle("site-name:acme", "the site name acme is taken")

    told.cloud.world.trouble = taken
    told.cloud.work()
    (run,) = told.story(SITE)
    assert said(run, "blocked") == "waits for site-name:acme: the site name acme is taken"
    assert told.standing(SITE).step is Step.SITE


def test_what_was_never_begun_has_no_story() -> None:
    told = Story()
    assert told.story() == []
    assert told.standing() == Standing()


def test_the_story_names_no_person() -> None:
    told = Story()
    person = {"account_id": "p-1", "name": "Grace Hopper", "email": "grace@example.com"}
    told.cloud.intake.takes(message("commerce.customer.updated", 1, name="Hopper & Co", administrators=[person]))
    told.cloud.work()
    for scope in (SITE, JIRA_FAMILY, JIRA_SCOPE):
        text = json.dumps([asdict(line) for run in told.story(scope) for line in run.lines], default=str)
        assert "completed" in text
        for name in ("Grace", "grace@", "Hopper", "Ada", "ada@"):
            assert name not in text
