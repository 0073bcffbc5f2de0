"""Metrics and probes of the services that workers do not start: the same port and paths as a worker's."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.access.limits import write_keys
from tests.journeys.test_metrics import free_ports, get

ALLOWED = '[[allow]]\ncaller = "shop"\ncallee = "{service}"\nroutes = ["{route}"]\n'
ROUTES = {
    "limits-service": "POST /v1/limits/{name}/chunks",
    "credential-service": "GET /v1/credentials/{tenant}/{product}",
}


@pytest.mark.parametrize("service", ROUTES)
def test_a_service_answers_probes_and_counts_its_requests_on_a_port_of_its_own(
    service: str, migrated_database: str, tmp_path: Path
) -> None:
    port = free_ports(1)
    (tmp_path / "access.toml").write_text(ALLOWED.format(service=service, route=ROUTES[service]))
    (tmp_path / "grants.toml").write_text('[[grant]]\ncaller = "shop"\nfamilies = ["jira"]\nregions = ["eu"]\n')
    command = [service, "--keys", write_keys(tmp_path, ["shop"]), "--allow-list", tmp_path / "access.toml", "--json"]
    if service == "credential-service":
        command += ["--grants", tmp_path / "grants.toml"]
    environment = {
        **os.environ,
        "TENANTRY_DATABASE_URL": migrated_database,
        "TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TENANTRY_DATA_DIR": str(tmp_path),
        "TENANTRY_MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
        "TENANTRY_METRICS_PORT": str(port),
    }
    program = str(Path(sys.executable).with_name("tenantry"))
    with subprocess.Popen([program, *map(str, command)], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert get(f"{url}/livez")[0] == 200
            assert get(f"{url}/v1/anything")[0] == 401
            assert get(f"http://127.0.0.1:{port}/livez")[0] == 200
            assert get(f"http://127.0.0.1:{port}/readyz") == (200, "ready\n")
            text = get(f"http://127.0.0.1:{port}/metrics")[1]
        finally:
            process.kill()
    assert f'tenantry_build_info{{kind="{service}"' in text
    assert 'tenantry_request_seconds_count{status="2xx"} 1.0' in text
    assert 'tenantry_request_seconds_count{status="4xx"} 1.0' in text
