"""A seeded stream of messages that goes on while something is away.

`Load` publishes from a thread of its own, some messages a second, until it is told to stop: new tenants, changes of
those that have settled in an earlier wave, customers, repetitions, and messages that are no good. Each change carries a
revision, so that their order does not matter. What a broker does not acknowledge is sent again; what lies on Kafka in
the end is read back (`Topics`), and that is what the oracle judges by.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaConsumer
from kafka.structs import TopicPartition

from adapters.kafka.clients import KafkaPythonProducer
from demo.entries import Entry
from demo.telling import World
from domain.errors import Unavailable

COMMERCE: Final = "tenantry.commerce"
LIFECYCLE: Final = "tenantry.lifecycle"
PRODUCTS: Final = ("jira-software", "jira-service-management", "confluence", "compass", "compass")


class Stream:
    """What there is to say, in waves; a tenant is changed when the wave in which it came is over."""

    def __init__(self, seed: int) -> None:
        self._world = World(random.Random(seed), COMMERCE, LIFECYCLE)  # noqa: S311 - a seed is the point
        self._rng = self._world.rng
        self._settled: list[tuple[str, str]] = []
        self._fresh: list[tuple[str, str]] = []
        self._last: Entry | None = None
        self._revision = 0

    def next_wave(self) -> None:
        self._settled += self._fresh
        self._fresh = []

    def __next__(self) -> Entry:
        tell = self._rng.choices(
            [self._a_tenant, self._a_change, self._a_customer, self._a_repetition, self._no_good], [5, 6, 1, 1, 1]
        )[0]
        self._revision += 1
        self._last = tell()
        return self._last

    def tenant(self, *products: str, near: str = "eu") -> Entry:
        tenant = self._world.uuid()
        data = {
            "tenant_id": tenant,
            "customer_id": f"customer-{self._rng.randrange(50)}",
            "site_name": f"site-{tenant[:13]}",
            "residency": "global",
            "region": near,
            "administrator": self._world.person("outage"),
            "products": [{**self._offer(product), "revision": 1} for product in products],
        }
        self._fresh += [(tenant, product) for product in products]
        return self._world.event("tenant.created", data, revision=1)

    def _a_tenant(self) -> Entry:
        return self.tenant(self._rng.choice(PRODUCTS), near="us" if self._rng.random() < 0.1 else "eu")

    def _offer(self, product: str) -> dict[str, Any]:
        return {"product": product, "edition": "standard", "users": self._rng.randint(5, 5000)}

    def _a_change(self) -> Entry:
        if not self._settled:
            return self._a_tenant()
        tenant, product = self._rng.choice(self._settled)
        about = {"tenant_id": tenant, "product": product}
        type_, data = self._rng.choice(
            [
                ("product.suspended", {**about, "reason": "unpaid"}),
                ("product.unsuspended", about),
                ("product.deactivated", {**about, "reason": "cancelled"}),
                ("product.activated", {**about, **self._offer(product)}),
                ("license.updated", {**about, **self._offer(product), "status": "active"}),
            ]
        )
        return self._world.event(type_, data, revision=self._revision + 1)

    def _a_customer(self) -> Entry:
        customer = f"customer-{self._rng.randrange(50)}"
        people = [self._world.person("outage", "billing")]
        data = {"customer_id": customer, "name": "Acme", "country": "DE", "contacts": [], "administrators": people}
        return self._world.event("commerce.customer.updated", data, revision=self._revision)

    def _a_repetition(self) -> Entry:
        return self._last or self._a_tenant()

    def _no_good(self) -> Entry:
        value = json.dumps({"order": self._world.uuid()}).encode()
        return Entry(1, LIFECYCLE, "nobody", (("content-type", "application/cloudevents+json"),), value)


class Load:
    """The thread that publishes. `sent` holds what was acknowledged, as `(topic, value)`."""

    def __init__(self, stream: Stream, bootstrap: Callable[[], str], *, rate: float) -> None:
        self._stream = stream
        self._bootstrap = bootstrap
        self._rate = rate
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._producer: KafkaPythonProducer | None = None
        self.sent: list[tuple[str, bytes | None]] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What was begun is acknowledged first."""
        self._stopping.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "the broker does not take what is published"

    def _run(self) -> None:
        pending: list[Entry] = []
        due = time.monotonic()
        while pending or not self._stopping.is_set():
            while due <= time.monotonic() and not self._stopping.is_set():
                pending.append(next(self._stream))
                due += 1 / self._rate
            try:
                self._publish(pending)
                self.sent += [(entry.topic, entry.value) for entry in pending]
                pending.clear()
            except Unavailable:
                time.sleep(0.2)
            time.sleep(0.02)
        if self._producer is not None:
            self._producer.close()

    def _publish(self, entries: list[Entry]) -> None:
        if self._producer is None:
            self._producer = KafkaPythonProducer(self._bootstrap(), connect_seconds=2)
        for entry in entries:
            self._producer.send(
                entry.topic,
                key=entry.key.encode() if entry.key is not None else None,
                value=entry.value,
                headers=[(name, content.encode()) for name, content in entry.headers],
            )
        self._producer.flush(5)


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as Kafka keeps it."""

    partition: int
    offset: int
    entry: Entry

    @property
    def place(self) -> tuple[str, int, int]:
        return self.entry.topic, self.partition, self.offset


class Topics:
    """Everything that lies on both topics, in the order of each partition, read as a stranger would."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.kept: list[Kept] = []
        self._next: dict[TopicPartition, int] = {}

    def read(self, *, wave: int) -> list[Kept]:
        """What has come since the last time: it belongs to `wave`."""
        found = sorted(self._read(wave), key=lambda kept: kept.place)
        for kept in found:
            self._next[TopicPartition(kept.entry.topic, kept.partition)] = kept.offset + 1
        self.kept += found
        return found

    def _read(self, wave: int) -> Iterator[Kept]:
        consumer = KafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, consumer_timeout_ms=1500, check_crcs=False
        )
        try:
            partitions = [
                TopicPartition(topic, each)
                for topic in (COMMERCE, LIFECYCLE)
                for each in sorted(consumer.partitions_for_topic(topic) or ())
            ]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, self._next.get(partition, 0))
            for record in consumer:
                headers = tuple((name, value.decode()) for name, value in record.headers)
                key = record.key.decode() if record.key is not None else None
                entry = Entry(wave, record.topic, key, headers, record.value)
                yield Kept(record.partition, record.offset, entry)
        finally:
            consumer.close()
