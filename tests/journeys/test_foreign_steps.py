"""Do steps that the catalogue gives to somebody else come about, by a webhook that calls back and by Kafka?"""

from __future__ import annotations

import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from adapters.kafka.clients import GroupSession, KafkaPythonConsumer, KafkaPythonProducer
from tests.fakes.provisioner import SECRET, SIGNING, Handler, Provisioner, Reply, serving
from tests.fakes.replier import Replier, from_the_start
from tests.journeys.events import Raw, created, deactivated, new_tenant
from tests.journeys.running import Running, wait_for

REPLIES = "tenantry.replies"
COMMANDS = "atlas.commands"
EXECUTORS = """
[products.compass.executors.7]
webhook = "{address}"
secret = "compass"

[products.atlas.executors.7]
kafka = "{commands}"
"""


@pytest.fixture(scope="module")
def theirs() -> Iterator[Provisioner]:
    with serving() as provisioner:
        yield provisioner


@pytest.fixture(scope="module")
def tenantry(theirs: Provisioner) -> Iterator[Running]:
    """With a catalogue in which others bring step 7 of two products about."""
    with tempfile.TemporaryDirectory(prefix="journey-") as directory:
        catalog = Path(directory) / "catalog.toml"
        default = files("domain").joinpath("catalog.toml").read_text()
        catalog.write_text(default + EXECUTORS.format(address=theirs.address, commands=COMMANDS))
        settings = {"TENANTRY_CATALOG_FILE": str(catalog), "TENANTRY_WEBHOOK_SECRETS__COMPASS": SECRET}
        with Running(Path(directory) / "data", settings) as running:
            yield running


def calls_back(order: str, location: str) -> Raw:
    """A reply as the provisioner of a webhook signs it."""
    value = json.dumps({"idempotency_key": order, "outcome": "done", "result": {"location": location}}).encode()
    now = int(time.time())
    headers = (
        ("webhook-id", order.encode()),
        ("webhook-timestamp", str(now).encode()),
        ("webhook-signature", SIGNING.sign(order, now, value).encode()),
    )
    return Raw(REPLIES, None, value, headers)


def test_a_webhook_that_is_at_work_for_an_hour_calls_back_and_is_not_asked_again(
    tenantry: Running, theirs: Provisioner
) -> None:
    tenant = new_tenant()
    theirs.script.append(Reply(202, headers={"retry-after": "3600"}))
    tenantry.send(created(tenant, "compass"))
    wait_for(lambda: theirs.orders, "the order to be sent")
    (asked,) = theirs.orders
    tenantry.send(calls_back(asked["idempotency_key"], "licenses/there"))
    tenantry.until_level(tenant, "compass", "open")
    assert tenantry.one("SELECT location FROM licenses WHERE tenant_id = %s", tenant) == "licenses/there"
    assert len(theirs.orders) == 1
    tenantry.send(deactivated(tenant, "compass"))
    tenantry.until_level(tenant, "compass", "retained")
    assert theirs.orders[-1]["direction"] == "remove"


def test_a_product_whose_provisioner_takes_commands_from_kafka_opens_when_it_replies(tenantry: Running) -> None:
    tenant, bootstrap = new_tenant(), tenantry.said["kafka_bootstrap"]
    tenantry.send(created(tenant, "atlas"))
    session = GroupSession(session_ms=2_000, heartbeat_ms=300)
    consumer = KafkaPythonConsumer(
        bootstrap, group="atlas", topics=[COMMANDS], on_assign=from_the_start, session=session
    )
    producer = KafkaPythonProducer(bootstrap)
    with closing(consumer), closing(producer):
        theirs = Replier(consumer, producer, REPLIES)
        theirs.work(1, seconds=60)
        tenantry.until_level(tenant, "atlas", "open")
    assert theirs.effects == 1


@pytest.mark.endurance
def test_a_second_signal_ends_a_drain_that_waits_for_somebody_else_and_nothing_is_lost(
    tenantry: Running, theirs: Provisioner
) -> None:
    tenant, asked_before = new_tenant(), len(theirs.orders)
    gone = threading.Event()

    def hangs(handler: Handler) -> None:
        gone.wait(60)

    theirs.script.append(hangs)
    tenantry.send(created(tenant, "compass"))
    wait_for(lambda: len(theirs.orders) > asked_before, "the order to be sent")
    began = time.monotonic()
    assert tenantry.stop(signals=(signal.SIGTERM, signal.SIGINT)) == 0
    assert time.monotonic() - began < 7, "it does not wait for the drain's eight seconds"
    gone.set()
    assert "had to end at once" in tenantry.complaints()
    tenantry.start()
    tenantry.until_level(tenant, "compass", "open")
    keys = {order["idempotency_key"] for order in theirs.orders[asked_before:]}
    assert len(keys) == 1, "it is the same order"
