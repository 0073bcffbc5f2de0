"""Metrics of a running Tenantry, read by Prometheus itself: each expression of a dashboard has a value."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.provisioner import SECRET, serving
from tests.journeys.events import Raw, activated, created, new_tenant
from tests.journeys.running import Running, wait_for
from workers.roles import KINDS as ALL_KINDS

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
KINDS = tuple(ALL_KINDS)

MAY_BE_EMPTY = {"tenantry_loop_waits"}
"""Metrics without a sample here: no loop waits."""

EXECUTOR = '\n[products.compass.executors.7]\nwebhook = "{address}"\nsecret = "compass"\n'


def panels() -> list[tuple[str, str]]:
    """Title and expression of each target of each dashboard."""
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in sorted((DEPLOY / "grafana").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 - this machine
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for first in range(29_100, 29_900, count):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise AssertionError("no ports are free")


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    """A Tenantry that has opened two products and quarantined a message, and the port of its intake's metrics."""
    port, folder = free_ports(len(KINDS)), tmp_path_factory.mktemp("m")
    with serving() as theirs:
        catalog = files("domain").joinpath("catalog.toml").read_text() + EXECUTOR.format(address=theirs.address)
        (folder / "catalog.toml").write_text(catalog)
        settings = {"TENANTRY_METRICS_PORT": str(port), "TENANTRY_WEBHOOK_SECRETS__COMPASS": SECRET}
        with Running(folder / "d", {**settings, "TENANTRY_CATALOG_FILE": str(folder / "catalog.toml")}) as running:
            running.send(Raw("tenantry.lifecycle", key=b"k", value=b"no event", headers=()))
            open_products(running)
            yield running, port


def open_products(running: Running) -> None:
    """Jira, which has a database, and Compass, of which another team serves a step."""
    tenant = new_tenant()
    running.send(created(tenant, "compass"), activated(tenant, "jira-software"))
    for product in ("compass", "jira-software"):
        running.until_level(tenant, product, "open")


def test_each_worker_is_live_and_ready_and_tells_what_it_did(metered: tuple[Running, int]) -> None:
    _, port = metered
    text = {}
    for number, kind in enumerate(KINDS):
        assert get(f"http://127.0.0.1:{port + number}/livez")[0] == 200
        assert get(f"http://127.0.0.1:{port + number}/readyz") == (200, "ready\n")
        text[kind] = get(f"http://127.0.0.1:{port + number}/metrics")[1]
        assert f'tenantry_build_info{{kind="{kind}"' in text[kind]
    assert 'tenantry_messages_total{outcome="recorded",type="product.activated"} 1.0' in text["intake"]
    assert "tenantry_time_to_open_seconds_count 2.0" in text["provisioner"]
    assert 'step="database"' in text["provisioner"]
    assert "tenantry_fleet_answers 1.0" in text["relay"]
    assert "tenantry_scopes_due" not in text["projector"]


def test_no_metric_names_a_tenant(metered: tuple[Running, int]) -> None:
    running, port = metered
    tenants = [row["tenant_id"] for row in running.json("tenants")]
    assert tenants
    for number in range(len(KINDS)):
        text = get(f"http://127.0.0.1:{port + number}/metrics")[1]
        assert not [tenant for tenant in tenants if tenant in text]


@pytest.fixture(scope="module")
def prometheus(metered: tuple[Running, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped that Tenantry for some seconds, by its address."""
    running, first = metered
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (on Debian: apt install prometheus)")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_ports(1)
    targets = [f"127.0.0.1:{first + number}" for number in range(len(KINDS))]
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "tenantry", "static_configs": [{"targets": targets}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_up(address), "Prometheus to scrape all workers")
        for _ in range(3):  # rates need several scrapes between which something happens
            open_products(running)
            time.sleep(1.5)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _is_up(address: str) -> bool:
    try:
        return len(query(address, "up == 1")) == len(KINDS)
    except (OSError, AssertionError, ValueError):
        return False


def query(address: str, expression: str) -> list[Any]:
    status, text = get(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    assert status == 200, f"{expression}: {text}"
    return list(json.loads(text)["data"]["result"])


def test_every_expression_of_the_dashboards_has_a_value(prometheus: str) -> None:
    empty = []
    for title, expression in panels():
        asked = expression.replace("$__rate_interval", "1m")
        found = query(prometheus, asked)
        values = [each["value"][1] for each in found]
        if (not found or all(value == "NaN" for value in values)) and not any(name in asked for name in MAY_BE_EMPTY):
            empty.append(f"{title}: {expression}")
    assert not empty


def test_every_metric_that_an_alert_asks_for_is_there(prometheus: str) -> None:
    """An alert is silent where nothing is wrong, and also where its metric has another name."""
    status, text = get(f"{prometheus}/api/v1/label/__name__/values")
    assert status == 200
    known = set(json.loads(text)["data"])
    asked = {
        word
        for line in ALERTS.read_text().splitlines()
        for word in line.replace("(", " ").replace("{", " ").replace("[", " ").replace(")", " ").split()
        if word.startswith("tenantry_")
    }
    assert len(asked) > 15
    assert asked <= known, asked - known


def test_of_a_fleet_in_order_no_alert_pages(prometheus: str) -> None:
    status, text = get(f"{prometheus}/api/v1/alerts")
    firing = [each["labels"]["alertname"] for each in json.loads(text)["data"]["alerts"] if each["state"] == "firing"]
    assert status == 200
    assert not firing
