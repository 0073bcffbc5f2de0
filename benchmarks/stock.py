"""Peer of the benchmarks: the eventsourcing library without changes.

The eventsourcing library as it comes: its recorder, its Application, its ProjectionRunner with a view that has the
columns of our read model `licenses`. It makes its own tables, in a database of its own on the same server.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError, InternalError, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from benchmarks.population import PRODUCT, tenant_id

CHANGES: Final = 5


class License(Aggregate):
    """A product of a tenant, with its license."""

    def __init__(self, tenant: str, product: str) -> None:
        self.tenant, self.product = tenant, product

    @event("Updated")
    def update(self, license_: dict[str, Any]) -> None:
        self.users = license_["users"]


class LicensesView(PostgresTrackingRecorder):
    """One row a license, the tracking in the same transaction, as the library's documentation shows it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS licenses (tenant_id text, product text, edition text, users bigint,"
                " active boolean, expires_at timestamptz, features jsonb, location text, updated_at timestamptz,"
                " PRIMARY KEY (tenant_id, product))"
            )  # type: ignore[arg-type]
        )

    def update(self, license_: dict[str, Any], at: datetime, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as curs:
            self._insert_tracking(curs, tracking)
            curs.execute(
                "INSERT INTO licenses VALUES (%s, %s, %s, %s, true, NULL, %s, %s, %s)"
                " ON CONFLICT (tenant_id, product) DO UPDATE SET edition = excluded.edition, users = excluded.users,"
                " features = excluded.features, location = excluded.location, updated_at = excluded.updated_at",
                (
                    license_["tenant"],
                    license_["product"],
                    license_["edition"],
                    license_["users"],
                    Jsonb(license_["features"]),
                    license_["location"],
                    at,
                ),
                prepare=True,
            )


class Licenses(Projection[LicensesView]):
    name = "licenses"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.update(domain_event.license_, domain_event.timestamp, tracking)


def set_up(url: str) -> None:
    """The library is configured by the environment, this process' own."""
    parts = conninfo_to_dict(url)
    os.environ.update(
        PERSISTENCE_MODULE="eventsourcing.postgres",
        POSTGRES_DBNAME=str(parts["dbname"]),
        POSTGRES_HOST=str(parts["host"]),
        POSTGRES_PORT=str(parts["port"]),
        POSTGRES_USER=str(parts["user"]),
        POSTGRES_PASSWORD="none",  # noqa: S106 - the owner's socket asks for none
    )


def ready() -> Application[UUID]:
    """An application with its tables. It makes them and its functions each time, and two processes that do so at one
    moment get in each other's way."""
    while True:
        try:
            return Application()
        except (InternalError, IntegrityError) as error:
            if not re.search("concurrently updated|already exists", str(error)):
                raise


def changed_licenses(first: int, events: int) -> Iterator[list[Any]]:
    """The events of license after license, `CHANGES` each."""
    for number in range(first, first + events // CHANGES):
        tenant = tenant_id(number)
        license_ = License(tenant, PRODUCT)
        license_.collect_events()  # the creation writes no row: it is not among what is counted
        for users in range(CHANGES):
            license_.update(
                {
                    "tenant": tenant,
                    "product": PRODUCT,
                    "edition": "premium",
                    "users": users,
                    "features": ["sandbox", "release-tracks", "audit-log"],
                    "location": f"t_{tenant.replace('-', '_')}_jira_2.entitlement",
                }
            )
        yield list(license_.collect_events())


def store(url: str, events: int) -> Generator[None, None, int]:
    """Put so many events into the library's log, each of which changes a row."""
    set_up(url)
    application = ready()
    yield
    for changes in changed_licenses(0, events):
        application.recorder.insert_events([application.mapper.to_stored_event(each) for each in changes])
    application.close()
    return events


def project(url: str) -> Generator[None, None, float]:
    """Project the whole log from its beginning; events a second."""
    set_up(url)
    application = ready()
    last = application.recorder.max_notification_id() or 0
    application.close()
    yield
    start = time.monotonic()
    runner = ProjectionRunner(application_class=Application, projection_class=Licenses, view_class=LicensesView)
    with runner:
        runner.wait(last, timeout=600)
        return last / (time.monotonic() - start)


def save(url: str, first: int, events: int) -> Generator[None, None, float]:
    """`Application.save` for each event; seconds."""
    set_up(url)
    application = ready()
    yield
    start = time.monotonic()
    for number in range(first, first + events):
        application.save(License(tenant_id(number), PRODUCT))
    took = time.monotonic() - start
    application.close()
    return took
