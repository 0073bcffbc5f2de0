"""Limits over four real processes: as many requests as the limit, and never more where the coordinator is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_client.access.rates import CHUNK_SECONDS
from tests.access.limits import LIMIT, Running, admitting, collected, limits_service

RATE, BURST = LIMIT.per_second, LIMIT.burst


@pytest.fixture
def running(migrated_database: str, tmp_path: Path) -> Iterator[Running]:
    with limits_service(migrated_database, tmp_path) as found:
        yield found


def saturated(running: Running, seconds: float) -> None:
    started = time.monotonic()
    with admitting(running, processes=4, seconds=seconds) as pipes:
        found = collected(pipes, started)
    count, limit = len(found.times), BURST + RATE * (found.times[-1] - found.times[0])
    assert 0.95 * limit <= count <= 1.02 * limit, f"{100 * count / limit - 100:+.1f} % of the limit"


def test_four_processes_admit_the_limit_together_and_no_more(running: Running) -> None:
    saturated(running, 5.0)


@pytest.mark.endurance
def test_over_a_minute_as_well(running: Running) -> None:
    saturated(running, 60.0)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_without_the_coordinator_there_is_no_new_chunk_and_never_more_than_the_limit(
    running: Running, how: signal.Signals
) -> None:
    started = time.monotonic()
    with admitting(running, processes=4, seconds=4.0) as pipes:
        time.sleep(2.0)
        running.process.send_signal(how)
        gone = time.monotonic()
        found = collected(pipes, started)
    assert found.between(found.times[0], gone) > BURST / 2, "it was at work before"
    assert found.between(gone + CHUNK_SECONDS, gone + 60) == 0
    assert len(found.times) <= BURST + RATE * (gone - found.times[0]) + 1
