"""Store of the console's benchmark: tenants after a short life, and what an operator finds among a million of them.

Lives and read models are copied in bulk. What the pages decode is recorded by the services themselves: a tenant with a
long history, operators' acts, changes that await approval. A folder that is named keeps the store for the next run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
from msgspec.structs import replace

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.encryption import NoKeys
from adapters.kafka.ports import Message
from adapters.postgres import high_water
from adapters.postgres.event_mapper import EventMapper
from adapters.postgres.migrations import migrate
from application.operator_commands import Act
from application.ports.encryption import EncryptionKeys
from application.unit_of_work import UnitOfWork
from benchmarks.harness import our_database, progress, settle
from benchmarks.population import (
    NO_KAFKA,
    NOW,
    PRODUCT,
    Row,
    license_message,
    licensed,
    lives,
    load,
    parts,
    recorded,
    tenant_id,
)
from domain.operator import Operator
from domain.policy import Guard
from domain.scope.state import StepStarted
from domain.scope.steps import LicenseSpec, Scope, SiteSpec, Step
from runtime.compose import Parts, new_id
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.operators import operating_of

TROUBLED: Final = 50_000
"""Tenants in each kind of trouble, and messages in quarantine; a tenth of the store at most."""
ACTS: Final = 3_000
AWAITING: Final = 1_000
HISTORY: Final = 1_000
"""Changes of the license of the tenant with a long history, each with the two events of its step."""


def veteran(size: int) -> str:
    """That tenant, in a store of so many."""
    return tenant_id(777 % size)


@contextmanager
def filled_store(size: int, kept_in: Path | None) -> Iterator[str]:
    """The URL of a filled database, on a server of its own; `kept_in` is filled once, and is there the next time."""
    with tempfile.TemporaryDirectory(prefix="bench-") as passing:
        directory = kept_in or Path(passing)
        with EmbeddedPostgres(directory / "postgres") as postgres:
            mark, name = directory / f"filled-{size}", f"of_{size}"
            if mark.exists():
                migrate(postgres.url(name))
            else:
                postgres.drop_database(name)
                url = our_database(postgres, name)
                load(url, whole_lives, range(size), incoming=True)
                fill(url, size)
                mark.touch()
            yield postgres.url(name)


# -- lives ---------------------------------------------------------------------------------------------------------


def whole_lives(keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """The lives of the population, with the intents before their outcomes: the saga's state is made of both."""
    started = _intents()
    for row in lives(keys, numbers):
        kind, _, rest = row[0].partition(":")
        if (intent := started.get(kind)) is not None:
            yield row[0], 1, intent[0], intent[1].replace(_TEMPLATE.encode(), rest.partition(":")[0].encode())
        yield row


@cache
def _intents() -> Mapping[str, tuple[str, bytes]]:
    """By kind of scope: the topic and the state of the intent of a tenant that stands for all."""
    mapper, found = EventMapper(NoKeys()), {}
    for scope, event in (
        (Scope("site", _TEMPLATE), _started(_TEMPLATE, Step.SITE, 1)),
        (Scope("product", _TEMPLATE, PRODUCT), _started(_TEMPLATE, Step.LICENSE, 1)),
    ):
        stored = mapper.to_stored_event(recorded(str(scope), 1, event, new_id()))
        found[str(scope.kind)] = (stored.topic, stored.state)
    return found


def _started(tenant: str, step: Step, generation: int) -> StepStarted:
    spec: SiteSpec | LicenseSpec = SiteSpec(site_name=f"site-{tenant}", access="open")
    if step is Step.LICENSE:
        spec = LicenseSpec(
            product=PRODUCT, edition="premium", users=250, active=True, expires_at=None, features=("sandbox",)
        )
    scope = Scope("product", tenant, PRODUCT) if step is Step.LICENSE else Scope("site", tenant)
    return StepStarted(
        tenant_id=tenant,
        kind=scope.kind,
        key=scope.key,
        step=step,
        direction="ensure",
        generation=generation,
        spec=spec,
    )


_TEMPLATE: Final = "7e4a17aa-0000-4000-8000-7e4a17aa0000"


# -- what an operator finds ----------------------------------------------------------------------------------------


def fill(url: str, size: int) -> None:
    """The read models of the tenants; failures, waits and attempts, a quarantine, a plan, acts, a long history."""
    progress(f"filling the read models of {size:,} tenants")
    troubled = min(TROUBLED, size // 10)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FILL:
            connection.execute(statement.encode(), {"size": size, "troubled": troubled})
    progress("recording a history, acts and a plan")
    with parts(url, NO_KAFKA) as ours:
        _live_long(ours, veteran(size), min(HISTORY, size))
        _hold(ours, [tenant_id(size // 4 + number) for number in range(min(AWAITING, size // 10))])
        _act(ours, [tenant_id(size // 5 + number) for number in range(min(ACTS, size // 10))])
    with psycopg.connect(url, autocommit=True) as connection:
        high_water.advance(connection)
        connection.execute(
            "INSERT INTO projection_positions (name, bucket, position) SELECT 'sites', 0, position FROM high_water_mark"
            " ON CONFLICT (name, bucket) DO UPDATE SET position = excluded.position"
        )
    settle(url)


def _live_long(ours: Parts, tenant: str, changes: int) -> None:
    """Changes of a license by messages, and the step of each."""
    lifecycle, read = lifecycle_of(ours), messages_of(ours).read
    scope = Scope("product", tenant, PRODUCT)
    for first in range(0, changes, 100):
        numbers = range(first, min(first + 100, changes))
        lifecycle.intake(
            [read(from_kafka(tenant, license_message(tenant, 10 + number), 10 + number)) for number in numbers]
        )
        steps = []
        for number in numbers:
            version, generation = 3 + 2 * number, 2 + number
            steps.append(recorded(str(scope), version, _started(tenant, Step.LICENSE, generation), new_id()))
            steps.append(recorded(str(scope), version + 1, replace(licensed(tenant), generation=generation), new_id()))
        ours.log.record(UnitOfWork(events=steps))


def _hold(ours: Parts, tenants: list[str]) -> None:
    """Destructions by messages, for which the guard has no budget."""
    lifecycle, read = lifecycle_of(ours), messages_of(ours).read
    none_at_all = Guard(at_least=0, share=0)
    policy = lifecycle.policy
    lifecycle.policy = policy.model_copy(update={"guard": none_at_all})
    for number, tenant in enumerate(tenants):
        lifecycle.intake([read(from_kafka(tenant, _destroyed(tenant, number), number))])
    lifecycle.policy = policy


def _act(ours: Parts, tenants: list[str]) -> None:
    operating, by = operating_of(ours), Operator("ada")
    for tenant in tenants:
        operating.carry_out(Act("hold", Scope("product", tenant, PRODUCT), "a look at it first"), by=by)


def _destroyed(tenant: str, number: int) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": f"destroyed-{number}",
        "source": "/bench/messages",
        "type": "tenant.destroyed",
        "time": NOW.isoformat(),
        "revision": 2,
        "datacontenttype": "application/json",
        "data": {"tenant_id": tenant, "reason": "the contract has ended"},
    }
    return json.dumps(envelope).encode()


def from_kafka(tenant: str, value: bytes, offset: int) -> Message:
    return Message(
        topic="tenantry.lifecycle",
        partition=0,
        offset=offset,
        key=tenant.encode(),
        value=value,
        headers=(("content-type", b"application/cloudevents+json"),),
        timestamp_ms=0,
        topic_id="bench",
    )


_ID: Final = "md5('tenant ' || n)::uuid::text"
_EACH: Final = "generate_series(0, %(size)s - 1) AS n"


def _some(kind: int) -> str:
    """The tenants in a kind of trouble: spread over the store."""
    return f"(SELECT {_ID} FROM generate_series({kind}, %(size)s - 1, greatest(9, %(size)s / %(troubled)s)::int) AS n)"


_FILL: Final = (
    (
        "INSERT INTO sites_base (tenant_id, customer_id, site_name, state, created_at, updated_at)"
        f" SELECT {_ID}, 'customer-' || n / 2, 'site-' || {_ID}, 'open', now(), now() FROM {_EACH}"
    ),
    f"INSERT INTO site_products SELECT {_ID}, 'jira-software', 'open' FROM {_EACH}",
    (
        "INSERT INTO provisionings (tenant_id, kind, key, outcome, level, updated_at)"
        f" SELECT {_ID}, kind, key, 'converged', 'open', now() FROM {_EACH},"
        " (VALUES ('site', ''), ('family', 'jira'), ('product', 'jira-software')) AS s (kind, key)"
    ),
    (
        "INSERT INTO provisioning_steps (tenant_id, kind, key, step, state, direction, generation, attempt, updated_at)"
        f" SELECT {_ID}, 'product', 'jira-software', 7, 'done', 'ensure', 1, 0, now() FROM {_EACH}"
    ),
    *(
        f"UPDATE provisionings SET {change} WHERE kind = 'product' AND tenant_id IN {_some(kind)}"
        for kind, change in enumerate(
            (
                "outcome = 'failed', reason = 'compass answered 503'",
                "outcome = NULL, obstacle = 'unreachable:eu-1'",
                "outcome = NULL, retry_at = now() + interval '1 minute'",
                "outcome = 'on_hold', reason = 'a look at it first'",
                "level = 'closed'",
                "level = 'retained'",
                "level = NULL",
            )
        )
    ),
    (
        "UPDATE provisioning_steps SET state = 'failed', attempt = 3, reason = 'compass answered 503'"
        f" WHERE tenant_id IN {_some(0)} OR tenant_id IN {_some(2)}"
    ),
    # The saga is at work on every twentieth tenant.
    (
        "UPDATE provisionings SET outcome = NULL WHERE kind = 'family'"
        f" AND tenant_id IN (SELECT {_ID} FROM generate_series(7, %(size)s - 1, 20) AS n)"
    ),
    (
        "INSERT INTO wakes (scope, due_at) SELECT 'family:' || "
        f"{_ID} || ':jira', now() + n * interval '1 ms' FROM generate_series(7, %(size)s - 1, 20) AS n"
    ),
    (
        "INSERT INTO licenses (tenant_id, product, edition, users, active, features, updated_at)"
        f" SELECT {_ID}, 'jira-software', 'premium', 250, true, '[]', now() FROM {_EACH}"
    ),
    f"INSERT INTO contexts (tenant_id, version) SELECT {_ID}, 1 FROM {_EACH}",
    f"INSERT INTO context_hosts SELECT 'site-' || {_ID} || '.tenantry.example', {_ID}, 1 FROM {_EACH}",
    (
        "INSERT INTO outbox (position, tenant_id, event_id, type, payload, created_at)"
        f" SELECT n + 1, {_ID}, gen_random_uuid(), 'tenant.created', '{{}}', now() FROM {_EACH}"
    ),
    *(
        'INSERT INTO quarantine (state, rule, reason, source, id, type, tenant_id, topic, partition, "offset", digest,'
        f" sealed_body, received_at) SELECT '{state}', 'unknown-product', 'a test', '/bench/' || n %% 5, 'q-' || n,"
        f" 'product.activated', {_ID}, 'tenantry.lifecycle', 0, n, decode(md5('{state}' || n), 'hex'), 'x', now()"
        f" FROM generate_series(1, %(troubled)s * {times}) AS n"
        for state, times in (("retried", 20), ("open", 1))
    ),
    (
        'INSERT INTO waiting (tenant_id, source, id, type, digest, topic, partition, "offset", sealed_body,'
        " received_at) SELECT 'to-come-' || n, '/bench', 'w-' || n, 'product.activated', 'x', 'tenantry.lifecycle', 0,"
        " n, 'x', now() FROM generate_series(1, %(troubled)s) AS n"
    ),
)
