"""Does each service wait at its start for the tables of its version, say so, and go on after the migration?"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from adapters.postgres import overview
from adapters.postgres.migrations import migrate
from adapters.postgres.schema_revision import known_revisions
from runtime.reports.waits import waits_of
from runtime.settings import Settings
from tests.journeys.running import wait_for
from tests.services import ROUTES, started

SERVICES = ("context-service", "console", *ROUTES)
BEFORE, NEEDED = known_revisions()[-2:]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_newer_than_the_tables_waits_for_the_migration_and_says_so(
    service: str, database: str, tmp_path: Path
) -> None:
    migrate(database, revision=BEFORE)
    with started(service, database, tmp_path) as running:
        assert wait_for(lambda: running.answers("/livez"), "its probes") == (200, "the loop moves\n")
        assert running.probe("/readyz") == (503, f"not ready: the {service} waits: not-migrated\n")
        [row] = wait_for(lambda: overview.status(database)["workers"], "its row")
        assert (row["kind"], row["state"]) == (f"waiting {service}", "starting")
        [waits] = wait_for(
            lambda: waits_of(Settings(data_dir=tmp_path), overview.status(database)["workers"]), "status to say it"
        )
        assert f"the database is at schema revision {BEFORE}, and this version needs {NEEDED}" in waits["text"]
        assert f"the {service} waits" in running.log.read_text()
        assert "run `tenantry migrate` of this version" in running.log.read_text()
        migrate(database)
        running.says()
        assert wait_for(lambda: (found := running.answers("/livez")) and found[0] == 200, "its probes again")
        assert "not-migrated" not in running.probe("/readyz")[1]
        assert overview.status(database)["workers"] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_waits_for_the_migration_ends_when_it_is_told_to(
    service: str, database: str, tmp_path: Path
) -> None:
    with started(service, database, tmp_path) as running:
        wait_for(lambda: running.answers("/readyz"), "its probes")
        assert running.ends() == 0
        assert "not-migrated" in running.log.read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_wait_for_tables_that_are_newer(
    service: str, migrated_database: str, tmp_path: Path
) -> None:
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with started(service, migrated_database, tmp_path) as running:
        assert running.says().startswith("http://127.0.0.1:")
        assert "waits" not in running.log.read_text()


@pytest.mark.parametrize("service", ["console", "limits-service", "credential-service"])
def test_a_service_that_serves_is_ready(service: str, migrated_database: str, tmp_path: Path) -> None:
    with started(service, migrated_database, tmp_path) as running:
        running.says()
        assert running.probe("/readyz") == (200, "ready\n")
