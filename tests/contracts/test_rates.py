"""Rates: chunks of requests that a coordinator admits, in memory and in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.rates import PostgresRates
from application.rates import Rate, RateCoordinator, admitted
from domain.errors import Unavailable
from tests.fakes.rates import FakeRates

SLOW = Rate("slow", per_second=1, burst=10)


@pytest.fixture(params=["fake", "postgres"])
def rates(request: pytest.FixtureRequest) -> Iterator[RateCoordinator]:
    if request.param == "fake":
        yield FakeRates()
        return
    with closing(PostgresRates(request.getfixturevalue("migrated_database"))) as found:
        yield found


def test_the_burst_is_admitted_at_once_and_then_the_time_until_the_next(rates: RateCoordinator) -> None:
    assert rates.admit(SLOW, 4).requests == 4
    assert rates.admit(SLOW, 9).requests == 6
    refused = rates.admit(SLOW, 1)
    assert refused.requests == 0
    assert 0 < refused.again_seconds <= 1.0


def test_each_limit_has_a_row_of_its_own(rates: RateCoordinator) -> None:
    assert rates.admit(SLOW, 10).requests == 10
    assert rates.admit(Rate("other", 1, 10), 10).requests == 10


def test_after_the_time_that_was_told_there_is_one_more(rates: RateCoordinator) -> None:
    quick = Rate("quick", per_second=20, burst=1)
    assert rates.admit(quick, 5).requests == 1
    time.sleep(rates.admit(quick, 1).again_seconds + 0.005)
    assert rates.admit(quick, 1).requests == 1


def test_many_threads_are_admitted_the_limit_together(rates: RateCoordinator) -> None:
    limit = Rate("limit", per_second=200, burst=20)
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        count = sum(threads.map(lambda _: rates.admit(limit, 3).requests, range(300)))
    assert 20 <= count <= 20 + 200 * (time.monotonic() - started) + 1


def test_a_coordinator_without_a_database_admits_nothing() -> None:
    with closing(PostgresRates("postgresql://nobody@127.0.0.1:1/none")) as rates, pytest.raises(Unavailable):
        rates.admit(SLOW, 1)


@given(
    st.integers(1, 5_000),
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 600)), max_size=60),
)
def test_in_no_window_more_than_the_burst_and_the_rate_is_admitted(
    per_second: int, burst: int, asks: list[tuple[int, int]]
) -> None:
    rate, next_us, now_us = Rate("r", per_second, burst), 0, 10**15
    counts: list[tuple[int, int]] = []
    for pause, requests in asks:
        now_us += pause
        found, next_us = admitted(rate, requests, next_us=next_us, now_us=now_us)
        counts.append((now_us, found.requests))
    for first, (start, _) in enumerate(counts):
        for end, _ in counts[first:]:
            within = sum(count for at, count in counts[first:] if at <= end)
            assert within <= burst + per_second * (end - start) / 1e6 + 1
