"""Population: the tenants in the stores that the benchmarks measure.

Tenants as they are after a short life, five events each: created, a product activated, its license changed, the site
made, the license laid down. EventMapper makes one of each; the others are copies of it with ids, streams and sealed
texts of their own: the same bytes at a tenth of the cost (tests/benchmarks/ compares the two).

Rows arrive by COPY from several processes. Ids are digests of numbers: spread over the index like real ones, and
anybody can name a tenant that is there without asking.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import md5
from pathlib import Path
from typing import Final
from uuid import UUID

import psycopg
from pydantic import SecretStr

from adapters.postgres import high_water
from adapters.postgres.event_mapper import EventMapper
from application.ports.encryption import EncryptionKeys
from benchmarks.harness import progress, settle, together
from domain.event import Cause, Event, Recorded
from domain.scope.state import StepCompleted
from domain.scope.steps import LicenseResult, Scope, SiteResult, Step
from domain.tenant.events import Founder, LicenseUpdated, ProductActivated, TenantCreated
from runtime.compose import Parts
from runtime.instance import Endpoints
from runtime.settings import Settings

TENANTS_OF_A_CUSTOMER: Final = 2
EVENTS_OF_A_LIFE: Final = 5
CHUNK: Final = 5_000
PRODUCT: Final = "jira-software"
NOW: Final = datetime(2026, 6, 1, 12, 30, 0, 250000, tzinfo=UTC)
NO_KAFKA: Final = "127.0.0.1:1"
MASTER_KEY: Final = base64.b64encode(bytes(range(32))).decode()
NAME, EMAIL = "Ada Lovelace", "ada.lovelace@example.com"

Row = tuple[str, int, str, bytes]
Source = Callable[[EncryptionKeys, range], Iterator[Row]]


def parts(url: str, bootstrap: str = NO_KAFKA, **settings: object) -> Parts:
    """What a worker process is made of, on the database of a bench."""
    configured = Settings(master_key=SecretStr(MASTER_KEY), data_dir=Path("/nonexistent"), **settings)  # type: ignore[arg-type]
    return Parts(configured, Endpoints(url, bootstrap))


# -- names ---------------------------------------------------------------------------------------------------------


def tenant_id(number: int) -> str:
    return str(UUID(bytes=md5(b"tenant %d" % number, usedforsecurity=False).digest()))


def customer_id(number: int) -> str:
    """The customer of tenant `number`."""
    return f"customer-{number // TENANTS_OF_A_CUSTOMER}"


# -- events --------------------------------------------------------------------------------------------------------


def life(tenant: str, customer: str) -> list[tuple[str, int, Event]]:
    """Stream, version and event of the five."""
    of_tenant, of_product = f"tenant:{tenant}", str(Scope("product", tenant, PRODUCT))
    founder = Founder(account_id="ada", name=NAME, email=EMAIL)
    site = SiteResult(site_name=f"site-{tenant}", url=f"https://site-{tenant}.tenantry.example", access="open")
    created = TenantCreated(
        tenant_id=tenant,
        revision=1,
        customer_id=customer,
        site_name=f"site-{tenant}",
        residency="global",
        administrator=founder,
    )
    activated = ProductActivated(tenant_id=tenant, revision=1, product=PRODUCT, edition="free", users=5)
    bought = LicenseUpdated(
        tenant_id=tenant, revision=2, product=PRODUCT, edition="premium", users=250, status="active"
    )
    made = StepCompleted(tenant_id=tenant, kind="site", step=Step.SITE, direction="ensure", generation=1, result=site)
    return [
        (of_tenant, 1, created),
        (of_tenant, 2, activated),
        (of_tenant, 3, bought),
        (str(Scope("site", tenant)), 2, made),
        (of_product, 2, licensed(tenant)),
    ]


def licensed(tenant: str) -> StepCompleted:
    license_ = LicenseResult(
        product=PRODUCT,
        edition="premium",
        users=250,
        active=True,
        expires_at=None,
        features=("sandbox", "release-tracks", "audit-log"),
        location=f"t_{tenant.replace('-', '_')}_jira_2.entitlement",
    )
    return StepCompleted(
        tenant_id=tenant,
        kind="product",
        key=PRODUCT,
        step=Step.LICENSE,
        direction="ensure",
        generation=1,
        result=license_,
    )


def recorded(stream: str, version: int, event: Event, id_: UUID) -> Recorded:
    cause = Cause(
        kind="message", source="/bench", id=str(id_), time=NOW, topic="tenantry.lifecycle", partition=3, offset=9
    )
    return Recorded(stream, version, id_, NOW, cause, f"/bench {id_}", event)


def lives(keys: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """The five events of each tenant."""
    keys.prefetch(subjects={f"customer:{customer_id(number)}" for number in numbers})
    created, *others = _templates()
    for number in numbers:
        tenant, customer = tenant_id(number), customer_id(number)
        filled = {b"tenant": tenant.encode(), b"under": tenant.replace("-", "_").encode(), b"id": _id(tenant, 0)}
        stream = f"tenant:{tenant}"
        encrypted = {
            field: keys.encrypt(
                f"customer:{customer}", plain.encode(), f"{stream}/1/administrator/{field.decode()}"
            ).encode()
            for field, plain in ((b"name", NAME), (b"email", EMAIL))
        }
        yield (*_bare(created, tenant), created.state % {**filled, **encrypted, b"customer": customer.encode()})
        for count, template in enumerate(others, 1):
            filled[b"id"] = _id(tenant, count)
            yield (*_bare(template, tenant), template.state % filled)


def license_changes(_: EncryptionKeys, numbers: range) -> Iterator[Row]:
    """Five times the license of each tenant: each event a change of a row of the read model."""
    template = _templates()[-1]
    for number in numbers:
        tenant = tenant_id(number)
        filled = {b"tenant": tenant.encode(), b"under": tenant.replace("-", "_").encode()}
        stream, _version, topic = _bare(template, tenant)
        for count in range(EVENTS_OF_A_LIFE):
            filled[b"id"] = _id(tenant, count)
            yield stream, count + 1, topic, template.state % filled


# -- templates -----------------------------------------------------------------------------------------------------


class _Template:
    def __init__(self, stream: str, version: int, topic: str, state: bytes) -> None:
        self.stream, self.version, self.topic, self.state = stream, version, topic, state


_TENANT: Final = "7e4a17aa-0000-4000-8000-7e4a17aa0000"
_CUSTOMER: Final = "customer-of-the-template"
_EVENT: Final = UUID("e4e47e4e-0000-4000-8000-e4e47e4e0000")


class _Blanks:
    """Encryption keys that leave space for the encrypted text."""

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        return f"<{bound_to.rpartition('/')[2]}>"

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        raise NotImplementedError

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None: ...

    def forget(self, subject: str) -> None: ...


@cache
def _templates() -> Sequence[_Template]:
    mapper = EventMapper(_Blanks())
    return [_template(mapper, stream, version, event) for stream, version, event in life(_TENANT, _CUSTOMER)]


def _template(mapper: EventMapper, stream: str, version: int, event: Event) -> _Template:
    stored = mapper.to_stored_event(recorded(stream, version, event, _EVENT))
    state = stored.state.replace(b"%", b"%%")
    for text, name in (
        (_TENANT, "tenant"),
        (_TENANT.replace("-", "_"), "under"),
        (_CUSTOMER, "customer"),
        (str(_EVENT), "id"),
        ("<name>", "name"),
        ("<email>", "email"),
    ):
        state = state.replace(text.encode(), f"%({name})b".encode())
    return _Template(stream, version, stored.topic, state)


def _bare(template: _Template, tenant: str) -> tuple[str, int, str]:
    return template.stream.replace(_TENANT, tenant), template.version, template.topic


def _id(tenant: str, count: int) -> bytes:
    return f"{tenant[:24]}{count:04d}{tenant[28:]}".encode()


def example() -> tuple[str, bytes]:
    """Topic and state of an ordinary event."""
    stored = EventMapper(_Blanks()).to_stored_event(recorded(*life(_TENANT, _CUSTOMER)[1], _EVENT))
    return stored.topic, stored.state


# -- loading -------------------------------------------------------------------------------------------------------


def load(url: str, source: Source, numbers: range, *, processes: int = 2, incoming: bool = False) -> None:
    """Put the events of those tenants into the log, and let the server settle."""
    put(url, source, numbers, processes=processes, incoming=incoming)
    settle(url)


def put(url: str, source: Source, numbers: range, *, processes: int = 2, incoming: bool = False) -> None:
    """The events of those tenants into the log; with `incoming` also the ids of the messages they came from."""
    size = -(-len(numbers) // processes)
    shares = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    progress(f"loading {len(numbers):,} tenants of {EVENTS_OF_A_LIFE} events")
    together(_load, [(url, source, share, incoming) for share in shares])
    with psycopg.connect(url, autocommit=True) as connection:
        high_water.advance(connection)


def _load(url: str, source: Source, numbers: range, incoming: bool) -> Generator[None, None, int]:
    with parts(url) as ours, psycopg.connect(url) as connection:
        yield
        for start in range(0, len(numbers), CHUNK):
            chunk = numbers[start : start + CHUNK]
            copy = "COPY stored_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT binary)"
            with connection.cursor().copy(copy) as rows:
                rows.set_types(["text", "int8", "text", "bytea"])
                for row in source(ours.keys, chunk):
                    rows.write_row(row)
            if incoming:
                _load_beside(connection, chunk)
            connection.commit()
    return len(numbers)


def _load_beside(connection: psycopg.Connection, numbers: range) -> None:
    """What the intake records beside events: three messages of a tenant were taken in."""
    copy = 'COPY incoming (source, id, digest, topic, partition, "offset", outcome) FROM STDIN (FORMAT binary)'
    with connection.cursor().copy(copy) as rows:
        rows.set_types(["text", "text", "bytea", "text", "int4", "int8", "text"])
        for number in numbers:
            tenant = tenant_id(number)
            for count in range(3):
                id_ = _id(tenant, count).decode()
                rows.write_row(("/bench", id_, id_[:32].encode(), "tenantry.lifecycle", 3, number, "recorded"))
    with connection.cursor().copy("COPY customer_tenants (customer_id, tenant_id) FROM STDIN") as rows:
        for number in numbers:
            rows.write_row((customer_id(number), tenant_id(number)))


# -- messages ------------------------------------------------------------------------------------------------------


def license_message(tenant: str, revision: int) -> bytes:
    """A structured CloudEvent that changes a license, as commerce sends it; `revision` is never used twice."""
    envelope = {
        "specversion": "1.0",
        "id": f"{revision:032x}",
        "source": "/bench/messages",
        "type": "license.updated",
        "time": NOW.isoformat(),
        "revision": revision,
        "datacontenttype": "application/json",
        "data": {
            "tenant_id": tenant,
            "product": PRODUCT,
            "edition": "premium",
            "users": revision,
            "status": "active",
        },
    }
    return json.dumps(envelope).encode()
