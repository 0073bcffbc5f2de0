"""Metrics of a worker, for Prometheus: what it counted and timed, what its loops wait for, and its own process.

No label names a tenant: the number of series depends on steps, shards and types of messages, never on how many tenants
there are. Each worker answers for itself, on a port of its own; no files are shared between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Final, Protocol

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CollectorRegistry, Counter, Gauge, GaugeMetricFamily, Histogram, Metric
from prometheus_client.registry import Collector

from application.ports.measures import Measure

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SLOW: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
OPENING: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 14_400, 86_400)

Sample = tuple[str, dict[str, str], float]
"""Name without the prefix, labels, value."""


class Loop(Protocol):
    """What one loop of a worker waits for (outage.py of the adapters)."""

    @property
    def waits(self) -> dict[str, str] | None: ...


class WorkerMetrics:
    """All metrics of one worker, in a registry of their own."""

    def __init__(self, kind: str, loops: Sequence[Loop] = ()) -> None:
        self.registry = own = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        build = Gauge("tenantry_build_info", "Version and kind of this worker", ("version", "kind"), registry=own)
        build.labels(version("tenantry"), kind).set(1)
        self._messages = Counter(
            "tenantry_messages",
            "Messages taken in, by what became of them",
            ("type", "outcome"),
            registry=own,
        )
        self._seconds = {
            "step": self._histogram(
                "tenantry_step_seconds",
                "Attempts of steps, by how long they took",
                SLOW,
                ("scope", "step", "direction", "executor", "outcome"),
            ),
            "append": self._histogram("tenantry_append_seconds", "Appends to the log, each one transaction", FAST),
            "webhook": self._histogram(
                "tenantry_webhook_seconds", "Requests to provisioners of other teams", SLOW, ("method", "status")
            ),
            "time_to_open": self._histogram(
                "tenantry_time_to_open_seconds", "From the event that asked for a product until it is open", OPENING
            ),
            "request": self._histogram("tenantry_request_seconds", "Requests to a service of ours", FAST, ("status",)),
        }
        self.add(lambda: _waits(loops), WAITS)

    def listener(self, name: Measure, value: float, labels: tuple[str, ...]) -> None:
        """Hears what the engine measures."""
        if name == "message":
            self._messages.labels(*labels).inc(value)
            return
        histogram = self._seconds[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def add(self, samples: Callable[[], Iterable[Sample]], texts: dict[str, str]) -> None:
        """Gauges that are asked for at each scrape; `texts` names each, with its help."""
        self.registry.register(_Gauges(samples, texts))

    def _histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


WAITS: Final = {"loop_waits": "1 for each loop of this worker that waits, by what it waits for"}


def _waits(loops: Sequence[Loop]) -> Iterable[Sample]:
    for loop in loops:
        if waits := loop.waits:
            yield "loop_waits", {"loop": waits["who"].removeprefix("the "), "why": waits["why"]}, 1


class _Gauges(Collector):
    """A collector of samples that a function gives."""

    def __init__(self, samples: Callable[[], Iterable[Sample]], texts: dict[str, str]) -> None:
        self._samples = samples
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in self._texts}
        for name, labels, value in self._samples():
            found[name].append((labels, value))
        for name, samples in found.items():
            labels_of = tuple(samples[0][0]) if samples else ()
            family = GaugeMetricFamily(f"tenantry_{name}", self._texts[name], labels=labels_of)
            for labels, value in samples:
                family.add_metric(list(labels.values()), value)
            yield family

    def describe(self) -> Iterable[Metric]:
        """Known without a scrape, which would ask the database."""
        return [GaugeMetricFamily(f"tenantry_{name}", text) for name, text in self._texts.items()]
