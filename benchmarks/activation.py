"""Activation benchmark: the time from a message to an open product, and what it consists of.

A whole `tenantry up`, and 20 activations a second: from the call that produces `product.activated` to the moment at
which a query every 10 ms has found the convergence. The stages of that time are told by the events themselves: each has
the time at which it was decided.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from statistics import median, quantiles
from threading import Thread
from typing import Any, Final
from uuid import uuid4

import psycopg

from adapters.kafka.clients import KafkaPythonProducer
from benchmarks.harness import progress
from benchmarks.latency import running
from benchmarks.population import NOW
from domain.stream_name import StreamName

RATE: Final = 20
SECONDS: Final = 20.0
PRODUCT: Final = "compass"
HEADERS: Final = (("content-type", b"application/cloudevents+json"),)
TOPIC: Final = "tenantry.lifecycle"
LATE: Final = 500
"""Positions that may be committed after higher ones."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Milliseconds from `product.activated` to the convergence of the product: median and 99th percentile of each run,
    and of each stage in all runs."""

    p50s: list[float]
    p99s: list[float]
    stages: dict[str, tuple[float, float]]


def activations(runs: int, *, seconds: float) -> Activations:
    """So many runs on one installation."""
    p50s, p99s = list[float](), list[float]()
    stages: dict[str, list[float]] = {}
    with running() as (ready, _):
        _activate(ready, 1.0)
        for number in range(1, runs + 1):
            found, of_run = _activate(ready, seconds)
            p50s.append(median(found))
            p99s.append(quantiles(found, n=100)[98])
            progress(f"activated, run {number} of {runs}: p50 {p50s[-1]:.0f} ms, p99 {p99s[-1]:.0f} ms")
            for name, times in of_run.items():
                stages.setdefault(name, []).extend(times)
    table = {name: (median(times), quantiles(times, n=100)[98]) for name, times in stages.items()}
    for name, (p50, p99) in table.items():
        progress(f"  {name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    return Activations(p50s, p99s, table)


def _activate(ready: Mapping[str, Any], seconds: float) -> tuple[list[float], dict[str, list[float]]]:
    tenants = [str(uuid4()) for _ in range(int(RATE * seconds))]
    producer = KafkaPythonProducer(ready["kafka_bootstrap"])
    sites, products = dict[str, float](), dict[str, float]()
    for_sites = Thread(target=partial(_watch, ready["database_url"], tenants, sites, kind="site"))
    for_sites.start()
    for tenant in tenants:
        key, value = created(tenant)
        producer.send(TOPIC, key=key, value=value, headers=HEADERS)
    producer.flush()
    for_sites.join()
    for_products = Thread(target=partial(_watch, ready["database_url"], tenants, products, kind="product"))
    for_products.start()
    time.sleep(1)  # what the sites have left to do is not what is timed
    produced, at = dict[str, float](), dict[str, float]()
    start = time.monotonic()
    for number, tenant in enumerate(tenants):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        key, value = activated(tenant, PRODUCT)
        produced[tenant], at[tenant] = time.monotonic(), time.time()
        producer.send(TOPIC, key=key, value=value, headers=HEADERS)
    producer.flush()
    producer.close()
    for_products.join()
    if len(products) != len(tenants):
        raise RuntimeError(f"{len(tenants) - len(products)} of {len(tenants)} products did not converge")
    latencies = [(products[tenant] - produced[tenant]) * 1000 for tenant in tenants]
    return latencies, _stages(ready["database_url"], at)


STAGES: Final = (
    ("the message until it is taken in", "tenant", "tenantry.product-activated", None),
    ("until the family is claimed", "family", "tenantry.step-started", 3),
    ("step 3, the region, and its recording", "family", "tenantry.step-completed", 3),
    ("step 6, the database, and its recording", "family", "tenantry.step-completed", 6),
    ("until the product is claimed, with steps 2, 4 and 5", "product", "tenantry.step-started", 7),
    ("step 7, the entitlement, and its recording", "product", "tenantry.step-completed", 7),
)
"""The event that ends each stage: its kind of stream, topic and step."""


def _stages(url: str, produced: Mapping[str, float]) -> dict[str, list[float]]:
    """Milliseconds of each stage of each activation, by the time at which its last event was decided."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT split_part(originator_id, ':', 2), split_part(originator_id, ':', 1), topic,"
            " convert_from(state, 'UTF8')::json FROM stored_events"
            " WHERE split_part(originator_id, ':', 2) = ANY (%s) AND topic = ANY (%s)",
            (list(produced), [topic for _, _, topic, _ in STAGES]),
        ).fetchall()
    found = {
        (tenant, kind, topic, state["data"].get("step")): datetime.fromisoformat(state["at"]).timestamp()
        for tenant, kind, topic, state in rows
    }
    stages: dict[str, list[float]] = {name: [] for name, *_ in STAGES}
    for tenant, at in produced.items():
        ends = [at, *(found[tenant, *event] for _, *event in STAGES)]
        for (name, *_), before, after in zip(STAGES, ends, ends[1:], strict=False):
            stages[name].append((after - before) * 1000)
    return stages


def _watch(url: str, tenants: Collection[str], found: dict[str, float], *, kind: str) -> None:
    """When each tenant's scope of that kind was seen to have converged, by a query every 10 ms."""
    missing = set(tenants)
    deadline = time.monotonic() + len(missing) / RATE + 60
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT coalesce(max(notification_id), 0) FROM stored_events").fetchone()
        last = row[0] if row else 0
        while missing and time.monotonic() < deadline:
            rows = connection.execute(
                "SELECT notification_id, originator_id, topic FROM stored_events WHERE notification_id > %s",
                (last - LATE,),
            ).fetchall()
            now = time.monotonic()
            for position, stream, topic in rows:
                last = max(last, position)
                name = StreamName.parse(stream)
                tenant = name.tenant_id or ""
                if topic == "tenantry.scope-converged" and name.kind == kind and tenant in missing:
                    found[tenant] = now
                    missing.remove(tenant)
            time.sleep(0.01)


# -- messages ------------------------------------------------------------------------------------------------------


def created(tenant: str, *products: str) -> tuple[bytes, bytes]:
    """Key and value of `tenant.created`."""
    data = {
        "tenant_id": tenant,
        "customer_id": f"customer-{tenant}",
        "site_name": f"site-{tenant}",
        "residency": "global",
        "administrator": {"account_id": "ada", "name": "Ada Lovelace", "email": "ada@example.com"},
        "products": [{"product": key, "edition": "free", "users": 5, "revision": 1} for key in products],
    }
    return tenant.encode(), _event("tenant.created", data)


def activated(tenant: str, product: str) -> tuple[bytes, bytes]:
    """Key and value of `product.activated`."""
    data = {"tenant_id": tenant, "product": product, "edition": "free", "users": 5}
    return tenant.encode(), _event("product.activated", data)


def _event(type_: str, data: Mapping[str, object]) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": "/bench/messages",
        "type": type_,
        "time": NOW.isoformat(),
        "revision": 1,
        "data": data,
    }
    return json.dumps(envelope).encode()
