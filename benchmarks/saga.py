"""Saga benchmark: the tenants a second that go through the seven steps.

Ours: provisioners on a log in which so many tenants have just been created, each with one product; what is timed is
the way from there to the last scope that converged. Executors do nothing, so that what is left is the saga: claiming,
deciding, intents before effects, outcomes, all in the log as in production. Site, family and product converge by
themselves, so the seven steps are ten intents and ten outcomes a tenant here. One provisioner, and two on the same
queue; the better one counts. The peer is a workflow of seven steps (workflows.py), the better of two ways as well.

Beside it, by ours alone:
- the rate with the executors of the embedded topology, which make schemas and roles, and that of a bare script;
- a hundred thousand scopes due at once: the memory of the provisioner, and how long the last waits for its first step;
- the time of an activation, of which there are 20 a second (activation.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from uuid import uuid4

import psycopg

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.clients import Message
from adapters.resources.commerce import Commerce
from adapters.resources.configuration import Configurations
from adapters.resources.entitlement import licensed
from adapters.resources.fences import spec_of
from adapters.resources.identities import Identities
from adapters.resources.membership import MembershipSet
from application.ports.resources import LiesOn, Order, StepExecutor
from application.ports.work_queue import WorkItem
from application.unit_of_work import UnitOfWork
from benchmarks import bare_shards, workflows
from benchmarks.activation import HEADERS, PRODUCT, RATE, SECONDS, TOPIC, activations, created
from benchmarks.harness import (
    Result,
    in_turns,
    our_database,
    peer_database,
    progress,
    result,
    server,
    settle,
    together,
)
from benchmarks.population import parts
from domain.scope.state import StepStarted
from domain.scope.steps import (
    DatabaseResult,
    DatabaseSpec,
    RegionResult,
    RoleResult,
    Scope,
    ScopeKind,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
)
from history.rebuild.loading import spare_the_collector
from runtime.compose import Parts, lease_of, utc_now
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.provisioner import executors_of
from workers.provisioner import Provisioner
from workers.roles import limits_of

TENANTS: Final = 1_000
LOCAL_TENANTS: Final = 200
SCOPES: Final = 100_000
SCOPES_OF_A_TENANT: Final = 3
ONE_BY_ONE, AT_ONCE = 150, 600
QUIET_SECONDS: Final = 1.0


def run(*, runs: int, quick: bool = False) -> Result:
    workflows.is_here()
    tenants, local, scopes = (20, 10, 90) if quick else (TENANTS, LOCAL_TENANTS, SCOPES)
    one_by_one, at_once = (5, 10) if quick else (ONE_BY_ONE, AT_ONCE)
    one, two = list[float](), list[float]()
    sequential, started = list[float](), list[float]()

    def ours() -> float:
        one.append(rate(postgres, tenants).rate)
        two.append(rate(postgres, tenants, workers=2).rate)
        return max(one[-1], two[-1])

    def peer() -> float:
        (worked,) = together(workflows.provision, [(peer_url, one_by_one, at_once)])
        sequential.append(worked.value[0])
        started.append(worked.value[1])
        return max(sequential[-1], started[-1])

    with server() as postgres:
        peer_url = peer_database(postgres)
        compared = in_turns("saga", runs, ours=ours, peer=peer)
        real, bare = list[float](), list[float]()
        for _ in range(runs):
            real.append(rate(postgres, local, local=True).rate)
            bare.append(_bare(postgres, local))
        progress(f"saga, local executors: {median(real):,.0f}/s, a bare script: {median(bare):,.0f}/s")
        many = rate(postgres, scopes // SCOPES_OF_A_TENANT + 1, due_at_once=True)
        progress(f"saga, {scopes:,} scopes due: {many.rss_mib:.0f} MiB, longest wait {many.longest_wait:.1f} s")
    activated = activations(runs, seconds=1.0 if quick else SECONDS)
    return result(
        "saga",
        compared,
        unit="provisionings/s",
        peer_sequential_runs=[round(each, 1) for each in sequential],
        peer_started_runs=[round(each, 1) for each in started],
        tenants=tenants,
        one_worker=round(median(one), 1),
        one_worker_runs=[round(each, 1) for each in one],
        two_workers=round(median(two), 1),
        two_workers_runs=[round(each, 1) for each in two],
        local=round(median(real), 1),
        local_runs=[round(each, 1) for each in real],
        local_bare=round(median(bare), 1),
        local_ratio=round(median(real) / median(bare), 2),
        activated_p50_ms=round(median(activated.p50s)),
        activated_p99_ms=round(median(activated.p99s)),
        activated_p99_runs=[round(each) for each in activated.p99s],
        activated_rate=RATE,
        activated_stages_ms={name: [round(p50), round(p99)] for name, (p50, p99) in activated.stages.items()},
        scopes_due=scopes,
        scopes_due_rate=round(many.rate, 1),
        longest_wait_seconds=round(many.longest_wait, 1),
        rss_mib=round(many.rss_mib),
    )


# -- a provisioner by itself ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provisioned:
    """Tenants a second, memory, and the seconds until the last scope began its first step."""

    rate: float
    rss_mib: float
    longest_wait: float


def rate(
    postgres: EmbeddedPostgres, tenants: int, *, local: bool = False, due_at_once: bool = False, workers: int = 1
) -> Provisioned:
    """Create the tenants in a new database, then let so many provisioners bring them about.

    Of a new tenant the site is due, and makes the others due; or all of them are, `due_at_once`.
    """
    name = f"ours_{uuid4().hex[:8]}"
    url = our_database(postgres, name)
    shards: list[str] = []
    try:
        with parts(url) as ours:
            if local:
                shards = [shard.database_name for shard in ours.settings.topology]
                _prepare_shards(postgres, ours, shards)
            _create(ours, tenants)
            if due_at_once:
                _make_due(ours)
        settle(url)
        worked = together(provision, [(url, local)] * workers)
        seconds = max(each.value[1] for each in worked)
        with parts(url) as ours:
            longest_wait = _last_first_step(ours, worked[0].value[0])
        _expect_converged(url, tenants * SCOPES_OF_A_TENANT)
        return Provisioned(tenants / seconds, max(each.rss_mib for each in worked), longest_wait)
    finally:
        for each in (name, *shards):
            postgres.drop_database(each)


def provision(url: str, local: bool) -> Generator[None, None, tuple[datetime, float]]:
    """When it began, and the seconds until nothing was left to do: who was put off comes back a moment later."""
    with parts(url) as ours:
        settings = ours.settings
        provisioner = Provisioner(
            ours.log,
            ours.saga,
            executors_of(ours) if local else _idle(ours),
            clock=utc_now,
            owner="bench",
            limits=limits_of(settings),
            lease=lease_of(settings),
            poll_seconds=settings.poll_seconds,
            drain_seconds=settings.drain_seconds,
        )
        spare_the_collector()
        yield
        began, start = utc_now(), time.monotonic()
        worked = start
        while time.monotonic() - worked < QUIET_SECONDS:
            if provisioner.round():
                worked = time.monotonic()
            else:
                time.sleep(settings.poll_seconds)
        provisioner.drain()
    return began, worked - start


def _bare(postgres: EmbeddedPostgres, tenants: int) -> float:
    with parts(postgres.url("postgres")) as ours:
        threads, shards = limits_of(ours.settings).threads, len(ours.settings.topology)
    return bare_shards.rate(postgres, tenants, connections=threads, shards=shards)


def _expect_converged(url: str, scopes: int) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(DISTINCT originator_id) FROM stored_events WHERE topic = 'tenantry.scope-converged'"
        ).fetchone()
    if row != (scopes,):
        raise RuntimeError(f"{row} of {scopes} scopes converged: the bench measures something else")


def _last_first_step(ours: Parts, began: datetime) -> float:
    """Seconds until the first step of the scope that waited longest."""
    ours.log.advance_mark()
    first: dict[str, float] = {}
    after = 0
    while events := ours.log.read(after, 5_000):
        after = events[-1].position or 0
        for recorded in events:
            if isinstance(recorded.event, StepStarted):
                first.setdefault(recorded.stream, (recorded.time - began) / timedelta(seconds=1))
    return max(first.values())


def _prepare_shards(postgres: EmbeddedPostgres, ours: Parts, shards: list[str]) -> None:
    for name in shards:
        postgres.create_database(name)
    ours.topology.prepare()
    with psycopg.connect(ours.endpoints.database_url) as connection:
        ours.topology.sync(connection)


def _create(ours: Parts, tenants: int) -> None:
    messages = [created(str(uuid4()), PRODUCT) for _ in range(tenants)]
    for start in range(0, tenants, 500):
        batch = [
            Message(TOPIC, "bench", 0, start + number, key, value, HEADERS, 0)
            for number, (key, value) in enumerate(messages[start : start + 500])
        ]
        lifecycle_of(ours).intake([messages_of(ours).read(message) for message in batch], [])


def _make_due(ours: Parts) -> None:
    """Every scope of every tenant."""
    family = ours.catalog.family_of(PRODUCT)
    tenants, after = list[str](), ""
    while page := ours.log.streams_after("tenant", after, 10_000):
        tenants += page
        after = page[-1]
    for start in range(0, len(tenants), 5_000):
        scopes = (
            scope
            for tenant in tenants[start : start + 5_000]
            for scope in (Scope("site", tenant), Scope("family", tenant, family), Scope("product", tenant, PRODUCT))
        )
        ours.log.record(UnitOfWork(work_items=[WorkItem(str(scope), utc_now()) for scope in scopes]))


# -- executors that do nothing -------------------------------------------------------------------------------------


class _Idle(StepExecutor):
    """Says that it is done."""

    def __init__(self, result: Callable[[Order], StepResult], *, lies_on: LiesOn) -> None:
        self._result = result
        self.lies_on = lies_on

    def ensure(self, order: Order) -> StepResult:
        return self._result(order)


def _idle(ours: Parts) -> Mapping[tuple[ScopeKind, Step], StepExecutor]:
    configurations = Configurations(ours.catalog, site_domain=ours.settings.site_domain)
    return {
        ("site", Step.COMMERCE): Commerce(),
        ("site", Step.SITE): _Idle(_site, lies_on="control"),
        ("site", Step.CONFIGURATION): configurations,
        ("site", Step.IDENTITY): Identities(),
        ("family", Step.REGION): _Idle(lambda _: RegionResult(region="eu", shard="eu-1"), lies_on="control"),
        ("family", Step.DATABASE): _Idle(_database, lies_on="shard"),
        ("product", Step.SITE): MembershipSet(),
        ("product", Step.CONFIGURATION): configurations,
        ("product", Step.IDENTITY): Identities(),
        ("product", Step.LICENSE): _Idle(licensed, lies_on="shard"),
    }


def _site(order: Order) -> SiteResult:
    spec = spec_of(order, SiteSpec)
    return SiteResult(site_name=spec.site_name, url=f"https://{spec.site_name}.tenantry.example", access=spec.access)


def _database(order: Order) -> DatabaseResult:
    spec = spec_of(order, DatabaseSpec)
    place = f"t_{order.scope.tenant_id.replace('-', '_')}_{spec.family}_{order.generation}"
    roles = tuple(
        RoleResult(product=role.product, role=f"{place}_{role.product}", generation=order.generation, login=role.login)
        for role in spec.roles
    )
    return DatabaseResult(
        family=spec.family,
        region="eu",
        shard="eu-1",
        isolation="schema",
        database="shard_eu_1",
        schema_name=place,
        roles=roles,
    )
