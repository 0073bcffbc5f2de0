"""Does Tenantry work with Apache Kafka itself, and not only with the bundled broker?

`make test-kafka` runs these; a plain run skips them, for the download alone takes a minute.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journeys.apache_kafka import ApacheKafka, NotToBeHad, jars
from tests.journeys.events import activated, created, new_tenant, raws, suspended
from tests.journeys.running import Running, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    if "kafka" not in request.config.getoption("-m"):
        pytest.skip("not asked for: `make test-kafka` runs it")
    try:
        class_path = jars(request.config.cache.mkdir("apache-kafka"))
        with tempfile.TemporaryDirectory(prefix="kafka-") as directory, ApacheKafka(Path(directory), class_path) as one:
            yield one
    except NotToBeHad as reason:
        pytest.skip(f"no Apache Kafka here: {reason}")


@pytest.fixture(scope="module")
def on_kafka(kafka: ApacheKafka) -> Iterator[Running]:
    settings = {"TENANTRY_KAFKA_BOOTSTRAP": kafka.bootstrap}
    with tempfile.TemporaryDirectory(prefix="journey-") as directory, Running(Path(directory) / "data", settings) as up:
        yield up


def test_a_foreign_client_gets_all_seven_steps_on_apache_kafka(on_kafka: Running) -> None:
    tenant = new_tenant()
    on_kafka.send(created(tenant), activated(tenant, "jira-software", mode="binary"))
    on_kafka.until_level(tenant, "jira-software", "open")
    steps = on_kafka.show(tenant)["actual"]["products"]["jira-software"]["steps"]
    assert [step["state"] for step in steps] == ["done"] * 7


def test_kcat_gets_all_seven_steps_within_five_seconds_from_two_events(on_kafka: Running) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not on the PATH (on Debian: apt-get install kcat)")
    tenant = new_tenant()
    events = [created(tenant), activated(tenant, "jira-software", mode="binary")]
    for message in raws(events):
        headers = [part for name, value in message.headers for part in ("-H", f"{name}={value.decode()}")]
        where = ["-b", on_kafka.said["kafka_bootstrap"], "-t", message.topic, "-k", tenant]
        assert message.value is not None
        assert b"\n" not in message.value, "kcat takes a line as a message"
        subprocess.run([kcat, "-P", *where, *headers], input=message.value, check=True, timeout=30)
    on_kafka.until_level(tenant, "jira-software", "open", seconds=5)
    steps = on_kafka.show(tenant)["actual"]["products"]["jira-software"]["steps"]
    assert [step["state"] for step in steps] == ["done"] * 7


def test_events_count_once_though_an_intake_is_killed_on_apache_kafka(on_kafka: Running) -> None:
    tenants = [new_tenant() for _ in range(60)]
    events = [created(tenant, "atlas", revision=1) for tenant in tenants]
    on_kafka.send(*events[:30], *events[:30])
    on_kafka.kill("intake")
    on_kafka.send(*events[30:], replace(events[0], data={**events[0].data, "site_name": "another"}))
    on_kafka.until_taken_in(*events)
    wait_for(lambda: on_kafka.one("SELECT count(*) FROM quarantine") == 1, "the other body in quarantine")
    on_kafka.until_settled()
    ids = [event.id for event in events]
    assert on_kafka.one("SELECT sum(duplicates)::int FROM incoming WHERE id = ANY(%s)", ids) == 30
    assert on_kafka.disagreements() == []


def test_positions_are_kept_over_a_restart_for_the_topics_stay(on_kafka: Running) -> None:
    tenant = new_tenant()
    on_kafka.send(created(tenant, "atlas"))
    on_kafka.until_level(tenant, "atlas", "open")
    before = on_kafka.one("SELECT sum(duplicates)::int FROM incoming")
    assert on_kafka.stop() == 0
    on_kafka.start()
    on_kafka.send(suspended(tenant, "atlas"))
    on_kafka.until_level(tenant, "atlas", "closed")
    assert on_kafka.one("SELECT sum(duplicates)::int FROM incoming") == before, "nothing was read twice"
