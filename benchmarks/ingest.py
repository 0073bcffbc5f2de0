"""Ingest benchmark: the messages a second that become events.

Ours from Kafka: messages lie on the embedded broker, the intakes have joined their group, and what is timed is the way
from there to the last commit, everything included: reading, deciding, events, positions, message ids, due scopes; once
with kafka-python, once with confluent-kafka (the extra `fast`). The peer has no Kafka, JSON and rules: it saves an
aggregate of one event for each message, in as many processes.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

import psycopg

from adapters.embedded.broker import EmbeddedBroker
from adapters.kafka.clients import Consumer, KafkaPythonProducer, OnAssign, ensure_topics
from application.inbound import Inbound
from benchmarks import stock
from benchmarks.append import agent
from benchmarks.harness import Result, copied, in_turns, our_database, peer_database, progress, result, server, together
from benchmarks.population import license_message, lives, load, parts, tenant_id
from history.rebuild.loading import spare_the_collector
from runtime.compose.intake import intake_consumer_of, lifecycle_of, messages_of
from workers.intake import Intake

MESSAGES: Final = 40_000
PEER_EVENTS: Final = 3_000
TENANTS: Final = 10_000
INTAKES: Final = 2
PARTITIONS: Final = 4
HEADERS: Final = (("content-type", b"application/cloudevents+json"),)


def run(*, runs: int, quick: bool = False) -> Result:
    messages, peer_events, tenants = (200, 50, 50) if quick else (MESSAGES, PEER_EVENTS, TENANTS)
    memory: list[float] = []

    def ours(client: str) -> float:
        with copied(postgres, "ours") as url:  # or each run would find longer streams than the one before
            rate, rss = our_rate(url, broker, messages=messages, tenants=tenants, client=client)
        memory.append(rss)
        return rate

    with (
        server() as postgres,
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        EmbeddedBroker(Path(directory)) as broker,
    ):
        peer = peer_database(postgres)
        load(our_database(postgres), lives, range(tenants), incoming=True)
        compared, fast = [
            in_turns(
                f"ingest, {client}",
                runs,
                ours=lambda: ours(client),  # noqa: B023 - called before the next round
                peer=lambda: peer_rate(peer, peer_events),
            )
            for client in ("kafka-python", "confluent-kafka")
        ]
    return result(
        "ingest",
        compared,
        ratio_fast=round(fast.ratio, 2),
        ours_fast=round(median(fast.ours), 1),
        peer_fast=round(median(fast.peer), 1),
        messages=messages,
        intakes=INTAKES,
        tenants=tenants,
        rss_mib=round(max(memory)),
    )


def peer_rate(url: str, events: int) -> float:
    share = events // INTAKES
    worked = together(stock.save, [(url, number * share, share) for number in range(INTAKES)])
    return share * INTAKES / max(float(each.value) for each in worked)


def our_rate(
    url: str, broker: EmbeddedBroker, *, messages: int, tenants: int, client: str = "kafka-python"
) -> tuple[float, float]:
    """Messages a second, and the memory of the largest intake."""
    run_id = uuid4().hex[:8]
    topic = f"{run_id}.lifecycle"
    ensure_topics(broker.bootstrap, {f"{run_id}.commerce": PARTITIONS, topic: PARTITIONS})
    before = _recorded(url)
    with agent(url):
        worked = together(
            intake,
            [(url, broker.bootstrap, run_id, messages, client)] * INTAKES,
            when_ready=lambda: produce(broker.bootstrap, topic, messages=messages, tenants=tenants, after=before),
        )
    recorded = _recorded(url) - before
    if recorded != messages:
        raise RuntimeError(f"{recorded} of {messages} messages were recorded: the bench measures something else")
    start = min(each.value[0] for each in worked)
    end = max(each.value[1] for each in worked)
    return messages / (end - start), max(each.rss_mib for each in worked)


def produce(bootstrap: str, topic: str, *, messages: int, tenants: int, after: int) -> None:
    """Changes of licenses of tenants from all over the store; `after` are the messages of earlier runs."""
    progress(f"producing {messages:,} messages")
    dice = random.Random(after)
    producer = KafkaPythonProducer(bootstrap)
    for number in range(messages):
        tenant = tenant_id(dice.randrange(tenants))
        revision = 100 + after + number
        producer.send(topic, key=tenant.encode(), value=license_message(tenant, revision), headers=HEADERS)
        if number % 5_000 == 4_999:
            producer.flush(30)
    producer.flush(30)
    producer.close()


def intake(
    url: str, bootstrap: str, run_id: str, messages: int, client: str
) -> Generator[None, None, tuple[float, float]]:
    """Join, wait at the line, and take in until everything of the run is in the log; when it began and ended."""
    consumers: list[Consumer] = []

    def connect(on_assign: OnAssign) -> Consumer:
        consumers.append(intake_consumer_of(ours, on_assign))
        return consumers[0]

    topics = {"commerce_topic": f"{run_id}.commerce", "lifecycle_topic": f"{run_id}.lifecycle"}
    with parts(url, bootstrap, **topics, consumer_group=run_id, kafka_client=client) as ours:
        at_work = Intake(
            connect,
            lifecycle_of(ours),
            read=messages_of(ours).read,
            refused=messages_of(ours).refused,
            positions=ours.log,
            batch=ours.settings.intake_batch,
            poll_seconds=ours.settings.poll_seconds,
        )
        _join(at_work, consumers[0])
        spare_the_collector()
        yield
        start = end = time.monotonic()
        with psycopg.connect(url, autocommit=True) as connection:
            while True:
                if at_work.step():
                    end = time.monotonic()
                elif _taken_in(connection, run_id) >= messages:
                    break
        consumers[0].close()
        return start, end


def _join(at_work: Intake[Inbound], consumer: Consumer) -> None:
    """Until the group has settled: each member has its share of the partitions."""
    deadline = time.monotonic() + 60
    while len(consumer.assignment()) != 2 * PARTITIONS // INTAKES:
        at_work.step()
        if time.monotonic() > deadline:
            raise TimeoutError(f"the intakes do not share the partitions: {consumer.assignment()}")


def _taken_in(connection: psycopg.Connection, run_id: str) -> int:
    """Messages of the run that are dealt with."""
    row = connection.execute(
        "SELECT coalesce(sum(next_offset), 0) FROM kafka_positions WHERE topic = %s", (f"{run_id}.lifecycle",)
    ).fetchone()
    return int(row[0]) if row else 0


def _recorded(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM incoming WHERE source = '/bench/messages' AND outcome = 'recorded'"
        )
        return int((row.fetchone() or (0,))[0])
