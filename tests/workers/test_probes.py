"""Probes and metrics of a worker: what each answers, over HTTP where it is served."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adapters.outage import Outage
from application.ports.measures import listen, measure
from domain.errors import Conflict, Unavailable, UsageError
from runtime.metrics import Sample, WorkerMetrics
from workers.probes import KEPT_SECONDS, STUCK_SECONDS, FleetNumbers, Probes, serve


class Heart:
    """Of a worker that takes in work, until it is told otherwise."""

    is_ready = True


class Seconds:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def probes_of(outage: Outage, *others: Outage, heart: Heart | None = None, seconds: Seconds | None = None) -> Probes:
    return Probes(heart or Heart(), outage, [outage, *others], seconds=seconds or Seconds())


def test_a_loop_that_does_not_move_is_not_live() -> None:
    seconds = Seconds()
    loop = Outage("the projector", seconds=seconds)
    seconds.now += STUCK_SECONDS + 1
    assert probes_of(loop, seconds=seconds).live() == (503, "the loop has not moved for 61 s: start this worker again")


@pytest.mark.parametrize("move", ["goes on", "is over", "moves"])
def test_a_loop_that_moves_is_live_whatever_it_meets(move: str) -> None:
    seconds = Seconds()
    loop = Outage("the projector", seconds=seconds)
    seconds.now += STUCK_SECONDS + 1
    {
        "goes on": lambda: loop.goes_on(Unavailable("the database is away")),
        "is over": loop.is_over,
        "moves": loop.moves,
    }[move]()
    assert probes_of(loop, seconds=seconds).live()[0] == 200


def test_a_worker_that_starts_is_not_ready() -> None:
    heart = Heart()
    heart.is_ready = False
    assert probes_of(Outage("the relay"), heart=heart).ready() == (503, "not ready: the worker is starting")


def test_a_worker_is_not_ready_while_any_of_its_loops_waits() -> None:
    loop, seal = Outage("the relay"), Outage("the seal")
    seal.goes_on(Conflict("another relay seals"))
    probes = probes_of(loop, seal)
    assert probes.ready() == (503, "not ready: the seal waits: conflict")
    seal.is_over()
    assert probes.ready() == (200, "ready")


@contextmanager
def served(metrics: WorkerMetrics, probes: Probes) -> Iterator[str]:
    server = serve("127.0.0.1", 0, probes, metrics.registry)
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_each_path_answers_over_http_and_no_other_does() -> None:
    loop = Outage("the relay")
    loop.goes_on(Unavailable("the database is away", why="away"))
    metrics = WorkerMetrics("relay", [loop])
    with served(metrics, probes_of(loop)) as address:
        assert get(f"{address}/livez")[0] in (200, 503)
        assert get(f"{address}/readyz") == (503, "not ready: the relay waits: away\n")
        assert get(f"{address}/") == (404, "see /metrics, /livez and /readyz\n")
        status, text = get(f"{address}/metrics")
    assert status == 200
    assert 'tenantry_loop_waits{loop="relay",why="away"} 1.0' in text
    assert 'tenantry_build_info{kind="relay"' in text


def test_a_port_that_is_taken_is_one_line_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: .*TENANTRY_METRICS_PORT"):
            serve("127.0.0.1", port, probes_of(Outage("the relay")), WorkerMetrics("relay").registry)


def test_what_is_measured_is_counted_until_nobody_listens() -> None:
    metrics = WorkerMetrics("intake")
    unlisten = listen(metrics.listener)
    measure("message", 3, "tenant.created", "recorded")
    measure("append", 0.02)
    measure("step", 0.2, "product", "license", "ensure", "ours", "completed")
    unlisten()
    measure("message", 5, "tenant.created", "recorded")
    value = metrics.registry.get_sample_value
    assert value("tenantry_messages_total", {"type": "tenant.created", "outcome": "recorded"}) == 3
    assert value("tenantry_append_seconds_count") == 1
    labels = {"scope": "product", "step": "license", "direction": "ensure", "executor": "ours", "outcome": "completed"}
    assert value("tenantry_step_seconds_sum", labels) == pytest.approx(0.2)


def test_numbers_of_the_fleet_are_kept_for_a_while_and_never_shown_when_the_database_is_away() -> None:
    asked, seconds = [0], Seconds()

    def samples() -> list[Sample]:
        asked[0] += 1
        if asked[0] > 1:
            raise Unavailable("the database is away")
        return [("scopes_due", {}, 7)]

    kept = FleetNumbers(samples, seconds=seconds)
    assert kept() == kept() == [("scopes_due", {}, 7), ("fleet_answers", {}, 1)]
    assert asked == [1]
    seconds.now += KEPT_SECONDS
    assert kept() == [("fleet_answers", {}, 0)]
