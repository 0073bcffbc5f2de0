"""Do those who are slow, dead or large leave room for everybody else, on the real log?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.migrations import migrate
from adapters.provisioners.foreign import Routed
from application.ingest import Lifecycle
from application.ports.inbox import WaitingMessage
from application.ports.resources import Executor, Order
from application.reconcile import Saga
from domain.catalog import Catalog, ForeignExecutor, Product
from domain.scope.steps import Step, StepResult
from tests.domain.given import CATALOG, POLICY, ids, message
from tests.fakes.executors import FakeWorld
from tests.fakes.sealing import InMemorySealingKeys
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

DEAD = "compass"
MANY = 200


class Dead:
    """Somebody else's provisioner that does not answer before it is let go."""

    def __init__(self, revived: Executor) -> None:
        self.let_go = threading.Event()
        self.at_once = 0
        self._inside = 0
        self._lock = threading.Lock()
        self._revived = revived

    def ensure(self, order: Order) -> StepResult:
        with self._lock:
            self._inside += 1
            self.at_once = max(self.at_once, self._inside)
        self.let_go.wait(60)
        with self._lock:
            self._inside -= 1
        return self._revived.ensure(order)

    def remove(self, order: Order) -> None:
        self._revived.remove(order)


class Cloud:
    """Intake and provisioner on a log that is real; the world is in memory."""

    def __init__(self, url: str, catalog: Catalog) -> None:
        self.url = url
        self.log = PostgresEventLog(url, InMemorySealingKeys())
        self.world = FakeWorld(catalog=catalog)
        self.executors = self.world.executors()
        self._catalog = catalog
        self._new_id = ids()
        self._rules = {"catalog": catalog, "policy": POLICY, "clock": _now, "new_id": self._new_id}

    def create(self, tenant_id: str, *products: str) -> None:
        lifecycle = Lifecycle(self.log, reread=_nobody_waits, **self._rules)  # type: ignore[arg-type]
        desired_state = [{"product": key, "edition": "free", "users": 5, "revision": 1} for key in products]
        created = message(
            "tenant.created", 1, tenant_id=tenant_id, site_name=f"site-{tenant_id}", products=desired_state
        )
        lifecycle.intake([created], [])

    def provisioner(self, limits: ConcurrencyLimits) -> Provisioner:
        return Provisioner(
            self.log,
            Saga(self.log, dice=lambda: 0.0, **self._rules),  # type: ignore[arg-type]
            self.executors,
            clock=_now,
            owner="worker",
            limits=limits,
            lease=timedelta(seconds=30),
            poll_seconds=0.01,
            drain_seconds=5,
        )

    def streams(self, topic: str) -> set[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT originator_id FROM stored_events WHERE topic = %s", (topic,)).fetchall()
        return {stream for (stream,) in rows}

    def leases(self) -> int:
        with psycopg.connect(self.url) as connection:
            (count,) = connection.execute("SELECT count(*) FROM leases").fetchone() or (0,)
        return int(count)


def _now() -> datetime:
    return datetime.now(UTC)


def _nobody_waits(waiting: WaitingMessage) -> object:
    raise AssertionError(waiting)


@contextmanager
def cloud_of(url: str, catalog: Catalog) -> Iterator[Cloud]:
    migrate(url)
    cloud = Cloud(url, catalog)
    try:
        yield cloud
    finally:
        cloud.log.close()


@pytest.fixture
def cloud(database: str) -> Iterator[Cloud]:
    foreign = {Step.LICENSE: ForeignExecutor(webhook="https://compass.example/tenantry", secret="compass")}
    products = {**CATALOG.products, DEAD: CATALOG[DEAD].model_copy(update={"executors": foreign})}
    with cloud_of(database, Catalog(products=products)) as found:
        yield found


@pytest.fixture
def dead(cloud: Cloud) -> Iterator[Dead]:
    ours = cloud.executors["product", Step.LICENSE]
    found = Dead(ours)
    cloud.executors["product", Step.LICENSE] = Routed(ours, {DEAD: found})
    yield found
    found.let_go.set()


def work_until(provisioner: Provisioner, cloud: Cloud, desired_state: set[str]) -> None:
    """Rounds, until all of the streams have converged."""
    for _ in range(4000):
        provisioner.round()
        if desired_state <= cloud.streams("tenantry.scope-converged"):
            return
    raise AssertionError(f"never converged: {sorted(desired_state - cloud.streams('tenantry.scope-converged'))}")


def test_a_provisioner_that_is_dead_keeps_its_few_threads_and_holds_up_nobody(cloud: Cloud, dead: Dead) -> None:
    slow, others = [f"t-slow-{number}" for number in range(12)], [f"t-{number}" for number in range(6)]
    for tenant_id in slow:
        cloud.create(tenant_id, DEAD)
    for tenant_id in others:
        cloud.create(tenant_id, "atlas")
    worker = cloud.provisioner(ConcurrencyLimits(threads=3, claim=12, foreign=1))
    work_until(worker, cloud, {f"product:{tenant_id}:atlas" for tenant_id in others})
    converged = cloud.streams("tenantry.scope-converged")
    assert not [stream for stream in converged if stream.startswith("product:t-slow")]
    assert dead.at_once == 1
    assert cloud.leases() <= 12
    dead.let_go.set()
    work_until(worker, cloud, {f"product:{tenant_id}:{DEAD}" for tenant_id in slow})
    worker.drain()
    assert cloud.streams("tenantry.step-failed") == set()


def test_a_drained_worker_gives_back_all_but_what_still_runs(cloud: Cloud, dead: Dead) -> None:
    for number in range(6):
        cloud.create(f"t-{number}", DEAD)
    worker = cloud.provisioner(ConcurrencyLimits(threads=3, claim=12, foreign=1))
    while not dead.at_once:
        worker.round()
    threading.Timer(0.1, dead.let_go.set).start()
    worker.drain()
    assert cloud.leases() == 0
    work_until(cloud.provisioner(ConcurrencyLimits()), cloud, {f"product:t-{number}:{DEAD}" for number in range(6)})


def test_a_tenant_with_many_products_leaves_room_for_a_small_one(database: str) -> None:
    products = {
        f"product-{number}": Product(name="Any", family=f"family-{number}", editions={"free": ()})
        for number in range(MANY)
    }
    with cloud_of(database, Catalog(products=products)) as cloud:
        cloud.create("t-large", *products)
        cloud.create("t-small", "product-0")
        worker = cloud.provisioner(ConcurrencyLimits(threads=2, claim=8, tenant=4))
        for _ in range(2):
            worker.round()
        assert "site:t-small" in cloud.streams("tenantry.step-started")
        work_until(worker, cloud, {"product:t-small:product-0"})
        assert len(cloud.streams("tenantry.scope-converged")) < MANY
        worker.drain()
