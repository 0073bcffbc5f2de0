"""On what do the workers live that are struck down, and who judges what they leave?

A server of its own, with the log, the read models and two shards on it: one keeps families in schemas, the other in
databases of their own. Events come in as bytes through the front door, without a broker; the oracle of the demo reads
the same bytes and says what must be there. Time is ours: a worker's lease runs out because the next one lives later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import text

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.ports import Message
from adapters.postgres.migrations import migrate
from adapters.resources.login_role import role_password
from application.ingest import Lifecycle
from application.operator_commands import Act, OperatorCommands
from demo.entries import Entry
from demo.findings import Found, find
from demo.oracle import Disagreement, disagreements, expect
from demo.rules import Tenant, family_of
from domain.operator import Operator
from domain.scope.snapshot import TenantSnapshot
from domain.scope.steps import Scope
from projections import PROJECTIONS
from runtime.compose import Parts, new_id
from runtime.compose.intake import messages_of
from runtime.compose.projector import log_reader_of, mark_listener_of, projector_engine_of
from runtime.instance import Endpoints
from runtime.settings import Settings, ShardSettings
from tests.crashes import worker
from tests.crashes.failing import Fails
from tests.crashes.worker import LEASE, Life
from tests.domain.given import POLICY
from tests.real_parts import make_database
from workers.projector import Projector

JIRA: Final = "jira-software"
REGIONS: Final = ("eu", "us")
"""Families in `eu` are schemas, those in `us` databases of their own."""

PATIENCE: Final = 60.0
"""Seconds, for what a life takes that is over in one."""


class Cloud:
    """The front door, the workers' lives one after the other, and the judgement."""

    def __init__(self, postgres: EmbeddedPostgres, parts: Parts) -> None:
        self.postgres = postgres
        self.parts = parts
        self.now = datetime.now(UTC)
        self.entries: list[Entry] = []
        self.wave = 1
        self.gone: set[str] = set()
        """Tenants whose purge is over: nothing of them may be there."""
        self.fault = ""
        self.fails: Fails = {}
        self.undone: dict[str, str] = {}
        """Of which tenants what was given up before it lived: `site`, `family F` or a product. Nothing stands on it."""
        self._revision = 0
        self._lifecycle = Lifecycle(
            parts.log,
            catalog=parts.catalog,
            policy=POLICY,
            clock=self._tick,
            new_id=new_id,
            reread=messages_of(parts).reread,
        )
        self._projector = Projector(
            log_reader_of(parts),
            projector_engine_of(parts),
            PROJECTIONS,
            batch=1000,
            poll_seconds=0.05,
            listener=mark_listener_of(parts),
        )

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    # -- in ------------------------------------------------------------------------------------------------------------

    def creates(self, tenant: str, *products: str, region: str = "eu") -> None:
        self.says(
            "tenant.created",
            tenant,
            customer_id=f"c-{tenant}",
            site_name=f"site-{tenant}",
            residency="pinned",
            region=region,
            administrator={"account_id": "a-1", "name": "Ada", "email": "ada@example.com"},
            products=[{"product": key, "edition": "free", "users": 5, "revision": 1} for key in products or (JIRA,)],
        )

    def tells_of_the_customer(self, tenant: str) -> None:
        administrator = {
            "account_id": "a-1",
            "name": "Ada",
            "email": "ada@example.com",
            "roles": ["site-administrator"],
        }
        data = {"name": "Acme", "country": "DE", "administrators": [administrator]}
        self._comes("commerce.customer.updated", f"c-{tenant}", {"customer_id": f"c-{tenant}", **data})

    def says(self, type_: str, tenant: str, **data: Any) -> None:
        self._comes(type_, tenant, {"tenant_id": tenant, **data})

    def tries_again(self, scope: Scope) -> None:
        """An operator does, with what was given up."""
        parts = self.parts
        operating = OperatorCommands(parts.log, parts.saga.snapshots, parts.catalog, POLICY, self._tick, new_id)
        operating.carry_out(Act("retry", scope, "it is mended"), by=Operator.parse("ada@host"))

    def _comes(self, type_: str, key: str, data: dict[str, Any]) -> None:
        self._revision += 1
        headers, value = to_structured(
            type_, data, source="test", id=f"{self._revision}", time=self.now, revision=self._revision
        )
        named = tuple((name, content.decode()) for name, content in headers)
        topic = "tenantry.commerce" if type_.startswith("commerce.") else "tenantry.lifecycle"
        self.entries.append(Entry(self.wave, topic, key, named, value))
        message = Message(topic, "topic", 0, self._revision, key.encode(), value, headers, 0)
        self._lifecycle.intake([messages_of(self.parts).read(message)])

    def passes(self, time: timedelta) -> None:
        self.now += time

    # -- lives ---------------------------------------------------------------------------------------------------------

    def begins(self, **what: Any) -> ForkServerProcess:
        """A worker begins to live now; the next one when its lease has run out."""
        life = Life(self.parts.settings, self.parts.endpoints, self.now, fault=self.fault, fails=self.fails)
        process = worker.begin(replace(life, **what))
        self.now += LEASE + timedelta(seconds=4)
        return process

    def lives(self, **what: Any) -> int | None:
        """The exit code of a worker that lived until nothing was due, or until it was struck down."""
        process = self.begins(**what)
        process.join(PATIENCE)
        assert process.exitcode is not None, "a worker does not come to rest"
        code = process.exitcode
        process.close()
        return code

    def settles(self) -> None:
        """Workers that nobody strikes, until nothing is due soon."""
        for _ in range(20):
            assert self.lives(claim=16, threads=2) == 0
            if not self._soon():
                return
        raise AssertionError(f"the workers do not come to rest: {self._soon()}")

    def _soon(self) -> list[Any]:
        query = "SELECT scope FROM wakes WHERE due_at <= %s UNION ALL SELECT scope FROM leases"
        with psycopg.connect(self.parts.endpoints.database_url) as connection:
            return connection.execute(query, [self.now + timedelta(hours=1)]).fetchall()

    # -- judgement -----------------------------------------------------------------------------------------------------

    def disagreements(self) -> list[Disagreement | str]:
        """Everything that is not as the oracle says: in the read models, on the shards, and among what is reserved."""
        self.parts.log.advance_mark()
        while self._projector.step():
            pass
        expected = expect(self.entries, now=self.now)
        subjects = {(tenant.id, family_of(key), key) for tenant in expected.tenants.values() for key in tenant.products}
        expected.tenants = {key: tenant for key, tenant in expected.tenants.items() if key not in self.gone}
        assert not expected.unsure
        found = find(self.parts.endpoints.database_url, self.parts.topology, subjects)
        failure = list(self._given_up(expected.tenants, found))
        return [*failure, *disagreements(expected, found), *self._reservations(expected.tenants)]

    def _given_up(self, expected: dict[str, Tenant], found: Found) -> Iterator[str]:
        """Of what was given up the oracle knows nothing: it is told so, and nothing is left of it."""
        for tenant, what in self.undone.items():
            state = found.pop((tenant, what, "saga"), "nothing")
            if state != "failed":
                yield f"{what} of '{tenant}' is {state}, and should have failed"
            if what == "site":
                del expected[tenant]
            else:
                expected[tenant].products.clear()
                expected[tenant].families.clear()

    def _reservations(self, tenants: dict[str, Any]) -> Iterator[str]:
        """Site names and room on shards, which the oracle leaves to the read models."""
        names = {(f"site-{tenant}", tenant) for tenant in tenants}
        rooms = {
            (f"family:{tenant.id}:{family}", f"{region}-1")
            for tenant in tenants.values()
            for family, region in tenant.families.items()
        }
        with self.parts.engine.connect() as connection:
            for what, desired_state, query in (
                ("site name", names, "SELECT site_name, tenant_id FROM site_names"),
                ("room", rooms, "SELECT scope, shard FROM placements_reserved"),
            ):
                found = {tuple(row) for row in connection.execute(text(query))}
                yield from (f"{what} {each} is missing" for each in sorted(desired_state - found))
                yield from (f"orphan: {what} {each}" for each in sorted(found - desired_state))
            used = [(shard, taken) for shard, taken in connection.execute(text("SELECT name, used FROM shards"))]
        for shard, taken in used:
            counted = sum(1 for _, place in rooms if place == shard)
            if taken != counted:
                yield f"{taken} places of {shard} are taken by {counted} families"

    def snapshot(self, tenant: str) -> TenantSnapshot:
        return self.parts.saga.snapshots([tenant])[tenant]

    # -- as a product --------------------------------------------------------------------------------------------------

    @contextmanager
    def as_product(self, tenant: str, key: str = JIRA) -> Iterator[psycopg.Connection]:
        """A session of the product's own login in its database."""
        family = family_of(key)
        actual = self.snapshot(tenant).family(family)
        place: Any = next(ensured.result for step, ensured in actual.steps.items() if step == 6)
        role = place.role_of(key)
        password = role_password(self.parts.master_key, f"family:{tenant}:{family}", key, role.generation)
        port = self.postgres.port
        with psycopg.connect(
            host=self.postgres.host, port=port, dbname=place.database, user=role.role, password=password
        ) as connection:
            yield connection

    def writes(self, tenant: str, note: str) -> None:
        """The product keeps something in its database."""
        with self.as_product(tenant) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
            connection.execute("INSERT INTO notes VALUES (%s)", [note])

    def reads(self, tenant: str) -> list[str]:
        with self.as_product(tenant) as connection:
            return [note for (note,) in connection.execute("SELECT note FROM notes").fetchall()]


@contextmanager
def a_cloud(postgres: EmbeddedPostgres, **settings: Any) -> Iterator[Cloud]:
    """A fresh one on the server; all that it made goes with it."""
    worker.open_early()
    run = uuid4().hex[:8]
    control, shards = f"control_{run}", {region: f"shard_{region}_{run}" for region in REGIONS}
    for name in (control, *shards.values()):
        make_database(postgres, name)
    migrate(postgres.url(control))
    made = Settings(
        master_key=SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        shards=tuple(
            ShardSettings(
                name=f"{region}-1",
                region=region,
                url=SecretStr(postgres.url(shards[region])),
                isolation="schema" if region == "eu" else "database",
            )
            for region in REGIONS
        ),
        **settings,
    )
    with Parts(made, Endpoints(postgres.url(control), "")) as parts:
        parts.topology.prepare()
        with psycopg.connect(parts.endpoints.database_url) as connection:
            parts.topology.sync(connection)
        yield Cloud(postgres, parts)
    _clean(postgres, [control, *shards.values()])


def _clean(postgres: EmbeddedPostgres, databases: list[str]) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        ours = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^t_[0-9a-f]{20}_g'").fetchall()
        for name in (*databases, *(name for (name,) in ours)):
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        roles = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname ~ '^([rg]_[0-9a-f]{20}_g|tenantry_reach)'"
        )
        for (name,) in roles.fetchall():
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def passed(diary: Path, tenant: str) -> list[Any]:
    """What a worker told of a tenant, in order."""
    return [entry for line in diary.read_text().splitlines() if (entry := json.loads(line))["tenant"] == tenant]
