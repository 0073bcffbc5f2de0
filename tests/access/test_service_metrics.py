"""Metrics and probes of the services that workers do not start: the same port and paths as a worker's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.test_metrics import get
from tests.services import ROUTES, started


@pytest.mark.parametrize("service", ROUTES)
def test_a_service_answers_probes_and_counts_its_requests_on_a_port_of_its_own(
    service: str, migrated_database: str, tmp_path: Path
) -> None:
    with started(service, migrated_database, tmp_path) as running:
        url = running.says()
        assert get(f"{url}/livez")[0] == 200
        assert get(f"{url}/v1/anything")[0] == 401
        assert running.probe("/livez")[0] == 200
        assert running.probe("/readyz") == (200, "ready\n")
        text = running.probe("/metrics")[1]
    assert f'tenantry_build_info{{kind="{service}"' in text
    assert 'tenantry_request_seconds_count{status="2xx"} 1.0' in text
    assert 'tenantry_request_seconds_count{status="4xx"} 1.0' in text
