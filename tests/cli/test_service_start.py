"""Does each service wait at its start for the tables of its version, say so, and go on after the migration?"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from adapters.postgres import overview
from adapters.postgres.migrations import migrate
from adapters.postgres.schema_revision import known_revisions
from runtime.reports.waits import waits_of
from runtime.settings import Settings
from tests.access.limits import write_keys
from tests.access.proxies import free_port
from tests.console.conftest import drop_role
from tests.journeys.running import environment, wait_for
from tests.journeys.test_metrics import get

ROUTES = {
    "limits-service": "POST /v1/limits/{name}/chunks",
    "credential-service": "GET /v1/credentials/{tenant}/{product}",
}
SERVICES = ("context-service", "console", *ROUTES)
BEFORE, NEEDED = known_revisions()[-2:]


@dataclass
class Service:
    """A service that was started; `port` has its probes."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def probe(self, path: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.port}{path}")

    def answers(self, path: str) -> tuple[int, str] | None:
        """None where nobody listens yet."""
        try:
            return self.probe(path)
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return None

    def says(self) -> str:
        """Its first line."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, self.log.read_text()
        return str(json.loads(said)["url"])

    def ends(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def started(service: str, database: str, folder: Path) -> Iterator[Service]:
    """The command of a service as a supervisor starts it, until the block ends; no traceback may be in its log."""
    port, log = free_port(), folder / "service.log"
    command: list[object] = [service, "--json"]
    if service in ROUTES:
        allowed = f'[[allow]]\ncaller = "shop"\ncallee = "{service}"\nroutes = ["{ROUTES[service]}"]\n'
        (folder / "access.toml").write_text(allowed)
        command += ["--keys", write_keys(folder, ["shop"]), "--allow-list", folder / "access.toml"]
    if service == "credential-service":
        (folder / "grants.toml").write_text('[[grant]]\ncaller = "shop"\nfamilies = ["jira"]\nregions = ["eu"]\n')
        command += ["--grants", folder / "grants.toml"]
    settings = {
        "TENANTRY_DATABASE_URL": database,
        "TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TENANTRY_DATA_DIR": str(folder),
        "TENANTRY_MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
        "TENANTRY_METRICS_PORT": str(port),
    }
    program = [str(Path(sys.executable).with_name("tenantry")), *map(str, command)]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            program, env=environment(settings), stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            yield Service(process, port, log)
        finally:
            process.kill()
            process.wait(20)
    assert "Traceback" not in log.read_text()
    if service == "console":
        with suppress(psycopg.errors.UndefinedObject):  # one that waited made no role
            drop_role(database)


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
