"""Does the provisioner bring scopes to what they want, whatever happens to its effects, its leases and itself?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Literal

import pytest
import structlog
from msgspec.structs import replace

from adapters.provisioners.circuit_breaker import CircuitBreaker
from adapters.provisioners.foreign import Routed
from application.operator_commands import Act, OperatorCommands
from application.ports.resources import Order
from application.unit_of_work import UnitOfWork
from domain.catalog import Catalog
from domain.errors import Conflict, NewerEvent, Obstacle, Permanent, Retryable, TenantryError, UnreadableEvent
from domain.event import Event
from domain.operator import Operator
from domain.scope.state import (
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from domain.scope.steps import LicenseResult, Scope, Step, StepResult
from domain.tenant.events import PurgeStarted
from tests.domain.checked_saga import CheckedSaga
from tests.domain.given import CATALOG, POLICY, Intake, ids, message
from tests.fakes.executors import FakeWorld
from tests.fakes.provisioner import Reply, says, serving, webhook
from workers.bulkheads import ConcurrencyLimits
from workers.loops import beside, listen
from workers.provisioner import Executors, Provisioner

TENANTS = [f"t-{number}" for number in range(12)]


class Cloud:
    """Tenants in a log in memory, a world in memory, and as many provisioners as a test starts."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.log, self.clock = self.intake.log, self.intake.clock
        self.world = FakeWorld(catalog=CATALOG)
        self._new_id = ids()

    def create(self, *tenant_ids: str) -> None:
        products = [
            {"product": "jira-software", "edition": "standard", "users": 5, "revision": 1},
            {"product": "confluence", "edition": "standard", "users": 5, "revision": 1},
        ]
        for tenant_id in tenant_ids:
            self.intake.takes(
                message("tenant.created", 1, tenant_id=tenant_id, site_name=f"site-{tenant_id}", products=products)
            )

    def provisioner(
        self,
        *,
        threads: int = 4,
        claim: int = 8,
        limits: ConcurrencyLimits | None = None,
        step_timeout: timedelta = timedelta(seconds=30),
        executors: Executors | None = None,
        poll_seconds: float = 0.01,
    ) -> Provisioner:
        saga = CheckedSaga(
            self.log, catalog=CATALOG, policy=POLICY, clock=self.clock, new_id=self._new_id, dice=lambda: 0.0
        )
        return Provisioner(
            self.log,
            saga,
            executors or self.world.executors(),
            clock=self.clock,
            owner="worker",
            limits=limits or ConcurrencyLimits(threads=threads, claim=claim, executor=claim, shard=claim),
            lease=timedelta(seconds=30),
            poll_seconds=poll_seconds,
            drain_seconds=5,
            step_timeout=step_timeout,
        )

    def operator(self, act: Act) -> None:
        saga = CheckedSaga(
            self.log, catalog=CATALOG, policy=POLICY, clock=self.clock, new_id=self._new_id, dice=lambda: 0.0
        )
        OperatorCommands(self.log, saga.snapshots, CATALOG, POLICY, self.clock, self._new_id).carry_out(
            act, by=Operator.parse("ada@console")
        )

    def facts(self, stream: str) -> list[Event]:
        return [fact.event for fact in self.log.events if fact.stream == stream]

    def work(self, provisioner: Provisioner, rounds: int = 5000) -> None:
        for _ in range(rounds):
            if not provisioner.round():
                return
        raise AssertionError("the provisioner does not come to rest")

    def levels(self) -> Counter[str]:
        """Scopes by the level they last converged to."""
        last = {fact.stream: fact.event.level for fact in self.log.events if isinstance(fact.event, ScopeConverged)}
        return Counter(last.values())

    def completions(self) -> Counter[tuple[str, int]]:
        return Counter(
            (fact.stream, fact.event.generation) for fact in self.log.events if isinstance(fact.event, StepCompleted)
        )


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_many_tenants_converge_with_one_completion_for_each_generation(cloud: Cloud) -> None:
    cloud.create(*TENANTS)
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 5 * len(TENANTS)}
    assert set(cloud.completions().values()) == {1}
    assert not cloud.log.leases
    assert not cloud.log.work_items


def test_outcomes_of_many_scopes_are_recorded_together(cloud: Cloud) -> None:
    cloud.create(*TENANTS)
    before = cloud.log.recordings
    cloud.work(cloud.provisioner(threads=8, claim=64))
    assert cloud.log.recordings - before < len(cloud.log.events) / 2


def test_steps_of_which_nothing_lies_outside_the_log_are_begun_and_completed_in_one_commit(cloud: Cloud) -> None:
    commits: list[list[tuple[str, Step]]] = []

    def sees(recording: UnitOfWork) -> None:
        commits.append(
            [
                (type(fact.event).__name__, fact.event.step)
                for fact in recording.events
                if fact.stream == "site:t-1" and isinstance(fact.event, StepStarted | StepCompleted)
            ]
        )

    cloud.create("t-1")
    cloud.log.before_record = sees
    cloud.work(cloud.provisioner())
    begun, completed = StepStarted.__name__, StepCompleted.__name__
    assert [commit for commit in commits if commit] == [
        [(begun, Step.COMMERCE), (completed, Step.COMMERCE), (begun, Step.SITE)],
        [(completed, Step.SITE)]
        + [(name, step) for step in (Step.CONFIGURATION, Step.IDENTITY) for name in (begun, completed)],
    ]


def test_a_provisioner_that_rests_goes_on_when_the_log_has_grown(cloud: Cloud) -> None:
    news, stop = _News(), threading.Event()
    worker = cloud.provisioner(poll_seconds=60)
    cloud.create("t-1")
    with beside(partial(listen, news, worker.look_again), "news"), beside(worker.run, "worker", stop):
        _until(lambda: cloud.levels() == {"open": 5})
        cloud.create("t-2")
        news.came.set()
        _until(lambda: cloud.levels() == {"open": 10})
        stop.set()
        news.came.set()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class _News:
    """A log that says when it has grown."""

    def __init__(self) -> None:
        self.came = threading.Event()

    def wait(self, seconds: float) -> None:
        self.came.wait(seconds)
        self.came.clear()


def test_two_provisioners_share_the_scopes_and_never_do_one_twice(cloud: Cloud) -> None:
    cloud.create(*TENANTS)
    workers = [threading.Thread(target=cloud.work, args=(cloud.provisioner(),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 5 * len(TENANTS)}
    assert set(cloud.completions().values()) == {1}


def test_a_product_that_comes_while_the_step_that_it_waits_for_is_recorded_is_not_forgotten(cloud: Cloud) -> None:
    """One worker has decided without it, another one has looked at it and let it wait, before the first records."""
    came = list[str]()

    def comes(recording: UnitOfWork) -> None:
        done = [each.event.step for each in recording.events if isinstance(each.event, StepCompleted)]
        if Step.SITE in done and not came:
            came.append("confluence")
            cloud.intake.takes(message("product.activated", 1, product="confluence"))
            cloud.work(cloud.provisioner())

    cloud.log.before_record = comes
    cloud.intake.takes(message("tenant.created", 1))
    cloud.work(cloud.provisioner())
    assert came
    assert cloud.levels() == {"open": 3}
    assert not cloud.log.work_items


def test_what_fails_is_tried_again_after_a_pause_and_comes_about(cloud: Cloud) -> None:
    failures = Counter[str]()

    def fails_once(order: Order, when: Literal["before", "after"]) -> None:
        if order.step is Step.DATABASE and not failures[str(order.scope)]:
            failures[str(order.scope)] += 1
            raise Retryable("the shard is busy")

    cloud.world.faults = fails_once
    cloud.create("t-1")
    worker = cloud.provisioner()
    cloud.work(worker)
    assert cloud.levels() == {"open": 1}
    cloud.clock.advance(POLICY.retry.longest_delay)
    cloud.work(worker)
    assert cloud.levels() == {"open": 5}
    failed = [fact.event for fact in cloud.log.events if isinstance(fact.event, StepFailed)]
    assert [(event.attempt, event.reason) for event in failed] == [(1, "the shard is busy")] * 2


def test_an_obstacle_that_says_when_to_look_again_uses_up_no_attempt(cloud: Cloud) -> None:
    looks: list[datetime] = []

    def is_at_work(order: Order, when: Literal["before", "after"]) -> None:
        if order.step is Step.LICENSE and when == "before" and order.scope.key == "confluence":
            looks.append(cloud.clock())
            if len(looks) <= 3 * POLICY.retry.attempts:
                raise Obstacle("provisioner:confluence/7", "is still at work", delay=timedelta(seconds=7))

    cloud.world.faults = is_at_work
    cloud.create("t-1")
    worker = cloud.provisioner()
    while cloud.levels() != {"open": 5}:
        cloud.work(worker)
        cloud.clock.advance(timedelta(seconds=7))
    pauses = {later - earlier for earlier, later in pairwise(looks) if later != earlier}
    assert pauses == {timedelta(seconds=7)}
    assert not [fact for fact in cloud.log.events if isinstance(fact.event, StepFailed)]
    assert len([fact for fact in cloud.log.events if isinstance(fact.event, StepBlocked)]) == 1


def test_a_step_of_somebody_else_goes_through_all_that_can_happen_to_it_and_comes_about(cloud: Cloud) -> None:
    with serving() as provisioner:
        provisioner.script.extend(
            [
                Reply(500),
                Reply(429, b"", {"retry-after": "9"}),
                says(202, {}, Retry_After="5", Location="/status"),
                says(202, {}, Retry_After="5"),
                says(202, {}),
                says(200, ["garbage"]),
                says(200, {"location": "there"}),
            ]
        )
        executors = cloud.world.executors()
        ours = executors["product", Step.LICENSE]
        foreign = webhook(provisioner, "jira-software", Step.LICENSE)
        executors["product", Step.LICENSE] = Routed(ours, {"jira-software": foreign})
        cloud.create("t-1")
        worker = cloud.provisioner(executors=executors)
        for _ in range(10):
            cloud.work(worker)
            cloud.clock.advance(POLICY.retry.longest_delay)
        cloud.intake.takes(message("tenant.destroyed", 2, tenant_id="t-1"))
        cloud.work(worker)
    scope = Scope("product", "t-1", "jira-software")
    told = [fact.event for fact in cloud.log.events if fact.stream == str(scope)]
    assert [event.attempt for event in told if isinstance(event, StepFailed)] == [1]
    assert [event.obstacle for event in told if isinstance(event, StepBlocked)] == [
        "unreachable:provisioner:jira-software/7",
        "provisioner:jira-software/7",
    ]
    done = [event.result for event in told if isinstance(event, StepCompleted) and event.step is Step.LICENSE]
    assert [(facts.active, facts.location) for facts in done if isinstance(facts, LicenseResult)] == [
        (True, "there"),
        (False, "with the provisioner of jira-software"),
    ]
    assert provisioner.there["t-1", "jira-software", 7]["active"] is False
    assert len({asked["idempotency_key"] for asked in provisioner.orders}) == 2
    assert scope not in cloud.world.entitlements


class _RoutedInOurBulkheads(Routed):
    """Nobody is put off: the test counts probes, not slots."""

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self.ours.bulkheads(order)


def test_a_provisioner_that_is_away_for_hours_is_asked_by_probes_and_all_goes_on_with_its_first_answer(
    cloud: Cloud,
) -> None:
    tenants = [f"t-{number}" for number in range(1, 31)]
    with serving() as provisioner:
        executors = cloud.world.executors()
        asked = webhook(provisioner, "jira-software", Step.LICENSE)
        breaker = CircuitBreaker(asked, now=lambda: cloud.clock().timestamp())
        ours = executors["product", Step.LICENSE]
        executors["product", Step.LICENSE] = _RoutedInOurBulkheads(ours, {"jira-software": breaker})
        provisioner.script.extend([Reply(503)] * 10_000)
        cloud.create(*tenants)
        worker = cloud.provisioner(executors=executors)
        cloud.work(worker)
        for _ in range(2 * 60 * 2):  # two hours
            cloud.clock.advance(timedelta(seconds=30))
            cloud.work(worker)
        requests = len(provisioner.requests)
        provisioner.script.clear()
        cloud.clock.advance(timedelta(seconds=60))
        cloud.work(worker)
        came_back = {fact.stream.split(":")[1] for fact in cloud.log.events if _is_open(fact.event)}
    assert requests <= 2 * 60 * 2 + 10, "one probe at a time, each half a minute"
    assert not [fact for fact in cloud.log.events if isinstance(fact.event, StepFailed | ScopeFailed)]
    blocked = Counter(fact.stream for fact in cloud.log.events if isinstance(fact.event, StepBlocked))
    assert blocked == dict.fromkeys((f"product:{tenant}:jira-software" for tenant in tenants), 1)
    assert came_back == set(tenants), "all are woken by the first answer"


def _is_open(event: Event) -> bool:
    return isinstance(event, ScopeConverged) and (event.key, event.level) == ("jira-software", "open")


def test_one_family_that_fails_for_good_leaves_its_siblings_live(cloud: Cloud) -> None:
    def refuses(order: Order, when: Literal["before", "after"]) -> None:
        if order.scope == Scope("family", "t-1", "jira") and order.direction == "ensure" and when == "before":
            raise Permanent("no such disk")

    cloud.world.faults = refuses
    cloud.create("t-1", "t-2")
    cloud.work(cloud.provisioner())
    gave_up = [fact for fact in cloud.log.events if isinstance(fact.event, ScopeFailed)]
    assert [fact.stream for fact in gave_up] == ["family:t-1:jira"]
    assert cloud.levels() == {"open": 3 + 5}


def test_an_error_that_nobody_foresaw_is_tried_again_and_its_text_stays_out_of_the_log(cloud: Cloud) -> None:
    def breaks(order: Order, when: Literal["before", "after"]) -> None:
        if order.step is Step.LICENSE and cloud.clock() == start:
            raise ZeroDivisionError("ada@example.com")

    start = cloud.clock()
    cloud.world.faults = breaks
    cloud.create("t-1")
    worker = cloud.provisioner()
    cloud.work(worker)
    cloud.clock.advance(POLICY.retry.longest_delay)
    cloud.work(worker)
    assert cloud.levels() == {"open": 5}
    reasons = {fact.event.reason for fact in cloud.log.events if isinstance(fact.event, StepFailed)}
    assert reasons == {"unexpected ZeroDivisionError"}


def test_a_stream_that_cannot_be_read_stops_nobody_else(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.create("t-1", "t-2")
    load = cloud.log.load

    def broken(streams: dict[str, int], *, personal: bool = True) -> object:
        if "tenant:t-1" in streams:
            raise UnreadableEvent("event 1 of tenant:t-1 has the unknown topic x")
        return load(streams, personal=personal)

    monkeypatch.setattr(cloud.log, "load", broken)
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 5}
    monkeypatch.undo()
    cloud.clock.advance(timedelta(seconds=31))
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 10}


def test_a_stream_that_a_later_version_has_written_waits_and_stops_nobody_else(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.create("t-1", "t-2")
    load = cloud.log.load

    def newer(streams: dict[str, int], *, personal: bool = True) -> object:
        if "tenant:t-1" in streams:
            raise NewerEvent("event 1 of tenant:t-1 has the unknown topic x")
        return load(streams, personal=personal)

    monkeypatch.setattr(cloud.log, "load", newer)
    worker = cloud.provisioner()
    with structlog.testing.capture_logs() as lines:
        cloud.work(worker)
    assert cloud.levels() == {"open": 5}
    assert worker.upgrade.waits is not None
    assert worker.upgrade.waits["why"] == "upgrade"
    assert not [line for line in lines if line["log_level"] == "error"]
    monkeypatch.undo()
    cloud.clock.advance(timedelta(seconds=31))
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 10}


def test_whoever_lost_its_lease_drops_the_outcome_and_the_next_holder_goes_on(cloud: Cloud) -> None:
    cloud.create("t-1")
    sleepy, awake = cloud.provisioner(), cloud.provisioner()
    held = threading.Event()

    def sleeps(order: Order, when: Literal["before", "after"]) -> None:
        if when == "before" and order.step is Step.COMMERCE and not held.is_set():
            held.set()
            cloud.clock.advance(timedelta(seconds=31))

    cloud.world.faults = sleeps
    while not held.is_set():
        sleepy.round()
    cloud.work(awake)
    cloud.work(sleepy)
    cloud.work(awake)
    assert cloud.levels() == {"open": 5}
    assert set(cloud.completions().values()) == {1}


def test_an_effect_that_takes_longer_than_a_lease_keeps_it(cloud: Cloud) -> None:
    cloud.create("t-1")
    slow, others = cloud.provisioner(), cloud.provisioner()
    at_it, ends = threading.Event(), threading.Event()

    def lasts(order: Order, when: Literal["before", "after"]) -> None:
        if when == "before" and order.scope.kind == "site" and order.step is Step.SITE:
            at_it.set()
            assert ends.wait(30)

    cloud.world.faults = lasts
    while not at_it.is_set():
        slow.round()
    site = cloud.log.leases["site:t-1"]
    for _ in range(6):
        cloud.clock.advance(timedelta(seconds=20))
        slow.round()
        others.round()
    assert cloud.log.leases["site:t-1"].token == site.token, "somebody else has taken it over"
    ends.set()
    cloud.work(slow)
    assert cloud.levels() == {"open": 5}
    assert cloud.log.conflicts == 0


def test_leases_of_long_effects_are_kept_together_and_one_that_was_lost_costs_no_other_its_own(cloud: Cloud) -> None:
    cloud.create("t-1", "t-2", "t-3")
    slow = cloud.provisioner()
    at_it, ends = threading.Event(), threading.Event()

    def lasts(order: Order, when: Literal["before", "after"]) -> None:
        if when == "before" and order.scope.kind == "site" and order.step is Step.SITE:
            at_it.set()
            assert ends.wait(30)

    cloud.world.faults = lasts
    while not at_it.is_set() or cloud.log.leases.keys() != {"site:t-1", "site:t-2", "site:t-3"}:
        slow.round()  # one is at it, two wait for their turn
    before = dict(cloud.log.leases)
    cloud.clock.advance(timedelta(seconds=20))
    recordings = cloud.log.recordings
    slow.round()
    assert cloud.log.recordings == recordings + 1
    assert all(cloud.log.leases[scope].until > lease.until for scope, lease in before.items())
    cloud.log.leases["site:t-2"] = replace(cloud.log.leases["site:t-2"], token=-1)  # somebody else has taken it over
    kept = dict(cloud.log.leases)
    cloud.clock.advance(timedelta(seconds=20))
    slow.round()
    later = [scope for scope, lease in cloud.log.leases.items() if lease.until > kept[scope].until]
    assert sorted(later) == ["site:t-1", "site:t-3"]
    ends.set()


def test_whoever_lost_its_lease_begins_nothing_that_nobody_wants_any_more(cloud: Cloud) -> None:
    """If it did and died, nothing would be due: its successor answered every wake, and found nothing to do."""
    cloud.create("t-1")
    sleepy, awake = cloud.provisioner(claim=1), cloud.provisioner()
    held = threading.Event()

    def sleeps(recording: UnitOfWork) -> None:
        if any(isinstance(each.event, StepStarted) and each.event.kind == "family" for each in recording.events):
            held.set()
            cloud.log.before_record = lambda recording: None
            cloud.intake.takes(
                *(message("product.deactivated", 2, product=key) for key in ("jira-software", "confluence"))
            )
            cloud.clock.advance(timedelta(seconds=31))
            cloud.work(awake)

    cloud.log.before_record = sleeps
    while not held.is_set():
        sleepy.round()
    assert cloud.facts("family:t-1:jira") + cloud.facts("family:t-1:confluence") == []


def test_a_drained_provisioner_leaves_the_rest_due_and_nothing_half_done(cloud: Cloud) -> None:
    cloud.create(*TENANTS)
    stop, started = threading.Event(), threading.Event()
    worker = cloud.provisioner()

    def tells(order: Order, when: Literal["before", "after"]) -> None:
        started.set()

    cloud.world.faults = tells
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    assert started.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not cloud.log.leases
    cloud.world.faults = lambda order, when: None
    cloud.work(cloud.provisioner())
    assert cloud.levels() == {"open": 5 * len(TENANTS)}
    assert set(cloud.completions().values()) == {1}


def test_a_change_of_the_customer_reaches_the_sites_and_products_of_all_its_tenants(cloud: Cloud) -> None:
    cloud.create("t-1", "t-2")
    worker = cloud.provisioner()
    cloud.work(worker)
    before = len(cloud.log.events)
    cloud.intake.takes(
        message(
            "commerce.customer.updated",
            1,
            administrators=[{"account_id": "a", "name": "Ada", "email": "ada@example.com"}],
        )
    )
    cloud.work(worker)
    again = Counter(fact.event.step for fact in cloud.log.events[before:] if isinstance(fact.event, StepCompleted))
    assert again == {Step.COMMERCE: 2, Step.CONFIGURATION: 2, Step.IDENTITY: 6}


def test_a_recording_that_conflicts_is_split_and_only_who_conflicts_is_dropped(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.create("t-1", "t-2")
    record = cloud.log.record

    def refuses(recording: UnitOfWork) -> None:
        if any(fact.stream == "site:t-1" for fact in recording.events) and cloud.clock() == start:
            raise Conflict("somebody else recorded first")
        record(recording)

    start = cloud.clock()
    monkeypatch.setattr(cloud.log, "record", refuses)
    worker = cloud.provisioner()
    for _ in range(100_000):
        worker.round()
        if cloud.levels() == {"open": 5}:
            break
    assert cloud.levels() == {"open": 5}
    cloud.clock.advance(timedelta(seconds=1))
    cloud.work(worker)
    assert cloud.levels() == {"open": 10}


# -- time-outs ---------------------------------------------------------------------------------------------------------


class Hanging:
    """An executor of one step of one tenant that does not come back before it is let go."""

    def __init__(self, cloud: Cloud, *, threads: int) -> None:
        self.let_go, self.comes_back = threading.Event(), threading.Semaphore(0)
        self.stuck = 0
        inner = cloud.world.executors()
        self.executors = {**inner, ("site", Step.SITE): self}
        self._inner = inner["site", Step.SITE]
        self.worker = cloud.provisioner(threads=threads, step_timeout=timedelta(seconds=0.3), executors=self.executors)

    def ensure(self, order: Order) -> StepResult:
        if order.scope.tenant_id == "t-1" and not self.let_go.is_set():
            self.stuck += 1
            self.let_go.wait(30)
            self.comes_back.release()
        return self._inner.ensure(order)

    def remove(self, order: Order) -> None:
        self._inner.remove(order)

    def bulkheads(self, order: Order) -> tuple[str, ...]:
        return self._inner.bulkheads(order)


def test_a_step_that_hangs_fails_after_its_time_and_holds_up_nobody(cloud: Cloud) -> None:
    cloud.create("t-1", "t-2")
    hanging = Hanging(cloud, threads=1)
    cloud.work(hanging.worker)
    assert cloud.levels() == {"open": 5}, "the one thread that hangs was replaced for the other tenant"
    (failed,) = [event for event in cloud.facts("site:t-1") if isinstance(event, StepFailed)]
    assert (failed.attempt, failed.reason) == (1, "took longer than 0.3 s")
    assert failed.retry_at is not None


def test_a_step_that_hangs_is_named_before_its_time_is_over(cloud: Cloud) -> None:
    cloud.create("t-1")
    hanging = Hanging(cloud, threads=1)
    deadline = time.monotonic() + 10
    while hanging.worker.hanging.waits is None and time.monotonic() < deadline:
        hanging.worker.round()
    waits = hanging.worker.hanging.waits
    assert waits is not None
    assert (waits["why"], waits["text"]) == ("hangs", "site/2 does not answer; the step fails after 0.3 s")
    assert not [event for event in cloud.facts("site:t-1") if isinstance(event, StepFailed)]
    hanging.let_go.set()
    cloud.work(hanging.worker)
    assert hanging.worker.hanging.waits is None


def test_what_a_late_effect_comes_to_is_ignored(cloud: Cloud) -> None:
    cloud.create("t-1")
    hanging = Hanging(cloud, threads=2)
    cloud.work(hanging.worker)
    before = len(cloud.log.events)
    hanging.let_go.set()
    assert hanging.comes_back.acquire(timeout=10)
    cloud.work(hanging.worker)
    assert len(cloud.log.events) == before
    cloud.clock.advance(POLICY.retry.longest_delay)
    cloud.work(hanging.worker)
    assert cloud.levels() == {"open": 5}
    assert set(cloud.completions().values()) == {1}


def test_a_worker_in_which_too_many_effects_hang_ends_so_that_a_fresh_one_can_take_its_place(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.provisioner.MOST_LEFT_BEHIND", 1)
    cloud.create("t-1")
    hanging = Hanging(cloud, threads=1)
    with pytest.raises(TenantryError, match="effects hang"):
        hanging.worker.run(threading.Event())
    hanging.let_go.set()


# -- operators ---------------------------------------------------------------------------------------------------------


def test_a_hold_that_comes_while_an_effect_runs_lets_it_finish_and_records_what_it_did(cloud: Cloud) -> None:
    scope = Scope("family", "t-1", "jira")
    at_it, held = threading.Event(), threading.Event()

    def meanwhile(order: Order, when: Literal["before", "after"]) -> None:
        if order.scope == scope and order.step is Step.REGION and when == "after":
            at_it.set()
            assert held.wait(10)

    cloud.world.faults = meanwhile
    cloud.create("t-1")
    worker = threading.Thread(target=cloud.work, args=(cloud.provisioner(),))
    worker.start()
    assert at_it.wait(10)
    cloud.operator(Act("hold", scope, "look"))
    held.set()
    worker.join(20)
    assert [type(event) for event in cloud.facts(str(scope))] == [StepStarted, ScopePutOnHold, StepCompleted]


def test_an_outcome_that_meets_a_hold_at_its_recording_is_recorded_on_top_of_it(cloud: Cloud) -> None:
    scope = Scope("family", "t-1", "jira")
    cloud.create("t-1")

    def first(recording: UnitOfWork) -> None:
        if any(fact.stream == str(scope) and isinstance(fact.event, StepCompleted) for fact in recording.events):
            cloud.log.before_record = lambda recording: None
            cloud.operator(Act("hold", scope, "look"))

    cloud.log.before_record = first
    cloud.work(cloud.provisioner())
    assert [type(event) for event in cloud.facts(str(scope))] == [StepStarted, ScopePutOnHold, StepCompleted]


def test_an_effect_that_waits_for_a_thread_does_not_begin_once_its_scope_is_held(cloud: Cloud) -> None:
    held = threading.Event()

    def holds_the_thread(order: Order, when: Literal["before", "after"]) -> None:
        assert order.step is Step.COMMERCE or held.wait(10)  # step 1 needs no thread

    cloud.create("t-1", "t-2")
    worker = cloud.provisioner(threads=1)
    cloud.world.faults = holds_the_thread
    worker.round()
    started = [fact.event.step for fact in cloud.log.events if isinstance(fact.event, StepStarted)]
    assert started == [Step.COMMERCE, Step.SITE, Step.COMMERCE, Step.SITE]
    cloud.operator(Act("hold", Scope("site", "t-2"), "look"))
    cloud.clock.advance(timedelta(seconds=2))
    worker.round()
    held.set()
    cloud.work(worker)
    assert [type(event) for event in cloud.facts("site:t-2")] == [
        StepStarted,
        StepCompleted,
        StepStarted,
        ScopePutOnHold,
    ]
    assert cloud.levels() == {"open": 5}
    assert not cloud.log.leases
    cloud.operator(Act("release", Scope("site", "t-2"), "looked"))
    cloud.work(worker)
    assert cloud.levels() == {"open": 10}


def test_products_of_one_tenant_that_are_over_together_are_purged_one_after_the_other(cloud: Cloud) -> None:
    products = ("jira-software", "confluence")
    cloud.create("t-1")
    worker = cloud.provisioner()
    cloud.work(worker)
    cloud.intake.takes(*(message("product.deactivated", 2, tenant_id="t-1", product=key) for key in products))
    cloud.work(worker)
    cloud.clock.advance(POLICY.retention)
    cloud.work(worker)
    purges = [fact.event for fact in cloud.log.events if isinstance(fact.event, PurgeStarted)]
    assert sorted(purge.product for purge in purges) == sorted(products)
    assert cloud.levels() == {"open": 1, "absent": 4}
    assert not cloud.world.databases


def test_an_activation_while_a_purge_is_recorded_keeps_the_data(cloud: Cloud) -> None:
    cloud.create("t-1")
    worker = cloud.provisioner()
    cloud.work(worker)
    databases = dict(cloud.world.databases)
    cloud.intake.takes(message("product.deactivated", 2, tenant_id="t-1", product="confluence"))
    cloud.work(worker)
    cloud.clock.advance(POLICY.retention)
    others = iter([message("product.activated", 3, tenant_id="t-1", product="confluence")])

    def activates_first(recording: UnitOfWork) -> None:
        if any(isinstance(fact.event, PurgeStarted) for fact in recording.events):
            cloud.intake.takes(*(other for other in others))

    cloud.log.before_record = activates_first
    cloud.work(worker)
    assert cloud.log.conflicts
    assert not [fact for fact in cloud.log.events if isinstance(fact.event, PurgeStarted)]
    assert cloud.levels() == {"open": 5}
    assert cloud.world.databases == databases


def test_a_provisioner_leaves_a_tenant_alone_of_which_it_does_not_know_every_product(cloud: Cloud) -> None:
    """It cannot tell which family the other product lives in: its login role could go with a decision of ours."""
    cloud.create("t-1")
    cloud.work(cloud.provisioner())
    settled = len(cloud.log.events)
    cloud.intake.takes(
        message("license.updated", 2, tenant_id="t-1", product="confluence", edition="standard", users=9)
    )
    decided = len(cloud.log.events)
    assert decided > settled
    older = cloud.provisioner()
    gone = {"jira-software", *CATALOG.apps_of("jira-software")}
    fewer = {key: each for key, each in CATALOG.products.items() if key not in gone}
    older._saga = CheckedSaga(  # noqa: SLF001
        cloud.log,
        catalog=Catalog(products=fewer),
        policy=POLICY,
        clock=cloud.clock,
        new_id=ids(),
        dice=lambda: 0.0,
    )
    cloud.work(older)
    assert len(cloud.log.events) == decided
    cloud.clock.advance(timedelta(minutes=2))
    cloud.work(cloud.provisioner())
    assert len(cloud.log.events) > decided
