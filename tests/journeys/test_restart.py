"""What does `tenantry up` leave behind when it ends, and find when it starts again?"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kafka import KafkaConsumer

from adapters.kafka.clients import topic_ids
from tests.journeys.events import COMMERCE, LIFECYCLE, activated, created, new_tenant, suspended
from tests.journeys.running import Running, tenantry_process, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(300)]
PROVISIONING = "tenantry.provisioning"
TOPICS = [COMMERCE, LIFECYCLE, PROVISIONING]


def test_everything_survives_a_stop_and_a_kill(data_dir: Path, record_testsuite_property: Any) -> None:
    with Running(data_dir) as tenantry:
        # -- the first life
        first = new_tenant()
        event = created(first, "jira-software", "jira-service-management")
        tenantry.send(event)
        tenantry.until_level(first, "jira-software", "open")
        tenantry.until_level(first, "jira-service-management", "open")
        account = tenantry.json("credentials", first, "jira-software")
        with log_in(account) as session:
            session.execute("CREATE TABLE issues AS SELECT 42 AS number")
        told = tenantry.show(first)
        log = tenantry.one("SELECT count(*) FROM stored_events")
        published = wait_for(lambda: complete(tenantry), "all integration events on Kafka")
        assert_in_order_for_each_tenant(published)
        assert {message["type"] for message in published} >= {"tenantry.step.completed", "tenantry.product.opened"}
        ids = topic_ids(tenantry.said["kafka_bootstrap"], TOPICS)

        # -- only one at a time
        second_up = tenantry_process("up", "--json", "--data-dir", data_dir)
        assert second_up.exit_code == 2
        assert "runs in" in second_up.error
        assert second_up.stdout == ""

        # -- SIGTERM, in the middle of work
        more = [new_tenant() for _ in range(20)]
        tenantry.send(*[created(tenant, "atlas") for tenant in more])
        wait_for(lambda: tenantry.rows("SELECT 1 FROM leases"), "some work")
        assert len(tenantry.processes()) > 6
        began = time.monotonic()
        assert tenantry.stop() == 0
        record_testsuite_property("stopped_after_seconds", round(time.monotonic() - began, 2))
        assert time.monotonic() - began < 20, "ten on an idle machine"
        wait_for(lambda: not tenantry.processes(), "everything to be gone", seconds=5)
        nobody = tenantry.cli("status")
        assert nobody.exit_code == 2
        assert "no Tenantry runs in" in nobody.error

        # -- the second life: data is there, topics are new
        tenantry.start()
        again = topic_ids(tenantry.said["kafka_bootstrap"], TOPICS)
        assert {ids[name] for name in TOPICS}.isdisjoint(again[name] for name in TOPICS)
        assert tenantry.show(first) == told
        with log_in(account) as session:
            assert session.execute("SELECT number FROM issues").fetchall() == [(42,)]
        tenantry.until_settled()
        assert tenantry.disagreements() == []
        # Nothing half done: whoever was taken in before the stop is finished now, and a repeat is a duplicate.
        tenantry.send(event, *[activated(tenant, "compass") for tenant in [first]], suspended(first, "jira-software"))
        tenantry.until_level(first, "compass", "open")
        tenantry.until_level(first, "jira-software", "closed")
        assert tenantry.one("SELECT duplicates FROM incoming WHERE id = %s", event.id) == 1
        assert tenantry.one("SELECT count(*) FROM stored_events WHERE notification_id <= %s", log) == log
        republished = wait_for(lambda: complete(tenantry), "all integration events on the new topic")
        assert [message["id"] for message in republished if message["data"]["tenant_id"] == first][
            : len(published)
        ] == [message["id"] for message in published], "the same events, the same ids, the same order"
        assert_in_order_for_each_tenant(republished)

        # -- kill -9 of `up` alone: its workers end by themselves, and the third life finds the database
        before = tenantry.one("SELECT count(*) FROM stored_events")
        tenantry.kill_up()
        wait_for(lambda: not [pid for pid in tenantry.processes() if _is_python(pid)], "the workers to end")
        stale = tenantry.cli("status")
        assert (stale.exit_code, "no Tenantry runs in" in stale.error) == (2, True)
        tenantry.start()
        assert tenantry.show(first)["actual"]["products"]["compass"]["level"] == "open"

        # -- kill -9 of everything, and the fourth life
        tenantry.kill_everything()
        assert tenantry.processes() == set()
        tenantry.start()
        assert tenantry.one("SELECT count(*) FROM stored_events") >= before
        tenantry.send(activated(first, "atlas"))
        tenantry.until_level(first, "atlas", "open")
        with log_in(tenantry.json("credentials", first, "jira-service-management")) as session:
            assert session.execute("SELECT number FROM issues").fetchall() == [(42,)]


def log_in(account: dict[str, Any]) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=account["host"],
        port=account["port"],
        dbname=account["database"],
        user=account["role"],
        password=account["password"],
        autocommit=True,
    )


def complete(tenantry: Running) -> list[dict[str, Any]]:
    """What is on the topic of integration events, once it is all that the outbox holds."""
    messages = consume(tenantry.said["kafka_bootstrap"])
    held = {str(row["event_id"]) for row in tenantry.rows("SELECT event_id FROM outbox")}
    return messages if {message["id"] for message in messages} == held else []


def consume(bootstrap: str) -> list[dict[str, Any]]:
    """Every message on the topic so far, partition by partition, as a stranger to our code reads them."""
    consumer = KafkaConsumer(
        PROVISIONING,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=1500,
    )
    try:
        messages = list(consumer)
    finally:
        consumer.close()
    for message in messages:
        assert message.key.decode() == json.loads(message.value)["data"]["tenant_id"]
    return [json.loads(message.value) for message in sorted(messages, key=lambda each: (each.partition, each.offset))]


def assert_in_order_for_each_tenant(messages: Sequence[dict[str, Any]]) -> None:
    """At least once: a repetition may come, but nothing is seen for the first time out of its order."""
    last: dict[str, str] = {}
    seen: set[str] = set()
    for message in messages:
        assert message["specversion"] == "1.0"
        tenant = message["data"]["tenant_id"]
        if message["id"] not in seen:
            assert message["time"] >= last.get(tenant, ""), message
            last[tenant] = message["time"]
            seen.add(message["id"])


def _is_python(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "exe").readlink().name.startswith("python")
    except OSError:
        return False


@pytest.mark.parametrize("part", ["broker", "postgres"])
def test_where_an_embedded_part_dies_up_says_so_and_ends_and_the_next_one_has_it_all(data_dir: Path, part: str) -> None:
    tenant = new_tenant()
    with Running(data_dir) as tenantry:
        tenantry.send(created(tenant, "atlas"))
        tenantry.until_level(tenant, "atlas", "open")
        os.kill(_pid(tenantry, part), signal.SIGKILL)
        assert tenantry.ended() == 1
        assert f"error: the embedded {part} has died, so everything ends: start `tenantry up` again" in (
            tenantry.complaints()
        )
        wait_for(lambda: not tenantry.processes(), "everything to be gone", seconds=10)
        tenantry.start()
        assert tenantry.show(tenant)["actual"]["products"]["atlas"]["level"] == "open"


def _pid(tenantry: Running, part: str) -> int:
    if part == "postgres":
        return int((tenantry.data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in tenantry.processes()}
    [pid] = [pid for pid, command in commands.items() if b"tansu" in command.split(b"\0")[0]]
    return pid
