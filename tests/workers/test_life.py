"""Does data go when it should, and only then, where the log, the shards and their databases are real?

Everything is PostgreSQL but the clock, which runs years.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.event_log import PostgresEventLog
from adapters.resources.places import OUR_NAMES
from application.ingest import Lifecycle
from application.operator_commands import OperatorCommands
from application.ports.inbox import WaitingMessage
from application.reconcile import Saga
from domain.operator import Operator
from domain.scope.snapshot import TenantSnapshot
from tests.adapters.resources.real_shards import RealWorld, real_world
from tests.domain.given import CATALOG, DAY, POLICY, TENANT, ids, message
from tests.fakes.sealing import InMemorySealingKeys
from workers.bulkheads import ConcurrencyLimits
from workers.provisioner import Provisioner

JIRA = "jira-software"


class Clock:
    """Runs a millisecond at each look, and years when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Cloud:
    """Intake, saga and provisioner on real parts."""

    def __init__(self, log: PostgresEventLog, world: RealWorld) -> None:
        self.clock = Clock()
        self.world = world
        self.roles_of_others = self.roles()
        data = {"catalog": CATALOG, "policy": POLICY, "clock": self.clock, "new_id": ids()}
        self.lifecycle = Lifecycle(log, reread=_nobody_waits, **data)  # type: ignore[arg-type]
        self.saga = Saga(log, dice=lambda: 0.0, **data)  # type: ignore[arg-type]
        self.operating = OperatorCommands(log, self.saga.snapshots, **data)  # type: ignore[arg-type]
        self.provisioner = Provisioner(
            log,
            self.saga,
            world.executors,
            clock=self.clock,
            owner="worker",
            limits=ConcurrencyLimits(threads=2, claim=8, executor=8, shard=8),  # nobody is put off
            lease=timedelta(seconds=30),
            poll_seconds=0.01,
            drain_seconds=5,
        )

    def says(self, type_: str, revision: int, **data: object) -> None:
        self.lifecycle.intake([message(type_, revision, **data)])  # type: ignore[arg-type]
        self.work()

    def passes(self, time: timedelta) -> None:
        self.clock.now += time
        self.work()

    def work(self) -> None:
        for _ in range(2000):
            if not self.provisioner.round():
                return
        raise AssertionError("the provisioner does not come to rest")

    def snapshot(self) -> TenantSnapshot:
        return self.saga.snapshots([TENANT])[TENANT]

    def level(self) -> str:
        return self.snapshot().product(JIRA).level

    def schemas(self) -> set[str]:
        """The schemas of our families on the shard of region eu."""
        with self.world.topology.connect("eu-1") as connection:
            rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s", [OUR_NAMES]).fetchall()
        return {name for (name,) in rows}

    def roles(self) -> set[str]:
        """The roles of our families on the whole server."""
        with psycopg.connect(self.world.postgres.url()) as connection:
            rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname ~ %s", [OUR_NAMES]).fetchall()
        return {name for (name,) in rows}

    def names(self) -> set[str]:
        with self.world.control() as connection:
            return {name for (name,) in connection.execute("SELECT site_name FROM site_names").fetchall()}


def _nobody_waits(waiting: WaitingMessage) -> None:
    raise AssertionError(f"{waiting.id} waits")


@pytest.fixture
def cloud(postgres: EmbeddedPostgres, migrated_database: str) -> Iterator[Cloud]:
    log = PostgresEventLog(migrated_database, InMemorySealingKeys())
    with real_world(postgres) as world:
        made = Cloud(log, world)
        made.says("tenant.created", 1)
        made.says("product.activated", 1)
        assert made.level() == "open"
        yield made
    log.close()


def test_data_is_there_until_retention_is_over_and_gone_afterwards(cloud: Cloud) -> None:
    first = cloud.schemas()
    assert len(first) == 1
    cloud.says("product.deactivated", 2)
    cloud.passes(POLICY.retention - DAY)
    cloud.says("product.activated", 3)
    assert (cloud.level(), cloud.schemas()) == ("open", first)
    cloud.says("product.deactivated", 4)
    cloud.passes(POLICY.retention + DAY)
    assert (cloud.level(), cloud.schemas()) == ("absent", set())
    cloud.says("product.activated", 5)
    assert cloud.level() == "open"
    assert cloud.snapshot().tenant.product(JIRA).data_lost
    second = cloud.schemas()
    assert len(second) == 1
    assert second != first


def test_a_restored_tenant_has_its_data_and_a_purged_one_leaves_nothing(cloud: Cloud) -> None:
    first = cloud.schemas()
    assert len(first) == 1
    cloud.says("tenant.destroyed", 2)
    cloud.passes(POLICY.restore_window - DAY)
    cloud.operating.restore(TENANT, reason="the wrong one was called", by=Operator.parse("ada@host"))
    cloud.work()
    assert (cloud.level(), cloud.schemas()) == ("open", first)
    cloud.says("tenant.destroyed", 3)
    cloud.passes(POLICY.restore_window + DAY)
    assert (cloud.level(), cloud.schemas(), cloud.names()) == ("absent", set(), {"acme"})
    cloud.passes(POLICY.site_name_cool_down)
    assert cloud.names() == set()
    purge = cloud.snapshot().tenant.purge
    assert purge is not None
    assert purge.over
    assert cloud.roles() == cloud.roles_of_others


def test_two_products_that_are_over_at_one_moment_both_go(cloud: Cloud) -> None:
    cloud.says("product.activated", 1, product="confluence")
    assert len(cloud.schemas()) == 2
    cloud.lifecycle.intake([message("product.deactivated", 2, product=key) for key in (JIRA, "confluence")])
    cloud.work()
    cloud.passes(POLICY.retention + DAY)
    assert cloud.schemas() == set()
