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
from uuid import uuid4

import confluent_kafka
import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from adapters.kafka.raw_reader import PartitionReader
from tests.contracts import raw_batches
from tests.journeys.apache_kafka import ApacheKafka, NotToBeHad, jars
from tests.journeys.events import LIFECYCLE, activated, created, new_tenant, raws, suspended
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


def test_a_tenant_of_a_transaction_that_was_aborted_is_not_created(on_kafka: Running) -> None:
    aborted, committed = new_tenant(), new_tenant()
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": on_kafka.said["kafka_bootstrap"], "transactional.id": uuid4().hex, "log_level": 0}
    )
    producer.init_transactions()
    for tenant, end in ((aborted, producer.abort_transaction), (committed, producer.commit_transaction)):
        producer.begin_transaction()
        [raw] = raws([created(tenant, "atlas")])
        producer.produce(raw.topic, raw.value, partition=0, headers=list(raw.headers))
        producer.flush()
        end()
    on_kafka.until_level(committed, "atlas", "open")
    assert on_kafka.rows("SELECT FROM stored_events WHERE originator_id = %s", f"tenant:{aborted}") == []
    wait_for(lambda: on_kafka.json("status")["intake"]["lag"] == 0, "the lag to be none behind control records")
    [home] = [
        each
        for each in on_kafka.json("intake-position", "show")
        if (each["topic"], each["partition"]) == (LIFECYCLE, 0)
    ]
    wait_for(
        lambda: (
            on_kafka.one("SELECT next_offset FROM kafka_positions WHERE topic = %s AND partition = 0", LIFECYCLE)
            == home["end"]
        ),
        "the position behind the control records",
    )
    assert on_kafka.json("audit", "intake")["missing"] == []


def test_a_partition_that_was_added_is_read_from_its_first_message(on_kafka: Running) -> None:
    """Its first messages come before the intake knows of it; and a tenant's events lie in two partitions from then on,
    in no order: its suspension is read before it is created."""
    bootstrap = on_kafka.said["kafka_bootstrap"]
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    [topic] = admin.describe_topics([LIFECYCLE])
    added = len(topic["partitions"])
    admin.create_partitions({LIFECYCLE: added + 1})
    admin.close()
    tenant, later = new_tenant(), new_tenant()
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for event, partition in (
        (suspended(tenant, "atlas", revision=2), added),
        (created(later, "atlas"), added),
        (created(tenant, "atlas", revision=1), 0),
    ):
        [raw] = raws([event])
        producer.produce(raw.topic, raw.value, partition=partition, headers=list(raw.headers))
        producer.flush()
    on_kafka.until_level(later, "atlas", "open")
    on_kafka.until_level(tenant, "atlas", "closed")
    wait_for(lambda: on_kafka.json("status")["intake"]["lag"] == 0, "no lag, the added partition included")
    assert on_kafka.json("audit", "intake")["missing"] == []


def test_what_retention_took_is_told_with_its_range_and_up_starts_and_goes_on_when_told_to(
    on_kafka: Running,
) -> None:
    on_kafka.send(created(new_tenant(), "atlas"))
    before = {
        row["partition"]: row["next_offset"]
        for row in on_kafka.rows("SELECT partition, next_offset FROM kafka_positions WHERE topic = %s", LIFECYCLE)
    }
    bootstrap = on_kafka.said["kafka_bootstrap"]
    assert on_kafka.stop() == 0
    position = before[0]
    for _ in range(3):
        raw_batches.produce(bootstrap, LIFECYCLE, 0, raw_batches.batch((None, b"lost", ())))
    with PartitionReader(bootstrap) as reader:
        [home, *_] = reader.partitions([LIFECYCLE])
        end = reader.bounds(home).end
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_records({TopicPartition(LIFECYCLE, 0): end - 1})
    admin.close()

    on_kafka.start()
    name = f"{LIFECYCLE}/0"
    told = wait_for(
        lambda: next((each for each in on_kafka.json("status")["intake"]["partitions"] if each["stands_still"]), None),
        "the partition to stand still",
    )
    assert (told["topic"], told["partition"], told["position"]) == (LIFECYCLE, 0, position)
    assert f"{position} to {end - 2} were removed unread" in told["stands_still"]
    wait_for(lambda: "a partition stands still" in on_kafka.complaints(), "`up` to say it")
    others = [created(new_tenant(), "atlas") for _ in range(8)]
    moved = on_kafka.json("intake-position", "move", name, "--to", str(end - 1), "--reason", "sent again")
    assert (moved["before"], moved["position"]) == (position, end - 1)
    on_kafka.send(*others)
    on_kafka.until_taken_in(*others)
    wait_for(lambda: on_kafka.json("status")["intake"]["lag"] == 0, "all to be taken in")
    assert "intake position moved: all tenants: sent again" in on_kafka.cli("acts").stdout
