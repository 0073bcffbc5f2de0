"""Threads that share a Tenancy: whatever is opened first by several of them at once, none is refused or misled."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tenantry_client.context.lease import LogId, lease_path, now_ns
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.tenancy import Tenancy
from tests.clients.context.test_store_and_lease import change, load

THREADS = 8
ROUNDS = 30


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(look: Callable[[], str]) -> list[str]:
    """What each of the threads got, that began together."""
    barrier = threading.Barrier(THREADS)

    def begin() -> str:
        barrier.wait()
        try:
            return look()
        except ContextRefused as refused:
            return refused.code

    with ThreadPoolExecutor(THREADS) as pool:
        return [each.result() for each in [pool.submit(begin) for _ in range(THREADS)]]


def test_threads_that_look_up_first_at_once_are_all_answered(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    for _ in range(ROUNDS):
        with Tenancy.open(writer.directory) as tenancy:
            assert at_once(lambda: tenancy.by_host("t-1.example").tenant_id) == ["t-1"] * THREADS


def test_threads_of_a_forked_child_that_look_up_at_once_are_all_answered(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        for _ in range(5):
            child = get_context("fork").Process(target=_looks, args=(tenancy,))
            child.start()
            child.join(20)
            assert child.exitcode == 0


def _looks(tenancy: Tenancy) -> None:
    assert at_once(lambda: tenancy.by_host("t-2.example").tenant_id) == ["t-2"] * THREADS


def test_a_parent_that_forks_while_a_thread_looks_up_leaves_no_lock_held(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    for _ in range(12):  # the first fork meets the thread while it opens the store, the second one while it reads
        with Tenancy.open(writer.directory, kept=1) as tenancy:
            done = threading.Event()
            thread = threading.Thread(target=_looks_on, args=(tenancy, done))
            thread.start()
            children = [get_context("fork").Process(target=_looks, args=(tenancy,)) for _ in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join(20)
            done.set()
            thread.join()
            for child in children:
                child.kill()
            assert [child.exitcode for child in children] == [0, 0]


def _looks_on(tenancy: Tenancy, done: threading.Event) -> None:
    while not done.is_set():
        tenancy.by_host("t-0.example"), tenancy.by_host("t-1.example")


def test_threads_that_meet_the_file_of_another_log_at_once_all_go_over_to_it(directory: Path) -> None:
    for number in range(5):
        first = StoreWriter(directory)
        load(first)
        first.lease.renew(now_ns() + 10**11)
        with Tenancy.open(directory) as tenancy:
            assert tenancy.by_host("t-1.example").access == "open"
            first.lease.drop()
            first.close()
            lease_path(directory).unlink()
            second = StoreWriter(directory)
            load(second, log=LogId("log-2", number))
            second.apply(change("t-1", 11, access="closed"))
            second.lease.renew(now_ns() + 10**11)
            time.sleep(0.14)  # the lease of the first one has ended, and its file may be tried again
            assert at_once(lambda: tenancy.by_host("t-1.example").access) == ["closed"] * THREADS
        second.drop()
        second.close()


def test_a_full_cache_that_threads_share_loses_no_look_up(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    with Tenancy.open(writer.directory, kept=2) as tenancy:

        def many() -> str:
            for number in range(200):
                assert tenancy.by_id(f"t-{number % 3}").tenant_id == f"t-{number % 3}"
            return "done"

        assert at_once(many) == ["done"] * THREADS
