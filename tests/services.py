"""A service of the engine, started by its command as a supervisor does."""

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

from tests.access.limits import write_keys
from tests.access.proxies import free_port
from tests.console.conftest import drop_role
from tests.journeys.running import environment
from tests.journeys.test_metrics import get

ROUTES = {
    "limits-service": "POST /v1/limits/{name}/chunks",
    "credential-service": "GET /v1/credentials/{tenant}/{product}",
}


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
