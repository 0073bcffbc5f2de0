"""An engine in small for tests of tenant contexts: a log on PostgreSQL, its mark, projectors, services over uvicorn.

The saga is not run: its events are recorded as it would record them, so a test says exactly what is in the log.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import urllib3

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.postgres.connection import connect
from adapters.postgres.contexts import ContextStore
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.high_water import HighWaterAgent, MarkListener
from adapters.postgres.log_reader import LogReader
from adapters.postgres.sessions import Pool
from application.unit_of_work import UnitOfWork
from context.service.run import ServiceAddress, serve
from domain.catalog import default_catalog
from domain.configuration import Configuration, ShardMap
from domain.event import Cause, Event, Recorded
from domain.policy import default_policy
from domain.scope.state import ScopeConverged, StepCompleted, StepStarted
from domain.scope.steps import (
    DatabaseResult,
    DatabaseSpec,
    LicenseResult,
    LicenseSpec,
    RoleResult,
    RoleSpec,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
    StepSpec,
)
from domain.tenant.events import Founder, ProductActivated, ProductSuspended, TenantCreated
from projections.contexts import ContextRules
from tenantry_client.context.wire import Frame, FrameReader, decode_payload
from workers.context_projector import ContextProjector

PRODUCT = "jira-software"
CATALOG = default_catalog()
FAMILY = CATALOG.family_of(PRODUCT)
RULES = ContextRules(CATALOG, {"eu-1": "127.0.0.1:5432"})
LEASE_SECONDS = 3.0


class Engine:
    """A log and what stands on it. Use `running` to have its parts at work."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = Pool(lambda: connect(url, autocommit=True), keep=2)
        self.keys = PostgresEncryptionKeys(self._pool, MasterKey(b"k" * 32))
        self.log = PostgresEventLog(url, self.keys)
        self._versions: dict[str, int] = {}

    def close(self) -> None:
        self.log.close()
        self._pool.close()

    # -- events -------------------------------------------------------------------------------------------------------

    def record(self, *events: tuple[str, Event]) -> None:
        """All of them in one transaction."""
        facts = []
        for stream, event in events:
            self._versions[stream] = self._versions.get(stream, 0) + 1
            cause = Cause(kind="message", source="/test", id=uuid4().hex)
            facts.append(Recorded(stream, self._versions[stream], uuid4(), datetime.now(UTC), cause, "c", event))
        self.log.record(UnitOfWork(events=facts))

    def open(self, tenant_id: str, *, site_name: str | None = None, users: int = 10) -> None:
        """A tenant with one product that is open."""
        name = site_name or tenant_id
        founder = Founder(account_id="a-1", name="Ada", email="ada@example.com")
        features = CATALOG.features(PRODUCT, "standard")
        role = RoleSpec(product=PRODUCT, login=True)
        database = DatabaseResult(
            family=FAMILY,
            region="eu",
            shard="eu-1",
            isolation="schema",
            database="shard_eu_1",
            schema_name=f"t_{tenant_id.replace('-', '_')}",
            roles=(RoleResult(product=PRODUCT, role=f"r_{tenant_id}", generation=1, login=True),),
        )
        license_ = LicenseResult(
            product=PRODUCT,
            edition="standard",
            users=users,
            active=True,
            expires_at=None,
            features=features,
            location="",
        )
        self.record(
            (
                f"tenant:{tenant_id}",
                TenantCreated(
                    tenant_id=tenant_id,
                    customer_id="c-1",
                    site_name=name,
                    residency="global",
                    administrator=founder,
                ),
            ),
            (
                f"tenant:{tenant_id}",
                ProductActivated(tenant_id=tenant_id, product=PRODUCT, edition="standard", users=users),
            ),
            *self.step("site", tenant_id, "", Step.SITE, SiteSpec(site_name=name, access="open"), self.site(name)),
            *self.converged("site", tenant_id, ""),
            *self.step(
                "family", tenant_id, FAMILY, Step.DATABASE, DatabaseSpec(family=FAMILY, roles=(role,)), database
            ),
            *self.converged("family", tenant_id, FAMILY),
            *self.step(
                "product",
                tenant_id,
                PRODUCT,
                Step.LICENSE,
                LicenseSpec(
                    product=PRODUCT, edition="standard", users=users, active=True, expires_at=None, features=features
                ),
                license_,
            ),
            *self.converged("product", tenant_id, PRODUCT),
        )

    def suspend(self, tenant_id: str) -> None:
        self.record((f"tenant:{tenant_id}", ProductSuspended(tenant_id=tenant_id, product=PRODUCT, reason="unpaid")))

    @staticmethod
    def site(name: str) -> SiteResult:
        return SiteResult(site_name=name, url=f"https://{name}.tenantry.example", access="open")

    def step(
        self, kind: Any, tenant_id: str, key: str, step: Step, spec: StepSpec, result: StepResult
    ) -> Iterator[tuple[str, Event]]:
        stream = f"{kind}:{tenant_id}:{key}" if key else f"{kind}:{tenant_id}"
        of: dict[str, Any] = {"tenant_id": tenant_id, "kind": kind, "key": key, "step": step, "direction": "ensure"}
        generation = self._versions.get(stream, 0) + 1
        yield stream, StepStarted(**of, generation=generation, spec=spec)
        yield stream, StepCompleted(**of, generation=generation, result=result)

    @staticmethod
    def converged(kind: Any, tenant_id: str, key: str) -> Iterator[tuple[str, Event]]:
        stream = f"{kind}:{tenant_id}:{key}" if key else f"{kind}:{tenant_id}"
        yield stream, ScopeConverged(tenant_id=tenant_id, kind=kind, key=key, level="open", digest="d")

    # -- parts --------------------------------------------------------------------------------------------------------

    def projector(self, *, rules: ContextRules = RULES, batch: int = 1000) -> ContextProjector:
        return ContextProjector(
            LogReader(self.url, self.keys),
            ContextStore(self.url),
            configuration=Configuration(CATALOG, default_policy(), ShardMap(shards=(), default_region="eu")),
            rules_of=lambda _: rules,
            batch=batch,
            poll_seconds=0.05,
            listener=MarkListener(self.url),
        )

    @contextmanager
    def marked(self) -> Iterator[None]:
        """With a high-water agent."""
        agent = HighWaterAgent(self.url)
        agent.start()
        try:
            yield
        finally:
            agent.stop()

    @contextmanager
    def projected(self, projector: ContextProjector | None = None) -> Iterator[ContextProjector]:
        """With a context projector at work."""
        stop, made = threading.Event(), projector or self.projector()
        thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            stop.set()
            thread.join(10)
            made._store.close()  # noqa: SLF001 - the lock goes with the session
            made._reader.close()  # noqa: SLF001
            made._listener.close()  # type: ignore[attr-defined]  # noqa: SLF001

    @contextmanager
    def served(self, *, lease_seconds: float = LEASE_SECONDS) -> Iterator[Service]:
        """With a context service on a port of the loopback."""
        stop, told, ports = threading.Event(), threading.Event(), list[int]()

        def ready(port: int) -> None:
            ports.append(port)
            told.set()

        thread = threading.Thread(
            target=serve, args=(self.url, ServiceAddress()), daemon=True,
            kwargs={"lease_seconds": lease_seconds, "stop": stop, "ready": ready},
        )  # fmt: skip
        thread.start()
        assert told.wait(20), "the service did not begin"
        service = Service(f"http://127.0.0.1:{ports[0]}")
        try:
            service.wait_until_fresh()
            yield service
        finally:
            stop.set()
            thread.join(10)

    def wait_for_position(self, tenant_id: str | None = None, *, seconds: float = 60.0) -> int:
        """Until the contexts are as far as the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with psycopg.connect(self.url, autocommit=True) as connection:
                row = connection.execute(
                    "SELECT (SELECT position FROM context_log), (SELECT max(notification_id) FROM stored_events)"
                ).fetchone()
            if row is not None and row[0] >= (row[1] or 0):
                return int(row[0])
            time.sleep(0.01)
        raise TimeoutError("the contexts did not come up to date")


class Service:
    """A context service by its address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = urllib3.PoolManager(retries=False, timeout=10.0)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any], urllib3.BaseHTTPResponse]:
        answer = self.pool.request("GET", self.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return answer.status, json.loads(answer.data) if answer.data else {}, answer

    def wait_until_fresh(self, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.02)
        raise TimeoutError(f"the service is not ready: {self.get('/readyz')[1]}")

    def frames(self, after: int, log: str, *, read_timeout: float = 10.0) -> Iterator[Frame]:
        """The stream, until it ends."""
        reader = FrameReader()
        answer = self.pool.request(
            "GET", f"{self.url}/v1/changes?after={after}&log={log}", preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=read_timeout),
        )  # fmt: skip
        try:
            for data in answer.stream(65536):
                for payload in reader.feed(data):
                    yield decode_payload(payload)
        finally:
            answer.close()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc
