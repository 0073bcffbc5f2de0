"""Latency benchmark: the time from Kafka to a read model.

A whole `tenantry up`, and 100 events a second: changes of customers, which need no saga to be seen. What is timed is
the way from the call that produces the message to the moment at which a query every 2 ms has found the row.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final
from uuid import uuid4

import psycopg

from adapters.kafka.clients import KafkaPythonProducer
from benchmarks.harness import MemoryWatch, Result, progress
from benchmarks.population import NOW

RATE: Final = 100
SECONDS: Final = 20.0
WARM_UP_SECONDS: Final = 3.0
ASK_SECONDS: Final = 0.002
READY_SECONDS: Final = 120.0
TOPIC: Final = "tenantry.commerce"
HEADERS: Final = (("content-type", b"application/cloudevents+json"),)


def run(*, runs: int, quick: bool = False) -> Result:
    seconds, warm_up = (0.5, 0.5) if quick else (SECONDS, WARM_UP_SECONDS)
    p50s, p99s = list[float](), list[float]()
    with running() as (ready, pid), MemoryWatch(pid) as watch:
        measure(ready, warm_up)
        for number in range(1, runs + 1):
            latencies = measure(ready, seconds)
            p50s.append(median(latencies))
            p99s.append(quantiles(latencies, n=100)[98])
            progress(f"latency, run {number} of {runs}: p50 {p50s[-1]:.0f} ms, p99 {p99s[-1]:.0f} ms")
    return {
        "bench": "latency",
        "ours": round(median(p99s), 1),
        "peer": None,
        "ratio": None,
        "unit": "ms, p99",
        "runs": runs,
        "p50_ms": round(median(p50s), 1),
        "p99_ms": round(median(p99s), 1),
        "p50_runs": [round(each, 1) for each in p50s],
        "p99_runs": [round(each, 1) for each in p99s],
        "rate": RATE,
        "rss_mib": round(watch.worst_mib),
    }


@contextmanager
def running() -> Iterator[tuple[dict[str, Any], int]]:
    """A `tenantry up` of its own; what it printed when it was ready, and its process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        command = [sys.executable, "-m", "cli.main", "up", "--json", "--data-dir", f"{directory}/data"]
        with (
            Path(directory, "stderr").open("wb") as errors,
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors) as process,
        ):
            assert process.stdout is not None
            try:
                seen, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
                line = process.stdout.readline() if seen else b""
                if not line:
                    raise RuntimeError(f"`tenantry up` does not start: {Path(directory, 'stderr').read_text()[-2000:]}")
                yield json.loads(line), process.pid
            finally:
                process.terminate()


def measure(ready: dict[str, Any], seconds: float, *, topic: str = TOPIC) -> list[float]:
    """Milliseconds of each event."""
    count = int(RATE * seconds)
    produced: dict[str, float] = {}
    latencies: list[float] = []
    watching = threading.Thread(target=_watch, args=(ready["database_url"], count, produced, latencies))
    watching.start()
    producer = KafkaPythonProducer(ready["kafka_bootstrap"])
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        customer = uuid4().hex
        value = _message(customer)
        produced[customer] = time.monotonic()
        producer.send(topic, key=customer.encode(), value=value, headers=HEADERS)
    producer.flush()
    producer.close()
    watching.join()
    if len(latencies) != count:
        raise RuntimeError(f"{count - len(latencies)} of {count} events were not seen within 30 s")
    return latencies


def _watch(url: str, count: int, produced: dict[str, float], latencies: list[float]) -> None:
    deadline = time.monotonic() + count / RATE + 30
    found: set[str] = set()
    with psycopg.connect(url, autocommit=True) as connection:
        while len(found) < count and time.monotonic() < deadline:
            waiting = [customer for customer in list(produced) if customer not in found]
            rows = connection.execute("SELECT customer_id FROM customers WHERE customer_id = ANY(%s)", (waiting,))
            names = [name for (name,) in rows.fetchall()]
            now = time.monotonic()
            latencies.extend((now - produced[name]) * 1000 for name in names)
            found.update(names)
            time.sleep(ASK_SECONDS)


def _message(customer: str) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": "/bench/messages",
        "type": "commerce.customer.updated",
        "time": NOW.isoformat(),
        "data": {
            "customer_id": customer,
            "name": f"Company {customer}",
            "country": "DE",
            "contacts": ["accounts@example.com"],
            "administrators": [
                {
                    "account_id": "ada",
                    "name": "Ada Lovelace",
                    "email": "ada@example.com",
                    "roles": ["organization-administrator"],
                }
            ],
        },
    }
    return json.dumps(envelope).encode()
